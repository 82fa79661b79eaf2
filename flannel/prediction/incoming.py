"""Radiographs from anywhere: found, inspected, doubted by their files, and prepared as a store."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from flannel.data.copies import copies_among
from flannel.data.file_checks import DECODING_FAULTS
from flannel.data.headers import header_of
from flannel.data.inspection import inspect_files
from flannel.data.likeness import hashes_of
from flannel.data.names import shown
from flannel.data.picture_file import PICTURE_FORMATS
from flannel.data.store import Store, build_store, fill_lung_masks
from flannel.data.walk import gather, left_in_words
from flannel.prediction.trained import Trained
from segmentation.masks.folder import MaskRow, load_mask_rows
from segmentation.masks.predict import predict_masks
from segmentation.masks.radiograph_files import RadiographFile

COLUMNS = ("image_id", "path", "sha256", "width", "height")
LONGEST_STEM = 80


@dataclass(frozen=True)
class Inbox:
    """Radiographs that came from anywhere.

    Attributes:
        table: `COLUMNS`, a row per radiograph, sorted by image.
        faults: A sentence for each place that holds none, and for each file that cannot be read.
        passed_over: A line for each reason to pass over files of a folder.
    """

    table: pd.DataFrame
    faults: tuple[str, ...]
    passed_over: tuple[str, ...]


def collect(
    places: Sequence[Path],
    passed_over: Path,
    known_name: Callable[[Path, str], str | None] = lambda path, sha256: None,
) -> Inbox:
    """Finds the radiographs of files and of folders with their sub-folders, and looks at each.

    In folders, files are chosen as `flannel.data.walk` does. A file that is named itself is
    looked at whatever it is.

    Args:
        places: Files and folders.
        passed_over: A folder whose files are none of them, where it lies in one of the folders.
        known_name: Returns a file's image_id by path and hash, where it has one already; any
            other is called `<stem>-<first 8 of sha256>`.
    """
    paths: dict[Path, None] = {}
    faults: list[str] = []
    left: list[str] = []
    for place in places:
        files, fault = gather(place, passed_over)
        faults += [fault] if fault else []
        paths |= {path.resolve(): None for path in files.images}
        left += [f"{shown(place)}: {line}" for line in left_in_words(files.left, place)]
    rows: dict[str, tuple[object, ...]] = {}
    for path, facts in zip(paths, inspect_files(list(paths)), strict=True):
        if facts.fault:
            faults.append(facts.fault)
            continue
        image_id = known_name(path, facts.sha256) or _new_name(path, facts.sha256)
        row = (image_id, str(path), facts.sha256, facts.width, facts.height)
        first = rows.setdefault(image_id, row)
        if first is not row:
            faults.append(f"{path} is the same file as {first[1]}: it is answered once.")
    table = pd.DataFrame(list(rows.values()), columns=list(COLUMNS))
    table = table.sort_values("image_id", ignore_index=True)
    return Inbox(table, tuple(faults), tuple(left))


def _new_name(path: Path, sha256: str) -> str:
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", path.stem).lstrip("._")[:LONGEST_STEM]
    return f"{stem}-{sha256[:8]}" if stem else sha256[:8]


LOOKED_AT_PX = 256
COLOURED = 32
"""Distance between a pixel's brightest and darkest channel, of 255, from which it has a colour."""
COLOURED_SHARE = 0.1
"""Share of coloured pixels from which a picture is one in colour. Of 1,682 real radiographs 78 are
stored in colour, with annotations, and 0.3 % of their pixels have one at most; two photographs:
33 and 79 %."""


def oddities(path: Path) -> Iterator[str]:
    """Names, in few words, what is odd about a file that `read_levels` can read."""
    header = header_of(path)
    if header is not None:
        yield from header.reasons_against
        return
    try:
        if path.suffix.lower() != ".img" and _coloured_share(path) > COLOURED_SHARE:
            yield "a picture in colour"
    except DECODING_FAULTS:
        return  # what cannot be read here matters not: the radiograph itself was read


def _coloured_share(path: Path) -> float:
    with Image.open(path, formats=PICTURE_FORMATS) as picture:
        if picture.mode in ("1", "L", "LA", "I;16", "I;16B", "I;16L", "I;16N"):
            return 0.0
        small = picture.convert("RGB")
    small.thumbnail((LOOKED_AT_PX, LOOKED_AT_PX))
    channels = np.asarray(small, np.int16)
    return float((np.ptp(channels, axis=2) > COLOURED).mean())


def copies_of_used(trained: Trained, table: pd.DataFrame, cache: Path | None = None) -> list[str]:
    """Returns the images that show what a fold was trained or selected on, in another file.

    Args:
        trained: Whose fold; none is named where it has no hashes.
        table: image_id, path and sha256 of each radiograph.
        cache: Remembers the hashes of the radiographs.
    """
    others = table[~table["sha256"].map(trained.used).astype(bool)]
    if trained.hashes is None or others.empty:
        return []
    copies = copies_among(trained.hashes(), hashes_of(others, cache))
    return [str(others["image_id"].iloc[row]) for row in sorted(copies)]


@dataclass(frozen=True)
class Prepared:
    """Radiographs as the learners want them.

    Attributes:
        table: Those that can be read, as `prepare_radiographs` got them.
        store: These, with their lung masks.
        masks: The row of each mask, by image; empty without a segmenter.
        faults: A sentence for each radiograph that cannot be read.
    """

    table: pd.DataFrame
    store: Store
    masks: Mapping[str, MaskRow]
    faults: tuple[str, ...]


def prepare_radiographs(
    trained: Trained, table: pd.DataFrame, store: Path, masks: Path
) -> Prepared:
    """Decodes radiographs into a store and finds their lungs, as the study did.

    What is there already, from the same file and the same segmenter, is kept.

    Args:
        trained: Whose segmenter, and how a radiograph becomes a square.
        table: image_id, path, sha256, width and height of each radiograph.
        store: Folder of the store.
        masks: Folder of the lung masks.

    Raises:
        StoreError: If no radiograph can be read, or the disk is too full.
        MaskError: If no radiograph can be segmented, or the folder cannot be written.
        RunError: If another process works in the folder of masks.
    """
    size_px, resize = trained.store.size_px, trained.store.resize
    report = build_store(table, store, size_px, resize, renew=True)
    made = Store(store)
    table = table[table["image_id"].isin(made.image_ids)]
    rows: Mapping[str, MaskRow] = {}
    faults = list(report.bad_files)
    if trained.segmenter is not None:
        columns = (table[name] for name in ("image_id", "path", "sha256"))
        files = [RadiographFile(i, Path(path), sha) for i, path, sha in zip(*columns, strict=True)]
        faults += predict_masks(files, trained.segmenter, masks, options=trained.masks).faults
        faults += fill_lung_masks(store, masks, table).bad_files
        rows = load_mask_rows(masks / "masks.csv")
        made = Store(store)  # with the masks
    return Prepared(table, made, rows, tuple(faults))
