"""Any radiograph or mask file in, an array out: PNG, JPEG, GIF, BMP, TIFF, JSRT `.IMG`, DICOM."""

import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from jaxtyping import Bool, Float32, Float64, UInt8, UInt16
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import OPEN_INFO, TiffImageFile
from pydicom.encaps import get_frame
from pydicom.errors import BytesLengthException
from pydicom.uid import JPEGBaseline8Bit

from flannel.data.dicom_file import read_dataset
from flannel.data.dicom_levels import (
    grey_table,
    spelt_out,
    stored_values,
    value_of,
    whole_number_of,
)
from flannel.data.formats import KNOWN, NEEDED_BYTES, first_bytes, format_of, is_dicom, is_read
from flannel.data.greyscale import SPARSE, Polarity, is_flat, range_in_use, to_eight_bits
from flannel.data.jpeg import jpeg_damage
from flannel.errors import FlannelError
from flannel.files import whole_file

MAX_PIXELS = 100_000_000
MAX_BYTES = 2**30
MIN_SIDE_PX = 32
JSRT_SIDE_PX = 2048
JSRT_BYTES = JSRT_SIDE_PX * JSRT_SIDE_PX * 2
PICTURE_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF")

ALIKE = 0.05
"""Share of a mask's pixels that may lie between its two levels: those of a smoothed outline."""
MOST_LABELS = 16
"""Different levels up to which what is no mask is thought to label several structures."""

CLIPPED = 0.95
"""Share of pixels from which a DICOM window that makes them black or white lies beside them."""

NEEDED = (
    "PhotometricInterpretation", "SamplesPerPixel", "Rows", "Columns", "BitsAllocated",
    "BitsStored", "PixelRepresentation",
)  # fmt: skip
"""Attributes without which pixels cannot be told (PS3.3 C.7.6.3, Type 1)."""

BITS_PER_SAMPLE, COMPRESSION, PHOTOMETRIC, JPEG_TABLES = 258, 259, 262, 347
STRIPS, TILES = (273, 279), (324, 325)
"""Tags of a TIFF file: of its parts, offsets and lengths."""
WHITE_IS_ZERO, JPEG_IN_TIFF = 0, 7
"""Values of its photometric interpretation and compression."""

