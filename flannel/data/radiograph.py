"""Any radiograph or mask file in, an array out: PNG, JPEG, GIF, BMP, TIFF, JSRT `.IMG`, DICOM."""

import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from jaxtyping import Bool, Float32, UInt8, UInt16
from PIL import Image, ImageOps
from pydicom.errors import BytesLengthException
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

from flannel.data.files import whole_file
from flannel.data.greyscale import Polarity
from flannel.errors import FlannelError

MAX_PIXELS = 100_000_000
MAX_BYTES = 2**30
MIN_SIDE_PX = 32
JSRT_SIDE_PX = 2048
JSRT_BYTES = JSRT_SIDE_PX * JSRT_SIDE_PX * 2
PICTURE_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF")
KNOWN = "PNG, JPEG, GIF, BMP, TIFF, DICOM or JSRT .IMG"

SPARSE = 0.25
"""Share of a DICOM file's range of more than 8 bits below which, without a window, the levels that
are used become black and white: of the whole range a store would keep fewer than 64 of them."""

# What Pillow and pydicom raise for damaged or unsupported files: there is no common base.
DECODING_FAULTS = (
    OSError, ValueError, SyntaxError, EOFError, MemoryError, AttributeError, KeyError, IndexError,
    TypeError, RuntimeError, NotImplementedError, OverflowError, BytesLengthException, zlib.error,
    struct.error,
)  # fmt: skip


class RadiographError(FlannelError):
    """A file that cannot be used as a radiograph or mask, in a sentence with its path."""


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

    The format is told by the content: PNG bytes under `.jpg` are common in real collections.
    Only the headerless JSRT files are told by name (`.IMG`) and size. Palettes are applied,
    colours become luminance, transparency is dropped, orientation tags are obeyed. DICOM files
    go through rescale and VOI window, and MONOCHROME1 is inverted.

    Raises:
        RadiographError: If the file is missing, empty, damaged, of no known format, has several
            frames, more than 100 megapixels or 1 GiB, or a side below 32 pixels.
    """
    start = _first_bytes(path)
    if start[128:132] == b"DICM":
        stored = _read_dicom(path)
    elif path.suffix.lower() == ".img":
        stored = _read_jsrt(path)
    else:
        stored = _picture_levels(_open_picture(path), path)
    height, width = stored.levels.shape
    if min(height, width) < MIN_SIDE_PX:
        raise RadiographError(
            f"{path} is {width} x {height} pixels; expected at least {MIN_SIDE_PX} a side. "
            "Is it a thumbnail?"
        )
    return stored


def read_mask(path: Path) -> Bool[np.ndarray, "height width"]:
    """Reads a mask: True inside.

    Levels 0 / 255, 0 / 1 and palettes with the indices 0 / 1 (as some GIF copies of the SCR
    masks) are understood; in colour or transparent files the brightest channel counts.

    Raises:
        RadiographError: If the file cannot be read, or holds grey levels between the two of a
            mask in more than 5 % of its pixels (a smoothed outline has fewer).
    """
    _first_bytes(path)
    picture = _open_picture(path)
    two_indices = picture.mode == "P" and np.asarray(picture).max() <= 1
    if two_indices or picture.mode in ("1", "L", "I;16"):
        levels = np.asarray(picture)
    else:
        levels = np.asarray(picture.convert("RGB")).max(axis=2)
    highest = int(levels.max())
    if highest <= 1:
        return levels > 0
    between = np.count_nonzero((levels > highest // 8) & (levels < highest - highest // 8))
    if between > 0.05 * levels.size:
        raise RadiographError(
            f"{path} holds grey levels between black and white in {between / levels.size:.0%} of "
            "its pixels; expected a mask with two levels. Is it a radiograph?"
        )
    return levels > highest // 2


def write_mask(mask: Bool[np.ndarray, "height width"], path: Path) -> None:
    """Writes a mask as an 8-bit PNG with 0 outside and 255 inside, whole or not at all."""
    with whole_file(path) as beside:
        # Runs of equal pixels are all there is to compress: quicker and smaller than the default.
        picture = Image.fromarray(mask.astype(np.uint8) * 255)
        picture.save(beside, format="PNG", compress_type=zlib.Z_RLE)


def _first_bytes(path: Path) -> bytes:
    if not path.is_file():
        raise RadiographError(f"{path} does not exist or is not a file; expected an image.")
    if path.stat().st_size > MAX_BYTES:
        raise RadiographError(
            f"{path} has {path.stat().st_size:,} bytes; at most {MAX_BYTES:,} are read. Is it a "
            "radiograph?"
        )
    with path.open("rb") as stream:
        start = stream.read(132)
    if not start:
        raise RadiographError(f"{path} is empty (0 bytes); download or copy it again.")
    return start


def _check_pixels(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise RadiographError(
            f"{path} is {width} x {height} = {width * height / 1e6:.0f} megapixels; at most "
            f"{MAX_PIXELS // 1_000_000} are read. Shrink it first."
        )


def _open_picture(path: Path) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(path, formats=PICTURE_FORMATS)
    except Image.DecompressionBombError as fault:
        raise RadiographError(
            f"{path} has more pixels than the {MAX_PIXELS // 1_000_000} million that are read. "
            "Shrink it first."
        ) from fault
    except DECODING_FAULTS as fault:
        raise RadiographError(f"{path} is not an image that can be read: expected {KNOWN}.") from (
            fault
        )
    with picture:
        _check_pixels(path, *picture.size)
        try:
            frames = getattr(picture, "n_frames", 1)
            if frames <= 1:
                picture.load()
                return ImageOps.exif_transpose(picture)
        except DECODING_FAULTS as fault:
            raise RadiographError(
                f"{path} is damaged or truncated ({fault}); download or copy it again."
            ) from fault
    raise RadiographError(
        f"{path} holds several frames; expected one. Save the wanted one by itself."
    )


def _picture_levels(picture: Image.Image, path: Path) -> StoredLevels:
    match picture.mode:
        case "I;16" | "I;16B" | "I;16L" | "I;16N":
            return StoredLevels(np.asarray(picture).astype(np.uint16), 16, "display")
        case "L":
            return StoredLevels(np.asarray(picture), 8, "display")
        case "LA" | "La":
            return StoredLevels(np.asarray(picture.getchannel(0)), 8, "display")
        case "1" | "P" | "PA" | "RGB" | "RGBA" | "RGBX" | "CMYK" | "YCbCr":
            # Through RGB, so that palettes are applied and transparency is dropped, not blended.
            return StoredLevels(np.asarray(picture.convert("RGB").convert("L")), 8, "display")
        case mode:
            raise RadiographError(
                f"{path} has pixels of Pillow's mode {mode}; expected 8 or 16 bits a channel."
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
    return StoredLevels(levels.astype(np.uint16), 12, "jsrt")


def read_header(path: Path, pixels: bool = False) -> pydicom.Dataset:
    """Reads a DICOM file, without what pydicom has to say of headers that deviate a little.

    Args:
        path: The file.
        pixels: Read the pixels too.

    Raises:
        Exception: One of `DECODING_FAULTS`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return pydicom.dcmread(path, stop_before_pixels=not pixels)


