"""Tables that only save work: used when they are whole and of this version, else made again."""

import csv
import hashlib
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from flannel.files import whole_file
from flannel.progress import announce


def recall(path: Path, rules: str) -> list[list[str]]:
    """Reads the rows that `remember` wrote; none where there is no such table.

    A table whose hash does not fit is announced and not used.

    Args:
        path: The table.
        rules: What the rows mean, such as "files 1"; rows of other rules are not used.
    """
    if not path.is_file():
        return []
    digest, _, body = path.read_bytes().partition(b"\n")
    if digest != _digest(body, rules):
        announce(f"{path} is damaged or from another version: it is made again.")
        return []
    text = io.StringIO(body.decode("utf-8", "surrogateescape"), newline="")
    return list(csv.reader(text))


def remember(rows: Iterable[Sequence[object]], path: Path, rules: str) -> None:
    """Writes rows as a CSV table behind a line with their hash, whole or not at all."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    body = text.getvalue().encode("utf-8", "surrogateescape")
    with whole_file(path) as beside:
        beside.write_bytes(_digest(body, rules) + b"\n" + body)


def _digest(body: bytes, rules: str) -> bytes:
    return hashlib.sha256(rules.encode() + b"\n" + body).hexdigest().encode()
