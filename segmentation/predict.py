"""A lung mask for every radiograph, at its own size, from a trained segmenter."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Float32

from flannel.data.files import sha256_of
from flannel.data.manifest import load_manifest
from flannel.data.progress import progress
from flannel.data.radiograph import RadiographError, read_levels, write_mask
from flannel.data.sources.mask_pairs import grouped_by_stem
from flannel.runs import Run, digest_of
from segmentation.checkpoint import Segmenter
from segmentation.masks import (
    MaskError,
    MaskRow,
    clean,
    load_mask_rows,
    mask_at_size,
    quality,
    save_mask_rows,
)
from segmentation.preprocessing import prepare

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

SAVE_EVERY_SECONDS = 10


@dataclass(frozen=True)
class RadiographFile:
    """A radiograph that wants a mask.

    Attributes:
        image_id: Names its mask.
        path: The file.
        sha256: Hash of the file's bytes.
    """

    image_id: str
    path: Path
    sha256: str


@dataclass
class PredictionReport:
    """What a prediction did.

    Attributes:
        folder: Where the masks lie.
        made: Masks made now.
        kept: Masks that were there already, from the same weights and radiograph.
        references: Imported reference masks, which are left alone.
        flagged: Image and flag of the masks made or kept that a person should look at.
        faults: A sentence for each radiograph that cannot be read.
        seconds: How long it took.
    """

    folder: Path
    made: int = 0
    kept: int = 0
    references: int = 0
    flagged: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        """Gives the report as text."""
        rate = f", {self.made / self.seconds:.1f} images/s" if self.made else ""
        lines = [
            f"{self.made} masks made, {self.kept} kept, {self.references} references left alone "
            f"in {self.folder} ({self.seconds:.0f} s{rate})"
        ]
        if self.flagged:
            lines.append(f"{len(self.flagged)} masks to look at (masks.csv, column flag):")
            lines += [f"  {image_id}: {flag}" for image_id, flag in sorted(self.flagged.items())]
        if self.faults:
            lines.append(f"{len(self.faults)} radiographs without a mask:")
            lines += [f"  {fault}" for fault in self.faults]
        return "\n".join(lines)


def radiographs_of_study(study: Path) -> list[RadiographFile]:
    """Lists the radiographs of a study's manifest.

    Raises:
        ManifestError: If the manifest is missing or breaks its schema.
    """
    table = load_manifest(study / "manifest.csv")
    return [
        RadiographFile(str(image_id), Path(path), str(sha256))
        for image_id, path, sha256 in zip(
            table["image_id"], table["path"], table["sha256"], strict=True
        )
    ]


def radiographs_of_folder(folder: Path) -> list[RadiographFile]:
    """Lists the radiographs that lie in a folder; their stems name the masks.

    Raises:
        MaskError: If the folder is missing or empty, or two files share a stem.
    """
    if not folder.is_dir():
        raise MaskError(f"{folder} is not a folder; expected one with radiographs.")
    grouped = grouped_by_stem(path for path in sorted(folder.iterdir()) if path.is_file())
    twice = [str(path) for files in grouped.values() if len(files) > 1 for path in files]
    if twice or not grouped:
        raise MaskError(
            f"{folder} holds files that share a name but for the suffix: {', '.join(twice)}. "
            "Rename them, because the name becomes the mask's."
            if twice
            else f"{folder} holds no radiograph (PNG, JPEG, GIF, BMP, TIFF, .IMG, .dcm)."
        )
    return [RadiographFile(stem, path, sha256_of(path)) for stem, (path,) in grouped.items()]


@dataclass(frozen=True)
class _Prepared:
    """A radiograph at the network's size, and its own size in pixels."""

    radiograph: RadiographFile
    grey: Float32[np.ndarray, "1 size size"]
    height: int
    width: int


@dataclass(frozen=True)
class _Segmented:
    """A radiograph's probability of lung at the network's size, and its own size."""

    radiograph: RadiographFile
    probability: Float32[np.ndarray, "size size"]
    height: int
    width: int


def predict_masks(
    radiographs: Sequence[RadiographFile],
    segmenter: Segmenter,
    folder: Path,
    batch_size: int = 4,
    clean_up: bool = True,
    precision: Precision = "32-true",
    redo: bool = False,
) -> PredictionReport:
    """Writes `<image_id>.png` for each radiograph, and `masks.csv` beside them.

    Files are read and masks written in threads beside the network. A killed prediction goes on
    where it stopped: masks from the same weights, radiograph and options are kept, and so are
    imported references.

    Args:
        radiographs: What to segment.
        segmenter: The trained network.
        folder: Where the masks go.
        batch_size: Radiographs the network sees at once.
        clean_up: Keep the two largest parts and fill their holes.
        precision: Lightning's name for the arithmetic.
        redo: Make every mask anew, in place of references too.

    Raises:
        MaskError: If no radiograph at all can be read, or `masks.csv` is damaged.
        RunError: If another process works in the folder.
    """
    started = time.monotonic()
    recipe = {
        radiograph.image_id: digest_of(
            [segmenter.sha256, radiograph.sha256, clean_up, precision, segmenter.size_px]
        )
        for radiograph in radiographs
    }
    lock = Run(folder, {}).lock()
    try:
        rows = load_mask_rows(folder / "masks.csv")
        report = PredictionReport(folder)
        waiting = [
            radiograph
            for radiograph in radiographs
            if redo or not _is_there(radiograph, rows, folder, recipe, report)
        ]
        finish = partial(_finish, recipe=recipe, folder=folder, clean_up=clean_up)
        made = _work(waiting, segmenter, batch_size, precision, finish)
        _collect(progress(made, len(waiting), "Segmenting lungs"), rows, report)
    finally:
        lock.release()
    if report.faults and not report.made and not report.kept and not report.references:
        raise MaskError(f"No radiograph could be segmented:\n{chr(10).join(report.faults)}")
    wanted = {radiograph.image_id for radiograph in radiographs}
    report.flagged = {
        row.image_id: row.quality.flag
        for row in rows.values()
        if row.image_id in wanted and row.quality.flag
    }
    report.seconds = time.monotonic() - started
    return report


