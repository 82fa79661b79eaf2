"""Any files and folders in, a table of radiographs out: names, sizes and hashes, no diagnoses."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from flannel.data.inspection import inspect_files
from flannel.data.names import shown
from flannel.data.walk import gather, left_in_words

COLUMNS = ("image_id", "path", "sha256", "width", "height")
LONGEST_STEM = 80


@dataclass(frozen=True)
class Inbox:
    """Radiographs that came from anywhere.

    Attributes:
        table: `COLUMNS`, a row per radiograph, sorted by image.
        faults: A sentence for each place that holds none, and for each file that cannot be read.
        passed_over: A line for each reason to pass over files of a folder.
    """

    table: pd.DataFrame
    faults: tuple[str, ...]
    passed_over: tuple[str, ...]


def collect(
    places: Sequence[Path],
    passed_over: Path,
    known_name: Callable[[Path, str], str | None] = lambda path, sha256: None,
) -> Inbox:
    """Finds the radiographs of files and of folders with their sub-folders, and looks at each.

    In folders, files are told as `flannel.data.walk` tells them. A file that is named itself is
    looked at whatever it is.

    Args:
        places: Files and folders.
        passed_over: A folder whose files are none of them, where it lies in one of the folders.
        known_name: Gives a file its image_id by path and hash, where it has one already; any
            other is called `<stem>-<first 8 of sha256>`.
    """
    paths: dict[Path, None] = {}
    faults: list[str] = []
    left: list[str] = []
    for place in places:
        found, fault = gather(place, passed_over)
        faults += [fault] if fault else []
        paths |= {path.resolve(): None for path in found.images}
        left += [f"{shown(place)}: {line}" for line in left_in_words(found.left, place)]
    rows: dict[str, tuple[object, ...]] = {}
    for path, facts in zip(paths, inspect_files(list(paths)), strict=True):
        if facts.fault:
            faults.append(facts.fault)
            continue
        image_id = known_name(path, facts.sha256) or _new_name(path, facts.sha256)
        row = (image_id, str(path), facts.sha256, facts.width, facts.height)
        first = rows.setdefault(image_id, row)
        if first is not row:
            faults.append(f"{path} is the same file as {first[1]}: it is answered once.")
    table = pd.DataFrame(list(rows.values()), columns=list(COLUMNS))
    table = table.sort_values("image_id", ignore_index=True)
    return Inbox(table, tuple(faults), tuple(left))


def _new_name(path: Path, sha256: str) -> str:
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", path.stem).lstrip("._")[:LONGEST_STEM]
    return f"{stem}-{sha256[:8]}" if stem else sha256[:8]
