"""What a network sees of one radiograph: the whole of it, or patches."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torchvision.transforms.v2 import functional as pictures

from flannel.data.greyscale import Box
from flannel.data.store import Store
from patching.coverage import coverage
from patching.sampling import box_of_windows, crop_patches, sample_centres

Centres = Literal["uniform", "spread", "independent"]
Border = Literal["inside", "padded", "stretched"]
Greyscale = Literal["plain", "equalised"]
Normalisation = Literal["imagenet", "half", "levels"]

# Mean and deviation by which grey values in [0, 1] are normalised, per network channel.
_STATISTICS: dict[Normalisation, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "levels": ((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)),
}


@dataclass(frozen=True)
class Draw:
    """The randomness of one image: its generator, and what it is used for."""

    generator: torch.Generator
    training: bool
    patches: int
    flip: float
    rotation_degrees: int

    def integers(self, below: int, count: int) -> tuple[int, ...]:
        """Draws `count` integers in [0, below)."""
        drawn = torch.randint(below, (count,), generator=self.generator)
        return tuple(int(value) for value in drawn)

    def augment(self, pixels: UInt8[Tensor, "views 1 side side"]) -> Tensor:
        """Flips and rotates training views; leaves the others alone."""
        if not self.training:
            return pixels
        if self.flip and float(torch.rand((), generator=self.generator)) < self.flip:
            pixels = pixels.flip(-1)
        if self.rotation_degrees:
            widest = self.rotation_degrees
            angle = self.integers(2 * widest + 1, 1)[0] - widest
            pixels = pictures.rotate(pixels, angle)
        return pixels


@dataclass(frozen=True)
class WholeView:
    """The whole radiograph: resized, then cropped at random or in the middle.

    That is the input of FLANNEL's public code (336 px, cropped to 224 px); the aspect is ignored.

    Attributes:
        resize_px: Side of the resized radiograph.
        size_px: Side of the crop, which the network sees.
        masked: Set everything but the lungs to 0 first.
        greyscale: "plain" levels, or "equalised" ones (histogram equalisation and gamma 0.5).
    """

    resize_px: int
    size_px: int
    masked: bool
    greyscale: Greyscale = "plain"

    def views(self, store: Store, image_id: str, draw: Draw) -> tuple[Tensor, Tensor, float]:
        """Gives pixels (1, 1, size, size), no centres, and no coverage."""
        box = Box(0, 0, store.size_px, store.size_px)
        whole = store.part(image_id, box, self.masked, self.greyscale == "equalised")
        resized = pictures.resize(
            torch.from_numpy(whole)[None],
            [self.resize_px, self.resize_px],
            interpolation=pictures.InterpolationMode.BICUBIC,
            antialias=True,
        )
        slack = self.resize_px - self.size_px
        top, left = (
            draw.integers(slack + 1, 2) if draw.training else (round(slack / 2), round(slack / 2))
        )
        crop = resized[:, top : top + self.size_px, left : left + self.size_px]
        return draw.augment(crop[None]), torch.full((1, 2), -1), float("nan")


@dataclass(frozen=True)
class PatchView:
    """Patches centred in the lungs of the masked radiograph (paper 004, Section 2.2).

    Attributes:
        window_px: Side of a patch in the store's pixels.
        size_px: Side that the network sees; patches are resized where it differs.
        centres: How centres are drawn; "independent" is what the papers' code does.
        border: What happens at the border; "stretched" is what the papers' code does.
        masked: Cut from the masked radiograph, as the paper; else from the whole one.
        greyscale: "plain" levels, or "equalised" ones (histogram equalisation and gamma 0.5).
    """

    window_px: int
    size_px: int
    centres: Centres
    border: Border
    masked: bool
    greyscale: Greyscale = "plain"

    def views(self, store: Store, image_id: str, draw: Draw) -> tuple[Tensor, Tensor, float]:
        """Gives pixels (patches, 1, size, size), centres (patches, 2), and the coverage."""
        centres = self._centres(store, image_id, draw)
        window_px, side = self.window_px, store.size_px
        box = Box(*box_of_windows(centres, window_px, side, side, self.border))
        part = store.part(image_id, box, self.masked, self.greyscale == "equalised")
        within = centres - torch.tensor([box.top, box.left])
        patches = crop_patches(torch.from_numpy(part)[None], within, window_px, self.border)
        if self.size_px != window_px:
            patches = pictures.resize(patches, [self.size_px, self.size_px], antialias=True)
        seen = float("nan")
        if not draw.training:
            seen = coverage(torch.from_numpy(store.lung_mask(image_id)), centres, window_px)
        return draw.augment(patches), centres, seen

    def _centres(self, store: Store, image_id: str, draw: Draw) -> Int64[Tensor, "patches 2"]:
        """Draws the centres; uniform ones by number, from the packed mask."""
        if self.centres == "uniform":
            numbers = torch.randint(
                store.lung_area(image_id), (draw.patches,), generator=draw.generator
            )
            return torch.from_numpy(store.lung_pixels(image_id, numbers.numpy()))
        lungs = torch.from_numpy(store.lung_mask(image_id))
        return sample_centres(lungs, draw.patches, draw.generator, self.centres)


def normalise(
    pixels: UInt8[Tensor, "*views 1 height width"], normalisation: Normalisation
) -> Float[Tensor, "*views 3 height width"]:
    """Turns grey levels 0..255 into the input of an ImageNet network."""
    mean, deviation = _STATISTICS[normalisation]
    shape = (3, 1, 1)
    scale = torch.tensor(deviation, device=pixels.device).view(shape)
    shift = torch.tensor(mean, device=pixels.device).view(shape)
    return (pixels.float() / 255 - shift) / scale
