"""Radiographs and their targets, mirrored, moved, stretched and re-exposed together in training."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32, Int64
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from torch import Tensor

from segmentation.structures import Structures, classes_of

LETTERS = "LRAPSITDE0123456789:/"
"""What markers and burnt-in dates are written with."""


@dataclass(frozen=True)
class Augmentation:
    """How far a training draw may depart from its radiograph; the paper's code departs nowhere.

    Each departure is drawn uniformly between its bounds, anew for each radiograph and epoch.

    Attributes:
        flip: Mirror left and right in half of the draws; left and right lung change names.
        rotation_degrees: Turn by up to this angle either way.
        zoom: Enlarge or shrink by up to this share; 0.2 is between 0.83 and 1.2 times.
        stretch: Widen or narrow by up to this share, as `zoom`; the network sees every radiograph
            stretched to a square.
        shift: Move by up to this share of the side, in both directions.
        gamma: Brighten or darken by an exponent of up to 1 + this, or its inverse.
        contrast: Multiply the distance from mid-grey by up to 1 + this, or its inverse.
        grey_outside: In half of the draws, fill what comes in from outside with one grey value,
            as the margins of a screenshot.
        shading: Brighten and darken parts of the radiograph smoothly, by up to this share of the
            grey scale.
        blur_px: Blur with a Gaussian of up to this standard deviation.
        noise: Add grey noise of up to this standard deviation.
        marks: Draw up to so many letters, arrows and bars, black or white.
    """

    flip: bool = False
    rotation_degrees: float = 0.0
    zoom: float = 0.0
    stretch: float = 0.0
    shift: float = 0.0
    gamma: float = 0.0
    contrast: float = 0.0
    grey_outside: bool = False
    shading: float = 0.0
    blur_px: float = 0.0
    noise: float = 0.0
    marks: int = 0


def augment(
    radiograph: Float32[Tensor, "1 height width"],
    target: Int64[Tensor, "height width"],
    augmentation: Augmentation,
    structures: Structures,
    generator: np.random.Generator,
) -> tuple[Float32[Tensor, "1 height width"], Int64[Tensor, "height width"]]:
    """Departs from a radiograph and its target by one draw.

    What comes in from outside the picture is background, and black but under `grey_outside`.

    Args:
        radiograph: Grey values in 0..255.
        target: PatchLocations in `classes_of(structures)`.
        augmentation: The bounds.
        structures: Which structures the target holds.
        generator: Decides the draw.
    """
    flip = augmentation.flip and generator.random() < 0.5
    angle = np.deg2rad(generator.uniform(-1, 1) * augmentation.rotation_degrees)
    zoom = _factor(generator, augmentation.zoom)
    stretch = _factor(generator, augmentation.stretch)
    right, down = generator.uniform(-2, 2, size=2) * augmentation.shift
    gamma = _factor(generator, augmentation.gamma)
    contrast = _factor(generator, augmentation.contrast)
    outside = generator.uniform(0, 255) * generator.integers(2) if augmentation.grey_outside else 0

    if flip:
        radiograph, target = radiograph.flip(-1), _swap_sides(target.flip(-1), structures)
    if angle or right or down or zoom != 1 or stretch != 1:
        # Where each place of the result comes from, in units of half a side.
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        linear = np.diag([1 / (zoom * stretch), 1 / zoom]) @ turn
        from_where = np.column_stack([linear, -linear @ (right, down)])
        grid = F.affine_grid(
            torch.from_numpy(from_where[None]).float(),
            [1, 1, *target.shape],
            align_corners=False,
        )
        moved = F.grid_sample(radiograph[None] - outside, grid, align_corners=False)
        radiograph = moved[0] + outside
        target = F.grid_sample(
            target[None, None].float(), grid, mode="nearest", align_corners=False
        )[0, 0].long()
    if gamma != 1:
        radiograph = 255 * (radiograph.clamp(0, 255) / 255) ** gamma
    if contrast != 1:
        radiograph = ((radiograph - 127.5) * contrast + 127.5).clamp(0, 255)
    return expose_and_mark(radiograph, augmentation, generator), target


def expose_and_mark(
    radiograph: Float32[Tensor, "1 height width"],
    augmentation: Augmentation,
    generator: np.random.Generator,
) -> Float32[Tensor, "1 height width"]:
    """Departs from a radiograph's grey values where its target stays: shading, blur, noise, marks.

    Args:
        radiograph: Grey values in 0..255.
        augmentation: The bounds.
        generator: Decides the draw.
    """
    if augmentation.shading:
        coarse = torch.from_numpy(generator.uniform(-1, 1, size=(1, 1, 4, 4))).float()
        size = radiograph.shape[1:]
        smooth = F.interpolate(coarse, size, mode="bicubic", align_corners=True)[0]
        share = generator.uniform(0, augmentation.shading)
        radiograph = (radiograph + 255 * share * smooth).clamp(0, 255)
    if augmentation.marks:
        count = int(generator.integers(augmentation.marks + 1))
        radiograph = draw_marks(radiograph, count, generator)
    if augmentation.blur_px:
        sigma_px = generator.uniform(0, augmentation.blur_px)
        blurred = ndimage.gaussian_filter(radiograph[0].numpy(), sigma_px, truncate=2)
        radiograph = torch.from_numpy(blurred)[None]
    if augmentation.noise:
        noise = generator.standard_normal(radiograph.shape, dtype=np.float32)
        deviation = generator.uniform(0, augmentation.noise)
        radiograph = (radiograph + deviation * torch.from_numpy(noise)).clamp(0, 255)
    return radiograph


def draw_marks(
    radiograph: Float32[Tensor, "1 height width"], count: int, generator: np.random.Generator
) -> Float32[Tensor, "1 height width"]:
    """Draws letters, arrows and bars on a radiograph, as markers and screenshots leave them.

    Args:
        radiograph: Grey values in 0..255.
        count: How many.
        generator: Decides kinds, places, sizes and grey values.
    """
    if not count:
        return radiograph
    picture = Image.fromarray(radiograph[0].clamp(0, 255).byte().numpy())
    pen = ImageDraw.Draw(picture)
    side = min(picture.size)
    for _ in range(count):
        grey = int(generator.choice([0, 255]))
        place = generator.uniform(0, 1, size=2) * picture.size
        reach = generator.uniform(0.03, 0.15) * side
        match generator.integers(3):
            case 0:
                letters = "".join(generator.choice(list(LETTERS), size=generator.integers(1, 6)))
                pen.text(tuple(place), letters, fill=grey, font=ImageFont.load_default(reach))
            case 1:
                angle = generator.uniform(0, 2 * np.pi)
                tip = place + reach * np.array([np.cos(angle), np.sin(angle)])
                pen.line([*place, *tip], fill=grey, width=max(1, side // 128))
                for barb in (angle + 2.6, angle - 2.6):
                    end = tip + 0.4 * reach * np.array([np.cos(barb), np.sin(barb)])
                    pen.line([*tip, *end], fill=grey, width=max(1, side // 128))
            case _:
                width, height = reach * generator.uniform(0.2, 2, size=2)
                pen.rectangle([*place, place[0] + width, place[1] + height], fill=grey)
    return torch.from_numpy(np.array(picture, dtype=np.float32))[None]


def _factor(generator: np.random.Generator, bound: float) -> float:
    """Draws a factor between 1 / (1 + bound) and 1 + bound, its logarithm uniformly."""
    return float((1 + bound) ** generator.uniform(-1, 1))


def _swap_sides(
    target: Int64[Tensor, "height width"], structures: Structures
) -> Int64[Tensor, "height width"]:
    """Returns left what was right: in a mirror the patient's left lung lies where the right was."""
    names = classes_of(structures)
    if "left lung" not in names:
        return target
    new_place = torch.arange(len(names))
    left, right = names.index("left lung"), names.index("right lung")
    new_place[left], new_place[right] = right, left
    return new_place[target]