# Pillow opens deep TIFF files of WhiteIsZero in some forms only: these are missing.
OPEN_INFO.setdefault((b"MM", WHITE_IS_ZERO, (1,), 1, (16,), ()), ("I;16B", "I;16B"))
OPEN_INFO.setdefault((b"II", WHITE_IS_ZERO, (1,), 1, (12,), ()), ("I;16", "I;12"))

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
    go through rescale and VOI window, and MONOCHROME1 is inverted. Where a file of more than 8
    bits uses less than a quarter of its range, be it a window's, that part becomes black to white.

    Raises:
        RadiographError: If the file is missing, empty, damaged, of no known format, has several
            frames, more than 100 megapixels or 1 GiB, a side below 32 pixels, or shows one grey
            level only.
    """
    start = _first_bytes(path)
    if is_dicom(start):
        return _read_dicom(path)
    if path.suffix.lower() == ".img":
        return _read_jsrt(path)
    return _picture_levels(_open_picture(path), path)


def read_mask(path: Path) -> Bool[np.ndarray, "height width"]:
    """Reads a mask: True inside.

    Levels 0 / 255, 0 / 1 and palettes with the indices 0 / 1 (as some GIF copies of the SCR
    masks) are understood; in colour files the brightest channel counts. In transparent files the
    transparency counts instead where the colours are the same everywhere (`is_alpha_mask`).

    Raises:
        RadiographError: If the file cannot be read, holds labels or grey levels between the two
            of a mask in more than 5 % of its pixels (a smoothed outline has fewer), or its colours
            and its transparency show two different masks.
    """
    _first_bytes(path)
    picture = _open_picture(path)
    inside = _two_levels(_mask_levels(picture), path)
    opaque = _opaque(picture, path)
    if opaque is None or opaque.all() == opaque.any():
        return inside
    if inside.all() == inside.any():
        return opaque
    if np.count_nonzero(inside != opaque) > ALIKE * inside.size:
        raise RadiographError(
            f"{path} shows one mask by its colours and another by its transparency; expected one. "
            "Save it without transparency."
        )
    return inside


def is_alpha_mask(path: Path) -> bool:
    """Returns whether `read_mask` takes a file's transparency, because its colours show nothing.

    Raises:
        RadiographError: As `read_mask`.
    """
    try:
        with Image.open(path, formats=PICTURE_FORMATS) as header:
            if not header.has_transparency_data:
                return False
    except DECODING_FAULTS:
        pass  # the whole file is opened with a sentence
    picture = _open_picture(path)
    opaque = _opaque(picture, path)
    if opaque is None or opaque.all() == opaque.any():
        return False
    inside = _two_levels(_mask_levels(picture), path)
    return bool(inside.all() == inside.any())


def _opaque(picture: Image.Image, path: Path) -> Bool[np.ndarray, "height width"] | None:
    """Returns where a picture is not transparent; None for one that cannot be."""
    if not picture.has_transparency_data:
        return None
    return _two_levels(np.asarray(picture.convert("RGBA"))[..., 3], path)


def _mask_levels(picture: Image.Image) -> np.ndarray:
    two_indices = picture.mode == "P" and np.asarray(picture).max() <= 1
    if two_indices or picture.mode in ("1", "L", "I;16"):
        return np.asarray(picture)
    return np.asarray(picture.convert("RGB")).max(axis=2)


def _two_levels(levels: np.ndarray, path: Path) -> Bool[np.ndarray, "height width"]:
    highest = int(levels.max())
    if highest <= 1:
        return levels > 0
    between = np.count_nonzero((levels > highest // 8) & (levels < highest - highest // 8))
    if between > ALIKE * levels.size or (between and highest <= MOST_LABELS):
        labels = np.unique(levels).tolist()
        if len(labels) <= MOST_LABELS:
            raise RadiographError(
                f"{path} holds the labels {', '.join(map(str, labels))}; expected a mask with two "
                "levels. Write each structure into a file of its own (masks/left_lung/, "
                "masks/right_lung/)."
            )
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
        start = stream.read(NEEDED_BYTES)
    if not start:
        raise RadiographError(f"{path} is empty (0 bytes); download or copy it again.")
    return start


def _check_pixels(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise RadiographError(
            f"{path} is {width} x {height} = {width * height / 1e6:.0f} megapixels; at most "
            f"{MAX_PIXELS // 1_000_000} are read. Shrink it first."
        )


def _check_side(path: Path, width: int, height: int) -> None:
    if min(height, width) < MIN_SIDE_PX:
        raise RadiographError(
            f"{path} is {width} x {height} pixels; expected at least {MIN_SIDE_PX} a side. "
            "Is it a thumbnail?"
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
        name = format_of(first_bytes(path))
        what = "not an image that can be read" if is_read(name) or not name else f"a {name} file"
        raise RadiographError(f"{path} is {what}: expected {KNOWN}. Save it as PNG.") from fault
    with picture:
        _check_pixels(path, *picture.size)
        try:
            frames = getattr(picture, "n_frames", 1)
            if frames <= 1:
                shortened = ";16" in str(picture.tile) and not picture.mode.startswith("I;16")
                # Without a name it is not mapped into memory, which scrambles a TIFF on its side.
                picture.filename = ""
                picture.load()
                for coded in _jpegs(picture, path):
                    if damage := jpeg_damage(coded):
                        raise OSError(damage)
                if shortened:
                    _check_shortened(path, picture)
                if isinstance(picture, TiffImageFile) and picture.mode.startswith("I;16"):
                    return _sixteen_bits(picture)
                return ImageOps.exif_transpose(picture)
        except RadiographError:
            raise
        except DECODING_FAULTS as fault:
            raise RadiographError(
                f"{path} is damaged or truncated ({fault}); download or copy it again."
            ) from fault
    raise RadiographError(
        f"{path} holds several frames; expected one. Save the wanted one by itself."
    )


def _jpegs(picture: Image.Image, path: Path) -> Iterator[bytes]:
    """Yields the JPEGs that a picture consists of: a file of them, or the strips of a TIFF."""
    if picture.format == "JPEG":
        yield path.read_bytes()
    elif isinstance(picture, TiffImageFile) and picture.tag_v2.get(COMPRESSION) == JPEG_IN_TIFF:
        content, tags = path.read_bytes(), picture.tag_v2
        offsets, lengths = STRIPS if STRIPS[0] in tags else TILES
        for start, length in zip(tags[offsets], tags[lengths], strict=True):
            # Tables stand apart, before their end marker; a strip's own start marker is left out.
            yield (
                tags.get(JPEG_TABLES, b"\xff\xd8\xff\xd9")[:-2]
                + content[start + 2 : start + length]
            )


def _sixteen_bits(picture: TiffImageFile) -> Image.Image:
    """Returns a TIFF file's grey levels over 16 bits, 0 black: Pillow returns what is stored."""
    bits = picture.tag_v2[BITS_PER_SAMPLE][0]  # 12 or 16
    levels: UInt16[np.ndarray, "height width"] = np.asarray(picture).astype(np.uint16)
    if picture.tag_v2.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        levels = np.uint16(2**bits - 1) - levels
    return Image.fromarray(levels << np.uint16(16 - bits))


