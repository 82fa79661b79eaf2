"""Reference masks, drawn by people, in place of predicted ones."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool

from flannel.data.file_checks import RadiographError
from flannel.data.findings import SourceError
from flannel.data.manifest import load_manifest
from flannel.data.mask import write_mask
from flannel.data.radiograph import read_levels
from flannel.data.sources import find_pairs, read_pair_mask
from flannel.data.sources.mask_pairs import LUNGS, MaskPair, grouped_by_stem
from flannel.data.walk import stem_of, walk
from flannel.files import digest_of, sha256_of
from flannel.progress import progress
from segmentation.checkpoint import MaskError
from segmentation.masks.biomarkers import Biomarkers, measure, sampled
from segmentation.masks.folder import MaskFolder, MaskRow, open_mask_folder
from segmentation.masks.quality import quality, why_no_lungs


@dataclass
class MaskImportReport:
    """What an import did.

    Attributes:
        folder: Where the masks lie.
        imported: Reference masks taken over now.
        kept: Reference masks that were there already.
        faults: A sentence for each file that cannot be used.
        flagged: Imported masks that a person should look at, with the flag.
        unmeasured: A sentence for each radiograph that cannot be read: its mask is imported, but
            has no biomarkers.
        predicted: Radiographs without a reference that keep their predicted mask.
        missing: Radiographs without any mask.
    """

    folder: Path
    imported: int = 0
    kept: int = 0
    faults: list[str] = field(default_factory=list)
    flagged: list[str] = field(default_factory=list)
    unmeasured: list[str] = field(default_factory=list)
    predicted: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Returns the report as text."""
        lines = [f"{self.imported} reference masks imported, {self.kept} kept in {self.folder}"]
        for words, names in (
            ("reference masks cannot be used", self.faults),
            ("imported masks look unusual (masks.csv, column flag)", self.flagged),
            ("radiographs cannot be read and have no biomarkers", self.unmeasured),
            ("radiographs have no reference and keep their predicted mask", self.predicted),
            ("radiographs have no mask at all", self.missing),
        ):
            if names:
                lines += [f"{len(names)} {words}:", *(f"  {name}" for name in names)]
        return "\n".join(lines)


def import_masks(study: Path, folder: Path) -> MaskImportReport:
    """Takes reference masks into a study, from a set that has them or from a folder of masks.

    Where the folder is a set of radiographs with lung masks (docs/mask_sets.md) that holds the
    study's own files, each radiograph takes the mask that its set pairs it with. Otherwise
    `<stem>.png` is the mask of the radiograph `<stem>.<suffix>`.

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
    report = MaskImportReport(study / "masks")
    drawn = _of_the_set(manifest, folder) or _of_the_stem(manifest, folder, report)
    with open_mask_folder(report.folder) as kept:
        records = [row for row in manifest.to_dict("records") if row["image_id"] in drawn]
        for record in progress(records, len(records), "Importing reference masks"):
            _take(record, drawn[record["image_id"]], kept, report)
        _note_others(manifest, kept.rows, report)
    return report


def _of_the_set(manifest: pd.DataFrame, folder: Path) -> dict[str, MaskPair]:
    """Returns each radiograph's pair in the set that it is a file of; nothing if it is of none."""
    try:
        pairs = {pair.image.resolve(): pair for pair in find_pairs(folder)}
    except SourceError:  # no set, or one whose radiographs lie elsewhere: names decide
        return {}
    places = zip(manifest["image_id"], manifest["path"], strict=True)
    return {name: pairs[at] for name, path in places if (at := Path(path).resolve()) in pairs}


def _of_the_stem(
    manifest: pd.DataFrame, folder: Path, report: MaskImportReport
) -> dict[str, MaskPair]:
    """Returns the mask of each radiograph by its name; a name that several share is a fault."""
    files = grouped_by_stem(sorted(walk(folder, ours=True).images))
    stems = manifest["path"].map(lambda path: stem_of(Path(path)))
    if not stems.isin(list(files)).any():
        raise MaskError(
            f"No file in {folder} has the name of a radiograph of the study's manifest.csv; "
            f"expected masks such as {stems.iloc[0]}.png."
        )
    alike = stems.value_counts()
    by_image = {}
    for image_id, path, stem in zip(manifest["image_id"], manifest["path"], stems, strict=True):
        masks = files.get(stem, [])
        if len(masks) > 1 or (masks and alike[stem] > 1):
            report.faults.append(
                f"{', '.join(str(mask) for mask in masks)}: {len(masks)} masks for {alike[stem]} "
                f"radiographs named {stem}; import the sources apart from each other."
            )
        elif masks:
            by_image[image_id] = MaskPair(Path(path), {LUNGS: tuple(masks)}, stem)
    return by_image


def _take(
    record: dict[str, object], pair: MaskPair, kept: MaskFolder, report: MaskImportReport
) -> None:
    """Imports the mask of one radiograph, or notes why it cannot be used."""
    image_id, size = str(record["image_id"]), (record["height"], record["width"])
    files = sorted({path for some in pair.masks.values() for path in some})
    place = kept.place(image_id)
    digests = [sha256_of(path) for path in files]
    digest = digests[0] if len(files) == 1 else digest_of(digests)
    old = kept.rows.get(image_id)
    known = image_id in kept.biomarkers and place.is_file()
    if known and old and old.origin == "reference" and old.made_from == digest:
        report.kept += 1
        return
    try:
        mask = read_pair_mask(pair)
    except RadiographError as fault:
        report.faults.append(str(fault))
        return
    if mask.shape != size:
        report.faults.append(
            f"{files[0]} is {mask.shape[1]} x {mask.shape[0]} pixels; expected {size[1]} x "
            f"{size[0]} as {record['path']}."
        )
        return
    write_mask(mask, place)
    judged = quality(mask)
    row = MaskRow(image_id, "reference", judged, digest)
    if judged.flag:
        report.flagged.append(f"{files[0]}: {why_no_lungs(judged) or judged.flag}")
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


def _note_others(
    manifest: pd.DataFrame, rows: dict[str, MaskRow], report: MaskImportReport
) -> None:
    for image_id in manifest["image_id"]:
        row = rows.get(image_id)
        if row is None:
            report.missing.append(image_id)
        elif row.origin == "predicted":
            report.predicted.append(image_id)
