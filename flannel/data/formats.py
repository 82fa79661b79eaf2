"""Which format a file has, by its first bytes and not by its name."""

from collections.abc import Callable, Mapping
from pathlib import Path

SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".gif", ".bmp", ".tif", ".tiff", ".img", ".dcm",
    ".dicom", ".webp", ".jp2", ".j2k", ".jxl", ".heic", ".avif",
)  # fmt: skip
"""What names of radiographs usually end in; such a file is looked at whatever it holds."""
KNOWN = "PNG, JPEG, GIF, BMP, TIFF, DICOM or JSRT .IMG"
NEEDED_BYTES = 352
DICOM = "DICOM"
DICOM_AT, DICOM_PREFIX = 128, b"DICM"
JPEG_2000 = (b"\x00\x00\x00\x0cjP  \r\n", b"\xff\x4f\xff\x51")
HEIF_BRANDS = (b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis")
BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
"""Bytes that the header of a BMP file may have."""

_READ: Mapping[str, Callable[[bytes], bool]] = {
    "PNG": lambda start: start.startswith(b"\x89PNG\r\n\x1a\n"),
    "JPEG": lambda start: start.startswith(b"\xff\xd8\xff"),
    "GIF": lambda start: start.startswith((b"GIF87a", b"GIF89a")),
    "BMP": lambda start: start.startswith(b"BM") and _number(start, 14) in BMP_HEADERS,
    "TIFF": lambda start: start.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    DICOM: lambda start: is_dicom(start),
}
_NOT_READ: Mapping[str, Callable[[bytes], bool]] = {
    "WebP": lambda start: start.startswith(b"RIFF") and start[8:12] == b"WEBP",
    "JPEG 2000": lambda start: start.startswith(JPEG_2000),
    "JPEG XL": lambda start: start.startswith((b"\xff\x0a", b"\x00\x00\x00\x0cJXL ")),
    "HEIF or AVIF": lambda start: start[4:8] == b"ftyp" and start[8:12] in HEIF_BRANDS,
    "NIfTI": lambda start: start[344:347] in (b"n+1", b"ni1"),
    "NRRD": lambda start: start.startswith(b"NRRD000"),
    "MetaImage": lambda start: start.startswith((b"ObjectType = Image", b"NDims =")),
    "Photoshop": lambda start: start.startswith(b"8BPS"),
    "PGM": lambda start: start.startswith((b"P2\n", b"P5\n")),
}
"""Formats of pictures that are recognised, to be named, and not read."""


def first_bytes(path: Path) -> bytes:
    """Reads what `format_of` wants of a file.

    Raises:
        OSError: If the file cannot be read.
    """
    with path.open("rb") as stream:
        return stream.read(NEEDED_BYTES)


def format_of(start: bytes) -> str:
    """Returns the name of a picture's format, or "" for a file that is none that is known.

    Headerless JSRT files have no bytes that tell them; their names end in `.IMG`.

    Args:
        start: The file's first bytes, as `first_bytes` reads them.
    """
    formats = {**_READ, **_NOT_READ}
    return next((name for name, fits in formats.items() if fits(start)), "")


def is_read(name: str) -> bool:
    """Returns whether radiographs of a format are read."""
    return name in _READ


def is_dicom(start: bytes) -> bool:
    """Returns whether a file is DICOM: by its prefix, or without one by its first attribute.

    PS3.10 7.1 wants 128 bytes and "DICM" before the file meta information (group 0002); archives
    also hand on files that begin with "DICM", with group 0002, or with the data set (group 0008).
    """
    if DICOM_PREFIX in (start[DICOM_AT : DICOM_AT + 4], start[:4]):
        return True
    big_endian = start[:4] in (b"\x00\x08\x00\x05", b"\x00\x08\x00\x08", b"\x00\x08\x00\x16")
    group, element, length = _number(start, 0, 2), _number(start, 2, 2), _number(start, 4)
    known_start = (group, element) in ((2, 0), (2, 1), (2, 2), (8, 0), (8, 1), (8, 5), (8, 8),
        (8, 0x12), (8, 0x16), (8, 0x18))  # fmt: skip
    explicit = start[4:6].isalpha() and start[4:6].isupper()
    return len(start) > DICOM_AT and (big_endian or (known_start and (explicit or length <= 256)))


def _number(start: bytes, at: int, size: int = 4) -> int:
    return int.from_bytes(start[at : at + size], "little")
