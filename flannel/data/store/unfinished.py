"""A store in the making: rows come in any order, and those of a killed process stay."""

import hashlib
import os
import shutil
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from flannel.data.store.layout import (
    ARRAYS,
    INDEX,
    SUMMARY,
    Settings,
    StoreEntry,
    first_byte,
    open_array,
    write_at,
    write_index,
    write_summary,
)
from flannel.files import whole_file
from flannel.progress import progress

UNFINISHED = "unfinished"
JOURNAL = "done.csv"


class UnfinishedStore:
    """The arrays of a store that is being written, in its folder `unfinished`.

    A row counts once the journal `done.csv` holds its line: its number, what it was made from, and
    a checksum of its bytes, by which a row that did not reach the disk is found out.

    Attributes:
        done: The rows that need not be made again.
    """

    def __init__(
        self, folder: Path, entries: Sequence[StoreEntry], done: set[int], files: Sequence[int]
    ) -> None:
        self.done = done
        self._folder, self._entries = folder, entries
        *self._files, self._journal = files
        self._offsets = [first_byte(folder, name) for name in ARRAYS]
        self._lock = threading.Lock()

    def write(self, row: int, arrays: Sequence[np.ndarray]) -> None:
        """Writes a row of each array, and notes that it is there; several threads may."""
        checksum = 0
        for file, offset, array in zip(self._files, self._offsets, arrays, strict=True):
            data = array.tobytes()
            checksum = zlib.crc32(data, checksum)
            write_at(file, data, offset + row * len(data))
        line = _line(row, self._entries[row], checksum).encode()
        with self._lock:
            os.write(self._journal, line)
            self.done.add(row)

    def finish(self, settings: Settings) -> None:
        """Puts the store into its place; rows that were not written stay 0 and have no source."""
        for file in self._files:
            os.fsync(file)
        final = [
            entry if row in self.done else StoreEntry(entry.image_id)
            for row, entry in enumerate(self._entries)
        ]
        write_index(self._folder, final)
        write_summary(self._folder, settings, len(self.done))
        publish(self._folder.parent)


@contextmanager
def unfinished_store(
    folder: Path, settings: Settings, entries: Sequence[StoreEntry]
) -> Iterator[UnfinishedStore]:
    """Begins a store, or goes on with one of the same radiographs and settings.

    Args:
        folder: The folder of the store.
        settings: What all rows are made with.
        entries: What each row is to be made from.
    """
    place = folder / UNFINISHED
    plan = _plan(settings, entries)
    if not _has_plan(place, plan):
        discard(folder)
        place.mkdir(parents=True)
        for name, shape in zip(ARRAYS, settings.row_shapes, strict=True):
            open_memmap(place / name, "w+", np.uint8, (len(entries), *shape))
        _write_journal(place, plan, [])
    lines = _true_lines(place, entries)
    _write_journal(place, plan, list(lines.values()))
    with ExitStack() as opened:
        files = [
            opened.enter_context((place / name).open(mode, buffering=0)).fileno()
            for name, mode in (*((name, "r+b") for name in ARRAYS), (JOURNAL, "ab"))
        ]
        yield UnfinishedStore(place, entries, set(lines), files)


def publish(folder: Path) -> None:
    """Moves a store that was written to the end into its place; does nothing if there is none.

    The summary goes last, without which a store does not count: a process that is killed between
    two files leaves work for the next call, and never a mixed store.
    """
    place = folder / UNFINISHED
    if not (place / SUMMARY).is_file():
        return
    (folder / SUMMARY).unlink(missing_ok=True)
    for name in (*ARRAYS, INDEX, SUMMARY):
        if (place / name).exists():
            (place / name).replace(folder / name)
    discard(folder)


def discard(folder: Path) -> None:
    """Deletes what was written of an unfinished store."""
    shutil.rmtree(folder / UNFINISHED, ignore_errors=True)


def _plan(settings: Settings, entries: Sequence[StoreEntry]) -> str:
    """Hashes which radiograph goes into which row, and how."""
    lines = [settings.identity, *(entry.image_id for entry in entries)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _has_plan(place: Path, plan: str) -> bool:
    if not all((place / name).is_file() for name in (*ARRAYS, JOURNAL)):
        return False
    return (place / JOURNAL).read_text(encoding="utf-8").split("\n", 1)[0] == plan


def _line(row: int, entry: StoreEntry, checksum: int) -> str:
    return f"{row},{entry.sha256},{entry.mask_sha256},{checksum}\n"


def _true_lines(place: Path, entries: Sequence[StoreEntry]) -> dict[int, str]:
    """Reads the journal's lines whose row holds what the line says, from what it shall be."""
    arrays = [open_array(place, name) for name in ARRAYS]
    _, *lines = (place / JOURNAL).read_text(encoding="utf-8").splitlines(keepends=True)
    true: dict[int, str] = {}
    for line in progress(lines, len(lines), "Checking the rows that are there") if lines else ():
        number = line.partition(",")[0]
        row = int(number) if number.isdigit() else len(entries)
        if row >= len(entries):
            continue
        checksum = 0
        for array in arrays:
            checksum = zlib.crc32(array[row].tobytes(), checksum)
        if line == _line(row, entries[row], checksum):
            true[row] = line
    return true


def _write_journal(place: Path, plan: str, lines: Sequence[str]) -> None:
    with whole_file(place / JOURNAL) as beside:
        beside.write_text("".join([f"{plan}\n", *lines]), encoding="utf-8")
