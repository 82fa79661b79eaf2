"""Training views, mirrored, turned, bent, enlarged and exposed anew."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import UInt8
from torch import Tensor
from torchvision.transforms.v2 import functional as pictures

Views = UInt8[Tensor, "views 1 side side"]
BLACK_AND_WHITE = 1e-7
"""How far grey values stay from 0 and 1, whose logits are infinite."""


class AugmentationError(ValueError):
    """An augmentation that cannot be, in a sentence."""


@dataclass(frozen=True)
class Augmentation:
    """How far the views of one training image depart from its radiograph; by default nowhere.

    All views of an image depart alike. What comes in from outside a view is black. With a flip of
    0.5, 10 degrees, a zoom of 0.1, warp and lighting of 0.2 and a probability of 0.75 these are the
    defaults of fastai's `get_transforms()`, by which DarkCovidNet was trained (paper 002); fastai
    mirrors the view at its border instead, and turns by any angle.

    Attributes:
        flip: Probability of mirroring left and right.
        rotation_degrees: Turn by a whole number of degrees in [-r, r], to the nearest pixel, as the
            code of paper 004.
        warp: Lengthen or shorten each side of the square that is seen by up to this share, as a
            tilted plate would.
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
            "flip": 1.0, "rotation_degrees": 180, "warp": 0.9, "zoom": 9.0, "lighting": 0.9,
            "probability": 1.0,
        }  # fmt: skip
        for name, end in ends.items():
            value = getattr(self, name)
            if not 0 <= value <= end:
                raise AugmentationError(
                    f"The augmentation's {name} is {value}; expected 0 to {end:g}."
                )

    def apply(self, pixels: Views, generator: torch.Generator) -> Views:
        """Departs from an image's views by one draw.

        Args:
            pixels: Grey levels 0..255.
            generator: Decides the draw.
        """
        if self.flip and _uniform(generator, 0, 1) < self.flip:
            pixels = pixels.flip(-1)
        if self.rotation_degrees and self._happens(generator):
            widest = self.rotation_degrees
            turned = int(torch.randint(2 * widest + 1, (1,), generator=generator))
            pixels = pictures.rotate(pixels, turned - widest)
        if self.warp or self.zoom:
            pixels = self._bent(pixels, generator)
        if self.lighting:
            pixels = self._exposed(pixels, generator)
        return pixels

    def _happens(self, generator: torch.Generator) -> bool:
        return self.probability == 1 or _uniform(generator, 0, 1) < self.probability

    def _bent(self, pixels: Views, generator: torch.Generator) -> Views:
        """Shows, of a view, a quadrilateral with its corners at whole pixels."""
        top = bottom = left = right = 1.0
        if self.warp and self._happens(generator):
            top, bottom, left, right = (
                1 + _uniform(generator, -self.warp, self.warp) for _ in range(4)
            )
        scale, across, down = 1.0, 0.0, 0.0
        if self.zoom and self._happens(generator):
            scale = 1 / _uniform(generator, 1, 1 + self.zoom)
            across, down = (_uniform(generator, scale - 1, 1 - scale) for _ in range(2))
        side = pixels.shape[-1]
        # From the upper left clockwise, in units of half a side.
        seen = ((-top, -left), (top, -right), (bottom, right), (-bottom, left))
        quadrilateral = [
            [round((1 + x * scale + across) / 2 * side), round((1 + y * scale + down) / 2 * side)]
            for x, y in seen
        ]
        whole = [[0, 0], [side, 0], [side, side], [0, side]]
        if quadrilateral == whole:
            return pixels
        return pictures.perspective(pixels, quadrilateral, whole)

    def _exposed(self, pixels: Views, generator: torch.Generator) -> Views:
        """Shifts and stretches the logits of the grey values."""
        shift, slope = 0.0, 1.0
        if self._happens(generator):
            middle = 0.5 + _uniform(generator, -self.lighting, self.lighting) / 2
            shift = math.log(middle / (1 - middle))
        if self._happens(generator):
            slope = (1 - self.lighting) ** _uniform(generator, -1, 1)
        values = torch.arange(256) / 255
        logits = values.clamp(BLACK_AND_WHITE, 1 - BLACK_AND_WHITE).logit()
        table = ((logits * slope + shift).sigmoid() * 255).round().to(torch.uint8)
        return table[pixels.int()]


NONE = Augmentation()
"""The views as they are."""


def _uniform(generator: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))
