"""Any radiograph file in, an array out: PNG, JPEG, GIF, BMP, TIFF, JSRT `.IMG`, DICOM."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8, UInt16
from PIL import Image

from flannel.data.dicom_file import read_dicom
from flannel.data.file_checks import RadiographError, check_side, checked_start
from flannel.data.formats import is_dicom
from flannel.data.greyscale import Polarity, is_flat, range_in_use, to_eight_bits
from flannel.data.picture_file import open_picture

JSRT_SIDE_PX = 2048
JSRT_BYTES = JSRT_SIDE_PX * JSRT_SIDE_PX * 2

CLIPPED = 0.95
"""Share of pixels from which a DICOM window that makes them black or white lies beside them."""


@dataclass(frozen=True)
class StoredLevels:
    """Integer grey levels as a file holds them.

    Attributes:
        levels: Grey levels (height, width), 0 to 2**bits - 1.
        bits: Bits per pixel that the range uses: 8, 12 or 16.
        polarity: `display` (lungs dark) or `jsrt` (lungs bright).
    """

    levels: UInt8[np.ndarray, "height width"] | UInt16[np.ndarray, "height width"]
    bits: int
    polarity: Polarity


def read_radiograph(path: Path) -> Float32[np.ndarray, "1 height width"]:
    """Reads a radiograph of any known format as grey values in [0, 1], lungs dark.

    Raises:
        RadiographError: As `read_levels`.
    """
    stored = read_levels(path)
    grey = stored.levels.astype(np.float32) / np.float32(2**stored.bits - 1)
    return (1 - grey if stored.polarity == "jsrt" else grey)[None]


def read_levels(path: Path) -> StoredLevels:
    """Reads the integer grey levels of a radiograph, with bit depth and polarity.

    The format is recognised by the content: PNG bytes under `.jpg` are common in real collections.
    Only the headerless JSRT files are recognised by name (`.IMG`) and size. Palettes are applied,
    colours become luminance, transparency is dropped, orientation tags are obeyed. DICOM files
    go through rescale and VOI window, and MONOCHROME1 is inverted. Where a file of more than 8
    bits uses less than a quarter of its range, be it a window's, that part becomes black to white.

    Raises:
        RadiographError: If the file is missing, empty, damaged, of no known format, has several
            frames, more than 100 megapixels or 1 GiB, a side below 32 pixels, or shows one grey
            level only.
    """
    start = checked_start(path)
    if is_dicom(start):
        rows, table = read_dicom(path)
        bits = 8 if table.grey.size <= 2**8 else 16
        return _shown(path, rows, table.grey, bits, "display", table.counted, table.chosen)
    if path.suffix.lower() == ".img":
        return _read_jsrt(path)
    return _picture_levels(open_picture(path), path)


def _picture_levels(picture: Image.Image, path: Path) -> StoredLevels:
    check_side(path, *picture.size)
    match picture.mode:
        case "I;16" | "I;16B" | "I;16L" | "I;16N":
            return _shown(path, np.asarray(picture).astype(np.uint16), np.linspace(0, 1, 2**16), 16)
        case "L":
            grey = picture
        case "LA" | "La":
            grey = picture.getchannel(0)
        case "1" | "P" | "PA" | "RGB" | "RGBA" | "RGBX" | "CMYK" | "YCbCr":
            # Through RGB, so that palettes are applied and transparency is dropped, not blended.
            grey = picture.convert("RGB").convert("L")
        case mode:
            raise RadiographError(
                f"{path} has pixels of Pillow's mode {mode}; expected 8 or 16 bits a channel."
            )
    levels = np.asarray(grey)
    # Pillow counts several times as fast as np.bincount.
    _check_contrast(path, np.array(grey.histogram()))
    return StoredLevels(levels, 8, "display")


def _shown(
    path: Path,
    rows: np.ndarray,
    grey: Float64[np.ndarray, " rows"],
    bits: int,
    polarity: Polarity = "display",
    counted: Bool[np.ndarray, " rows"] | None = None,
    chosen: bool = False,
) -> StoredLevels:
    """Maps pixels through a table of grey values to levels that 8 bits can keep.

    Args:
        path: Of the file.
        rows: The table's row for each pixel.
        grey: The table, of values from 0 to 1.
        bits: Bits per pixel of the levels that are returned.
        polarity: What the levels mean.
        counted: Rows that are part of the picture; all of them by default.
        chosen: Whether the file itself chooses what is black and white.

    Raises:
        RadiographError: If nothing can be seen.
    """
    counts = np.bincount(rows.ravel(), minlength=grey.size)
    if counted is not None:
        counts = counts * counted
    used = np.unique(grey[counts > 0])
    low, high = (0.0, 1.0) if bits == 8 or not used.size else range_in_use(used, grey.size - 1)
    shown = np.clip((grey - low) / (high - low), 0, 1)
    levels = np.rint(shown * (2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16)
    eight = to_eight_bits(levels[None], bits, "display")[0]
    shares = np.bincount(eight, weights=counts, minlength=256)
    _check_contrast(path, shares)
    clipped = (shares[0] + shares[255]) / shares.sum()
    if chosen and clipped > CLIPPED:
        raise RadiographError(
            f"{path} has a window that makes {clipped:.0%} of its pixels black or white; expected "
            "the window of these pixels. Export it again."
        )
    return StoredLevels(levels[rows], bits, polarity)


def _check_contrast(path: Path, counts: np.ndarray) -> None:
    if is_flat(counts):
        level = int(counts.argmax())
        raise RadiographError(
            f"{path} shows one grey level only ({level} of 255); expected a radiograph. Export it "
            "again."
        )


def _read_jsrt(path: Path) -> StoredLevels:
    size = path.stat().st_size
    if size != JSRT_BYTES:
        raise RadiographError(
            f"{path} has {size:,} bytes; expected {JSRT_BYTES:,} for a JSRT file "
            f"({JSRT_SIDE_PX} x {JSRT_SIDE_PX} pixels of 2 bytes). Copy it again."
        )
    levels = np.fromfile(path, dtype=">u2").reshape(JSRT_SIDE_PX, JSRT_SIDE_PX)
    if levels.max() > 4095:
        raise RadiographError(
            f"{path} holds the level {levels.max()}; expected 0 to 4095 (12 bits, big-endian) "
            "in a JSRT file. Were its bytes swapped?"
        )
    return _shown(path, levels.astype(np.uint16), np.linspace(0, 1, 4096), 12, "jsrt")
