"""Manifest in, store out: every radiograph decoded once, in parallel."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import UInt8
from PIL import Image

from flannel.data.choices import Squaring
from flannel.data.file_checks import RadiographError
from flannel.data.greyscale import (
    content_box,
    equalisation_table,
    to_eight_bits,
    to_square,
)
from flannel.data.parallel import in_threads
from flannel.data.radiograph import read_levels
from flannel.data.store.layout import (
    ARRAYS,
    MASKS,
    Settings,
    StoreEntry,
    StoreError,
    locked,
    open_array,
    read_index,
    read_settings,
)
from flannel.data.store.unfinished import UnfinishedStore, discard, publish, unfinished_store
from flannel.files import sha256_of
from flannel.progress import announce

SMALLEST_PX = 32
DecodedRow = tuple[np.ndarray, ...]
"""One row of each of `ARRAYS`."""


@dataclass(frozen=True)
class BuildReport:
    """What `build_store` did.

    Attributes:
        decoded: Radiographs decoded now.
        kept: Radiographs that an earlier store, or an unfinished one, held already.
        bad_files: A sentence, with the path, for each file that cannot be read.
    """

    decoded: int
    kept: int
    bad_files: tuple[str, ...]

    def __str__(self) -> str:
        """Returns the report as text."""
        lines = [
            f"{self.decoded + self.kept} radiographs in the store: {self.decoded} decoded now, "
            f"{self.kept} were there"
        ]
        if self.bad_files:
            lines += [f"{len(self.bad_files)} radiographs that cannot be read:"]
            lines += [f"  {sentence}" for sentence in self.bad_files]
        return "\n".join(lines)


def build_store(
    manifest: pd.DataFrame,
    folder: Path,
    size_px: int = 1024,
    resize: Squaring = "stretch",
    workers: int | None = None,
    renew: bool = False,
    strict: bool = False,
) -> BuildReport:
    """Decodes every radiograph of a manifest into memory-mapped arrays, sorted by image.

    Radiographs become squares with Pillow's bicubic filter; stretching is what the paper's program
    does (Oh et al. 2020). Plain grey levels are stored, and beside them a table that makes the
    equalised, gamma-corrected ones, so that one store serves both preparations.

    A process that is killed leaves its rows to the next call, which makes the others only. Rows
    of a finished store whose radiograph has not changed are taken over with their masks; changed
    and added radiographs are decoded. The earlier store stays as it is until the new one is whole,
    so that there must be room for both.

    Args:
        manifest: The radiographs, by the columns image_id, path and sha256.
        folder: The store's folder.
        size_px: Side of the stored square in pixels.
        resize: How a radiograph becomes a square.
        workers: Threads that decode beside each other; None takes one per core.
        renew: Replace a finished store that was made with another size or `resize`, or that holds
            radiographs which the manifest lacks. Runs that were trained from it cannot be mixed
            with new ones, so it is refused otherwise.
        strict: Refuse when radiographs cannot be read, instead of listing them.

    Raises:
        StoreError: If a setting is wrong, a finished store is stale and not to be renewed, the
            disk is too full, another process writes to the store, no radiograph can be read, or,
            with `strict`, one cannot.
    """
    settings = _checked(Settings(size_px, resize))
    with locked(folder):
        publish(folder)
        before = _earlier_entries(manifest, folder, settings, renew)
        ordered = manifest.sort_values("image_id")
        plan = _Plan(folder, settings, _entries(ordered, before), before, list(ordered["path"]))
        if before and plan.entries == before:
            discard(folder)
            announce(f"The store {folder} is up to date.")
            return BuildReport(0, len(before), ())
        try:
            return _build(plan, workers, strict)
        except OSError as fault:
            raise StoreError(
                f"The store {folder} could not be written to its end ({fault}). Make room, and say "
                "the same command again: it goes on after the rows that are there."
            ) from fault


@dataclass(frozen=True)
class _Plan:
    """What a new store shall hold, what the earlier one holds, and where the radiographs are."""

    folder: Path
    settings: Settings
    entries: list[StoreEntry]
    before: list[StoreEntry]
    paths: list[str]


def _build(plan: _Plan, workers: int | None, strict: bool) -> BuildReport:
    total = len(plan.entries)
    known = {entry: row for row, entry in enumerate(plan.before) if entry.sha256}
    with unfinished_store(plan.folder, plan.settings, plan.entries) as unfinished:
        done = len(unfinished.done)
        _check_disk(plan, done)
        fresh = [row for row, entry in enumerate(plan.entries) if entry not in known]
        faults = _write_rows(unfinished, fresh, _decoder(plan), workers, "Decoding radiographs")
        if faults and (strict or len(faults) == total):
            raise StoreError(
                f"{len(faults)} of {total} radiographs cannot be read, so the store was not made. "
                "Mend them, or make the manifest again (make data):\n  " + "\n  ".join(faults)
            )
        decoded = len(unfinished.done) - done
        unread = {row for row in fresh if row not in unfinished.done}
        final = [
            StoreEntry(e.image_id) if row in unread else e for row, e in enumerate(plan.entries)
        ]
        if final == plan.before:
            discard(plan.folder)
        else:
            taken = [row for row, entry in enumerate(plan.entries) if entry in known]
            _write_rows(unfinished, taken, _taker(plan, known), workers, "Taking over radiographs")
            unfinished.finish(plan.settings)
    return BuildReport(decoded, total - len(faults) - decoded, tuple(faults))


def _write_rows(
    unfinished: UnfinishedStore,
    rows: Sequence[int],
    make: Callable[[int], DecodedRow],
    workers: int | None,
    title: str,
) -> list[str]:
    """Writes the rows that are not there yet, and gives the files' faults."""
    waiting = [row for row in rows if row not in unfinished.done]
    return in_threads(lambda row: unfinished.write(row, make(row)), waiting, workers, title)


