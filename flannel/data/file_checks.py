"""What every file of a radiograph or mask must be, whatever its format."""

import struct
import zlib
from pathlib import Path

from pydicom.errors import BytesLengthException

from flannel.data.formats import NEEDED_BYTES
from flannel.errors import FlannelError

MAX_PIXELS = 100_000_000
MAX_BYTES = 2**30
MIN_SIDE_PX = 32

# What Pillow and pydicom raise for damaged or unsupported files: there is no common base.
DECODING_FAULTS = (
    OSError, ValueError, SyntaxError, EOFError, MemoryError, AttributeError, KeyError, IndexError,
    TypeError, RuntimeError, NotImplementedError, OverflowError, BytesLengthException, zlib.error,
    struct.error,
)  # fmt: skip


class RadiographError(FlannelError):
    """Raised when a file cannot be used as a radiograph or mask; the message names its path."""


def checked_start(path: Path) -> bytes:
    """Reads a file's first bytes, as `format_of` wants them.

    Raises:
        RadiographError: If it is missing, empty or larger than 1 GiB.
    """
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


def check_pixels(path: Path, width: int, height: int) -> None:
    """Refuses a picture that is too large to be decoded.

    Raises:
        RadiographError: If it has more than 100 megapixels.
    """
    if width * height > MAX_PIXELS:
        raise RadiographError(
            f"{path} is {width} x {height} = {width * height / 1e6:.0f} megapixels; at most "
            f"{MAX_PIXELS // 1_000_000} are read. Shrink it first."
        )


def check_side(path: Path, width: int, height: int) -> None:
    """Refuses a radiograph that is too small to show anything.

    Raises:
        RadiographError: If a side is below 32 pixels.
    """
    if min(height, width) < MIN_SIDE_PX:
        raise RadiographError(
            f"{path} is {width} x {height} pixels; expected at least {MIN_SIDE_PX} a side. "
            "Is it a thumbnail?"
        )
