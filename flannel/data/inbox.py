"""Any files and folders in, a table of radiographs out: names, sizes and hashes, no diagnoses."""

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from flannel.data.inspection import inspect_files
from flannel.data.sources.mask_pairs import SUFFIXES

COLUMNS = ("image_id", "path", "sha256", "width", "height")
LONGEST_STEM = 80
DICOM_START, DICOM_MARK = 128, b"DICM"


@dataclass(frozen=True)
class Inbox:
    """Radiographs that came from anywhere.

    Attributes:
        table: `COLUMNS`, a row per radiograph, sorted by image.
        faults: A sentence for each place that holds none, and for each file that cannot be read.
    """

    table: pd.DataFrame
    faults: tuple[str, ...]


def collect(
    places: Sequence[Path],
    passed_over: Path,
    known_name: Callable[[Path, str], str | None] = lambda path, sha256: None,
) -> Inbox:
    """Finds the radiographs of files and of folders with their sub-folders, and looks at each.

    In folders, files are told by their suffix, and DICOM files without one by their first bytes;
    hidden ones are passed over. A file that is named itself is looked at whatever it is called.

    Args:
        places: Files and folders.
        passed_over: A folder whose files are none of them, where it lies in one of the folders.
        known_name: Gives a file its image_id by path and hash, where it has one already; any
            other is called `<stem>-<first 8 of sha256>`.
    """
    paths: dict[Path, None] = {}
    faults = []
    for place in places:
        try:
            found = [place] if place.is_file() else list(_below(place, passed_over))
            what = "holds no radiograph" if place.is_dir() else "does not exist"
        except OSError as fault:
            found, what = [], f"cannot be looked at ({fault.strerror})"
        if not found:
            faults.append(
                f"{_shown(place)} {what}; expected PNG, JPEG, GIF, BMP, TIFF, DICOM or JSRT .IMG "
                "files, or a folder of them."
            )
        for path in found:
            if _shown(path) == str(path):
                paths[path.resolve()] = None
            else:
                faults.append(f"{_shown(path)} has a name that is no text: rename it.")
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
    return Inbox(table.sort_values("image_id", ignore_index=True), tuple(faults))


def _below(folder: Path, passed_over: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or not path.is_file() or path.resolve().is_relative_to(passed_over.resolve()):
            continue
        if path.suffix.lower() in SUFFIXES or _is_dicom(path):
            yield path


def _shown(path: Path) -> str:
    """Gives a name as it is, or escaped where no table or line of a terminal can hold it."""
    name = str(path)
    strange = any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name)
    return ascii(name) if strange else name


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            stream.seek(DICOM_START)
            return stream.read(len(DICOM_MARK)) == DICOM_MARK
    except OSError:
        return False


def _new_name(path: Path, sha256: str) -> str:
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", path.stem).lstrip("._")[:LONGEST_STEM]
    return f"{stem}-{sha256[:8]}" if stem else sha256[:8]
