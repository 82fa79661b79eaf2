"""What a network sees of one radiograph: the whole of it, or patches."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float32, Int64, UInt8
from torch import Tensor
from torchvision.transforms.v2 import functional as pictures

from flannel.data.greyscale import Box, box_around
from flannel.data.store import Store
from patching.coverage import area_weights, covered
from patching.saliency import probabilistic_cam, resized
from patching.sampling import (
    Border,
    Strategy,
    box_of_windows,
    crop_patches,
    lung_box,
    sample_centres,
)

WholeArm = Literal["global", "masked", "cropped", "background"]
Arm = WholeArm | Literal["patched"]
PatchWeights = Literal["equal", "area"]
Greyscale = Literal["plain", "equalised"]
Normalisation = Literal["imagenet", "half", "levels"]

STATISTICS: dict[Normalisation, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "levels": ((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)),
}
"""Mean and deviation by which grey values in [0, 1] are normalised, per network channel."""


class PatchLocations(NamedTuple):
    """Where the views of one image, or of each image of a batch, lie in the store's radiograph.

    Attributes:
        centres: Row and column of a patch's centre; -1 for a whole radiograph.
        windows_px: Side of a patch in store pixels; 0 for a whole radiograph.
        weights: How much a patch counts in the vote beside the others of its image; on average 1.
        coverage: Share of the lung pixels that the patches see, 0 to 1; NaN in training and for
            whole radiographs. The box around the lungs, which sees them all, is left out of it.
        box: Top, left, height and width of the rectangle that is a cropped radiograph's whole
            view; all 0 for any other view.
    """

    centres: Int64[Tensor, "*images views 2"]
    windows_px: Int64[Tensor, "*images views"]
    weights: Float32[Tensor, "*images views"]
    coverage: Float32[Tensor, "*images"]
    box: Int64[Tensor, "*images 4"] = torch.zeros(4, dtype=torch.int64)


WHOLE = PatchLocations(
    torch.full((1, 2), -1),
    torch.zeros(1, dtype=torch.int64),
    torch.ones(1),
    torch.tensor(float("nan")),
)


@dataclass(frozen=True)
class ViewSampling:
    """The randomness of one image: its generator, and what it is used for."""

    generator: torch.Generator
    training: bool
    patches: int

    def integers(self, below: int, count: int) -> tuple[int, ...]:
        """Draws `count` integers in [0, below)."""
        drawn = torch.randint(below, (count,), generator=self.generator)
        return tuple(int(value) for value in drawn)


@dataclass(frozen=True)
class WholeView:
    """The whole radiograph: resized, then cropped at random or in the middle.

    That is the input of FLANNEL's public code (336 px, cropped to 224 px); the aspect is ignored.
    It has no patches: no centres, no weights in a vote, no box beside them.

    Attributes:
        resize_px: Side of the resized radiograph.
        size_px: Side of the crop, which the network sees.
        arm: "global", all there is; "masked", everything but the lungs set to 0; "background", the
            lungs set to 0 instead, so that only their outline is left of them; "cropped", the
            rectangle that holds both lungs, with a margin (the "segmentation" of paper 002).
        greyscale: "plain" levels, or "equalised" ones (histogram equalisation and gamma 0.5).
        crop_margin_px: Pixels of the store around the lungs of a cropped radiograph.
    """

    resize_px: int
    size_px: int
    arm: WholeArm = "global"
    greyscale: Greyscale = "plain"
    crop_margin_px: int = 0
    patched: ClassVar[bool] = False
    centres: ClassVar[str] = ""
    weights: ClassVar[PatchWeights] = "equal"
    lung_box: ClassVar[bool] = False

    def count(self, patches: int) -> int:
        """Returns how many views an image has, whatever the number of patches: 1."""
        return 1

    def views(
        self, store: Store, image_id: str, sampling: ViewSampling
    ) -> tuple[Tensor, PatchLocations]:
        """Returns pixels (1, 1, size, size), and that they are of the whole radiograph."""
        box = Box(0, 0, store.size_px, store.size_px)
        places = WHOLE
        if self.arm == "cropped":
            box = box_with_margin(store.lung_mask(image_id), self.crop_margin_px)
            places = WHOLE._replace(box=torch.tensor(box))
        levels = store.part(image_id, box, self.arm == "masked", self.greyscale == "equalised")
        if self.arm == "background":
            levels[store.lung_mask(image_id)] = 0
        resized = pictures.resize(
            torch.from_numpy(levels)[None],
            [self.resize_px, self.resize_px],
            interpolation=pictures.InterpolationMode.BICUBIC,
            antialias=True,
        )
        slack = self.resize_px - self.size_px
        top, left = (
            sampling.integers(slack + 1, 2)
            if sampling.training
            else (round(slack / 2), round(slack / 2))
        )
        crop = resized[:, top : top + self.size_px, left : left + self.size_px]
        return crop[None], places

    def heat(
        self,
        maps: Float32[Tensor, "1 side side"],
        probabilities: Float32[Tensor, " 1"],
        places: PatchLocations,
        store_px: int,
    ) -> Float32[Tensor, "store store"]:
        """Puts a map of the view back where the view lies in the radiograph.

        Args:
            maps: The class activation map of the view, in [0, 1].
            probabilities: Of the class; one view needs no weight.
            places: Where the view lies.
            store_px: Side of the store's radiograph.
        """
        box = places.box.tolist() if places.box.any() else [0, 0, store_px, store_px]
        rows, columns = (
            self._middle(first, extent) for first, extent in zip(box[:2], box[2:], strict=True)
        )
        whole = maps.new_zeros(store_px, store_px)
        sides = rows.stop - rows.start, columns.stop - columns.start
        whole[rows, columns] = resized(maps[0], *sides)
        return whole

    def _middle(self, first_px: int, extent_px: int) -> slice:
        """Returns where the crop lies along a side of what was resized, in the store's pixels."""
        scale = extent_px / self.resize_px
        start = round(round((self.resize_px - self.size_px) / 2) * scale)
        end = min(start + round(self.size_px * scale), extent_px)
        return slice(first_px + start, first_px + end)


