"""Radiograph files in, mask files out: read ahead, segmented in batches, written behind."""

import errno
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float32

from flannel.data.file_checks import RadiographError
from flannel.data.mask import write_mask
from flannel.data.radiograph import StoredLevels, read_levels
from flannel.files import digest_of, read_json, sha256_of, write_json
from segmentation.checkpoint import MaskError, Segmenter
from segmentation.inference import Precision, class_probabilities, ready_network
from segmentation.masks.biomarkers import Biomarkers, cardiothoracic_ratio, measure, sampled
from segmentation.masks.cleaning import THRESHOLD, clean_probability, count_parts, mask_at_size
from segmentation.masks.folder import MaskRow, writing
from segmentation.masks.quality import ONE_LUNG_SHARE, quality
from segmentation.masks.radiograph_files import RadiographFile
from segmentation.preprocessing import prepare
from segmentation.structures import lung_channels

NAME_FAULTS = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ)
"""What a disk says against a name, and not against all that is written to it."""
Item = TypeVar("Item")
Outcome = TypeVar("Outcome")
Square = Float32[np.ndarray, "size size"]

HEART = "heart"


@dataclass(frozen=True)
class MaskOptions:
    """What decides a mask beside weights and radiograph.

    Attributes:
        clean_up: Keep the two largest parts and fill their holes.
        flip: Average with the mirrored radiograph.
        precision: Lightning's name for the arithmetic.
    """

    clean_up: bool = True
    flip: bool = False
    precision: Precision = "32-true"


PLAIN = MaskOptions()
MADE_WITH = "made_with.json"
"""Beside the masks: the options with which the latest ones were made."""


def save_options(options: MaskOptions, folder: Path) -> None:
    """Writes beside a folder's masks with which options they are made."""
    write_json(asdict(options), folder / MADE_WITH)


def load_options(folder: Path) -> MaskOptions | None:
    """Reads with which options a folder's masks were made; None where no file says it.

    Raises:
        MaskError: If the file holds anything else.
    """
    path = folder / MADE_WITH
    if not path.is_file():
        return None
    content = read_json(path)
    try:
        return MaskOptions(**content)  # type: ignore[arg-type]  # compared by its hash only
    except TypeError as fault:
        raise MaskError(
            f"{path} does not hold the options of masks ({fault}). Delete it, and they are looked "
            "for among all options."
        ) from fault


@dataclass(frozen=True)
class MadeMask:
    """A mask that has been written."""

    row: MaskRow
    biomarkers: Biomarkers


@dataclass(frozen=True)
class _Read:
    """A radiograph at the network's size, its own size, and what is kept to be measured."""

    image_id: str
    sha256: str
    grey: Float32[np.ndarray, "1 size size"]
    height: int
    width: int
    sample: StoredLevels


@dataclass(frozen=True)
class _Segmented:
    """A radiograph, and the probabilities of lung and heart at the network's size."""

    read: _Read
    lungs: Square
    heart: Square | None


def mask_hash(segmenter: Segmenter, options: MaskOptions, radiograph_sha256: str) -> str:
    """Hashes all that decides a mask."""
    return digest_of(
        [
            segmenter.sha256,
            segmenter.classes,
            segmenter.size_px,
            radiograph_sha256,
            options.clean_up,
            options.flip,
            options.precision,
        ]
    )


def make_masks(
    radiographs: Iterable[RadiographFile],
    segmenter: Segmenter,
    folder: Path,
    options: MaskOptions,
    batch_size: int,
    device: torch.device,
) -> Iterator[MadeMask | str]:
    """Writes `<image_id>.png` for each radiograph, in the order given.

    Files are read and masks written in threads beside the network.

    Yields:
        What was made, or a sentence for a radiograph that cannot be read.

    Raises:
        MaskError: If a mask cannot be written, or the network does not fit its classes.
    """
    window = 4 * batch_size
    read = partial(_read, size_px=segmenter.size_px)
    finish = partial(_finish, segmenter=segmenter, folder=folder, options=options)
    with ThreadPoolExecutor() as threads:
        ready = _ahead(threads, read, radiographs, window)
        segmented = _segment(ready, segmenter, options, batch_size, device)
        yield from _ahead(threads, finish, segmented, window, eager=True)


