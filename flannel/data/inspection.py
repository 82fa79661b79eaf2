"""What a radiograph's file is, without decoding it: size, hash, and whether it is whole."""

import hashlib
import io
import warnings
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from PIL import ExifTags, Image

from flannel.data.file_checks import (
    DECODING_FAULTS,
    MAX_BYTES,
    MAX_PIXELS,
    MIN_SIDE_PX,
    RadiographError,
)
from flannel.data.jpeg import jpeg_damage
from flannel.data.names import is_text, shown
from flannel.data.radiograph import read_levels
from flannel.data.remembered import recall, remember
from flannel.progress import progress

RULES = "files 2"
"""Its number goes up when files are judged by other rules: remembered verdicts are given up."""

FEWEST_BYTES = 0.06
"""Bytes a pixel below which a picture may show one grey level only: a flat JPEG has 0.01 to 0.05.
Of 3,144 real radiographs the fewest are 0.041."""

BATCH = 64
PNG_START, JPEG_START, JPEG_END = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"\xff\xd9"
PLAIN_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I;16B")
TURNED = (5, 6, 7, 8)
"""EXIF orientations that exchange width and height."""

TURNING_TEXTS = (b"Raw profile type exif\0", b"Raw profile type APP1\0", b"XML:com.adobe.xmp\0")
"""Keywords of the PNG texts in which an orientation can stand, beside the chunk eXIf."""


@dataclass(frozen=True)
class FileFacts:
    """What is known of a file once it was looked at; `fault` is "" for a good one."""

    width: int = 0
    height: int = 0
    sha256: str = ""
    fault: str = ""


class _Seen(NamedTuple):
    """The facts of a file as it was when it had this size and this time of change."""

    size: int
    mtime_ns: int
    facts: FileFacts


def inspect_files(paths: Sequence[Path], cache: Path | None = None) -> list[FileFacts]:
    """Looks at files, several beside each other, and remembers the good ones.

    Args:
        paths: The files.
        cache: Where to remember them: a file that has the same path, size and time of change as
            before is not read again. A damaged cache is made anew. Faults are not remembered, so
            that a disk or decoder that was mended counts at once.

    Returns:
        The facts, in the order of the paths.
    """
    known = {} if cache is None else _read_cache(cache)
    seen = {path: _seen_before(path, known) for path in paths}
    fresh = [path for path, entry in seen.items() if entry is None]
    batches = [fresh[start : start + BATCH] for start in range(0, len(fresh), BATCH)]
    facts = {path: entry.facts for path, entry in seen.items() if entry is not None}
    learnt: dict[str, _Seen] = {}
    with ThreadPoolExecutor() as pool:
        for batch in progress(pool.map(_look_at, batches), len(batches), "Looking at new files"):
            facts.update({path: entry.facts for path, entry in batch})
            learnt.update({str(path.absolute()): e for path, e in batch if not e.facts.fault})
    if cache is not None and learnt:
        _write_cache({**known, **learnt}, cache)
    return [facts[path] for path in paths]


def inspect_file(path: Path) -> FileFacts:
    """Looks at one file, as `read_levels` would see it.

    PNG and JPEG are not decoded: the header gives the size, and the file is whole when every chunk
    of the PNG has its checksum, or the JPEG ends with its end marker and shows no damage. Whatever
    leaves a doubt, a file too small to show anything among it, and every other format, is decoded
    by `read_levels`, whose verdict counts.
    """
    if not is_text(path):
        return FileFacts(fault=f"{shown(path)} is a name that no disk or table takes: rename it.")
    try:
        usual = path.is_file() and path.stat().st_size <= MAX_BYTES
        content = path.read_bytes() if usual else b""
        size = _size_of_whole_picture(content)
        if size is None:
            height, width = read_levels(path).levels.shape
            size = (width, height)
        return FileFacts(*size, hashlib.sha256(content).hexdigest())
    except RadiographError as fault:
        return FileFacts(fault=str(fault))
    except OSError as fault:
        return FileFacts(fault=f"{path} cannot be read ({fault.strerror or fault}).")


def _look_at(batch: Sequence[Path]) -> list[tuple[Path, _Seen]]:
    looked_at = []
    for path in batch:
        try:
            status = path.stat()  # before it is read: a change after that is seen the next time
            size, mtime_ns = status.st_size, status.st_mtime_ns
        except (OSError, ValueError):  # no name that a disk knows
            size, mtime_ns = 0, 0
        looked_at.append((path, _Seen(size, mtime_ns, inspect_file(path))))
    return looked_at


def _seen_before(path: Path, known: Mapping[str, _Seen]) -> _Seen | None:
    entry = known.get(str(path.absolute()))
    if entry is None:
        return None
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    unchanged = (entry.size, entry.mtime_ns) == (status.st_size, status.st_mtime_ns)
    return entry if unchanged else None


def _size_of_whole_picture(content: bytes) -> tuple[int, int] | None:
    """Returns width and height of a PNG or JPEG that is surely whole and of a usual kind."""
    is_jpeg = content.startswith(JPEG_START)
    if not (content.endswith(JPEG_END) if is_jpeg else _is_whole_png(content)):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture = Image.open(io.BytesIO(content), formats=("JPEG" if is_jpeg else "PNG",))
        usual = picture.mode in PLAIN_MODES and getattr(picture, "n_frames", 1) == 1
        # Pillow would decode a PNG to answer this; `_is_whole_png` found no orientation in it.
        turned = is_jpeg and picture.getexif().get(ExifTags.Base.Orientation) in TURNED
    except (Image.DecompressionBombError, *DECODING_FAULTS):
        return None
    width, height = picture.size
    if not usual or min(width, height) < MIN_SIDE_PX or width * height > MAX_PIXELS:
        return None
    if len(content) < width * height * FEWEST_BYTES or (is_jpeg and jpeg_damage(content)):
        return None
    return (height, width) if turned else (width, height)


def _is_whole_png(content: bytes) -> bool:
    """Returns whether every chunk has its checksum, and none may turn the picture."""
    if not content.startswith(PNG_START):
        return False
    view, start = memoryview(content), len(PNG_START)
    while start + 12 <= len(content):
        kind = content[start + 4 : start + 8]
        end = start + 12 + int.from_bytes(view[start : start + 4])
        if zlib.crc32(view[start + 4 : end - 4]) != int.from_bytes(view[end - 4 : end]):
            return False
        if kind == b"IEND":
            return end <= len(content)
        if kind == b"eXIf" or content.startswith(TURNING_TEXTS, start + 8, end):
            return False
        start = end
    return False


def _read_cache(path: Path) -> dict[str, _Seen]:
    return {
        name: _Seen(int(size), int(mtime_ns), FileFacts(int(width), int(height), sha256))
        for name, size, mtime_ns, width, height, sha256 in recall(path, RULES)
    }


def _write_cache(seen: Mapping[str, _Seen], path: Path) -> None:
    rows = (
        (name, e.size, e.mtime_ns, e.facts.width, e.facts.height, e.facts.sha256)
        for name, e in sorted(seen.items())
    )
    remember(rows, path, RULES)
