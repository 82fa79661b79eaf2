"""A PNG, JPEG, GIF, BMP or TIFF file as one decoded picture."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt16
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import OPEN_INFO, TiffImageFile

from flannel.data.file_checks import (
    DECODING_FAULTS,
    MAX_PIXELS,
    RadiographError,
    check_pixels,
)
from flannel.data.formats import KNOWN, first_bytes, format_of, is_read
from flannel.data.greyscale import SPARSE
from flannel.data.jpeg import jpeg_damage

PICTURE_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF")

BITS_PER_SAMPLE, COMPRESSION, PHOTOMETRIC, JPEG_TABLES = 258, 259, 262, 347
STRIPS, TILES = (273, 279), (324, 325)
"""Tags of a TIFF file: of its parts, offsets and lengths."""
WHITE_IS_ZERO, JPEG_IN_TIFF = 0, 7
"""Values of its photometric interpretation and compression."""

# Pillow opens deep TIFF files of WhiteIsZero in some forms only: these are missing.
OPEN_INFO.setdefault((b"MM", WHITE_IS_ZERO, (1,), 1, (16,), ()), ("I;16B", "I;16B"))
OPEN_INFO.setdefault((b"II", WHITE_IS_ZERO, (1,), 1, (12,), ()), ("I;16", "I;12"))


def open_picture(path: Path) -> Image.Image:
    """Decodes a picture, upright as its orientation tag says.

    Deep TIFF files come out over 16 bits with 0 black, in one of Pillow's modes `I;16`.

    Raises:
        RadiographError: If the file is damaged, of no known format, has several frames or more
            than 100 megapixels, or has several channels of 16 bits of which 8 keep little.
    """
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
        check_pixels(path, *picture.size)
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
