"""How well a mask agrees with the truth: Jaccard index, Dice, boundary distance, and intervals."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from flannel.uncertainty import FEWEST_GROUPS, LEVEL, Extent

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
    values: Float[np.ndarray, " images"], groups: Sequence[str], within_one: bool = True
) -> tuple[float, float | None, float | None]:
    """Returns a mean over images and its 95 % interval over groups of patients.

    Student's t with the linearised variance of a mean over groups, on the logit scale for values
    in [0, 1]. It holds where failures like those of other patients are among the images.

    Args:
        values: One for each image.
        groups: The patient, or whatever belongs together, of each image.
        within_one: Whether all values lie in [0, 1]; False for differences.

    Returns:
        Mean, lower and upper bound; None for the bounds if there are fewer than `FEWEST_GROUPS`
        groups, or their means do not differ.

    Raises:
        ValueError: If there is no image, or not one group for each.
    """
    from scipy.special import expit, logit, stdtrit

    if not len(values) or len(values) != len(groups):
        raise ValueError(
            f"{len(values)} values and {len(groups)} groups: expected as many, and one at least."
        )
    mean = float(np.mean(values))
    _, place = np.unique(np.asarray(groups), return_inverse=True)
    extent = Extent.of(np.bincount(place))
    shares = np.bincount(place, weights=values - mean) / len(values)
    if extent.groups < FEWEST_GROUPS or np.abs(shares).max() < 1e-12:
        return mean, None, None
    freedom = max(extent.effective - 1, 1.0)
    error = np.sqrt((shares**2).sum() * extent.groups / (extent.groups - 1))
    half = float(stdtrit(freedom, (1 + LEVEL) / 2) * error)
    if not within_one:
        return mean, mean - half, mean + half
    middle, half = float(logit(mean)), half / (mean * (1 - mean))
    return mean, float(expit(middle - half)), float(expit(middle + half))


def interval_words(measures: Mapping[str, object], name: str) -> str:
    """Writes a mean with its interval: `0.9512 (0.9433 to 0.9581)`.

    Args:
        measures: Holds the name, and it with `_low` and `_high`; None or NaN for no interval.
        name: Of the mean.
    """
    mean, low, high = (measures[name + end] for end in ("", "_low", "_high"))
    if not isinstance(low, float) or np.isnan(low):
        return f"{mean:.4f} (no interval)"
    return f"{mean:.4f} ({low:.4f} to {high:.4f})"
