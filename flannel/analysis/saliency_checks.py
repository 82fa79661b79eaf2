"""Whether a learner's maps depend on what it has learned, and how much of them lies in the lungs.

A map that stays the same when the weights are replaced by chance is a picture of the radiograph's
edges, however convincing it looks. Adebayo et al. 2018 (*Sanity Checks for Saliency Maps*, Section
3) replace them layer by layer from the logits down; here it is the head, the upper half, then all.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float32, UInt8
from scipy import stats
from torch import Tensor, nn

from flannel.data.store import Store
from flannel.learners.grad_cam import GradCam, inside_lungs
from flannel.learners.views import PatchLocations
from flannel.progress import progress
from flannel.study.predictions import probability_columns

STAGES = ("head", "upper half", "all weights")
"""What is left to chance, more and more."""

COMPARED_PX = 256
"""Pixels along a side at which two maps are compared at most; they are smooth."""


@dataclass(frozen=True)
class Example:
    """A radiograph whose map is checked: its true diagnosis, and the one that the map is of."""

    image_id: str
    diagnosis: str
    predicted: str


Sample = tuple[Example, UInt8[Tensor, "views 1 side side"], PatchLocations]
"""A radiograph with its views, and where they lie."""


@dataclass(frozen=True)
class Check:
    """What was found on one radiograph.

    Attributes:
        example: The radiograph.
        learned: The learner's own map.
        by_chance: The maps with weights left to chance, by stage.
        inside: Share of the learner's map inside the lungs, 0 to 1; NaN where the map is empty.
        flat: The same share of a map that is equal wherever the learner looked.
        correlations: Rank correlation of the learner's map with each of the others, over what the
            learner looked at; NaN where either is the same everywhere.
    """

    example: Example
    learned: Float32[Tensor, "store store"]
    by_chance: Mapping[str, Float32[Tensor, "store store"]]
    inside: float
    flat: float
    correlations: Mapping[str, float]


def examples(
    predictions: pd.DataFrame,
    diagnoses: Sequence[str],
    count: int,
    usable: Callable[[str], bool] = lambda image_id: True,
) -> list[Example]:
    """Takes the first test radiographs of each diagnosis in turn, in the order of their names.

    Args:
        predictions: The learner's table.
        diagnoses: The label set, in order.
        count: How many at most.
        usable: Whether a radiograph may be taken.
    """
    table = predictions[predictions["split"] == "test"].sort_values("image_id")
    chosen = table[probability_columns(diagnoses)].to_numpy().argmax(axis=1)
    rows = [
        Example(image_id, diagnosis, diagnoses[predicted])
        for image_id, diagnosis, predicted in zip(
            table["image_id"], table["diagnosis"], chosen, strict=True
        )
        if usable(image_id)
    ]
    by_diagnosis = [[row for row in rows if row.diagnosis == name] for name in diagnoses]
    in_turn = chain.from_iterable(zip_longest(*by_diagnosis))
    return [row for row in in_turn if row is not None][:count]


def check_maps(
    cam: GradCam,
    store: Store,
    samples: Sequence[Sample],
    diagnoses: Sequence[str],
    seed: int = 1,
) -> list[Check]:
    """Maps radiographs as learned, and again with more and more of the weights left to chance.

    Args:
        cam: Of the learner; what its network has learned is lost.
        store: Radiographs and lung masks.
        samples: The radiographs.
        diagnoses: The label set, in order.
        seed: Of the weights.
    """
    generator = torch.Generator().manual_seed(seed)
    cams = []
    for stage in ("learned", *STAGES):
        if stage in STAGES:
            leave_to_chance(cam.network, stage, generator)
        made = (
            cam.map_of(pixels, places, diagnoses.index(example.predicted))
            for example, pixels, places in samples
        )
        cams.append(list(progress(made, len(samples), f"Mapping, {stage}")))
    checks = []
    for (example, _, places), learned, *others in zip(samples, *cams, strict=True):
        by_chance = dict(zip(STAGES, others, strict=True))
        seen = cam.seen(places)
        lungs = torch.from_numpy(store.lung_mask(example.image_id))
        checks.append(
            Check(
                example,
                learned,
                by_chance,
                inside_lungs(learned, lungs),
                inside_lungs(seen.float(), lungs),
                {name: rank_correlation(learned, other, seen) for name, other in by_chance.items()},
            )
        )
    return checks


def leave_to_chance(network: nn.Module, stage: str, generator: torch.Generator) -> None:
    """Replaces what the last layers hold by chance, in place.

    Weights become normal with the mean and deviation that they had; biases, and what BatchNorm
    holds of each channel, change places. So signals keep their size, and the map does not vanish.

    Args:
        network: Whose layers are registered in the order in which they run.
        stage: One of `STAGES`.
        generator: The only source of randomness, on the CPU.
    """
    layers = [layer for layer in network.modules() if any(True for _ in _held(layer))]
    last = {"head": 1, "upper half": len(layers) // 2, "all weights": len(layers)}[stage]
    with torch.no_grad():
        for layer in layers[len(layers) - last :]:
            for tensor in _held(layer):
                if tensor.ndim > 1:
                    deviation, centre = torch.std_mean(tensor, correction=0)
                    drawn = torch.randn(tensor.shape, generator=generator)
                    tensor.copy_(drawn.mul_(float(deviation)).add_(float(centre)))
                else:
                    order = torch.randperm(len(tensor), generator=generator)
                    tensor.copy_(tensor[order.to(tensor.device)])


def rank_correlation(
    first: Float32[Tensor, "height width"],
    other: Float32[Tensor, "height width"],
    seen: Bool[Tensor, "height width"],
) -> float:
    """Measures Spearman's rank correlation of two maps, -1 to 1, over what was looked at.

    Maps are subsampled to at most 256 pixels a side. NaN where a map is the same everywhere.
    """
    step = -(-len(seen) // COMPARED_PX)
    within = seen[::step, ::step]
    values = [cam[::step, ::step][within].numpy() for cam in (first, other)]
    if any(np.ptp(of_map) == 0 for of_map in values):
        return float("nan")
    return float(stats.spearmanr(*values).statistic)


def _held(layer: nn.Module) -> Iterator[Tensor]:
    """Yields what a layer itself has learned: parameters, and statistics that are no counts."""
    for tensor in chain(layer.parameters(recurse=False), layer.buffers(recurse=False)):
        if tensor.is_floating_point():
            yield tensor
