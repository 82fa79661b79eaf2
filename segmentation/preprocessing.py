"""What the segmenter sees of a radiograph: equalised grey values, 256 x 256.

Paper 004, Section 2.1 (after Oh, Park and Ye 2020): float32, histogram equalisation, gamma
correction, 256 x 256. The public inference program also cuts every radiograph off at the first
zero below the middle of its central column; that is not repeated here, because a true black pixel
there costs half the image.
"""

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
        ValueError: If gamma is not positive or the polarity is unknown.
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
        ValueError: If the polarity is unknown.
    """
    small = resize(equalise(levels, polarity), size_px, size_px)
    return (np.clip(small, 0, 255) if clip else small)[None]


def prepare_mask(
    mask: Bool[np.ndarray, "height width"], size_px: int = 256
) -> Bool[np.ndarray, "size size"]:
    """Brings a reference mask to the network's size: inside where more than half is lung."""
    return resize(mask.astype(np.float32), size_px, size_px) > 0.5
