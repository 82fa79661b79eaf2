"""The store: every radiograph decoded once, at one size, memory-mapped."""

import csv
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, UInt8
from numpy.lib.format import open_memmap

from flannel.data.files import sha256_of, whole_file
from flannel.data.greyscale import equalisation_table, resize, to_eight_bits
from flannel.data.progress import announce, progress
from flannel.data.radiograph import RadiographError, read_levels, read_mask

FORMAT = 1
RADIOGRAPHS, EQUALISATION, MASKS = "radiographs.npy", "equalisation.npy", "lung_masks.npy"
INDEX, SUMMARY = "index.csv", "store.json"


class StoreError(ValueError):
    """A store that cannot be built or read, in a sentence."""


@dataclass(frozen=True)
class Entry:
    """One line of the index: what the store's row was made from; "" where there is no mask."""

    image_id: str
    sha256: str
    mask_sha256: str = ""


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
        """Gives the report as text."""
        lines = [
            f"{self.filled} lung masks written, {self.unchanged} unchanged, "
            f"{len(self.missing)} radiographs without one"
        ]
        lines += [f"  {sentence}" for sentence in self.bad_files]
        return "\n".join(lines)


class Store:
    """Radiographs and lung masks of one size, read from the disk as they are asked for.

    Sent to another process, it opens its files there anew.

    Args:
        folder: The folder that `build_store` wrote.

    Raises:
        StoreError: If the folder holds no finished store of this format.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        summary = _read_summary(folder)
        if summary is None:
            raise StoreError(
                f"{folder} holds no finished store; build it first (make data DATA=folder)."
            )
        self.size_px = summary["size_px"]
        self._entries = {entry.image_id: entry for entry in _read_index(folder)}
        self._rows = {image_id: row for row, image_id in enumerate(self._entries)}
        self._radiographs = np.load(folder / RADIOGRAPHS, mmap_mode="r", allow_pickle=False)

    def __reduce__(self) -> tuple[type["Store"], tuple[Path]]:
        return Store, (self.folder,)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def image_ids(self) -> tuple[str, ...]:
        """The images, in the order of the rows."""
        return tuple(self._entries)

    def radiograph(self, image_id: str) -> UInt8[np.ndarray, "size size"]:
        """Gives the grey levels 0..255 of a radiograph, lungs dark, as a read-only view."""
        return self._radiographs[self._row(image_id)]

    def equalisation(self, image_id: str) -> UInt8[np.ndarray, " 256"]:
        """Gives the table of histogram equalisation and gamma 0.5 for a radiograph's levels.

        It was computed at the radiograph's own size: `equalisation(i)[radiograph(i)]` is the
        paper's preparation, but for rounding to whole grey levels.
        """
        return self._equalisation[self._row(image_id)]

    def has_mask(self, image_id: str) -> bool:
        """Says whether the store holds a lung mask for an image, with at least one lung pixel."""
        row = self._row(image_id)
        return self._entries[image_id].mask_sha256 != "" and bool(self._masks[row].any())

    def lung_mask(self, image_id: str) -> Bool[np.ndarray, "size size"]:
        """Gives the lung mask of a radiograph: True inside.

        Raises:
            StoreError: If the image is not in the store, or its mask is missing or empty.
        """
        if not self.has_mask(image_id):
            raise StoreError(
                f"{image_id} has no lung mask in {self.folder}, or an empty one; run make segment."
            )
        packed = self._masks[self._row(image_id)]
        return np.unpackbits(packed, axis=1, count=self.size_px).view(bool)

    def fingerprint(self) -> dict[str, str]:
        """Gives hashes that change when a radiograph (`store`) or a mask (`masks`) changes."""
        entries = self._entries.values()
        pictures = [f"{e.image_id},{e.sha256}" for e in entries]
        masks = [f"{e.image_id},{e.mask_sha256}" for e in entries]
        return {
            "store": _hash([f"{FORMAT},{self.size_px}", *pictures]),
            "masks": _hash([f"{FORMAT},{self.size_px}", *masks]),
        }

    @cached_property
    def _equalisation(self) -> np.ndarray:
        return np.load(self.folder / EQUALISATION, mmap_mode="r", allow_pickle=False)

    @cached_property
    def _masks(self) -> np.ndarray:
        return np.load(self.folder / MASKS, mmap_mode="r", allow_pickle=False)

    def _row(self, image_id: str) -> int:
        if image_id not in self._rows:
            raise StoreError(
                f"{image_id} is not in the store {self.folder}, which holds {len(self)} images; "
                "build the store from this manifest (make data)."
            )
        return self._rows[image_id]


def build_store(
    manifest: pd.DataFrame, folder: Path, size_px: int = 1024, workers: int | None = None
) -> Store:
    """Decodes every radiograph of a manifest into one memory-mapped file.

    Radiographs are stretched to a square with Pillow's bicubic filter, as in the paper's program
    (Oh et al. 2020). Rows of an existing store whose image has not changed are taken over, with
    their masks; a store that is already right is left alone.

    Args:
        manifest: The radiographs, by the columns image_id, path and sha256.
        folder: The store's folder.
        size_px: Side of the stored square in pixels.
        workers: Threads that decode beside each other; None takes one per core.

    Raises:
        StoreError: If radiographs cannot be read (all are listed), the size is below 32, or the
            disk is too full.
    """
    if size_px < 32:
        raise StoreError(f"size_px is {size_px}; expected at least 32.")
    ordered = manifest.sort_values("image_id")
    old = _old_entries(folder, size_px)
    entries = []
    for image_id, sha256 in zip(ordered["image_id"], ordered["sha256"], strict=True):
        known = old.get(image_id)
        entries.append(known if known and known.sha256 == sha256 else Entry(image_id, sha256))
    if old and entries == list(old.values()):
        announce(f"The store {folder} is up to date: {len(entries)} radiographs.")
        return Store(folder)
    _check_disk(folder, len(entries), size_px)
    rows = {image_id: row for row, image_id in enumerate(old)}
    taken = [rows.get(e.image_id, -1) if e == old.get(e.image_id) else -1 for e in entries]
    mask_bytes = (size_px + 7) // 8
    with (
        whole_file(folder / RADIOGRAPHS) as radiographs_path,
        whole_file(folder / EQUALISATION) as equalisation_path,
        whole_file(folder / MASKS) as masks_path,
    ):
        shapes = ((size_px, size_px), (256,), (size_px, mask_bytes))
        paths = (radiographs_path, equalisation_path, masks_path)
        radiographs, tables, masks = (
            open_memmap(path, "w+", np.uint8, (len(entries), *shape))
            for path, shape in zip(paths, shapes, strict=True)
        )
        if any(row >= 0 for row in taken):
            _take_over(folder, taken, (radiographs, tables, masks))

        def fill(row: int) -> None:
            path = Path(ordered["path"].iloc[row])
            radiographs[row], tables[row] = _prepared(path, entries[row].sha256, size_px)

        fresh = [row for row, source in enumerate(taken) if source < 0]
        faults = _in_threads(fill, fresh, workers, "Decoding radiographs")
        if faults:
            listed = "\n  ".join(faults)
            raise StoreError(
                f"{len(faults)} radiographs cannot be read, the store was not changed:\n  {listed}"
            )
        for array in (radiographs, tables, masks):
            array.flush()
        # Without its summary the store counts as unfinished while its files are exchanged.
        (folder / SUMMARY).unlink(missing_ok=True)
    _write_index(folder, entries)
    with whole_file(folder / SUMMARY) as beside:
        summary = {"format": FORMAT, "size_px": size_px, "images": len(entries)}
        beside.write_text(json.dumps(summary) + "\n")
    return Store(folder)


def fill_lung_masks(
    folder: Path, masks: Path, manifest: pd.DataFrame, strict: bool = False
) -> MaskReport:
    """Packs the lung masks of a folder into the store, one bit a pixel.

    Afterwards the store holds exactly the good masks of that folder: a mask whose file is gone or
    bad is gone from the store too.

    Args:
        folder: The store's folder.
        masks: Holds `<image_id>.png`, each at its radiograph's own size.
        manifest: The radiographs' own sizes, by image_id, width and height.
        strict: Refuse when a mask is bad, instead of listing it.

    Raises:
        StoreError: If a folder is missing, the manifest lacks an image of the store, or, with
            `strict`, a mask cannot be used.
    """
    if not masks.is_dir():
        raise StoreError(f"{masks} is not a folder; expected one with a mask for each radiograph.")
    store = Store(folder)
    sized = manifest.set_index("image_id")[["height", "width"]]
    unknown = [image_id for image_id in store.image_ids if image_id not in sized.index]
    if unknown:
        raise StoreError(
            f"The manifest lacks {len(unknown)} images of the store, first {unknown[0]}; "
            "build the store from this manifest (make data)."
        )
    entries = _read_index(folder)
    paths = [masks / f"{entry.image_id}.png" for entry in entries]
    hashes = [sha256_of(path) if path.is_file() else "" for path in paths]
    changed = [row for row, e in enumerate(entries) if hashes[row] not in ("", e.mask_sha256)]
    packed: dict[int, np.ndarray] = {}

    def pack(row: int) -> None:
        height, width = sized.loc[entries[row].image_id]
        packed[row] = _packed_mask(paths[row], int(height), int(width), store.size_px)

    faults = _in_threads(pack, changed, None, "Packing lung masks")
    if strict and faults:
        listed = "\n  ".join(faults)
        raise StoreError(f"{len(faults)} lung masks of {masks} cannot be used:\n  {listed}")
    unchanged = sum(h != "" and h == e.mask_sha256 for h, e in zip(hashes, entries, strict=True))
    final = [
        replace(entry, mask_sha256="" if row in changed and row not in packed else hashes[row])
        for row, entry in enumerate(entries)
    ]
    if final != entries:
        # The index forgets the changed masks first, so that it never vouches for older ones.
        kept = [replace(e, mask_sha256="") if row in packed else e for row, e in enumerate(final)]
        _write_index(folder, kept)
        _rewrite_masks(folder, packed)
        _write_index(folder, final)
    missing = tuple(e.image_id for e, found in zip(entries, hashes, strict=True) if not found)
    return MaskReport(len(packed), unchanged, missing, tuple(faults))


def _prepared(path: Path, sha256: str, size_px: int) -> tuple[np.ndarray, np.ndarray]:
    stored = read_levels(path)
    if sha256_of(path) != sha256:
        raise RadiographError(f"{path} has changed since the manifest was made; make it again.")
    grey = to_eight_bits(stored.levels, stored.bits, stored.polarity)
    histogram = np.bincount(grey.ravel(), minlength=256)
    table = np.rint(equalisation_table(histogram, "display")).astype(np.uint8)
    return resize(grey, size_px, size_px), table


def _packed_mask(path: Path, height: int, width: int, size_px: int) -> np.ndarray:
    mask = read_mask(path)
    if mask.shape != (height, width):
        raise RadiographError(
            f"{path} is {mask.shape[1]} x {mask.shape[0]} pixels; expected the radiograph's own "
            f"{width} x {height}. Segment this radiograph again."
        )
    return np.packbits(resize(mask.astype(np.uint8) * 255, size_px, size_px) > 127, axis=1)


def _in_threads(
    work: Callable[[int], None], rows: Sequence[int], workers: int | None, title: str
) -> list[str]:
    """Does the work for each row and gives the faults as sentences, in the order of the rows."""

    def guarded(row: int) -> str:
        try:
            work(row)
        except (RadiographError, OSError) as fault:
            return str(fault)
        return ""

    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        done: Iterable[str] = progress(pool.map(guarded, rows), len(rows), title)
        return [fault for fault in done if fault]


def _take_over(folder: Path, taken: Sequence[int], arrays: Sequence[np.ndarray]) -> None:
    for name, array in zip((RADIOGRAPHS, EQUALISATION, MASKS), arrays, strict=True):
        before = np.load(folder / name, mmap_mode="r", allow_pickle=False)
        for row, source in enumerate(taken):
            if source >= 0:
                array[row] = before[source]


def _rewrite_masks(folder: Path, packed: dict[int, np.ndarray]) -> None:
    with whole_file(folder / MASKS) as beside:
        shutil.copyfile(folder / MASKS, beside)
        array = open_memmap(beside, "r+")
        for row, mask in packed.items():
            array[row] = mask
        array.flush()


def _check_disk(folder: Path, images: int, size_px: int) -> None:
    needed = images * (size_px * size_px + 256 + size_px * ((size_px + 7) // 8))
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    announce(f"The store takes {needed / 1e9:.2f} GB in {folder} ({free / 1e9:.1f} GB are free).")
    if needed > free:
        raise StoreError(
            f"The store takes {needed / 1e9:.1f} GB, but {folder} has {free / 1e9:.1f} GB free; "
            "make room, choose another folder or a smaller size."
        )


def _old_entries(folder: Path, size_px: int) -> dict[str, Entry]:
    summary = _read_summary(folder)
    if summary is None or summary["size_px"] != size_px:
        return {}
    return {entry.image_id: entry for entry in _read_index(folder)}


def _read_summary(folder: Path) -> dict[str, int] | None:
    path = folder / SUMMARY
    if not path.is_file():
        return None
    summary = json.loads(path.read_text())
    return summary if summary.get("format") == FORMAT else None


def _read_index(folder: Path) -> list[Entry]:
    with (folder / INDEX).open(newline="") as stream:
        return [Entry(**line) for line in csv.DictReader(stream)]


def _write_index(folder: Path, entries: Sequence[Entry]) -> None:
    with whole_file(folder / INDEX) as beside, beside.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(asdict(Entry("", ""))))
        writer.writeheader()
        writer.writerows(asdict(entry) for entry in entries)


def _hash(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