def _decoder(plan: _Plan) -> Callable[[int], DecodedRow]:
    empty = np.zeros(plan.settings.row_shapes[ARRAYS.index(MASKS)], np.uint8)

    def decode(row: int) -> DecodedRow:
        entry = plan.entries[row]
        return *prepared(Path(plan.paths[row]), entry.sha256, plan.settings), empty

    return decode


def _taker(plan: _Plan, known: dict[StoreEntry, int]) -> Callable[[int], DecodedRow]:
    """Reads rows of the earlier store."""
    arrays = [open_array(plan.folder, name) for name in ARRAYS] if known else []
    return lambda row: tuple(array[known[plan.entries[row]]] for array in arrays)


def prepared(
    path: Path, sha256: str, settings: Settings
) -> tuple[UInt8[np.ndarray, "size size"], UInt8[np.ndarray, " 256"]]:
    """Decodes a radiograph to a square of grey levels and its equalisation table.

    Raises:
        RadiographError: If the file cannot be read, or is not the one of that hash.
    """
    try:
        stored = read_levels(path)
        if sha256_of(path) != sha256:
            raise RadiographError(f"{path} has changed since the manifest was made; make it again.")
    except OSError as fault:
        raise RadiographError(str(fault)) from fault
    grey = to_eight_bits(stored.levels, stored.bits, stored.polarity)
    # Pillow counts several times as fast as np.bincount.
    histogram = np.array(Image.fromarray(grey).histogram())
    table = np.rint(equalisation_table(histogram, "display")).astype(np.uint8)
    return to_square(grey, settings.size_px, settings.resize), table


def _checked(settings: Settings) -> Settings:
    if settings.size_px < SMALLEST_PX:
        raise StoreError(f"size_px is {settings.size_px}; expected at least {SMALLEST_PX}.")
    try:
        content_box(1, 1, settings.size_px, settings.resize)
    except ValueError as fault:
        raise StoreError(str(fault)) from fault
    return settings


def _entries(ordered: pd.DataFrame, before: Sequence[StoreEntry]) -> list[StoreEntry]:
    """Returns what each row is made from: the earlier entry where the file is the same."""
    known = {entry.image_id: entry for entry in before}
    fresh = [
        StoreEntry(str(image_id), str(sha256))
        for image_id, sha256 in zip(ordered["image_id"], ordered["sha256"], strict=True)
    ]
    earlier = [known.get(entry.image_id, entry) for entry in fresh]
    return [
        old if old.sha256 == new.sha256 else new for new, old in zip(fresh, earlier, strict=True)
    ]


def _earlier_entries(
    manifest: pd.DataFrame, folder: Path, settings: Settings, renew: bool
) -> list[StoreEntry]:
    """Returns the rows of a finished store that can be taken over, and refuses a stale one."""
    made_with = read_settings(folder)
    if made_with is None or (renew and made_with != settings):
        return []
    before = read_index(folder)
    lost = {entry.image_id for entry in before if entry.sha256} - set(manifest["image_id"])
    if renew or (made_with == settings and not lost):
        return before
    why = (
        f"was made with {made_with}, not {settings}"
        if made_with != settings
        else f"holds {len(lost)} radiographs that the manifest lacks, first {min(lost)}"
    )
    raise StoreError(
        f"The store {folder} {why}. Use another study folder, or replace it: python -m flannel "
        f"store --study={folder.parent} {settings} --renew=true"
    )


def _check_disk(plan: _Plan, done: int) -> None:
    total, side = len(plan.entries), plan.settings.size_px
    needed = (total - done) * plan.settings.row_bytes
    free = shutil.disk_usage(plan.folder).free
    there = f", {done} of them are there" if done else ""
    announce(
        f"{total} radiographs of {side} x {side} pixels{there}: {needed / 1e9:.2f} GB to write to "
        f"{plan.folder}, {free / 1e9:.1f} GB are free."
    )
    if needed > free:
        if not done:
            discard(plan.folder)
        raise StoreError(
            f"The store needs {needed:,} more bytes, but {plan.folder} has {free:,} bytes free; "
            "make room, choose another folder or a smaller size."
        )
