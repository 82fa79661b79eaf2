"""Reference masks, drawn by people, in place of predicted ones."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool

from flannel.data.files import sha256_of
from flannel.data.manifest import load_manifest
from flannel.data.progress import progress
from flannel.data.radiograph import RadiographError, read_levels, read_mask, write_mask
from flannel.data.sources.mask_pairs import grouped_by_stem
from segmentation.biomarkers import Biomarkers, measure, sampled
from segmentation.mask_folder import MaskFolder, open_mask_folder
from segmentation.mask_tables import MaskRow
from segmentation.masks import MaskError
from segmentation.quality import quality


@dataclass
class ImportReport:
    """What an import did.

    Attributes:
        folder: Where the masks lie.
        imported: Reference masks taken over now.
        kept: Reference masks that were there already.
        faults: A sentence for each file that cannot be used.
        unmeasured: A sentence for each radiograph that cannot be read: its mask is imported, but
            has no biomarkers.
        predicted: Radiographs without a reference that keep their predicted mask.
        missing: Radiographs without any mask.
    """

    folder: Path
    imported: int = 0
    kept: int = 0
    faults: list[str] = field(default_factory=list)
    unmeasured: list[str] = field(default_factory=list)
    predicted: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Gives the report as text."""
        lines = [f"{self.imported} reference masks imported, {self.kept} kept in {self.folder}"]
        for words, names in (
            ("reference masks cannot be used", self.faults),
            ("radiographs cannot be read and have no biomarkers", self.unmeasured),
            ("radiographs have no reference and keep their predicted mask", self.predicted),
            ("radiographs have no mask at all", self.missing),
        ):
            if names:
                lines += [f"{len(names)} {words}:", *(f"  {name}" for name in names)]
        return "\n".join(lines)


def import_masks(study: Path, folder: Path) -> ImportReport:
    """Takes reference masks into a study: `<stem>.png` for the radiograph `<stem>.<suffix>`.

    Args:
        study: The study's folder; its manifest names the radiographs.
        folder: Holds the masks, also in sub-folders; each at its radiograph's own size.

    Raises:
        MaskError: If the folder is missing or holds no mask of any radiograph, or masks cannot be
            written.
        ManifestError: If the manifest is missing or breaks its schema.
        RunError: If another process works in the study's masks.
    """
    if not folder.is_dir():
        raise MaskError(f"{folder} is not a folder; expected one with reference masks.")
    manifest = load_manifest(study / "manifest.csv")
    files = grouped_by_stem(path for path in sorted(folder.rglob("*")) if path.is_file())
    manifest["stem"] = [Path(path).stem for path in manifest["path"]]
    matched = manifest[manifest["stem"].isin(list(files))]
    if matched.empty:
        raise MaskError(
            f"No file in {folder} has the name of a radiograph of {study / 'manifest.csv'}; "
            f"expected masks such as {manifest['stem'].iloc[0]}.png."
        )
    report = ImportReport(study / "masks")
    with open_mask_folder(report.folder) as kept:
        records = matched.to_dict("records")
        for record in progress(records, len(records), "Importing reference masks"):
            alike = int((manifest["stem"] == record["stem"]).sum())
            _take(record, files[record["stem"]], alike, kept, report)
        _note_others(manifest, kept.rows, report)
    return report


def _take(
    record: dict[str, object],
    masks: list[Path],
    alike: int,
    kept: MaskFolder,
    report: ImportReport,
) -> None:
    """Imports the mask of one radiograph, or notes why it cannot be used."""
    image_id, size = str(record["image_id"]), (record["height"], record["width"])
    if len(masks) > 1 or alike > 1:
        report.faults.append(
            f"{', '.join(str(path) for path in masks)}: {len(masks)} masks for {alike} radiographs "
            f"named {record['stem']}; import the sources apart from each other."
        )
        return
    (path,) = masks
    place = kept.place(image_id)
    digest = sha256_of(path)
    old = kept.rows.get(image_id)
    known = image_id in kept.biomarkers and place.is_file()
    if known and old and old.origin == "reference" and old.made_from == digest:
        report.kept += 1
        return
    try:
        mask = read_mask(path)
    except RadiographError as fault:
        report.faults.append(str(fault))
        return
    if mask.shape != size:
        report.faults.append(
            f"{path} is {mask.shape[1]} x {mask.shape[0]} pixels; expected {size[1]} x {size[0]} "
            f"as {record['path']}."
        )
        return
    write_mask(mask, place)
    row = MaskRow(image_id, "reference", quality(mask), digest)
    try:
        kept.add(row, _measured(Path(str(record["path"])), mask))
    except RadiographError as fault:
        kept.add(row, None)
        report.unmeasured.append(str(fault))
    report.imported += 1


def _measured(radiograph: Path, mask: Bool[np.ndarray, "height width"]) -> Biomarkers:
    stored = read_levels(radiograph)
    if stored.levels.shape != mask.shape:
        raise RadiographError(f"{radiograph} has changed its size; make the manifest again.")
    return measure(mask, sampled(stored))


def _note_others(manifest: pd.DataFrame, rows: dict[str, MaskRow], report: ImportReport) -> None:
    for image_id in manifest["image_id"]:
        row = rows.get(image_id)
        if row is None:
            report.missing.append(image_id)
        elif row.origin == "predicted":
            report.predicted.append(image_id)
