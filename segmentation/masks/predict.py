"""A lung mask for every radiograph, at its own size, from a trained segmenter."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from flannel.files import sha256_of
from flannel.progress import progress
from segmentation.checkpoint import MaskError, Segmenter
from segmentation.masks.devices import on_devices
from segmentation.masks.folder import MaskFolder, MaskRow, open_mask_folder, writing
from segmentation.masks.pipeline import PLAIN, MadeMask, MaskOptions, mask_hash, save_options
from segmentation.masks.quality import FLAGS
from segmentation.masks.radiograph_files import FLAGGED, RadiographFile
from segmentation.masks.sheets import SHEET_LIMIT, write_overlays, write_sheet

OVERLAYS = "overlays"
CAPTION_CHARACTERS = 26
"""Of a longer image_id the end is shown on the contact sheet, where images differ."""


@dataclass
class SegmentationReport:
    """What a prediction did.

    Attributes:
        folder: Where the masks lie.
        made: Masks made now.
        kept: Masks that were there already, from the same weights, radiograph and options.
        references: Imported reference masks, which are left alone.
        flagged: Image and flag of the masks that a person should look at, the worst first.
        on_sheet: How many of these are on the contact sheet.
        overlays: Overlays in their folder; 0 where none were asked for.
        undrawn: A sentence for each overlay that cannot be drawn.
        faults: A sentence for each radiograph that cannot be read.
        passed_over: A line for each reason to pass over files of a folder.
        seconds: How long the masks took.
    """

    folder: Path
    made: int = 0
    kept: int = 0
    references: int = 0
    flagged: dict[str, str] = field(default_factory=dict)
    on_sheet: int = 0
    overlays: int = 0
    undrawn: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        """Returns the report as text."""
        rate = f", {self.made / self.seconds:.1f} images/s" if self.made else ""
        lines = [
            f"{self.made} masks made, {self.kept} kept, {self.references} references left alone "
            f"in {self.folder} ({self.seconds:.0f} s{rate})",
            f"Quality and measures: {self.folder / 'masks.csv'}, {self.folder / 'biomarkers.csv'}",
        ]
        if self.overlays:
            lines.append(f"{self.overlays} overlays in {self.folder / OVERLAYS}")
        lines += self._about_flagged()
        for words, sentences in (
            ("overlays cannot be drawn", self.undrawn),
            ("radiographs without a mask", self.faults),
        ):
            if sentences:
                lines += [f"{len(sentences)} {words}:", *(f"  {fault}" for fault in sentences)]
        if self.passed_over:
            lines += ["passed over:", *(f"  {line}" for line in self.passed_over)]
        return "\n".join(lines)

    def _about_flagged(self) -> Iterator[str]:
        if not self.flagged:
            yield "No mask is flagged."
            return
        which = f"the worst {self.on_sheet}" if self.on_sheet < len(self.flagged) else "all"
        yield (
            f"{len(self.flagged)} masks are flagged (masks.csv, column flag); {which} are shown "
            f"in {self.folder / FLAGGED}.png:"
        )
        yield from (
            f"  {image}: {flag}" for image, flag in list(self.flagged.items())[:SHEET_LIMIT]
        )
        if len(self.flagged) > SHEET_LIMIT:
            yield f"  and {len(self.flagged) - SHEET_LIMIT} more"


def predict_masks(
    radiographs: Sequence[RadiographFile],
    segmenter: Segmenter,
    folder: Path,
    batch_size: int = 4,
    options: MaskOptions = PLAIN,
    redo: bool = False,
    devices: int = 1,
    overlays: bool = False,
) -> SegmentationReport:
    """Writes `<image_id>.png` for each radiograph, and beside them how each looks.

    That is `masks.csv`, `biomarkers.csv`, `made_with.json` (the options), and `flagged.png` where
    masks are flagged. A killed prediction goes on where it stopped: masks from the same weights,
    radiograph and options are kept, and so are imported references.

    Args:
        radiographs: What to segment.
        segmenter: The trained network.
        folder: Where the masks go.
        batch_size: Radiographs the network sees at once.
        options: How masks are made.
        redo: Make every mask anew, in place of references too.
        devices: GPUs, or processes that share the CPU; each makes a part of the masks.
        overlays: Draw a picture of each mask into `overlays/`.

    Raises:
        MaskError: If no radiograph at all can be read, a table of the folder is damaged, or the
            folder cannot be written.
        RunError: If another process works in the folder.
    """
    report = SegmentationReport(folder)
    with open_mask_folder(folder) as masks:
        started = time.monotonic()
        waiting = _waiting(radiographs, segmenter, options, redo, masks, report)
        with writing(folder):
            save_options(options, folder)
        outcomes = on_devices(waiting, segmenter, folder, options, batch_size, devices)
        for outcome in progress(outcomes, len(waiting), "Segmenting lungs"):
            if isinstance(outcome, MadeMask):
                masks.add(outcome.row, outcome.biomarkers)
                report.made += 1
            else:
                report.faults.append(outcome)
        report.seconds = time.monotonic() - started
        if report.faults and not report.made and not report.kept and not report.references:
            raise MaskError(f"No radiograph could be segmented:\n{chr(10).join(report.faults)}")
        with writing(folder):
            _draw(radiographs, masks, overlays, report)
    return report


def _waiting(
    radiographs: Sequence[RadiographFile],
    segmenter: Segmenter,
    options: MaskOptions,
    redo: bool,
    masks: MaskFolder,
    report: SegmentationReport,
) -> list[RadiographFile]:
    """Lists the radiographs whose mask is still to be made, and counts the others."""
    if redo:
        return list(radiographs)

    def same(radiograph: RadiographFile) -> bool:
        row = masks.rows[radiograph.image_id]
        if row.origin == "reference":
            return True
        try:
            sha256 = radiograph.sha256 or sha256_of(radiograph.path)
        except OSError:
            return False
        measured = radiograph.image_id in masks.biomarkers
        return measured and row.made_from == mask_hash(segmenter, options, sha256)

    known = [
        radiograph
        for radiograph in radiographs
        if radiograph.image_id in masks.rows and masks.place(radiograph.image_id).is_file()
    ]
    with ThreadPoolExecutor() as threads:
        compared = progress(threads.map(same, known), len(known), "Comparing with masks that exist")
        good = {
            radiograph.image_id for radiograph, kept in zip(known, compared, strict=True) if kept
        }
    report.references = sum(masks.rows[image_id].origin == "reference" for image_id in good)
    report.kept = len(good) - report.references
    return [radiograph for radiograph in radiographs if radiograph.image_id not in good]


def _draw(
    radiographs: Sequence[RadiographFile],
    masks: MaskFolder,
    overlays: bool,
    report: SegmentationReport,
) -> None:
    """Draws the flagged masks, and all of them where it is asked for."""
    paths = {
        radiograph.image_id: radiograph.path
        for radiograph in radiographs
        if radiograph.image_id in masks.rows and masks.place(radiograph.image_id).is_file()
    }
    flagged = [row for i, row in masks.rows.items() if i in paths and row.quality.flag]
    flagged.sort(key=_badness)
    report.flagged = {row.image_id: row.quality.flag for row in flagged}
    report.on_sheet = write_sheet(
        masks.path / f"{FLAGGED}.png",
        [(paths[i], masks.place(i), _caption(i, flag)) for i, flag in report.flagged.items()],
    )
    if overlays:
        pictures = {
            masks.path / OVERLAYS / f"{image_id}.jpg": (path, masks.place(image_id))
            for image_id, path in paths.items()
        }
        report.overlays, report.undrawn = write_overlays(pictures)


def _caption(image_id: str, flag: str) -> str:
    long = len(image_id) > CAPTION_CHARACTERS
    return f"{flag}: {'...' if long else ''}{image_id[-CAPTION_CHARACTERS:]}"


def _badness(row: MaskRow) -> tuple[int, float, str]:
    """Orders flagged masks, the worst first: by flag, then by confidence."""
    flag, confidence = row.quality.flag, row.quality.mean_confidence
    place = FLAGS.index(flag) if flag in FLAGS else len(FLAGS)
    return place, 1.0 if confidence is None else confidence, row.image_id
