"""How much of the lungs a set of patches sees."""

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from patching.sampling import EmptyMaskError, corners_inside


def coverage(
    mask: Bool[Tensor, "height width"],
    centres: Int64[Tensor, "k 2"],
    size: int,
    times: int = 1,
) -> float:
    """Measures the share of lung pixels, in [0, 1], that lie in enough of the windows.

    Paper 004, Section 2.2, asks for k "large enough to ensure that the lung pixels are covered
    multiple times"; this is the number that tells. Windows are moved in at the border, as
    `crop_patches` does by default.

    Args:
        mask: True inside the lungs.
        centres: Row and column of each patch centre.
        size: Side of the windows in pixels.
        times: In how many windows a pixel must lie to count as covered.

    Raises:
        EmptyMaskError: If no pixel of the mask is True.
        ValueError: If the window is larger than the image.
    """
    if not bool(mask.any()):
        raise EmptyMaskError("The lung mask is empty, so its coverage has no meaning.")
    return float((_windows_over(mask, centres, size)[mask] >= times).double().mean())


def _windows_over(
    mask: Bool[Tensor, "height width"], centres: Int64[Tensor, "k 2"], size: int
) -> Int64[Tensor, "height width"]:
    """Counts the windows over each pixel, by adding up a two-dimensional array of differences."""
    height, width = mask.shape
    top, left = corners_inside(centres, size, height, width).unbind(dim=1)
    steps = torch.zeros(height + 1, width + 1, dtype=torch.int64, device=mask.device)
    one = torch.ones_like(top)
    for row, column, sign in (
        (top, left, one),
        (top, left + size, -one),
        (top + size, left, -one),
        (top + size, left + size, one),
    ):
        steps.index_put_((row, column), sign, accumulate=True)
    return steps.cumsum(dim=0).cumsum(dim=1)[:height, :width]
