"""Radiographs and their targets, mirrored, moved, stretched and re-exposed together in training."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32, Int64
from torch import Tensor

from segmentation.structures import Structures, classes_of


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
    """

    flip: bool = False
    rotation_degrees: float = 0.0
    zoom: float = 0.0
    stretch: float = 0.0
    shift: float = 0.0
    gamma: float = 0.0
    contrast: float = 0.0


def augment(
    radiograph: Float32[Tensor, "1 height width"],
    target: Int64[Tensor, "height width"],
    augmentation: Augmentation,
    structures: Structures,
    generator: np.random.Generator,
) -> tuple[Float32[Tensor, "1 height width"], Int64[Tensor, "height width"]]:
    """Departs from a radiograph and its target by one draw.

    What comes in from outside the picture is black and background.

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
        radiograph = F.grid_sample(radiograph[None], grid, align_corners=False)[0]
        target = F.grid_sample(
            target[None, None].float(), grid, mode="nearest", align_corners=False
        )[0, 0].long()
    if gamma != 1:
        radiograph = 255 * (radiograph.clamp(0, 255) / 255) ** gamma
    if contrast != 1:
        radiograph = ((radiograph - 127.5) * contrast + 127.5).clamp(0, 255)
    return radiograph, target


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
