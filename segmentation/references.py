"""Reference masks, drawn by people, in place of predicted ones."""

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from flannel.data.files import sha256_of
from flannel.data.manifest import load_manifest
from flannel.data.progress import progress
from flannel.data.radiograph import RadiographError, read_mask, write_mask
from flannel.data.sources.mask_pairs import grouped_by_stem
from flannel.runs import Run
from segmentation.masks import MaskError, MaskRow, load_mask_rows, quality, save_mask_rows


@dataclass
class ImportReport:
    """What an import did.

    Attributes:
        folder: Where the masks lie.
        imported: Reference masks taken over now.
        kept: Reference masks that were there already.
        faults: A sentence for each file that cannot be used.
        predicted: Radiographs without a reference that keep their predicted mask.
        missing: Radiographs without any mask.
    """

    folder: Path
    imported: int = 0
    kept: int = 0
    faults: list[str] = field(default_factory=list)
    predicted: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Gives the report as text."""
        lines = [f"{self.imported} reference masks imported, {self.kept} kept in {self.folder}"]
        for words, names in (
            ("reference masks cannot be used", self.faults),
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
        MaskError: If the folder is missing or holds no mask of any radiograph.
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
    lock = Run(report.folder, {}).lock()
    try:
        rows = load_mask_rows(report.folder / "masks.csv")
        try:
            records = matched.to_dict("records")
            for record in progress(records, len(records), "Importing reference masks"):
                alike = int((manifest["stem"] == record["stem"]).sum())
                _take(record, files[record["stem"]], alike, rows, report)
        finally:
            save_mask_rows(rows.values(), report.folder / "masks.csv")
    finally:
        lock.release()
    _note_others(manifest, rows, report)
    return report


def _take(
    record: dict[str, object],
    masks: list[Path],
    alike: int,
    rows: dict[str, MaskRow],
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
    place = report.folder / f"{image_id}.png"
    digest = sha256_of(path)
    old = rows.get(image_id)
    if old and old.origin == "reference" and old.made_from == digest and place.is_file():
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
    rows[image_id] = MaskRow(image_id, "reference", quality(mask), digest)
    report.imported += 1


def _note_others(manifest: pd.DataFrame, rows: dict[str, MaskRow], report: ImportReport) -> None:
    for image_id in manifest["image_id"]:
        row = rows.get(image_id)
        if row is None:
            report.missing.append(image_id)
        elif row.origin == "predicted":
            report.predicted.append(image_id)
