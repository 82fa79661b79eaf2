"""How much of the lungs a set of patches sees."""

import torch
from jaxtyping import Bool, Int64, Integer
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
    seen = (_windows_over(mask, centres, size) >= times) & mask
    return int(seen.sum()) / int(mask.sum())


def _windows_over(
    mask: Bool[Tensor, "height width"], centres: Int64[Tensor, "k 2"], size: int
) -> Integer[Tensor, "height width"]:
    """Counts the windows over each pixel."""
    small = torch.int16 if len(centres) < 2**15 else torch.int64
    windows = torch.zeros(mask.shape, dtype=small, device=mask.device)
    for row, column in corners_inside(centres, size, *mask.shape).tolist():
        windows[row : row + size, column : column + size] += 1
    return windows