def _check_shortened(path: Path, picture: Image.Image) -> None:
    """Refuses a picture of 16 bits a channel if little is left of the 8 that Pillow reads."""
    used = int(np.ptp(np.asarray(picture.convert("RGB"))))
    if used < SPARSE * 255:
        raise RadiographError(
            f"{path} has several channels of 16 bits, of which {used + 1} levels are left in the "
            "8 bits that are read. Save it with one channel of 16 bits."
        )


def _picture_levels(picture: Image.Image, path: Path) -> StoredLevels:
    _check_side(path, *picture.size)
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
        return read_dataset(path, pixels)


def _read_dicom(path: Path) -> StoredLevels:
    try:
        dataset = read_header(path, pixels=True)
        _check_image(path, dataset)
        table, stored = grey_table(dataset), stored_values(dataset)
        if dataset.file_meta.TransferSyntaxUID == JPEGBaseline8Bit and (
            damage := jpeg_damage(get_frame(dataset.PixelData, 0, number_of_frames=1))
        ):
            raise ValueError(damage)
        if stored.ndim != 2:
            raise RadiographError(
                f"{path} holds pixels of several samples; expected one grey level a pixel."
            )
        rows = stored.astype(np.int64) - table.first
        if rows.min() < 0 or rows.max() >= table.grey.size:
            raise ValueError("its pixels hold more bits than Bits Stored")
        bits = 8 if table.grey.size <= 2**8 else 16
    except RadiographError:
        raise
    except DECODING_FAULTS as fault:
        reason = _reason(fault)
        raise RadiographError(
            f"{path} is a DICOM file whose pixels cannot be read{reason}. Export it again, "
            "uncompressed, or install a decoder that is named here."
            if "dependencies" in reason
            else f"{path} is a DICOM file whose pixels cannot be read{reason}; export it again."
        ) from fault
    return _shown(path, rows, table.grey, bits, "display", table.counted, table.chosen)


def _check_image(path: Path, dataset: pydicom.Dataset) -> None:
    """Refuses what is no single radiograph in grey levels, before its pixels are decoded."""
    if value_of(dataset, "PixelData") is None:
        kind = dataset.file_meta.get("MediaStorageSOPClassUID")
        name = f" ({kind.name})" if kind else ""
        raise RadiographError(
            f"{path} is a DICOM file without pixels{name}; expected a radiograph."
        )
    missing = [name for name in NEEDED if value_of(dataset, name) is None]
    if missing:
        raise RadiographError(
            f"{path} is a DICOM file without {', '.join(map(spelt_out, missing))}, which its "
            "pixels cannot be read without. Export it again."
        )
    columns, rows = whole_number_of(dataset, "Columns"), whole_number_of(dataset, "Rows")
    _check_pixels(path, columns, rows)
    _check_side(path, columns, rows)
    frames = whole_number_of(dataset, "NumberOfFrames", default=1)
    if frames not in (0, 1):
        raise RadiographError(f"{path} holds {frames} frames; expected one radiograph.")
    kind = str(value_of(dataset, "PhotometricInterpretation"))
    if kind not in ("MONOCHROME1", "MONOCHROME2"):
        raise RadiographError(
            f"{path} is a DICOM file of {kind}; expected MONOCHROME1 or MONOCHROME2."
        )


def _reason(fault: BaseException) -> str:
    """Returns what pydicom says of a file in brackets; nothing where Python itself speaks."""
    spoken = isinstance(fault, ValueError | RuntimeError | OSError | BytesLengthException)
    reason = " ".join(str(fault).split())  # pydicom's list of decoders has a line for each
    return f" ({reason.rstrip('.')})" if spoken and reason else ""