def _ahead(
    threads: Executor,
    work: Callable[[Item], Outcome],
    items: Iterable[Item],
    window: int,
    eager: bool = False,
) -> Iterator[Outcome]:
    """Maps in threads, in order.

    Args:
        threads: Do the work.
        work: What is done.
        items: With what.
        window: Items that are on their way at most, and before anything is yielded.
        eager: Yield what is ready before the window is full.
    """
    running: deque[Future[Outcome]] = deque()
    for item in items:
        running.append(threads.submit(work, item))
        while len(running) >= window or (eager and running and running[0].done()):
            yield running.popleft().result()
    while running:
        yield running.popleft().result()


def _read(radiograph: RadiographFile, size_px: int) -> _Read | str:
    try:
        stored = read_levels(radiograph.path)
        sha256 = radiograph.sha256 or sha256_of(radiograph.path)
    except (RadiographError, OSError) as fault:
        return str(fault)
    height, width = stored.levels.shape
    grey = prepare(stored.levels, stored.polarity, size_px)
    return _Read(radiograph.image_id, sha256, grey, height, width, sampled(stored))


def _segment(
    ready: Iterable[_Read | str],
    segmenter: Segmenter,
    options: MaskOptions,
    batch_size: int,
    device: torch.device,
) -> Iterator[_Segmented | str]:
    """Runs the network over batches; sentences about faults pass through."""
    network = ready_network(segmenter.network, options.precision, device)
    lungs, classes = lung_channels(segmenter.classes), segmenter.classes

    def answers(batch: Sequence[_Read]) -> Iterator[_Segmented]:
        grey = torch.from_numpy(np.stack([read.grey for read in batch])).to(device)
        probabilities = class_probabilities(network, grey, classes, options.flip)
        lung = probabilities[:, lungs].sum(dim=1).cpu().numpy()  # (batch, size, size)
        heart = probabilities[:, classes.index(HEART)].cpu().numpy() if HEART in classes else None
        for place, read in enumerate(batch):
            yield _Segmented(read, lung[place], None if heart is None else heart[place])

    waiting: list[_Read] = []
    for read in ready:
        if isinstance(read, str):
            yield read
            continue
        waiting.append(read)
        if len(waiting) == batch_size:
            yield from answers(waiting)
            waiting = []
    if waiting:
        yield from answers(waiting)


def _finish(
    segmented: _Segmented | str, segmenter: Segmenter, folder: Path, options: MaskOptions
) -> MadeMask | str:
    """Brings a probability to the radiograph's size, and writes, judges and measures its mask."""
    if isinstance(segmented, str):
        return segmented
    read, lungs = segmented.read, segmented.lungs
    kept = clean_probability(lungs) if options.clean_up else lungs
    mask, _ = mask_at_size(kept, read.height, read.width)
    lung, inside = lungs > THRESHOLD, kept > THRESHOLD
    judged = quality(
        mask,
        mean_confidence=float(lungs[inside].mean()) if inside.any() else None,
        removed_share=float((lung & ~inside).sum() / max(1, lung.sum())),
        parts=count_parts(inside),
        low_confidence=segmenter.low_confidence,
    )
    ratio = None
    if segmented.heart is not None and (judged.balance or 0) >= ONE_LUNG_SHARE:
        ratio = _cardiothoracic(segmented.heart, mask)
    place = folder / f"{read.image_id}.png"
    try:
        with writing(folder):
            write_mask(mask, place)
    except MaskError as fault:
        if getattr(fault.__cause__, "errno", None) in NAME_FAULTS:
            return f"{place}: no disk takes this name for a mask. Rename the radiograph."
        raise
    recipe = mask_hash(segmenter, options, read.sha256)
    row = MaskRow(read.image_id, "predicted", judged, recipe)
    return MadeMask(row, measure(mask, read.sample, ratio))


def _cardiothoracic(heart: Square, lungs: Bool[np.ndarray, "height width"]) -> float | None:
    outline, _ = mask_at_size(clean_probability(heart, parts=1), *lungs.shape)
    return cardiothoracic_ratio(outline, lungs)
