"""Centres of patches inside the lungs, and the patches cut around them.

Everything here is paper 004, Section 2.2 (after Oh, Park and Ye 2020): k windows of one size whose
centres are random points forced to lie within the lungs. Where the papers' public code departs from
their text, the text is the default and the code is an option.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int64, Shaped
from torch import Tensor

from flannel.errors import FlannelError, OptionError
from patching.strategies import blue_noise, independent, relaxed, spread, uniform

Strategy = Literal["uniform", "spread", "blue_noise", "relaxed", "independent"]
Border = Literal["inside", "padded", "stretched"]


class EmptyMaskError(FlannelError):
    """A lung mask without a single lung pixel: no patch can be centred in it."""


def sample_centres(
    mask: Bool[Tensor, "height width"],
    k: int,
    generator: torch.Generator,
    strategy: Strategy = "uniform",
) -> Int64[Tensor, "k 2"]:
    """Draws the centres of k patches from the lung pixels of one radiograph.

    Args:
        mask: True inside the lungs.
        k: Number of centres, at least 1. Centres may repeat.
        generator: The only source of randomness, on the mask's device.
        strategy: `uniform` draws lung pixels, all equally likely (paper 004, Section 2.2);
            `independent` draws row and column apart, as the papers' code does, so that about a
            quarter lies outside the lungs. Three more, not in the papers, let votes vary less from
            draw to draw: `spread` draws one centre from each of k strata of equal area,
            `blue_noise` keeps centres far from each other, and `relaxed` moves them to the
            middle of the area that each speaks for (`patching.strategies`).

    Returns:
        Row and column of each centre, in pixels from the top left.

    Raises:
        EmptyMaskError: If no pixel of the mask is True.
        OptionError: If k is below 1 or the strategy is unknown.
    """
    if k < 1:
        raise OptionError(f"k is {k}: at least 1 patch is needed.")
    if not bool(mask.any()):
        raise EmptyMaskError(
            "The lung mask is empty, so no patch can be centred in it. "
            "Correct the mask, or leave the radiograph out."
        )
    match strategy:
        case "uniform":
            return uniform(mask, k, generator)
        case "spread":
            return spread(mask, k, generator)
        case "blue_noise":
            return blue_noise(mask, k, generator)
        case "relaxed":
            return relaxed(mask, k, generator)
        case "independent":
            return independent(mask, k, generator)
        case _:
            raise OptionError(
                f"strategy is {strategy!r}: expected uniform, spread, blue_noise, relaxed or "
                "independent."
            )


def crop_patches(
    image: Shaped[Tensor, "channels height width"],
    centres: Int64[Tensor, "k 2"],
    size: int,
    border: Border = "inside",
) -> Shaped[Tensor, "k channels size size"]:
    """Cuts one square window around each centre.

    The window of a centre (row, column) covers the rows row - size // 2 to
    row - size // 2 + size - 1, and the columns likewise.

    Args:
        image: Any grey values; their type is kept.
        centres: Row and column of each centre, inside the image.
        size: Side of the window in pixels.
        border: What becomes of a window that reaches over the image's edge. `inside` moves it in,
            so that every patch holds true pixels at their true scale. `padded` fills with zeros.
            `stretched` cuts the window off at the edge and resizes what is left (bilinear), as
            the papers' code does; it distorts those patches.

    Raises:
        OptionError: If a centre lies outside the image, if the image is smaller than the window
            and `border` is `inside`, or if the border rule is unknown.
    """
    height, width = image.shape[1:]
    limits = torch.tensor([height, width], device=centres.device)
    if bool(((centres < 0) | (centres >= limits)).any()):
        raise OptionError(
            f"A patch centre lies outside the image of {height} x {width} pixels: "
            "draw the centres from the mask of the same image, at the same size."
        )
    match border:
        case "inside":
            corners = corners_inside(centres, size, height, width).tolist()
            return torch.stack([image[:, r : r + size, c : c + size] for r, c in corners])
        case "padded":
            return _crop_padded(image, (centres - size // 2).tolist(), size)
        case "stretched":
            return _crop_stretched(image, (centres - size // 2).tolist(), size)
        case _:
            raise OptionError(f"border is {border!r}: expected inside, padded or stretched.")


def corners_inside(
    centres: Int64[Tensor, "k 2"], size: int | Int64[Tensor, " k"], height: int, width: int
) -> Int64[Tensor, "k 2"]:
    """Returns the top left pixel of each window after it has been moved into the image.

    Args:
        centres: Row and column of each centre.
        size: Side of the windows in pixels, one for all or one for each.
        height: Height of the image in pixels.
        width: Width of the image in pixels.

    Raises:
        OptionError: If a window is larger than the image.
    """
    least, most = (size, size) if isinstance(size, int) else map(int, size.aminmax())
    if least < 1 or most > min(height, width):
        wrong = least if least < 1 else most
        raise OptionError(
            f"A window of {wrong} pixels does not fit inside an image of {height} x {width} "
            "pixels: choose a window between 1 and the image's shorter side, or the border rule "
            "'padded'."
        )
    sides = size if isinstance(size, int) else size[:, None]
    last = torch.tensor([height, width], device=centres.device) - sides
    return torch.minimum((centres - sides // 2).clamp(min=0), last)


def box_of_windows(
    centres: Int64[Tensor, "k 2"], size: int, height: int, width: int, border: Border
) -> tuple[int, int, int, int]:
    """Returns top, left, height and width of the part of an image that all windows lie in.

    `crop_patches` cuts the same patches from that part, around the centres as the part counts
    them, as from the whole image; so no more of an image need be read or prepared.

    Args:
        centres: Row and column of each centre, inside the image.
        size: Side of the window in pixels.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        border: As in `crop_patches`; windows that reach over the edge end there.

    Raises:
        OptionError: If the window is larger than the image and `border` is `inside`.
    """
    if border == "inside":
        corners = corners_inside(centres, size, height, width)
    else:
        corners = centres - size // 2
    (top, left), (lowest, rightmost) = corners.amin(dim=0).tolist(), corners.amax(dim=0).tolist()
    top, left = max(top, 0), max(left, 0)
    return top, left, min(lowest + size, height) - top, min(rightmost + size, width) - left


def lung_box(mask: Bool[Tensor, "height width"]) -> tuple[Int64[Tensor, "2"], int]:
    """Finds the smallest square window that holds both lungs.

    Returns:
        Its centre, as row and column, and its side in pixels. A window that reaches over the edge
        still holds the lungs once it is moved in.

    Raises:
        EmptyMaskError: If no pixel of the mask is True.
    """
    rows, columns = mask.any(dim=1).nonzero()[:, 0], mask.any(dim=0).nonzero()[:, 0]
    if len(rows) == 0:
        raise EmptyMaskError("The lung mask is empty, so there is no box around the lungs.")
    first = torch.stack([rows[0], columns[0]])
    extent = torch.stack([rows[-1], columns[-1]]) - first + 1
    side = int(extent.max())
    return first + (extent - side) // 2 + side // 2, side


def _crop_padded(
    image: Shaped[Tensor, "channels height width"], corners: list[list[int]], size: int
) -> Shaped[Tensor, "k channels size size"]:
    height, width = image.shape[1:]
    patches = image.new_zeros(len(corners), image.shape[0], size, size)
    for patch, (row, column) in zip(patches, corners, strict=True):
        top, bottom = max(row, 0), min(row + size, height)
        left, right = max(column, 0), min(column + size, width)
        patch[:, top - row : bottom - row, left - column : right - column] = image[
            :, top:bottom, left:right
        ]
    return patches


def _crop_stretched(
    image: Shaped[Tensor, "channels height width"], corners: list[list[int]], size: int
) -> Shaped[Tensor, "k channels size size"]:
    patches = image.new_empty(len(corners), image.shape[0], size, size)
    for patch, (row, column) in zip(patches, corners, strict=True):
        window = image[:, max(row, 0) : row + size, max(column, 0) : column + size]
        if window.shape[1:] == patch.shape[1:]:
            patch.copy_(window)
            continue
        working = window if window.is_floating_point() else window.float()
        resized = F.interpolate(
            working[None], size=(size, size), mode="bilinear", align_corners=False
        )[0]
        patch.copy_(resized if image.is_floating_point() else resized.round())
    return patches
