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

Strategy = Literal["uniform", "spread", "independent"]
Border = Literal["inside", "padded", "stretched"]


class EmptyMaskError(ValueError):
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
        strategy: `uniform` draws lung pixels, all equally likely, with replacement (paper 004,
            Section 2.2). `spread` draws one lung pixel from each of k compact strata of equal
            area: every lung pixel is still equally likely to be a centre, but the centres cannot
            huddle, so that votes vary less from draw to draw (not in the papers). `independent`
            draws the row and the column apart, each from the list of all lung pixels, as the
            papers' code does: on the SCR masks only about 75 % of such centres lie in the lungs.

    Returns:
        Row and column of each centre, in pixels from the top left.

    Raises:
        EmptyMaskError: If no pixel of the mask is True.
        ValueError: If k is below 1 or the strategy is unknown.
    """
    if k < 1:
        raise ValueError(f"k is {k}: at least 1 patch is needed.")
    width = mask.shape[1]
    lung = mask.flatten().nonzero().squeeze(1)  # (lung pixels,) positions in row-major order
    if len(lung) == 0:
        raise EmptyMaskError(
            "The lung mask is empty, so no patch can be centred in it. "
            "Correct the mask, or leave the radiograph out."
        )
    match strategy:
        case "uniform":
            centres = _draw(lung, k, generator)
        case "spread":
            along = lung[_snake_order(lung, width, k)]
            inside_stratum = torch.rand(
                k, generator=generator, device=mask.device, dtype=torch.float64
            )
            strata = torch.arange(k, device=mask.device)
            position = ((strata + inside_stratum) * (len(lung) / k)).long()
            centres = along[position.clamp(max=len(lung) - 1)]
        case "independent":
            rows = _draw(lung, k, generator) // width
            centres = rows * width + _draw(lung, k, generator) % width
        case _:
            raise ValueError(f"strategy is {strategy!r}: expected uniform, spread or independent.")
    return torch.stack([centres // width, centres % width], dim=1)


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
        ValueError: If a centre lies outside the image, if the image is smaller than the window
            and `border` is `inside`, or if the border rule is unknown.
    """
    height, width = image.shape[1:]
    limits = torch.tensor([height, width], device=centres.device)
    if bool(((centres < 0) | (centres >= limits)).any()):
        raise ValueError(
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
            raise ValueError(f"border is {border!r}: expected inside, padded or stretched.")


def corners_inside(
    centres: Int64[Tensor, "k 2"], size: int, height: int, width: int
) -> Int64[Tensor, "k 2"]:
    """Gives the top left pixel of each window after it has been moved into the image.

    Args:
        centres: Row and column of each centre.
        size: Side of the window in pixels.
        height: Height of the image in pixels.
        width: Width of the image in pixels.

    Raises:
        ValueError: If the window is larger than the image.
    """
    if size < 1 or size > min(height, width):
        raise ValueError(
            f"A window of {size} pixels does not fit inside an image of {height} x {width} pixels: "
            "choose a window between 1 and the image's shorter side, or the border rule 'padded'."
        )
    last = torch.tensor([height - size, width - size], device=centres.device)
    return torch.minimum((centres - size // 2).clamp(min=0), last)


def box_of_windows(
    centres: Int64[Tensor, "k 2"], size: int, height: int, width: int, border: Border
) -> tuple[int, int, int, int]:
    """Gives top, left, height and width of the part of an image that all windows lie in.

    `crop_patches` cuts the same patches from that part, around the centres as the part counts
    them, as from the whole image; so no more of an image need be read or prepared.

    Args:
        centres: Row and column of each centre, inside the image.
        size: Side of the window in pixels.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        border: As in `crop_patches`; windows that reach over the edge end there.

    Raises:
        ValueError: If the window is larger than the image and `border` is `inside`.
    """
    if border == "inside":
        corners = corners_inside(centres, size, height, width)
    else:
        corners = centres - size // 2
    (top, left), (lowest, rightmost) = corners.amin(dim=0).tolist(), corners.amax(dim=0).tolist()
    top, left = max(top, 0), max(left, 0)
    return top, left, min(lowest + size, height) - top, min(rightmost + size, width) - left


def _draw(
    lung: Int64[Tensor, " pixels"], k: int, generator: torch.Generator
) -> Int64[Tensor, " k"]:
    chosen = torch.randint(len(lung), (k,), generator=generator, device=lung.device)
    return lung[chosen]


def _snake_order(lung: Int64[Tensor, " pixels"], width: int, k: int) -> Int64[Tensor, " pixels"]:
    """Orders lung pixels so that every k-th of the way along lies close together.

    The path runs through bands of rows as high as the side of a square of one stratum's area,
    from left to right in one band and back in the next.
    """
    band_rows = max(1, round((len(lung) / k) ** 0.5))
    row, column = lung // width, lung % width
    band = row // band_rows
    column = torch.where(band % 2 == 0, column, width - 1 - column)
    return torch.argsort((band * width + column) * band_rows + row % band_rows)


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