def _is_there(
    radiograph: RadiographFile,
    rows: dict[str, MaskRow],
    folder: Path,
    recipe: dict[str, str],
    report: PredictionReport,
) -> bool:
    """Says whether a mask need not be made, and counts why."""
    row = rows.get(radiograph.image_id)
    if row is None or not (folder / f"{radiograph.image_id}.png").is_file():
        return False
    if row.origin == "reference":
        report.references += 1
        return True
    same = row.made_from == recipe[radiograph.image_id]
    report.kept += same
    return same


def _collect(
    made: Iterable[MaskRow | str], rows: dict[str, MaskRow], report: PredictionReport
) -> None:
    """Takes in the masks as they come, and writes `masks.csv` every few seconds and at the end."""
    table = report.folder / "masks.csv"
    saved = time.monotonic()
    try:
        for outcome in made:
            if isinstance(outcome, str):
                report.faults.append(outcome)
                continue
            rows[outcome.image_id] = outcome
            report.made += 1
            if time.monotonic() - saved > SAVE_EVERY_SECONDS:
                save_mask_rows(rows.values(), table)
                saved = time.monotonic()
    finally:
        save_mask_rows(rows.values(), table)


def _work(
    radiographs: Iterable[RadiographFile],
    segmenter: Segmenter,
    batch_size: int,
    precision: Precision,
    finish: Callable[[_Segmented | str], MaskRow | str],
) -> Iterator[MaskRow | str]:
    """Reads ahead, segments in batches, and finishes behind; yields in the order given."""
    window = 4 * batch_size
    read = partial(_read, size_px=segmenter.size_px)
    with ThreadPoolExecutor() as threads:
        prepared = _ahead(threads, read, radiographs, window)
        segmented = _segment(prepared, segmenter, batch_size, precision)
        yield from _ahead(threads, finish, segmented, window)


def _ahead(
    threads: Executor, work: Callable[[Item], Outcome], items: Iterable[Item], window: int
) -> Iterator[Outcome]:
    """Maps in threads, in order, with at most `window` items on their way."""
    running: deque[Future[Outcome]] = deque()
    for item in items:
        running.append(threads.submit(work, item))
        if len(running) >= window:
            yield running.popleft().result()
    while running:
        yield running.popleft().result()


def _read(radiograph: RadiographFile, size_px: int) -> _Prepared | str:
    try:
        stored = read_levels(radiograph.path)
    except RadiographError as fault:
        return str(fault)
    height, width = stored.levels.shape
    return _Prepared(radiograph, prepare(stored.levels, stored.polarity, size_px), height, width)


def _segment(
    prepared: Iterable[_Prepared | str],
    segmenter: Segmenter,
    batch_size: int,
    precision: Precision,
) -> Iterator[_Segmented | str]:
    """Runs the network over batches; sentences about faults pass through."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = segmenter.network.to(device)
    waiting: list[_Prepared] = []

    def flush() -> Iterator[_Segmented]:
        grey = torch.from_numpy(np.stack([one.grey for one in waiting])).to(device)
        with torch.inference_mode(), _arithmetic(device, precision):
            logits = network(grey.contiguous(memory_format=torch.channels_last))
        lungs = logits.float().softmax(dim=1)[:, 1].cpu().numpy()  # (batch, size, size)
        for one, probability in zip(waiting, lungs, strict=True):
            yield _Segmented(one.radiograph, probability, one.height, one.width)
        waiting.clear()

    for one in prepared:
        if isinstance(one, str):
            yield one
            continue
        waiting.append(one)
        if len(waiting) == batch_size:
            yield from flush()
    if waiting:
        yield from flush()


def _arithmetic(device: torch.device, precision: Precision) -> torch.autocast:
    match precision:
        case "32-true":
            return torch.autocast(device.type, enabled=False)
        case "bf16-mixed":
            return torch.autocast(device.type, dtype=torch.bfloat16)
        case "16-mixed":
            return torch.autocast(device.type, dtype=torch.float16)
        case _:
            raise MaskError(
                f"precision is {precision!r}: expected 32-true, bf16-mixed or 16-mixed."
            )


def _finish(
    segmented: _Segmented | str, recipe: dict[str, str], folder: Path, clean_up: bool
) -> MaskRow | str:
    """Brings a probability to the radiograph's size, and writes and judges its mask."""
    if isinstance(segmented, str):
        return segmented
    image_id = segmented.radiograph.image_id
    mask, probability = mask_at_size(segmented.probability, segmented.height, segmented.width)
    if clean_up:
        mask = clean(mask)
    write_mask(mask, folder / f"{image_id}.png")
    return MaskRow(image_id, "predicted", quality(mask, probability), recipe[image_id])