@dataclass(frozen=True)
class PatchView:
    """Patches centred in the lungs of the masked radiograph (paper 004, Section 2.2).

    Attributes:
        windows_px: Side of a patch in the store's pixels; of several, each patch takes the next in
            turn. The paper has one, and asks in its discussion what larger patches would do.
        size_px: Side that the network sees; patches are resized where it differs.
        centres: How centres are drawn; "independent" is what the papers' code does.
        border: What happens at the border; "stretched" is what the papers' code does.
        masked: Cut from the masked radiograph, as the paper; else from the whole one.
        greyscale: "plain" levels, or "equalised" ones (histogram equalisation and gamma 0.5).
        weights: "equal" votes, as the paper, or by the "area" of the lungs nearest to a patch.
        lung_box: Add one more view behind the patches, the square around both lungs.
    """

    windows_px: tuple[int, ...]
    size_px: int
    centres: Strategy
    border: Border
    masked: bool
    greyscale: Greyscale = "plain"
    weights: PatchWeights = "equal"
    lung_box: bool = False
    patched: ClassVar[bool] = True

    def count(self, patches: int) -> int:
        """Returns how many views an image has: its patches, and the box around the lungs."""
        return patches + self.lung_box

    def views(
        self, store: Store, image_id: str, sampling: ViewSampling
    ) -> tuple[Tensor, PatchLocations]:
        """Returns pixels (views, 1, size, size), and where they were cut."""
        sides = self._sides(sampling)
        centres = self._centres(store, image_id, sampling)
        weights, seen = torch.ones(len(sides)), torch.tensor(float("nan"))
        if not sampling.training:
            lungs = torch.from_numpy(store.lung_mask(image_id))
            seen = torch.tensor(covered(lungs, centres, torch.tensor(sides)), dtype=torch.float32)
            if self.weights == "area":
                weights = area_weights(lungs, centres)
        if self.lung_box:
            middle, side = lung_box(torch.from_numpy(store.lung_mask(image_id)))
            sides = [*sides, side]
            centres = torch.cat([centres, middle[None]])
            weights = torch.cat([weights, torch.ones(1)])
        pixels = self._cut(store, image_id, centres, sides)
        return pixels, PatchLocations(centres, torch.tensor(sides), weights, seen)

    def _sides(self, sampling: ViewSampling) -> list[int]:
        """Returns each patch's side; in training the turn begins anywhere, for it may be short."""
        scales = len(self.windows_px)
        first = sampling.integers(scales, 1)[0] if sampling.training and scales > 1 else 0
        return [self.windows_px[(first + n) % scales] for n in range(sampling.patches)]

    def _centres(
        self, store: Store, image_id: str, sampling: ViewSampling
    ) -> Int64[Tensor, "patches 2"]:
        """Draws the centres; uniform ones by number, from the packed mask."""
        if self.centres == "uniform":
            numbers = torch.randint(
                store.lung_area(image_id), (sampling.patches,), generator=sampling.generator
            )
            return torch.from_numpy(store.lung_pixels(image_id, numbers.numpy()))
        lungs = torch.from_numpy(store.lung_mask(image_id))
        return sample_centres(lungs, sampling.patches, sampling.generator, self.centres)

    def _cut(
        self, store: Store, image_id: str, centres: Int64[Tensor, "views 2"], sides: Sequence[int]
    ) -> UInt8[Tensor, "views 1 size size"]:
        """Cuts the patches, all of one side at a time."""
        if len(set(sides)) == 1:
            return self._cut_alike(store, image_id, centres, sides[0])
        pixels = torch.empty(len(sides), 1, self.size_px, self.size_px, dtype=torch.uint8)
        for side in set(sides):
            alike = [place for place, other in enumerate(sides) if other == side]
            pixels[alike] = self._cut_alike(store, image_id, centres[alike], side)
        return pixels

    def _cut_alike(
        self, store: Store, image_id: str, centres: Int64[Tensor, "views 2"], side: int
    ) -> UInt8[Tensor, "views 1 size size"]:
        """Cuts patches of one side from the box that they lie in, and resizes them if need be."""
        box = Box(*box_of_windows(centres, side, store.size_px, store.size_px, self.border))
        part = store.part(image_id, box, self.masked, self.greyscale == "equalised")
        if len(centres) == 1 and part.shape == (side, side):  # the box is the window
            patches = torch.from_numpy(part)[None, None]
        else:
            within = centres - torch.tensor([box.top, box.left])
            patches = crop_patches(torch.from_numpy(part)[None], within, side, self.border)
        if self.size_px != side:
            patches = pictures.resize(patches, [self.size_px, self.size_px], antialias=True)
        return patches

    def heat(
        self,
        maps: Float32[Tensor, "views side side"],
        probabilities: Float32[Tensor, " views"],
        places: PatchLocations,
        store_px: int,
    ) -> Float32[Tensor, "store store"]:
        """Averages the maps of patches where they lie (`patching.saliency.probabilistic_cam`).

        Args:
            maps: The class activation map of each view, in [0, 1].
            probabilities: Of the class in each view.
            places: Where the views lie.
            store_px: Side of the store's radiograph.
        """
        image_px = (store_px, store_px)
        return probabilistic_cam(
            maps, probabilities, places.centres, places.windows_px, image_px, self.border
        )


