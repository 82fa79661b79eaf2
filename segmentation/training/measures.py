"""How well a mask agrees with the truth: Jaccard index, Dice, boundary distance, and intervals."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

MEASURES = ("jaccard", "jaccard_native", "dice", "hausdorff95")
"""Columns of `measures.csv`; the first two are the Jaccard index at the network's size and at the
reference mask's own."""


def jaccard(
    predicted: Bool[np.ndarray, "height width"], truth: Bool[np.ndarray, "height width"]
) -> float:
    """Returns intersection over union, in [0, 1].

    Unlike the papers' program, nothing is added to numerator and denominator. An empty prediction
    of something counts 0; where there is nothing to find and nothing was found, 1.
    """
    either = int((predicted | truth).sum())
    return int((predicted & truth).sum()) / either if either else 1.0


def dice(
    predicted: Bool[np.ndarray, "height width"], truth: Bool[np.ndarray, "height width"]
) -> float:
    """Returns twice the intersection over the sum of areas, in [0, 1]; empty as in `jaccard`."""
    areas = int(predicted.sum()) + int(truth.sum())
    return 2 * int((predicted & truth).sum()) / areas if areas else 1.0


def hausdorff95(
    predicted: Bool[np.ndarray, "height width"], truth: Bool[np.ndarray, "height width"]
) -> float:
    """Returns the 95 % Hausdorff distance of two outlines as a fraction of the image diagonal.

    From each outline, the distance that 95 % of its pixels keep to the other outline; the larger
    of the two. Pixels of an outline belong to the mask and touch its outside (4 neighbours; the
    picture's edge is outside). If one of the masks is empty the distance is 1, the whole diagonal,
    so that finding nothing is not rewarded; if both are, 0.

    Unlike MedPy's, whose percentile is of both directions pooled and up to 38 % smaller or larger.
    On a picture that was stretched to a square, a distance is longer or shorter by direction.
    """
    if not predicted.any() or not truth.any():
        return 0.0 if predicted.any() == truth.any() else 1.0
    outlines = _outline(predicted), _outline(truth)
    diagonal = float(np.hypot(*truth.shape))
    there, back = (
        np.percentile(ndimage.distance_transform_edt(~other)[first], 95)
        for first, other in (outlines, outlines[::-1])
    )
    return float(max(there, back)) / diagonal


def _outline(mask: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    return mask & ~ndimage.binary_erosion(mask)


def mean_interval(
    values: Float[np.ndarray, " images"],
    groups: Sequence[str],
    resamples: int = 2000,
    seed: int = 1,
) -> tuple[float, float, float]:
    """Returns a mean over images and its 95 % interval, by bootstrap over groups.

    Args:
        values: One for each image.
        groups: The patient, or whatever must be drawn together, of each image.
        resamples: Draws of as many groups as there are, with replacement.
        seed: Seed of the draws.

    Returns:
        Mean, lower and upper bound (2.5th and 97.5th percentile).

    Raises:
        ValueError: If there is no image, or not one group for each.
    """
    if not len(values) or len(values) != len(groups):
        raise ValueError(
            f"{len(values)} values and {len(groups)} groups: expected as many, and one at least."
        )
    _, place = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.bincount(place, weights=values)
    counts = np.bincount(place)
    draws = np.random.default_rng(seed).integers(len(sums), size=(resamples, len(sums)))
    means = sums[draws].sum(axis=1) / counts[draws].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(np.mean(values)), float(low), float(high)
