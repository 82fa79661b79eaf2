"""What a set of patches sees of the lungs, and how much of them each patch speaks for."""

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int64
from torch import Tensor
from torch.nn import functional as F

from patching.sampling import EmptyMaskError, corners_inside
from patching.strategies import distances

CELLS = 64
"""Cells along each side of the grid on which areas are distinguished: 16 px at 1024 px."""


def coverage(
    mask: Bool[Tensor, "height width"],
    centres: Int64[Tensor, "k 2"],
    size: int | Int64[Tensor, " k"],
    times: int = 1,
) -> Float64[Tensor, " k"]:
    """Measures the share of lung pixels, in [0, 1], that the first patches see, for 1 to k of them.

    Paper 004, Section 2.2, asks for k "large enough to ensure that the lung pixels are covered
    multiple times"; this is the number that tells. Windows are moved in at the border, as
    `crop_patches` does by default.

    Args:
        mask: True inside the lungs.
        centres: Row and column of each patch centre.
        size: Side of the windows in pixels, one for all or one for each.
        times: In how many windows a pixel must lie to count as seen, at least 1.

    Returns:
        At place n the share after n + 1 patches; the last is that of the whole set.

    Raises:
        EmptyMaskError: If no pixel of the mask is True.
        OptionError: If a window is larger than the image.
    """
    lungs = mask.cpu().numpy()  # whose windows NumPy counts several times as fast
    area = np.count_nonzero(lungs)
    if area == 0:
        raise EmptyMaskError("The lung mask is empty, so its coverage has no meaning.")
    sides = torch.as_tensor(size).expand(len(centres))
    corners = corners_inside(centres, sides, *lungs.shape)
    # Pixels outside the lungs begin so low that they never reach `times`.
    counts = np.int16 if len(centres) < np.iinfo(np.int16).max else np.int32
    seen = np.where(lungs, counts(0), counts(-len(centres) - 1))
    reached = np.empty(len(centres), np.int64)
    for n, ((top, left), side) in enumerate(zip(corners.tolist(), sides.tolist(), strict=True)):
        window = seen[top : top + side, left : left + side]
        window += 1
        reached[n] = np.count_nonzero(window == times)
    return torch.from_numpy(reached.cumsum() / area)


def covered(
    mask: Bool[Tensor, "height width"],
    centres: Int64[Tensor, "k 2"],
    size: int | Int64[Tensor, " k"],
) -> float:
    """Measures the share of lung pixels that all patches together see, in [0, 1].

    The last of `coverage`, in a fraction of its time.

    Args:
        mask: True inside the lungs.
        centres: Row and column of each patch centre.
        size: Side of the windows in pixels, one for all or one for each.

    Raises:
        EmptyMaskError: If no pixel of the mask is True.
        OptionError: If a window is larger than the image.
    """
    unseen = mask.cpu().numpy().copy()
    area = np.count_nonzero(unseen)
    if area == 0:
        raise EmptyMaskError("The lung mask is empty, so its coverage has no meaning.")
    sides = torch.as_tensor(size).expand(len(centres))
    corners = corners_inside(centres, sides, *unseen.shape)
    for (top, left), side in zip(corners.tolist(), sides.tolist(), strict=True):
        unseen[top : top + side, left : left + side] = False
    return (area - np.count_nonzero(unseen)) / area


def area_weights(
    mask: Bool[Tensor, "height width"], centres: Int64[Tensor, "k 2"]
) -> Float32[Tensor, " k"]:
    """Weighs each patch by the part of the lungs that is nearest to its centre.

    With them a vote estimates the mean over the lungs, whether or not centres huddle: a patch that
    stands alone speaks for much lung, patches side by side share theirs (not in the papers, where
    each patch has one vote). The lungs are taken in cells of 1/64 of the longer side, each with the
    number of its lung pixels, as if they lay in its middle. Of equal centres the first has it all.

    Args:
        mask: True inside the lungs.
        centres: Row and column of each patch centre.

    Returns:
        The weights, 0 or more; their mean is 1.

    Raises:
        EmptyMaskError: If no pixel of the mask is True.
    """
    height, width = mask.shape
    cell = -(-max(height, width) // CELLS)
    padded = F.pad(mask, (0, -width % cell, 0, -height % cell))
    grid = padded.view(padded.shape[0] // cell, cell, padded.shape[1] // cell, cell)
    lung = grid.sum(dim=(1, 3))  # lung pixels in each cell
    inside = lung.nonzero()
    if len(inside) == 0:
        raise EmptyMaskError("The lung mask is empty, so no patch speaks for a part of it.")
    middles = inside.float() * cell + (cell - 1) / 2
    nearest = distances(middles, centres.float()).argmin(dim=1)
    pixels = lung[inside[:, 0], inside[:, 1]].double()
    areas = torch.zeros(len(centres), dtype=torch.float64, device=mask.device)
    areas.index_add_(0, nearest, pixels)
    return (areas * (len(centres) / areas.sum())).float()
