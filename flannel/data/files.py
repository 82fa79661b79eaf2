"""A file appears whole or not at all."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yields a place beside `path` to write to, and renames it to `path` when the block succeeds.

    The folder is made when it is missing. A block that fails leaves nothing behind, and a process
    that is killed leaves at most a hidden `.<pid>-<name>` file, never half of `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays, because writers such as Pillow and NumPy choose the format by it.
    beside = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """Gives the SHA-256 of a file's bytes, in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