View = WholeView | PatchView


def box_with_margin(mask: Bool[np.ndarray, "side side"], margin_px: int) -> Box:
    """Returns the smallest rectangle around both lungs with a margin, as far as the picture goes.

    The finder of paper 002 (lungs-finder) gives such a rectangle, with 15 px around it in a
    picture of at most 512 px, from gradients instead of a mask.

    Args:
        mask: Not empty.
        margin_px: Around the lungs, in the mask's pixels.
    """
    sides = [
        (max(0, along.start - margin_px), min(len(mask), along.stop + margin_px))
        for along in box_around(mask)
    ]
    (top, bottom), (left, right) = sides
    return Box(top, left, bottom - top, right - left)


def normalise(
    pixels: UInt8[Tensor, "*views 1 height width"],
    normalisation: Normalisation,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "*views 3 height width"]:
    """Turns grey levels 0..255 into the input of an ImageNet network, on the device they are on.

    Each of the 256 levels is normalised once, in float32, and then looked up. The result lies
    channels last in memory, as convolutions prefer it.

    Args:
        pixels: Grey levels.
        normalisation: By whose mean and deviation.
        dtype: Of the result.
    """
    levels = torch.arange(256, dtype=torch.float32, device=pixels.device) / 255
    # Number by number: a tensor of them would be copied to the device once that has nothing to do.
    statistics = zip(*STATISTICS[normalisation], strict=True)
    channels = [(levels - mean) / deviation for mean, deviation in statistics]
    table = torch.stack(channels, dim=1).to(dtype)  # (256, 3)
    return F.embedding(pixels.squeeze(-3).int(), table).movedim(-1, -3)
