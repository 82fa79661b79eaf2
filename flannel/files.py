"""Files that appear whole or not at all; JSON, hashes, and the seeds that derive from them."""

import contextlib
import functools
import hashlib
import json
import os
import platform
import re
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from flannel.errors import RunError

MACHINE = f"{zlib.crc32(platform.node().encode()):08x}"
"""Stands for this machine in names of unfinished files: others may write to the same disk."""
LONGEST_NAME = 200
"""Bytes of a file's name that fit behind what marks it as unfinished."""
FOREIGN_SECONDS = 24 * 3600
"""So long after its last byte, an unfinished file of another machine is taken for left."""
CLOCK_SECONDS = 2
"""By how much the clocks of files and processes may differ."""
_UNFINISHED = re.compile(r"\.(?P<pid>\d+)-(?P<machine>[0-9a-f]{8})-.+", re.DOTALL)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yields a place beside `path` to write to, and renames it to `path` when the block succeeds.

    The folder is made when it is missing. A block that fails leaves nothing behind. A process that
    is killed leaves at most a hidden `.<pid>-<machine>-<name>`, never half of `path`; the next
    process that writes into the folder removes it.

    Raises:
        OSError: If the system refuses to write, with `path` as its place.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _tidy_once(path.parent)
    beside = unfinished_place(path)
    try:
        yield beside
        beside.replace(path)
    except OSError as fault:
        if fault.errno is not None and fault.filename in (None, str(beside)):
            fault.filename, fault.filename2 = str(path), None
        raise
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yields a new folder beside `path`, and renames it to `path` when the block succeeds.

    As `whole_file`, for a folder. An earlier one is renamed out of its place first and deleted
    afterwards, so that who reads meanwhile meets one of the two and no part of either.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _tidy_once(path.parent)
    beside = unfinished_place(path)
    try:
        beside.mkdir()
        yield beside
        _put(beside, path)
    except OSError as fault:
        if fault.filename == str(beside):
            fault.filename, fault.filename2 = str(path), None
        raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _put(folder: Path, place: Path) -> None:
    """Renames a folder to its place, and deletes the one that was there."""
    if not place.exists():
        folder.rename(place)
        return
    earlier = unfinished_place(place.with_name(f"earlier-{place.name}"))
    place.rename(earlier)
    try:
        folder.rename(place)
    except OSError:
        earlier.rename(place)
        raise
    shutil.rmtree(earlier, ignore_errors=True)


def unfinished_place(path: Path) -> Path:
    """Returns where this process writes what will become `path`.

    The suffix stays, because writers such as Pillow and NumPy choose the format by it.
    """
    name = path.name
    if len(os.fsencode(name)) > LONGEST_NAME:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()[:16] + path.suffix
    return path.with_name(f".{os.getpid()}-{MACHINE}-{name}")


def remove_left_overs(folder: Path) -> None:
    """Removes what processes that were killed have left unfinished in a folder, as far as it can.

    Only names of `unfinished_place` are looked at, and only what no process can still be writing:
    none of this machine that began before the last byte, none of another one within a day of it.
    """
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(folder)):
            match = _UNFINISHED.fullmatch(entry.name)
            if match and not entry.is_symlink() and _is_left_over(entry, **match.groupdict()):
                with contextlib.suppress(OSError):  # another process may have been quicker
                    shutil.rmtree(entry) if entry.is_dir() else Path(entry).unlink()


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes, in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _is_left_over(entry: os.DirEntry[str], pid: str, machine: str) -> bool:
    idle = time.time() - entry.stat().st_mtime
    if machine != MACHINE:
        return idle > FOREIGN_SECONDS
    lived = _lifetime(int(pid))
    return lived is None or idle > lived + CLOCK_SECONDS  # the number is another process's now


@functools.cache
def _tidy_once(folder: Path) -> None:
    """Removes left-overs on this process's first visit; folders of masks have many files."""
    remove_left_overs(folder)


def _lifetime(pid: int) -> float | None:
    """Returns for how many seconds a process has lived; None if there is none.

    Where the system does not tell, it is infinite: the process may be the writer.
    """
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return None
    except PermissionError:  # another user's
        pass
    try:
        began = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
        uptime = Path("/proc/uptime").read_text().split()[0]
    except OSError:
        return float("inf")
    return float(uptime) - int(began) / os.sysconf("SC_CLK_TCK")


def digest_of(value: object) -> str:
    """Returns a short hash of a value of plain types; the order of dictionary keys is ignored."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_json(value: object, path: Path) -> None:
    """Writes a value of plain types as JSON, whole or not at all."""
    with whole_file(path) as beside:
        beside.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, object]:
    """Reads a JSON object.

    Raises:
        RunError: If the file is no JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise RunError(f"{path} cannot be read as JSON: {fault}.") from fault
    if not isinstance(value, dict):
        raise RunError(f"{path} should hold a JSON object, and holds {type(value).__name__}.")
    return value


def write_folder_once(folder: Path, settings: str, write: Callable[[Path], None]) -> bool:
    """Writes a folder whole or not at all, unless it is there from the same settings.

    Args:
        folder: What is written.
        settings: What its content depends on, in a line; kept in the folder.
        write: Writes the content into the folder that it is given.

    Returns:
        Whether it was written now.

    Raises:
        RunError: If the folder is there with other settings, or without any.
    """
    done = folder / "made_of.txt"
    if folder.exists():
        if not done.is_file() or done.read_text(encoding="utf-8") != f"{settings}\n":
            raise RunError(f"{folder} exists and holds something else. Choose another folder.")
        return False
    with whole_folder(folder) as beside:
        write(beside)
        (beside / "made_of.txt").write_text(f"{settings}\n", encoding="utf-8")
    return True


def derived_seed(*parts: object) -> int:
    """Derives a 63-bit seed from parts such as (seed, epoch, image_id).

    Neither the number of workers nor an interruption changes what is drawn from it.
    """
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
