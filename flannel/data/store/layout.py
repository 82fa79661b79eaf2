"""How a store lies on the disk: arrays with a row per radiograph, an index and a summary."""

import csv
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from math import prod
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from flannel.data.choices import Squaring
from flannel.errors import FlannelError
from flannel.files import whole_file

FORMAT = 1
RADIOGRAPHS, EQUALISATION, MASKS = "radiographs.npy", "equalisation.npy", "lung_masks.npy"
ARRAYS = (RADIOGRAPHS, EQUALISATION, MASKS)
INDEX, SUMMARY = "index.csv", "store.json"


class StoreError(FlannelError):
    """Raised when a store cannot be built or read."""


@dataclass(frozen=True)
class Settings:
    """What all rows of a store were made with.

    Attributes:
        size_px: Side of the square.
        resize: How a radiograph becomes a square.
    """

    size_px: int
    resize: Squaring

    def __str__(self) -> str:
        """Names the settings as they are given on the command line."""
        return f"--size_px={self.size_px} --resize={self.resize}"

    @property
    def identity(self) -> str:
        """What goes into a fingerprint; stretching, the paper's way, goes without saying."""
        return f"{FORMAT},{self.size_px}" + (",letterbox" if self.resize == "letterbox" else "")

    @property
    def row_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shape of one row of each of `ARRAYS`, all of bytes; masks hold one bit a pixel."""
        return (self.size_px, self.size_px), (256,), (self.size_px, (self.size_px + 7) // 8)

    @property
    def row_bytes(self) -> int:
        """What a radiograph takes on the disk."""
        return sum(map(prod, self.row_shapes))


@dataclass(frozen=True)
class StoreEntry:
    """One line of the index: what the store's row was made from.

    Attributes:
        image_id: The radiograph.
        sha256: Of its file; "" where the file could not be read, and the row is 0.
        mask_sha256: Of its mask's file; "" where there is no mask.
    """

    image_id: str
    sha256: str = ""
    mask_sha256: str = ""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps other processes from writing to a store meanwhile; a killed one keeps nobody out.

    Raises:
        StoreError: If another process is at it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise StoreError(
            f"Another process is writing to the store {folder}. Wait for it, or stop it first."
        ) from None
    try:
        yield
    finally:
        lock.release()


def open_array(folder: Path, name: str) -> np.ndarray:
    """Opens one of `ARRAYS` for reading, a page at a time as it is asked for."""
    # A plain view: slices and products of np.memmap itself take several times as long.
    return np.load(folder / name, mmap_mode="r", allow_pickle=False).view(np.ndarray)


def first_byte(folder: Path, name: str) -> int:
    """Returns where in its file the first row of one of `ARRAYS` begins."""
    return np.load(folder / name, mmap_mode="r", allow_pickle=False).offset


def write_at(file: int, data: bytes, offset: int) -> None:
    """Writes bytes at a place of an open file, whole; several threads may.

    Unlike a memory map, which a full disk turns into a killed process, this raises.

    Raises:
        OSError: If the disk is full.
    """
    rest = memoryview(data)
    while rest:
        written = os.pwrite(file, rest, offset)
        rest, offset = rest[written:], offset + written


def no_store(folder: Path) -> StoreError:
    """Makes the error of a folder in which no finished store lies."""
    return StoreError(f"{folder} holds no finished store; build it first (make data DATA=folder).")


def read_settings(folder: Path) -> Settings | None:
    """Reads what a finished store was made with; None where there is none of this format."""
    try:
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return None
    if not isinstance(summary, dict) or summary.get("format") != FORMAT:
        return None
    return Settings(summary["size_px"], summary.get("resize", "stretch"))


def write_summary(folder: Path, settings: Settings, images: int) -> None:
    """Writes the file that makes a store a finished one."""
    with whole_file(folder / SUMMARY) as beside:
        summary = {"format": FORMAT, **asdict(settings), "images": images}
        beside.write_text(json.dumps(summary) + "\n", encoding="utf-8")


def read_index(folder: Path) -> list[StoreEntry]:
    """Reads what each row was made from, in the order of the rows.

    Raises:
        StoreError: If the index is missing or has other columns.
    """
    columns = [field.name for field in fields(StoreEntry)]
    path = folder / INDEX
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as stream:
            lines = csv.DictReader(stream)
            if lines.fieldnames == columns:
                return [StoreEntry(**line) for line in lines]
    raise StoreError(
        f"{path} is missing or has other columns than {', '.join(columns)}; delete {folder} and "
        "build the store again (make data)."
    )


def write_index(folder: Path, entries: Sequence[StoreEntry]) -> None:
    """Writes what each row was made from."""
    with (
        whole_file(folder / INDEX) as beside,
        beside.open("w", newline="", encoding="utf-8") as stream,
    ):
        writer = csv.DictWriter(stream, [field.name for field in fields(StoreEntry)])
        writer.writeheader()
        writer.writerows(asdict(entry) for entry in entries)
