"""What a mask tells of the patient beside the lungs' place: area, grey values, heart size."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from flannel.data.radiograph import StoredLevels

SAMPLED_PIXELS = 1_000_000
"""Of larger radiographs every second (third, ...) row and column is measured, so that those on
their way between the threads take little memory."""


@dataclass(frozen=True)
class Biomarkers:
    """Measures of one radiograph (paper 004 names them as what segmentation gives besides).

    Attributes:
        lung_area_px: Pixels of the radiograph inside the mask.
        lung_area_share: The same as a share of the picture, in [0, 1].
        mean_intensity: Mean grey value inside the mask, in [0, 1]; None where the mask is empty.
            Plain grey levels of the file over its range, lungs dark; neither equalised nor
            comparable between machines of different exposure.
        sd_intensity: Standard deviation of the same.
        cardiothoracic_ratio: Of `cardiothoracic_ratio`; None where the segmenter knows no heart,
            or heart or a lung was not found.
    """

    lung_area_px: int
    lung_area_share: float
    mean_intensity: float | None
    sd_intensity: float | None
    cardiothoracic_ratio: float | None = None


def sampled(stored: StoredLevels) -> StoredLevels:
    """Keeps about a million pixels of a radiograph, on a regular grid, for `measure`."""
    step = _step(stored.levels.shape)
    return StoredLevels(stored.levels[::step, ::step].copy(), stored.bits, stored.polarity)


def measure(
    mask: Bool[np.ndarray, "height width"],
    sample: StoredLevels,
    cardiothoracic: float | None = None,
) -> Biomarkers:
    """Measures a radiograph inside its lung mask.

    Args:
        mask: True inside the lungs, at the radiograph's own size.
        sample: What `sampled` has kept of the radiograph.
        cardiothoracic: The cardiothoracic ratio, where there is one.
    """
    step = _step(mask.shape)
    inside = sample.levels[mask[::step, ::step]]
    area = int(np.count_nonzero(mask))
    mean = deviation = None
    if inside.size:
        span = 2**sample.bits - 1
        mean, deviation = float(inside.mean()) / span, float(inside.std()) / span
        mean = 1 - mean if sample.polarity == "jsrt" else mean
    return Biomarkers(area, area / mask.size, mean, deviation, cardiothoracic)


def cardiothoracic_ratio(
    heart: Bool[np.ndarray, "height width"], lungs: Bool[np.ndarray, "height width"]
) -> float | None:
    """Divides the greatest width of the heart by that of the chest.

    The heart's width is from its leftmost to its rightmost pixel, at whatever heights: what
    radiologists measure as the two distances from the midline. The chest's is the greatest
    distance in one row between the outer edges of the lungs. It stands for the inner diameter of
    the rib cage, to which it is close where the lungs reach the ribs; effusions and consolidations
    that the mask leaves out make it too small, and the ratio too large.

    Returns:
        The ratio; None where heart or lungs are empty.
    """
    columns = np.flatnonzero(heart.any(axis=0))
    rows = lungs[lungs.any(axis=1)]
    if not columns.size or not rows.size:
        return None
    first, last = rows.argmax(axis=1), rows.shape[1] - 1 - rows[:, ::-1].argmax(axis=1)
    return float((columns[-1] - columns[0] + 1) / (last - first + 1).max())


def _step(shape: tuple[int, ...]) -> int:
    return max(1, math.ceil(math.sqrt(math.prod(shape) / SAMPLED_PIXELS)))
