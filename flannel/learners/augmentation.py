"""Augmentation of training views: mirrored, rotated, warped, zoomed, exposed differently.

A loader's worker only draws the parameters of an image, which are a few numbers; the views of a
whole batch are augmented on the device of the network.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float32, Float64, UInt8
from torch import Tensor

from flannel.errors import FlannelError

Matrix = Float64[np.ndarray, "3 3"]
Interpolation = Literal["nearest", "bilinear"]

BLACK_AND_WHITE = 1e-7
"""How far grey values stay from 0 and 1, whose logits are infinite."""
_CORNERS = ((-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0))
"""Of a view, across and down from its middle in half sides, from the upper left clockwise."""


class AugmentationError(FlannelError):
    """Raised when an augmentation is impossible."""


class AugmentationParams(NamedTuple):
    """What was drawn for one image, or for each image of a batch; None where nothing was asked.

    Attributes:
        mirrored: Whether left and right are exchanged, before all else.
        source: Matrix that takes a place of the result to the place of the view that is seen there.
            PatchLocations are across and down from the middle, in half sides, and 1.
        tone: Shift and slope of the grey values' logits, after all else.
        interpolation: How grey levels are read between pixels.
    """

    mirrored: Bool[Tensor, "*images"] | None
    source: Float32[Tensor, "*images 3 3"] | None
    tone: Float32[Tensor, "*images 2"] | None
    interpolation: Interpolation

    def apply(
        self, pixels: UInt8[Tensor, "images views 1 side side"]
    ) -> UInt8[Tensor, "images views 1 side side"]:
        """Augments the views of a batch, all views of an image alike, on the batch's device.

        Nothing here asks the device for a value, so nothing waits for it. An image is augmented
        alike in any batch.

        Args:
            pixels: Grey levels 0..255.
        """
        if self.mirrored is not None:
            pixels = pixels.where(~self.mirrored[:, None, None, None, None], pixels.flip(-1))
        if self.source is not None:
            places = _places(self.source.float(), pixels.shape[-1])
            read = F.grid_sample(
                pixels.squeeze(2).float(), places, mode=self.interpolation, align_corners=False
            )
            pixels = read.round().to(torch.uint8).unsqueeze(2)
        if self.tone is not None:
            tables = _exposures(self.tone.float())
            pixels = tables.gather(1, pixels.flatten(1).long()).view_as(pixels)
        return pixels


@dataclass(frozen=True)
class Augmentation:
    """How the views of a training image are augmented; by default not at all.

    Alike for all views of an image. What comes in from outside a view is black. With a flip of
    0.5, 10 degrees, a zoom of 0.1, warp and lighting of 0.2 and a probability of 0.75 these are the
    defaults of fastai's `get_transforms()`, by which DarkCovidNet was trained (paper 002); fastai
    mirrors the view at its border instead, and turns by any angle.

    A rotation alone gives the pixels of torchvision's `rotate`. With warp or zoom, rotation and the
    rest are one mapping, by which the view is read once and bilinearly, as in fastai, instead of
    after each step anew.

    Attributes:
        flip: Probability of mirroring left and right.
        rotation_degrees: Turn by a whole number of degrees in [-r, r], to the nearest pixel, as the
            code of paper 004.
        warp: Lengthen or shorten each side of the square that is seen by up to this share, as a
            tilted plate would; from 0.5 on the plate would fold.
        zoom: Enlarge by up to this share, around a place drawn anew.
        lighting: Change brightness and contrast on the logit of the grey values, which leaves black
            and white as they are: mid-grey becomes 0.5 (1 - l) to 0.5 (1 + l), and the slope 1 - l
            to 1 / (1 - l).
        probability: With which each of these but the flip is done; brightness and contrast count
            as two.

    Raises:
        AugmentationError: If a value is out of its range.
    """

    flip: float = 0.0
    rotation_degrees: int = 0
    warp: float = 0.0
    zoom: float = 0.0
    lighting: float = 0.0
    probability: float = 1.0

    def __post_init__(self) -> None:
        ends = {
            "flip": 1.0, "rotation_degrees": 180, "warp": 0.5, "zoom": 9.0, "lighting": 0.9,
            "probability": 1.0,
        }  # fmt: skip
        for name, end in ends.items():
            value = getattr(self, name)
            if not 0 <= value <= end:
                raise AugmentationError(
                    f"The augmentation's {name} is {value}; expected 0 to {end:g}."
                )

    def draw(self, generator: torch.Generator) -> AugmentationParams | None:
        """Draws the parameters of one image; None where nothing is ever augmented.

        Args:
            generator: Decides the draw.
        """
        bends = self.warp > 0 or self.zoom > 0
        if not (self.flip or self.rotation_degrees or bends or self.lighting):
            return None
        mirrored = source = tone = None
        if self.flip:
            mirrored = torch.tensor(_uniform(generator, 0, 1) < self.flip)
        if self.rotation_degrees or bends:
            turned = self._turned(generator)
            seen = turned @ self._bent(generator) if bends else turned
            source = torch.from_numpy(seen.astype(np.float32))
        if self.lighting:
            tone = torch.tensor(self._exposed(generator))
        return AugmentationParams(mirrored, source, tone, "bilinear" if bends else "nearest")

    def _happens(self, generator: torch.Generator) -> bool:
        return self.probability == 1 or _uniform(generator, 0, 1) < self.probability

    def _turned(self, generator: torch.Generator) -> Matrix:
        """Turns to the left by a whole number of degrees."""
        degrees = 0
        if self.rotation_degrees and self._happens(generator):
            widest = self.rotation_degrees
            degrees = int(torch.randint(2 * widest + 1, (1,), generator=generator)) - widest
        cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        return np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])

    def _bent(self, generator: torch.Generator) -> Matrix:
        """Shows, of a view, a quadrilateral."""
        top = bottom = left = right = 1.0
        if self.warp and self._happens(generator):
            top, bottom, left, right = (
                1 + _uniform(generator, -self.warp, self.warp) for _ in range(4)
            )
        scale, across, down = 1.0, 0.0, 0.0
        if self.zoom and self._happens(generator):
            scale = 1 / _uniform(generator, 1, 1 + self.zoom)
            across, down = (_uniform(generator, scale - 1, 1 - scale) for _ in range(2))
        seen = ((-top, -left), (top, -right), (bottom, right), (-bottom, left))
        return perspective([(x * scale + across, y * scale + down) for x, y in seen])

    def _exposed(self, generator: torch.Generator) -> tuple[float, float]:
        """Shifts and stretches the logits of the grey values."""
        shift, slope = 0.0, 1.0
        if self._happens(generator):
            middle = 0.5 + _uniform(generator, -self.lighting, self.lighting) / 2
            shift = math.log(middle / (1 - middle))
        if self._happens(generator):
            slope = (1 - self.lighting) ** _uniform(generator, -1, 1)
        return shift, slope


NONE = Augmentation()
"""The views as they are."""


def stacked(augmented_by: Sequence[AugmentationParams | None]) -> AugmentationParams | None:
    """Stacks the parameters of single images, all drawn by one augmentation, to a batch's."""
    drawn = [params for params in augmented_by if params is not None]
    if not drawn:
        return None
    mirrored, source, tone = (
        None if parts[0] is None else torch.stack(parts)
        for parts in zip(*(params[:3] for params in drawn), strict=True)
    )
    return AugmentationParams(mirrored, source, tone, drawn[0].interpolation)