def _read_dicom(path: Path) -> StoredLevels:
    try:
        dataset = read_header(path, pixels=True)
        frames = int(dataset.get("NumberOfFrames", 1) or 1)
        kind = str(dataset.PhotometricInterpretation)
        _check_pixels(path, int(dataset.Columns), int(dataset.Rows))
        if frames != 1:
            raise RadiographError(f"{path} holds {frames} frames; expected one radiograph.")
        if kind not in ("MONOCHROME1", "MONOCHROME2"):
            raise RadiographError(
                f"{path} is a DICOM file of {kind}; expected MONOCHROME1 or MONOCHROME2."
            )
        shown, lowest, highest = _displayed(dataset)
        if shown.ndim != 2:
            raise RadiographError(
                f"{path} holds pixels of several samples; expected one grey level a pixel."
            )
    except RadiographError:
        raise
    except DECODING_FAULTS as fault:
        told = " ".join(str(fault).split())  # pydicom's list of decoders has a line for each
        raise RadiographError(
            f"{path} is a DICOM file whose pixels cannot be read ({told}). Export it again, "
            "uncompressed, or install a decoder that is named here."
            if "dependencies" in told
            else f"{path} is a DICOM file whose pixels cannot be read ({told}); export it again."
        ) from fault
    bits = 8 if int(dataset.BitsStored) <= 8 else 16
    scaled = np.clip((shown - lowest) / (highest - lowest), 0, 1)
    if kind == "MONOCHROME1":
        scaled = 1 - scaled
    levels = np.rint(scaled * (2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16)
    return StoredLevels(levels, bits, "display")


def _displayed(dataset: pydicom.Dataset) -> tuple[np.ndarray, float, float]:
    """Gives the values after rescale and VOI, with the values that show as black and white."""
    bits = int(dataset.BitsStored)
    first = -(2 ** (bits - 1)) if int(dataset.PixelRepresentation) == 1 else 0
    ends = apply_modality_lut(np.array([first, first + 2**bits - 1]), dataset)
    values = apply_modality_lut(dataset.pixel_array, dataset)
    if "VOILUTSequence" in dataset:
        depth = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
        return apply_voi_lut(values, dataset, prefer_lut=True), 0.0, 2.0**depth - 1
    # The window's output spans the whole range of the rescaled levels (DICOM PS3.3 C.11.2.1.2).
    shown = apply_voi_lut(values, dataset, prefer_lut=False).astype(np.float64)
    if "WindowWidth" not in dataset and bits > 8:
        used, whole = float(np.ptp(shown)), float(np.ptp(ends))
        if 0 < used < whole * SPARSE:
            return shown, float(shown.min()), float(shown.max())
    return shown, float(ends.min()), float(ends.max())
