"""How a bundle lies on the disk: a folder of weights, and `bundle.json` that lists and hashes them.

A bundle may come from anybody. It holds no code and no pickle, nothing outside its folder is
touched, and whatever differs from the list is refused before any of it is used.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flannel.bundle.values import EntryError
from flannel.errors import FlannelError
from flannel.files import digest_of, sha256_of, whole_folder, write_json

FORMAT = 1
CONTENTS = "bundle.json"
MOST_BYTES_OF_CONTENTS = 32 * 2**20
MOST_BYTES_OF_FILE = 8 * 2**30
MOST_FILES = 1000
MOST_HASHES = 250_000
"""Of training and validation radiographs: 0.7 GB."""
LONGEST_PATH = 200
LONGEST_INTEGER = 20
"""Digits of a whole number."""
_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")


class BundleError(FlannelError):
    """Raised when a bundle cannot be written or used."""


def is_bundle(folder: Path) -> bool:
    """Returns whether a folder says that it is a bundle."""
    return (folder / CONTENTS).is_file()


def write_folder(
    folder: Path,
    fill: Callable[[Path], Mapping[str, object]],
    read: Callable[[Path], object],
    redo: bool = False,
) -> None:
    """Writes a bundle beside its place and renames it when it is whole and can be read.

    Args:
        folder: The bundle's place.
        fill: Writes all files into a folder, and gives what `bundle.json` shall say beside them.
        read: Reads the bundle as its receiver will, or raises a BundleError.
        redo: Replace a bundle that is there.

    Raises:
        BundleError: If something is there that may not be replaced, or it cannot be read.
    """
    if folder.exists() and not (redo and is_bundle(folder)):
        way_out = "Say --redo true to replace it, or name" if is_bundle(folder) else "Name"
        raise BundleError(f"{folder} exists. {way_out} another place with --out.")
    with whole_folder(folder.resolve()) as beside:
        contents: dict[str, object] = {**fill(beside), "format": FORMAT}
        paths = sorted(path for path in beside.rglob("*") if path.is_file())
        contents["files"] = {
            path.relative_to(beside).as_posix(): {
                "bytes": path.stat().st_size, "sha256": sha256_of(path)
            }
            for path in paths
        }  # fmt: skip
        write_json({**contents, "checksum": digest_of(contents)}, beside / CONTENTS)
        try:
            read(beside)
        except BundleError as fault:
            reason = str(fault).replace(str(beside), str(folder))
            raise BundleError(
                f"{folder} is not written, as no reader would use it. {reason}"
            ) from fault


def read_contents(folder: Path) -> dict[str, object]:
    """Reads what a bundle holds, and compares every file with its size and hash in the list.

    Raises:
        BundleError: If it is no bundle or of another version, a file is missing, differs, is too
            large, or lies outside the folder, or the bundle is replaced meanwhile.
    """
    contents = _contents(folder)
    files = contents.get("files")
    if not isinstance(files, dict) or len(files) > MOST_FILES:
        raise BundleError(f"{folder / CONTENTS} lists no files, or too many: get the bundle again.")
    try:
        for name, listed in files.items():
            try:
                _check(folder, name, listed)
            except OSError as fault:
                raise BundleError(f"{folder / name} cannot be read ({fault.strerror}).") from fault
    except BundleError:
        check_unreplaced(folder, contents)
        raise
    return contents


def check_unreplaced(folder: Path, contents: Mapping[str, object]) -> None:
    """Distinguishes a bundle that another process replaces from a damaged one.

    Args:
        folder: The bundle.
        contents: As `read_contents` gave them.

    Raises:
        BundleError: If it says something else by now, or is gone.
    """
    try:
        same = _contents(folder) == contents
    except BundleError:
        same = False
    if not same:
        raise BundleError(
            f"The bundle {folder} was replaced or removed while it was read. Run the command again."
        )


def _contents(folder: Path) -> dict[str, object]:
    """Reads `bundle.json`, without a look at the files that it lists."""
    path = folder / CONTENTS
    if not path.is_file():
        raise BundleError(f"{folder} is no bundle: it has no {CONTENTS}.")
    try:
        with path.open("rb") as stream:
            text = stream.read(MOST_BYTES_OF_CONTENTS + 1)
        if len(text) > MOST_BYTES_OF_CONTENTS:
            raise BundleError(
                f"{path} has more than {MOST_BYTES_OF_CONTENTS:,} bytes, too many for a list of "
                "files."
            )
        contents = _strictly(text.decode())
    except BundleError:
        raise
    except (OSError, ValueError, RecursionError) as fault:
        raise BundleError(f"{path} is damaged ({fault}): get the bundle again.") from fault
    if not isinstance(contents, dict) or contents.get("format") != FORMAT:
        version = contents.get("format") if isinstance(contents, dict) else None
        raise BundleError(
            f"{path} is of the format {str(version)[:40]}, this version reads {FORMAT}: use the "
            "version that wrote it, or write it again (flannel bundle)."
        )
    if contents.pop("checksum", None) != digest_of(contents):
        raise BundleError(f"{path} was changed since it was written: get the bundle again.")
    return contents


def _strictly(text: str) -> Any:  # noqa: ANN401  whatever JSON holds
    """Reads JSON that every reader understands alike: no name twice, no number without end.

    Raises:
        EntryError: If it is not so strict.
        ValueError: If it is no JSON.
        RecursionError: If it is nested too deeply.
    """

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        table = dict(pairs)
        if len(table) < len(pairs):
            raise EntryError("a name comes twice in a table")
        return table

    def whole(digits: str) -> int:
        if len(digits) > LONGEST_INTEGER:
            raise EntryError(f"a number has {len(digits):,} digits")
        return int(digits)

    def finite(digits: str) -> float:
        value = float(digits)
        if not math.isfinite(value):
            raise EntryError(f"{digits[:20]} is no number")
        return value

    return json.loads(
        text, object_pairs_hook=once, parse_int=whole, parse_float=finite, parse_constant=finite
    )


def _check(folder: Path, name: str, listed: object) -> None:
    """Compares a file with what the list says of it, the cheap things first."""
    if len(name) > LONGEST_PATH or not _SAFE.fullmatch(name):
        raise BundleError(
            f"{folder} lists a file {name[:LONGEST_PATH]!r}, which is no plain name inside "
            "it: do not trust it."
        )
    path = folder / name
    if not path.is_file():
        raise BundleError(f"{path} is missing: get the bundle again.")
    if not path.resolve().is_relative_to(folder.resolve()):
        raise BundleError(f"{path} leads out of the bundle: do not trust it.")
    if not isinstance(listed, dict):
        raise BundleError(f"{folder} says nothing of {name}: get the bundle again.")
    size, wanted = path.stat().st_size, listed.get("bytes")
    if size > MOST_BYTES_OF_FILE:
        raise BundleError(
            f"{path} has {size:,} bytes, more than the {MOST_BYTES_OF_FILE:,} allowed."
        )
    if size != wanted or sha256_of(path) != listed.get("sha256"):
        raise BundleError(f"{path} is not the file that was bundled: get the bundle again.")
