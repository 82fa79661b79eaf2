"""Grey values in, grey values out: equalisation tables, eight bits, one size."""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Integer, UInt8
from PIL import Image

from flannel.data.choices import Squaring
from flannel.errors import OptionError

Polarity = Literal["display", "jsrt"]
"""`display`: lungs dark, as on a screen. `jsrt`: levels follow optical density, lungs bright."""

JSRT_EXTRA_CUT_PIXELS = 10
"""Pixels that the original program cuts off beyond the smallest level of a JSRT file."""

SPARSE = 0.25
"""Share of a range of more than 8 bits below which the part in use becomes black to white: of the
whole range 8 bits would leave fewer than 64 levels."""

LEAST_SPAN = 0.5 / (2**16 - 1)
"""Part of a range below which it holds a single level of 16 bits, and nothing to spread."""

FEWEST = 16
"""Levels of which a picture has more, whatever its padding."""

FLAT = 0.999
"""Share of pixels at a single one of 256 levels from which a picture shows nothing. Of 3,144 real
radiographs the largest share is 0.50."""


class Box(NamedTuple):
    """Where a radiograph lies in its square, in the square's pixels."""

    top: int
    left: int
    height: int
    width: int


def equalisation_table(
    histogram: Integer[np.ndarray, " levels"], polarity: Polarity, gamma: float = 0.5
) -> Float32[np.ndarray, " levels"]:
    """Makes the lookup table of histogram equalisation and gamma correction.

    Oh, Park and Ye 2020 (IEEE TMI), pre-processing of Section III, with the arithmetic of their
    program: the cut at the dark end is a *number of pixels* (those at the smallest level, and ten
    more for JSRT), compared with the cumulative histogram; entries below it are 0, and stay 0 when
    JSRT levels are inverted.

    Args:
        histogram: Number of pixels at each grey level, starting at level 0.
        polarity: What the levels mean; `jsrt` is inverted, so that lungs come out dark.
        gamma: Exponent of the correction on values scaled to [0, 1]; 0.5 is the paper's.

    Returns:
        One grey value in [0, 255] for every level; all 0 where only one level occurs.

    Raises:
        OptionError: If gamma is not positive, or the polarity is unknown.
        ValueError: If the histogram counts no pixel.
    """
    if not histogram.size or histogram.sum() == 0:
        raise ValueError("The histogram counts no pixel; expected that of an image.")
    if gamma <= 0:
        raise OptionError(f"gamma is {gamma}; expected a positive exponent such as 0.5.")
    below = np.cumsum(histogram, dtype=np.int64)
    cut = below[np.flatnonzero(histogram)[0]]
    match polarity:
        case "display":
            pass
        case "jsrt":
            cut = cut + JSRT_EXTRA_CUT_PIXELS
        case _:
            raise OptionError(f"Polarity {polarity!r} is unknown; expected 'display' or 'jsrt'.")
    kept = below >= cut
    table = np.zeros(histogram.size)
    if kept.any() and below[kept].max() > below[kept].min():
        lowest, highest = below[kept].min(), below[kept].max()
        table[kept] = (below[kept] - lowest) * 255.0 / (highest - lowest)
        if polarity == "jsrt":
            table[kept] = 255.0 - table[kept]
    return ((table / 255.0) ** gamma * 255.0).astype(np.float32)


def range_in_use(grey: Float64[np.ndarray, " levels"], top: int) -> tuple[float, float]:
    """Returns the grey values that become black and white, so that 8 bits keep the picture.

    Pictures of 10 or 12 bits come in files of 16, where 8 bits would leave 4 or 16 levels of them.
    Where such bits, from the dark or the bright end, are what is in use, they are the range: the
    same picture has the same grey values in any file. Otherwise the range is from the lowest to the
    highest value. One far from all others counts as padding, a marker or a dead pixel.

    Args:
        grey: The grey values that occur, ascending, of [0, 1].
        top: The highest level of the whole range, such as 65,535.

    Returns:
        0 and 1 unless less than `SPARSE` of the range is in use.
    """
    if LEAST_SPAN < grey[-1] - grey[0] < SPARSE:
        return _bits_around(float(grey[0]), float(grey[-1]), top)
    for inner in (grey[1:], grey[:-1], grey[1:-1]):
        if inner.size > FEWEST and LEAST_SPAN < inner[-1] - inner[0] < SPARSE / 2:
            return _bits_around(float(inner[0]), float(inner[-1]), top)
    return 0.0, 1.0


