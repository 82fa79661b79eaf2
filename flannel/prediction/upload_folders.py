"""Folders for what is dropped on the page, which outlive neither its answer nor the next start.

Each lies in the system's temporary folder and is locked by the process that made it. The system
lets the lock go however the process ends, so that a folder without a holder is a killed page's.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from filelock import FileLock, Timeout

PREFIX = "flannel-page-"
MARK = ".upload-of-the-page"
"""The lock, by which a folder is known to be one of these."""

_held: set[Path] = set()


@contextmanager
def upload_folder() -> Iterator[Path]:
    """Yields a folder that is removed at the end of the block, with all that is in it."""
    with TemporaryDirectory(prefix=PREFIX) as name:
        folder = Path(name)
        with FileLock(folder / MARK):
            _held.add(folder)
            try:
                yield folder
            finally:
                _held.discard(folder)


def empty_upload_folders() -> None:
    """Deletes the files of folders whose block still runs, in a thread that cannot be stopped.

    The lock stays, so that the next start knows the folder whatever that thread may still write.
    """
    for folder in list(_held):
        _empty(folder)


def remove_left_uploads() -> int:
    """Deletes the folders of processes that were killed.

    Returns:
        How many there were.
    """
    removed = 0
    for folder in Path(gettempdir()).glob(f"{PREFIX}*"):
        try:
            if folder.is_symlink() or not (folder / MARK).is_file():
                continue
            with FileLock(folder / MARK, timeout=0):
                _empty(folder)
                shutil.rmtree(folder)
            removed += 1
        except (Timeout, OSError):  # in use, or another user's
            continue
    return removed


def _empty(folder: Path) -> None:
    """Deletes all that is in a folder but its lock."""
    for path in folder.iterdir():
        if path.name == MARK:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
