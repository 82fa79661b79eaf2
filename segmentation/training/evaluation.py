"""A trained segmenter measured on its validation and test pairs, radiograph by radiograph."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float32
from lightning.pytorch import Trainer
from torch import Tensor

from flannel.data.sources import MaskPair, read_structure
from segmentation.masks.cleaning import mask_at_size
from segmentation.preprocessing import prepare_target
from segmentation.structures import lung_channels
from segmentation.training.data import LungDataModule
from segmentation.training.measures import MEASURES, dice, hausdorff95, jaccard, mean_interval
from segmentation.training.task import LungSegmenter

MEASURED_PX = 256
"""Side of the picture that masks are compared on, whatever size the network works at; the
paper's."""


class PairPrediction(NamedTuple):
    """What the network says of one pair: the probability of each class at the network's size."""

    pair: MaskPair
    group: str
    probabilities: Float32[Tensor, "classes size size"]


def measure(
    model: LungSegmenter, data: LungDataModule, split: str, trainer: Trainer
) -> pd.DataFrame:
    """Measures every pair of a split.

    Args:
        model: The trained segmenter; it is put on the trainer's device.
        data: Pairs, set up.
        split: `val` or `test`.
        trainer: Gives device and precision.

    Returns:
        A row per radiograph: stem, origin, group, split, `MEASURES`, and the Jaccard index of
        each structure where there are several.
    """
    answers = _answers(model, data, split, trainer)
    with ThreadPoolExecutor() as threads:
        table = pd.DataFrame(threads.map(lambda answer: _row(answer, model.classes), answers))
    table.insert(3, "split", split)
    return table


def summary(table: pd.DataFrame, prefix: str) -> dict[str, float | int | None]:
    """Sums up measured radiographs: means, intervals of the Jaccard index, the worst.

    Args:
        table: Rows of `measure`.
        prefix: What the names begin with, such as `test`.

    Returns:
        `<prefix>/jaccard` and so on; intervals are 95 %, over groups of patients, None where
        there is none.
    """
    groups = table["group"].tolist()
    measures: dict[str, float | int | None] = {f"{prefix}/radiographs": len(table)}
    for name in MEASURES:
        mean, low, high = mean_interval(table[name].to_numpy(), groups)
        measures[f"{prefix}/{name}"] = mean
        if name.startswith("jaccard"):
            measures[f"{prefix}/{name}_low"], measures[f"{prefix}/{name}_high"] = low, high
    measures[f"{prefix}/jaccard_worst"] = float(table["jaccard"].min())
    for name in table.columns:
        if name.startswith("jaccard_") and name not in MEASURES:
            measures[f"{prefix}/{name}"] = float(table[name].mean())
    return measures


def _answers(
    model: LungSegmenter, data: LungDataModule, split: str, trainer: Trainer
) -> Iterator[PairPrediction]:
    device = trainer.strategy.root_device
    model.to(device).eval()
    waiting = zip(data.datasets[split].pairs, data.groups(split), strict=True)
    with torch.no_grad(), trainer.precision_plugin.forward_context():
        for batch in data.whole_loader(split):
            probabilities = model(batch.radiographs.to(device)).float().softmax(dim=1).cpu()
            for part in probabilities:
                yield PairPrediction(*next(waiting), part)


def _row(answer: PairPrediction, classes: tuple[str, ...]) -> dict[str, str | float]:
    masks = [read_structure(answer.pair, name) for name in classes[1:]]
    truth = prepare_target(masks, MEASURED_PX)
    size = (MEASURED_PX, MEASURED_PX)
    enlarged = F.interpolate(answer.probabilities[None], size, mode="bilinear")[0]
    predicted = enlarged.argmax(dim=0).numpy()
    lungs = lung_channels(classes)
    predicted_lungs, true_lungs = np.isin(predicted, lungs), np.isin(truth, lungs)

    native = np.logical_or.reduce([masks[place - 1] for place in lungs])
    probability = answer.probabilities[lungs].sum(dim=0).numpy()
    row: dict[str, str | float] = {
        "stem": answer.pair.stem,
        "origin": answer.pair.origin,
        "group": answer.group,
        "jaccard": jaccard(predicted_lungs, true_lungs),
        "jaccard_native": jaccard(mask_at_size(probability, *native.shape)[0], native),
        "dice": dice(predicted_lungs, true_lungs),
        "hausdorff95": hausdorff95(predicted_lungs, true_lungs),
    }
    if len(classes) > 2:
        for place, name in enumerate(classes[1:], start=1):
            row[f"jaccard_{name.replace(' ', '_')}"] = jaccard(predicted == place, truth == place)
    return row
