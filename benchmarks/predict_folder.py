"""How much of `flannel predict` over a folder of radiographs is the networks' own time.

OMP_WAIT_POLICY=passive python benchmarks/predict_folder.py --study runs/demo --count 24

Phantom radiographs, PNG and JPEG in turn, are written to a temporary folder. In one process the
bare networks (the segmenter and every learner, in the form and arithmetic in which they predict)
work through ready-made batches of the same size; then `predict_files` goes through the files,
without pictures, with pictures, and with saliency in them; then come the bare networks again.
Reading the networks from the disk, which does not grow with the folder, is reported separately.

Processor time, which other programs on the machine disturb less, holds that of processes that draw.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from measuring import machine
from predict import write_radiographs

from flannel.bundle.read import open_trained
from flannel.prediction.predict import PredictOptions, predict_files
from flannel.prediction.predictors import Panel, ReadyLearner
from flannel.prediction.trained import Trained
from segmentation.inference import class_probabilities, ready_network

AT_ONCE = 4
"""Radiographs that `predict_masks` shows the segmenter at once."""


class Cost(NamedTuple):
    """Seconds by the clock, and of the processor, children's included."""

    seconds: float
    processor: float

    def __sub__(self, other: "Cost") -> "Cost":
        return Cost(self.seconds - other.seconds, self.processor - other.processor)

    def __str__(self) -> str:
        return f"{self.seconds:7.1f} s, {self.processor:7.1f} s of processor"


def now() -> Cost:
    spent = os.times()
    return Cost(time.perf_counter(), sum(spent[:4]))


def cost_of(work: Callable[[], object]) -> Cost:
    before = now()
    work()
    return now() - before


def ready_learners(trained: Trained) -> list[ReadyLearner]:
    panel = Panel(trained, keep=True)
    return [panel.ready(learner) for learner in trained.learners]


def bare(trained: Trained, learners: list[ReadyLearner], images: int) -> None:
    """Sends ready-made batches of so many radiographs through every network."""
    segmenter = trained.segmenter
    if segmenter is not None:
        device = learners[0].device
        network = ready_network(segmenter.network, trained.masks.precision, device)
        side = segmenter.size_px
        for start in range(0, images, AT_ONCE):
            batch = 255 * torch.rand(min(AT_ONCE, images - start), 1, side, side, device=device)
            class_probabilities(network, batch, segmenter.classes, trained.masks.flip)
    for ready in learners:
        view = ready.options.view
        views = view.count(ready.patches)
        for start in range(0, images, ready.options.predict_batch_size):
            count = min(ready.options.predict_batch_size, images - start)
            shape = count, views, 1, view.size_px, view.size_px
            ready._logits(torch.zeros(shape, dtype=torch.uint8))


def main() -> None:
    parser = argparse.ArgumentParser(description="How near `flannel predict` is to its networks.")
    parser.add_argument("--study", type=Path, required=True, help="a trained study, or a bundle")
    parser.add_argument("--count", type=int, default=24, help="radiographs")
    parser.add_argument("--side_px", type=int, default=1500, help="their side, give or take 12 %%")
    arguments = parser.parse_args()
    trained, count = open_trained(arguments.study), arguments.count
    with tempfile.TemporaryDirectory() as place:
        files = Path(place) / "files"
        files.mkdir()
        write_radiographs(files, count, arguments.side_px)
        learners = ready_learners(trained)
        bare(trained, learners, AT_ONCE)  # not counted: the first time is slower
        alone = [cost_of(partial(bare, trained, learners, count))]
        reading = cost_of(
            lambda: [ReadyLearner(one, learners[0].device) for one in trained.learners]
        )
        kinds = {
            "without pictures": PredictOptions(pictures=False, doubtful=True),
            "with pictures": PredictOptions(saliency=False, doubtful=True),
            "with saliency in them": PredictOptions(doubtful=True),
        }
        costs = {}
        for kind, options in kinds.items():
            out = Path(place) / kind
            costs[kind] = cost_of(partial(predict_files, Panel(trained), [files], out, options))
        alone.append(cost_of(partial(bare, trained, learners, count)))
    precisions = sorted({one.precision for one in Panel(trained).trained.learners})
    print(
        f"{machine(' and '.join(precisions))}: {count} radiographs of about "
        f"{arguments.side_px} px, {len(learners)} learners"
    )
    print(f"networks alone         {alone[0]}\n                       {alone[1]}")
    print(f"reading the networks   {reading}")
    mean = Cost(*(sum(values) / 2 for values in zip(*alone, strict=True)))
    for kind, cost in costs.items():
        rest = cost - reading
        print(
            f"{kind:22} {cost}; the networks' share, without reading them, "
            f"{mean.seconds / rest.seconds:.0%} by the clock, "
            f"{mean.processor / rest.processor:.0%} by processor time"
        )


if __name__ == "__main__":
    main()
