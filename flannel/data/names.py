"""Names from data, such as a source or a file's stem, as names that any disk takes as they are."""

import hashlib
import re
import unicodedata
from pathlib import Path

LONGEST_BYTES = 200
"""Of a file name in UTF-8: a disk takes 255, and what is written beside a file (`whole_file`) or
derived from its name needs some of them."""
LONGEST_SOURCE, LONGEST_STEM = 60, 130
"""Bytes of the parts of an image_id; with hyphens and hash they stay below `LONGEST_BYTES`."""
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
"""Names of devices, which Windows takes for no files, whatever their suffix."""

_REFUSED = re.compile(r'[/\\:*?"<>|\s]')
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9._-]+")


def file_name(text: str, longest: int = LONGEST_BYTES) -> str:
    """Returns a text as one file name: no separators, no control characters, not hidden, bounded.

    A text that is such a name already stays as it is. Any other is changed or cut and ends in a
    hash of the whole text, so that different texts stay different names.

    Args:
        text: Anything.
        longest: The most bytes in UTF-8; at least 20.
    """
    harmless = "".join(" " if letter == " " else _harmless(letter) for letter in text).strip(" .")
    if RESERVED.match(harmless):
        harmless = f"_{harmless}"
    if text and harmless == text and len(text.encode()) <= longest:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    cut = harmless.encode()[: longest - len(digest) - 1].decode(errors="ignore")
    return f"{cut}-{digest}" if cut else digest


def image_id(source: str, stem: str, sha256: str) -> str:
    """Returns the name of a radiograph in a manifest: `<source>-<stem>-<first 8 of sha256>`.

    Args:
        source: The data set, as a table or module writes it.
        stem: The file's name without its suffix.
        sha256: Of the file's bytes.
    """
    plain = _NOT_PLAIN.sub("_", stem)
    if len(plain) > LONGEST_STEM:
        plain = file_name(plain, LONGEST_STEM)
    return f"{file_name(source, LONGEST_SOURCE)}-{plain}-{sha256[:8]}"


def is_file_name(name: str) -> bool:
    """Returns whether a text can be a file's name on any disk, with room for a suffix."""
    return bool(name) and file_name(name) == name


def is_text(path: Path) -> bool:
    """Returns whether a table and a line of a terminal can hold a path's letters."""
    return not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in str(path))


def shown(path: Path) -> str:
    """Returns a path as it is, or escaped where no table or line of a terminal can hold it."""
    return str(path) if is_text(path) else ascii(str(path))


def _harmless(letter: str) -> str:
    strange = unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    return "_" if strange or _REFUSED.match(letter) else letter
