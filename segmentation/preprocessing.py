"""What the segmenter sees of a radiograph: equalised grey values, 256 x 256.

Paper 004, Section 2.1 (after Oh, Park and Ye 2020): float32, histogram equalisation, gamma
correction, 256 x 256. The public inference program also cuts every radiograph off at the first
zero below the middle of its central column; that is not repeated here, because a true black pixel
there costs half the image.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float32, UInt8, UInt16

from flannel.data.greyscale import Polarity, equalisation_table, resize

Levels = UInt8[np.ndarray, "height width"] | UInt16[np.ndarray, "height width"]


def equalise(
    levels: Levels, polarity: Polarity = "display", gamma: float = 0.5
) -> Float32[np.ndarray, "height width"]:
    """Equalises the histogram of a radiograph and corrects its brightness.

    Args:
        levels: Integer grey levels as stored in the file.
        polarity: `display` if lungs are dark in the file, `jsrt` if they are bright.
        gamma: Exponent of the correction on values scaled to [0, 1]; 0.5 is the paper's.

    Returns:
        Grey values in 0..255, lungs dark.

    Raises:
        OptionError: If gamma is not positive or the polarity is unknown.
    """
    return equalisation_table(np.bincount(levels.ravel()), polarity, gamma)[levels]


def prepare(
    levels: Levels, polarity: Polarity = "display", size_px: int = 256, clip: bool = True
) -> Float32[np.ndarray, "1 size size"]:
    """Makes the network's input from a radiograph as stored.

    Args:
        levels: Integer grey levels as stored in the file.
        polarity: `display` if lungs are dark in the file, `jsrt` if they are bright.
        size_px: Side of the square result; the aspect is ignored, as in the paper's program.
        clip: Keep bicubic overshoot within 0..255. The program clips in training and not at
            inference; here both are clipped by default, so that they see the same.

    Returns:
        Grey values in 0..255, neither scaled nor centred, lungs dark.

    Raises:
        OptionError: If the polarity is unknown.
    """
    small = resize(equalise(levels, polarity), size_px, size_px)
    return (np.clip(small, 0, 255) if clip else small)[None]


def prepare_target(
    masks: Sequence[Bool[np.ndarray, "height width"]], size_px: int = 256
) -> UInt8[np.ndarray, "size size"]:
    """Brings reference masks to the network's size, as one picture of classes.

    As in the papers' program, each mask is resized and the largest value wins, against a background
    of 0.5; where two are equal, the one named first. For one mask: inside where more than half is.

    Args:
        masks: One mask for each class but the background, in the order of the classes.
        size_px: Side of the square result.

    Returns:
        0 for background, n for the n-th mask.
    """
    planes = [np.full((size_px, size_px), 0.5, np.float32)]
    planes += [resize(mask.astype(np.float32), size_px, size_px) for mask in masks]
    return np.argmax(planes, axis=0).astype(np.uint8)