def perspective(quadrilateral: Sequence[tuple[float, float]]) -> Matrix:
    """Returns the matrix that takes a view's corners to those of a quadrilateral.

    Args:
        quadrilateral: Convex; its corners across and down from the view's middle, in half sides,
            from the upper left clockwise.
    """
    rows = []
    for (across, down), (x, y) in zip(_CORNERS, quadrilateral, strict=True):
        rows.append([across, down, 1, 0, 0, 0, -across * x, -down * x])
        rows.append([0, 0, 0, across, down, 1, -across * y, -down * y])
    values = np.linalg.solve(np.array(rows), np.ravel(quadrilateral))
    return np.append(values, 1.0).reshape(3, 3)


def _places(
    source: Float32[Tensor, "images 3 3"], side: int
) -> Float32[Tensor, "images side side 2"]:
    """Returns where in a view each pixel of the result is read, in half sides from the middle.

    Each place is multiplied out, because under mixed precision a product of matrices is rounded to
    few digits; and in the order in which torchvision's `rotate` rounds, so that a place halfway
    between two pixels goes to the same one.
    """
    across = torch.arange(side, dtype=torch.float32, device=source.device) - (side - 1) / 2
    down, half = across[:, None], side / 2  # pixels from the middle
    rows = source[..., None, None].unbind(1)  # three of (images, 3, 1, 1)
    x, y, depth = (
        row[:, 0] / half * across + (row[:, 1] / half * down + row[:, 2]) for row in rows
    )
    return torch.stack([x, y], dim=-1).div_(depth[..., None])


def _exposures(tone: Float32[Tensor, "images 2"]) -> UInt8[Tensor, "images 256"]:
    """Returns for each image a table of what becomes of the grey levels."""
    values = torch.arange(256, dtype=torch.float32, device=tone.device) / 255
    logits = values.clamp(BLACK_AND_WHITE, 1 - BLACK_AND_WHITE).logit()
    shift, slope = tone[..., None].unbind(1)  # each (images, 1)
    return ((logits * slope + shift).sigmoid() * 255).round().to(torch.uint8)


def _uniform(generator: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))
