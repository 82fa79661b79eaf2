"""The store: every radiograph decoded once, at one size, memory-mapped."""

import hashlib
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int64, Integer, UInt8

from flannel.data.greyscale import Box
from flannel.data.store.layout import (
    EQUALISATION,
    MASKS,
    RADIOGRAPHS,
    StoreError,
    no_store,
    open_array,
    read_index,
    read_settings,
)


class Store:
    """Radiographs and lung masks of one size, read from the disk as they are asked for.

    Picklable: it opens its files again in the receiving process.

    Attributes:
        size_px: Side of the square.
        resize: "stretch", or "letterbox" with zeros beside the radiograph.

    Args:
        folder: The folder that `build_store` wrote.

    Raises:
        StoreError: If the folder holds no finished store of this format, or one whose files do
            not fit each other.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        settings = read_settings(folder)
        if settings is None:
            raise no_store(folder)
        self._settings = settings
        self.size_px, self.resize = settings.size_px, settings.resize
        entries = read_index(folder)
        self._entries = {entry.image_id: entry for entry in entries if entry.sha256}
        self._rows = {entry.image_id: row for row, entry in enumerate(entries) if entry.sha256}
        self._counted = -1, np.zeros(0, np.int64)
        self._radiographs = open_array(folder, RADIOGRAPHS)
        expected = (len(entries), self.size_px, self.size_px)
        if self._radiographs.shape != expected:
            raise StoreError(
                f"{folder / RADIOGRAPHS} is {self._radiographs.shape}; expected {expected} by its "
                f"index. Delete {folder} and build the store again (make data)."
            )

    def __reduce__(self) -> tuple[type["Store"], tuple[Path]]:
        return Store, (self.folder,)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def image_ids(self) -> tuple[str, ...]:
        """The images, in the order of the rows."""
        return tuple(self._entries)

    def radiograph(self, image_id: str) -> UInt8[np.ndarray, "size size"]:
        """Returns the grey levels 0..255 of a radiograph, lungs dark, as a read-only view."""
        return self._radiographs[self._row(image_id)]

    def equalisation(self, image_id: str) -> UInt8[np.ndarray, " 256"]:
        """Returns the table of histogram equalisation and gamma 0.5 for a radiograph's levels.

        It was computed at the radiograph's own size: `equalisation(i)[radiograph(i)]` is the
        paper's preparation, but for rounding to whole grey levels. It leaves 0 at 0, so that it
        may come before or after masking.
        """
        return self._equalisation[self._row(image_id)]

    def has_mask(self, image_id: str) -> bool:
        """Returns whether the store has a lung mask of an image, with at least one lung pixel."""
        row = self._row(image_id)
        return self._entries[image_id].mask_sha256 != "" and bool(self._masks[row].any())

    def lung_mask(self, image_id: str) -> Bool[np.ndarray, "size size"]:
        """Returns the lung mask of a radiograph: True inside.

        Raises:
            StoreError: If the image is not in the store, or its mask is missing or empty.
        """
        if not self.has_mask(image_id):
            raise self._no_mask(image_id)
        packed = self._masks[self._row(image_id)]
        return np.unpackbits(packed, axis=1, count=self.size_px).view(bool)

    def lung_area(self, image_id: str) -> int:
        """Counts the lung's pixels, which `lung_pixels` numbers from 0.

        Raises:
            StoreError: If the image is not in the store, or its mask is missing or empty.
        """
        return int(self._ends(image_id)[-1])

    def lung_pixels(
        self, image_id: str, numbers: Integer[np.ndarray, " k"]
    ) -> Int64[np.ndarray, "k 2"]:
        """Returns row and column of lung pixels by number, without unpacking the whole mask.

        Pixels are numbered along the rows from the top left, as `lung_mask(i).nonzero()` lists
        them, so that a number drawn below `lung_area` is a centre drawn uniformly.

        Args:
            image_id: The radiograph.
            numbers: At least one, each from 0 to `lung_area(image_id) - 1`.

        Raises:
            StoreError: As `lung_area`.
            IndexError: If a number is not one of a lung pixel.
        """
        ends = self._ends(image_id)
        lines = ends.searchsorted(numbers, side="right")
        if numbers.min() < 0 or lines.max() == self.size_px:
            raise IndexError(f"{image_id} has {ends[-1]} lung pixels, numbered from 0.")
        bits = np.unpackbits(self._masks[self._row(image_id), lines], axis=1, count=self.size_px)
        before = numbers - np.concatenate([[0], ends])[lines]  # lung pixels before it in its line
        columns = (bits.cumsum(axis=1, dtype=np.int32) > before[:, None]).argmax(axis=1)
        return np.stack([lines, columns], axis=1)

    def part(
        self, image_id: str, box: Box, masked: bool = False, equalised: bool = False
    ) -> UInt8[np.ndarray, "height width"]:
        """Reads a box of a radiograph, without reading the rest of it; the array is the caller's.

        Args:
            image_id: The radiograph.
            box: In the store's pixels.
            masked: Set everything but the lungs to 0.
            equalised: Pass the levels through `equalisation(image_id)`.

        Raises:
            StoreError: If the image is not in the store, or, where `masked`, has no mask.
            ValueError: If the box does not lie in the radiograph.
        """
        top, left, height, width = box
        bottom, right = top + height, left + width
        if not (0 <= top < bottom <= self.size_px and 0 <= left < right <= self.size_px):
            raise ValueError(
                f"{box} does not lie in the store's {self.size_px} x {self.size_px} pixels."
            )
        row = self._row(image_id)
        levels = self._radiographs[row, top:bottom, left:right]
        if equalised:
            levels = self._equalisation[row].take(levels)
        if not masked:
            return levels if equalised else levels.copy()
        if not self._entries[image_id].mask_sha256:
            raise self._no_mask(image_id)
        first, last = left // 8, (right + 7) // 8
        bits = np.unpackbits(self._masks[row, top:bottom, first:last], axis=1)
        return levels * bits[:, left - 8 * first :][:, :width]

    def fingerprint(self) -> dict[str, str]:
        """Returns hashes that change when a radiograph (`store`) or a mask (`masks`) changes.

        Both also change with the size and with `resize`.
        """
        entries = self._entries.values()
        pictures = [f"{e.image_id},{e.sha256}" for e in entries]
        masks = [f"{e.image_id},{e.mask_sha256}" for e in entries]
        return {
            "store": _hash([self._settings.identity, *pictures]),
            "masks": _hash([self._settings.identity, *masks]),
        }

    @cached_property
    def _equalisation(self) -> np.ndarray:
        return open_array(self.folder, EQUALISATION)

    @cached_property
    def _masks(self) -> np.ndarray:
        return open_array(self.folder, MASKS)

    def _ends(self, image_id: str) -> Int64[np.ndarray, " size"]:
        """Counts the lung pixels up to the end of each line of a mask; kept for the last one."""
        row = self._row(image_id)
        if row != self._counted[0]:
            lines = self._masks[row]
            if lines.shape[1] % 8 == 0:
                lines = lines.view(np.uint64)  # counted eight bytes at a time
            # A product adds up short lines faster than a sum, and exactly.
            ones = np.ones(lines.shape[1], np.float32)
            counts = np.bitwise_count(lines).astype(np.float32) @ ones
            if not self._entries[image_id].mask_sha256 or not counts.any():
                raise self._no_mask(image_id)
            self._counted = row, counts.cumsum(dtype=np.int64)
        return self._counted[1]

    def _no_mask(self, image_id: str) -> StoreError:
        return StoreError(
            f"{image_id} has no lung mask in {self.folder}, or an empty one; run make segment."
        )

    def _row(self, image_id: str) -> int:
        if image_id not in self._rows:
            raise StoreError(
                f"{image_id} is not in the store {self.folder}, which holds {len(self)} images; "
                "build the store from this manifest (make data)."
            )
        return self._rows[image_id]


def _hash(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
