"""A folder of lung masks in, the store's packed masks out."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import UInt8

from flannel.data.file_checks import RadiographError
from flannel.data.greyscale import to_square
from flannel.data.mask import read_mask
from flannel.data.parallel import in_threads
from flannel.data.store.layout import (
    MASKS,
    Settings,
    StoreEntry,
    StoreError,
    first_byte,
    locked,
    no_store,
    read_index,
    read_settings,
    write_at,
    write_index,
)
from flannel.files import sha256_of, whole_file


@dataclass(frozen=True)
class MaskReport:
    """What `fill_lung_masks` did.

    Attributes:
        filled: Masks read and written now.
        unchanged: Masks that were there already.
        missing: The images without a mask file.
        bad_files: A sentence, with the path, for each mask that cannot be used.
    """

    filled: int
    unchanged: int
    missing: tuple[str, ...]
    bad_files: tuple[str, ...]

    def __str__(self) -> str:
        """Returns the report as text."""
        lines = [
            f"{self.filled} lung masks written, {self.unchanged} unchanged, "
            f"{len(self.missing)} radiographs without one"
        ]
        lines += [f"  {sentence}" for sentence in self.bad_files]
        return "\n".join(lines)


def fill_lung_masks(folder: Path, masks: Path, manifest: pd.DataFrame) -> MaskReport:
    """Packs the lung masks of a folder into the store, one bit a pixel.

    A mask becomes a square as its radiograph did; beside a letterboxed radiograph it is 0.
    Afterwards the store holds exactly the good masks of that folder: a mask whose file is gone or
    bad is gone from the store too.

    Args:
        folder: The store's folder.
        masks: Holds `<image_id>.png`, each at its radiograph's own size.
        manifest: The radiographs' own sizes, by image_id, width and height.

    Raises:
        StoreError: If a folder is missing, the manifest lacks an image of the store, the disk is
            too full, or another process writes to the store.
    """
    if not masks.is_dir():
        raise StoreError(f"{masks} is not a folder; expected one with a mask for each radiograph.")
    settings = read_settings(folder)
    if settings is None:
        raise no_store(folder)
    with locked(folder):
        entries = read_index(folder)
        sizes = _own_sizes(manifest, entries)
        paths = [masks / f"{entry.image_id}.png" for entry in entries]
        hashes = [
            sha256_of(path) if entry.sha256 and path.is_file() else ""
            for path, entry in zip(paths, entries, strict=True)
        ]
        kept = [
            entry if entry.mask_sha256 == mask_hash else replace(entry, mask_sha256="")
            for entry, mask_hash in zip(entries, hashes, strict=True)
        ]
        changed = [row for row, entry in enumerate(kept) if entry.mask_sha256 != hashes[row]]

        def packed(row: int) -> UInt8[np.ndarray, "size bytes"]:
            return _packed_mask(paths[row], sizes[entries[row].image_id], settings)

        written, faults = _write_masks(folder, kept, changed, packed)
        final = [
            replace(entry, mask_sha256=hashes[row]) if row in written else entry
            for row, entry in enumerate(kept)
        ]
        if final != entries:
            write_index(folder, final)
    stored = zip(entries, hashes, strict=True)
    missing = [entry.image_id for entry, mask_hash in stored if entry.sha256 and not mask_hash]
    unchanged = sum(1 for entry in kept if entry.mask_sha256)
    return MaskReport(len(written), unchanged, tuple(missing), tuple(faults))


def _write_masks(
    folder: Path,
    kept: Sequence[StoreEntry],
    rows: Sequence[int],
    packed: Callable[[int], UInt8[np.ndarray, "size bytes"]],
) -> tuple[set[int], list[str]]:
    """Writes masks, and gives the rows that were written and the faults of the others."""
    written: set[int] = set()
    if not rows:
        return written, []
    with _rewriting(folder) as write:

        def pack(row: int) -> None:
            write(row, packed(row))
            written.add(row)

        faults = in_threads(pack, rows, None, "Packing lung masks")
        # The index forgets these masks first, so that it never vouches for the earlier ones.
        write_index(folder, kept)
    return written, faults


@contextmanager
def _rewriting(folder: Path) -> Iterator[Callable[[int, np.ndarray], None]]:
    """Yields what writes a row into a copy of the packed masks, which takes their place at the end.

    Raises:
        StoreError: If the copy cannot be written; the store is as it was.
    """
    try:
        with whole_file(folder / MASKS) as beside:
            shutil.copyfile(folder / MASKS, beside)
            offset = first_byte(folder, MASKS)
            with beside.open("r+b", buffering=0) as stream:
                yield lambda row, mask: write_at(
                    stream.fileno(), mask.tobytes(), offset + row * mask.nbytes
                )
                os.fsync(stream.fileno())
    except OSError as fault:
        raise StoreError(
            f"The lung masks of the store {folder} could not be written ({fault}), and are as they "
            "were. Make room, and say the same command again."
        ) from fault


def _own_sizes(manifest: pd.DataFrame, entries: Sequence[StoreEntry]) -> dict[str, tuple[int, int]]:
    """Returns height and width of each radiograph."""
    columns = (manifest[name] for name in ("image_id", "height", "width"))
    sizes = {
        str(image_id): (int(height), int(width))
        for image_id, height, width in zip(*columns, strict=True)
    }
    unknown = [e.image_id for e in entries if e.sha256 and e.image_id not in sizes]
    if unknown:
        raise StoreError(
            f"The manifest lacks {len(unknown)} images of the store, first {unknown[0]}; "
            "build the store from this manifest (make data)."
        )
    return sizes


def _packed_mask(
    path: Path, own_size: tuple[int, int], settings: Settings
) -> UInt8[np.ndarray, "size bytes"]:
    try:
        mask = read_mask(path)
    except OSError as fault:
        raise RadiographError(str(fault)) from fault
    if mask.shape != own_size:
        raise RadiographError(
            f"{path} is {mask.shape[1]} x {mask.shape[0]} pixels; expected the radiograph's own "
            f"{own_size[1]} x {own_size[0]}. Segment this radiograph again."
        )
    square = to_square(mask.astype(np.uint8) * 255, settings.size_px, settings.resize)
    return np.packbits(square > 127, axis=1)