def _bits_around(low: float, high: float, top: int) -> tuple[float, float]:
    """Returns the fewest whole bits that hold a range, if it fills half of them, or the range."""
    for bits in range(1, 17):
        part = (2**bits - 1) / top
        if part <= 2 * (high - low):
            if high <= part * (1 + 1e-9):
                return 0.0, part
            if 1 - low <= part * (1 + 1e-9):
                return 1 - part, 1.0
    return low, high


def is_flat(counts: Integer[np.ndarray, " 256"]) -> bool:
    """Returns whether a picture of so many pixels at each level of 8 bits shows nothing."""
    return bool(counts.max() >= FLAT * counts.sum())


def to_eight_bits(
    levels: Integer[np.ndarray, "height width"], bits: int, polarity: Polarity
) -> UInt8[np.ndarray, "height width"]:
    """Maps the full range of a bit depth to 0..255, lungs dark.

    Args:
        levels: Grey levels as stored, 0 to 2**bits - 1.
        bits: Bits per pixel that the range uses, 8 to 16.
        polarity: What the levels mean; `jsrt` is inverted.
    """
    if bits == 8:
        grey = levels.astype(np.uint8)
    else:
        table = np.rint(np.arange(2**bits) * (255.0 / (2**bits - 1))).astype(np.uint8)
        grey = table[levels]
    return 255 - grey if polarity == "jsrt" else grey


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Stretches a grey image to a size with Pillow's antialiased bicubic filter.

    The aspect is ignored, as in the paper's program. Float images may overshoot their range a
    little at edges, as there; 8-bit ones are clipped by Pillow.

    Args:
        image: Grey values (height, width), uint8 or float32 of any range.
        height: Height of the result in pixels.
        width: Width of the result in pixels.

    Returns:
        An array (height, width) of the same type.

    Raises:
        ValueError: If the type is neither uint8 nor float32.
    """
    if image.dtype not in (np.uint8, np.float32):
        raise ValueError(f"Images of {image.dtype} cannot be resized; expected uint8 or float32.")
    if image.shape == (height, width):
        return image
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized)


def content_box(height: int, width: int, side_px: int, squaring: Squaring) -> Box:
    """Returns which part of a square a radiograph of some size fills.

    The pixel (row, column) of the square shows the radiograph around
    ((row - top + 0.5) * height / box.height, (column - left + 0.5) * width / box.width).

    Args:
        height: The radiograph's own height in pixels.
        width: Its own width in pixels.
        side_px: Side of the square in pixels.
        squaring: `stretch` fills the whole square. `letterbox` fills it along the longer side and
            lies in the middle of the other.

    Raises:
        OptionError: If `squaring` is unknown.
    """
    match squaring:
        case "stretch":
            return Box(0, 0, side_px, side_px)
        case "letterbox":
            scale = side_px / max(height, width)
            filled = max(1, round(height * scale)), max(1, round(width * scale))
            return Box((side_px - filled[0]) // 2, (side_px - filled[1]) // 2, *filled)
        case _:
            raise OptionError(f"resize is {squaring!r}; expected 'stretch' or 'letterbox'.")


def to_square(image: np.ndarray, side_px: int, squaring: Squaring) -> np.ndarray:
    """Brings a grey image to a square with Pillow's bicubic filter; bands beside it are 0.

    The bands of a letterbox are drawn after resizing, so that nothing leaks into them: a mask
    stays 0 there.

    Args:
        image: Grey values (height, width), uint8 or float32 of any range.
        side_px: Side of the square in pixels.
        squaring: Whether the aspect is ignored or kept, as in `content_box`.

    Raises:
        OptionError: If `squaring` is unknown.
        ValueError: If the type is neither uint8 nor float32.
    """
    box = content_box(image.shape[0], image.shape[1], side_px, squaring)
    content = resize(image, box.height, box.width)
    if content.shape == (side_px, side_px):
        return content
    square = np.zeros((side_px, side_px), image.dtype)
    square[box.top : box.top + box.height, box.left : box.left + box.width] = content
    return square


def box_around(mask: Bool[np.ndarray, "side side"]) -> tuple[slice, slice]:
    """Returns the rows and columns of the smallest box around a mask, nothing if it is empty."""
    down, across = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(down):
        return slice(0), slice(0)
    return slice(down[0], down[-1] + 1), slice(across[0], across[-1] + 1)
