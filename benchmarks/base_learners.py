"""Base learners against the plain way (plain_patches.py), and against their own bare networks.

OMP_WAIT_POLICY=passive python benchmarks/base_learners.py

Prediction is the real one, from the store on the disk to `predictions.csv` and `patches.npz`, by
Lightning's Trainer. It and the plain way take turns. The bare network is the same network in the
same form, on ready-made batches in its own type. A training step is that of the Trainer with
loader workers, against forward, backward and Adam on one ready-made batch.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from functools import partial
from pathlib import Path

import lightning
import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback
from measuring import alternated, machine, resolved
from phantom_study import write_study
from plain_patches import plain_votes, write_masked
from torch import nn

from flannel.data.diagnosis import FLANNEL
from flannel.data.store import Store
from flannel.learners.datamodule import RadiographDataModule
from flannel.learners.inference import for_inference, inference_dtype
from flannel.learners.learner import BaseLearner
from flannel.learners.prediction_writer import PredictionsWriter
from flannel.learners.views import normalise
from flannel.networks import ImageNetNetwork

NETWORKS = ("densenet161", "inception_v3", "resnet152", "resnext101_32x8d", "vgg19_bn")


def side_px(architecture: str) -> int:
    """Returns what a network sees, in pixels."""
    return 299 if architecture == "inception_v3" else 224


def used_network(architecture: str, pixels: torch.Tensor) -> nn.Module:
    """Builds a network with random weights that votes for every class.

    BatchNorm gets the statistics of real patches, and the head's logits mean 0 and deviation 1 over
    them, as after some training; else one class would have all votes.
    """
    torch.manual_seed(0)
    network = ImageNetNetwork(architecture, weights="random")
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the plain average
            nn.init.ones_(module.weight)  # a residual block begins as the identity
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    head = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    images = normalise(pixels, "imagenet")
    with torch.no_grad():
        network.train()(images)
        logits = network.eval()(images)
        head.weight /= logits.std(dim=0)[:, None]
        head.bias.copy_((head.bias - logits.mean(dim=0)) / logits.std(dim=0))
    return network


def data_of(study: Path, size_px: int, k: int, workers: int = 0) -> RadiographDataModule:
    """Returns the patched arm's data."""
    data = RadiographDataModule(
        study,
        arm="patched",
        size_px=size_px,
        batch_size=8,
        predict_batch_size=4,
        predict_patches=k,
        workers=workers,
    )
    data.setup("fit")
    return data


def trainer(precision: str, callbacks: list[Callback], epochs: int = 1) -> lightning.Trainer:
    """Returns a Trainer that does nothing beside the work."""
    return lightning.Trainer(
        accelerator="auto",
        devices=1,
        precision=precision,
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        callbacks=callbacks,
    )


def predicted(network: nn.Module, data: RadiographDataModule, precision: str, folder: Path) -> None:
    """Predicts every image, and writes what a run writes."""
    writer = PredictionsWriter(folder, data.table, data.view_options.view, FLANNEL)
    trainer(precision, [writer]).predict(
        BaseLearner(network, FLANNEL), datamodule=data, return_predictions=False
    )


def bare(network: nn.Module, dtype: torch.dtype, size_px: int, count: int) -> Callable[[], object]:
    """Builds the work of the bare network on so many ready-made patches."""
    ready = for_inference(network, dtype)
    at_once = BaseLearner(nn.Identity(), FLANNEL).views_at_once
    images = torch.rand(min(at_once, count), 3, size_px, size_px)
    batch = images.to(dtype, memory_format=torch.channels_last)

    def work() -> None:
        with torch.inference_mode():
            for start in range(0, count, at_once):
                ready(batch[: count - start])

    return work


def equal_votes(network: nn.Module, data: RadiographDataModule, folder: Path) -> float:
    """Returns the share of the first images' patches whose written vote is the plain network's."""
    batch = next(iter(data.predict_dataloader()))
    with np.load(folder / "patches.npz") as written, torch.no_grad():
        rows = {name: row for row, name in enumerate(written["image_id"].tolist())}
        same = []
        for image_id, pixels in zip(batch.image_ids, batch.pixels, strict=True):
            expected = network(normalise(pixels, "imagenet")).argmax(dim=1)
            found = written["logits"][rows[image_id]].argmax(axis=1)
            same.append(expected.numpy() == found)
    return float(np.mean(same))


def compare_prediction(architecture: str, study: Path, arguments: argparse.Namespace) -> str:
    """Returns a line of the table: plain, ours, their ratio, the bare network's share, votes."""
    size_px, k, precision = side_px(architecture), arguments.k, arguments.precision
    data = data_of(study, size_px, k)
    sample = next(iter(data.predict_dataloader())).pixels.flatten(0, 1)[:16]
    network = used_network(architecture, sample)
    plain = deepcopy(network)  # a learner lays its network's weights out channels last
    paths = [study / "masked" / f"{image_id}.npz" for image_id in data.table["image_id"]]
    count = len(paths) * k
    dtype = inference_dtype(precision, network)
    works = {
        "plain": partial(plain_votes, plain, paths, size_px, k, batch_size=8),
        "ours": partial(predicted, network, data, precision, study / architecture),
        "bare": bare(network, dtype, size_px, count),
    }
    seconds = alternated(works, arguments.rounds)
    rates = {name: count / taken for name, taken in seconds.items()}
    votes = equal_votes(plain, data, study / architecture)
    return (
        f"| {architecture} | {rates['plain']:.1f} | {rates['ours']:.1f} "
        f"| {rates['ours'] / rates['plain']:.1f} | {rates['ours'] / rates['bare']:.0%} "
        f"| {votes:.1%} |"
    )


class StepClock(Callback):
    """Notes when each training batch has been learned from."""

    def __init__(self) -> None:
        self.moments: list[float] = []

    def on_train_batch_end(self, *_: object) -> None:
        """Notes the moment."""
        self.moments.append(time.perf_counter())

    @property
    def seconds(self) -> float:
        """The median time between two, without the first, for which the workers start."""
        steps = np.diff(self.moments)[1:]
        return float(np.median(steps))


def compare_training(architecture: str, study: Path, arguments: argparse.Namespace) -> str:
    """Returns a line of the table: a Trainer's step, and the network's share of it."""
    size_px, precision = side_px(architecture), arguments.precision
    data = data_of(study, size_px, arguments.k, arguments.workers)
    batch = next(iter(data.train_dataloader()))
    images, target = normalise(batch.pixels.flatten(0, 1), "imagenet"), batch.target
    network = ImageNetNetwork(architecture, weights="random")
    learner = BaseLearner(network, FLANNEL)
    learner.configure_optimizers = lambda: torch.optim.Adam(  # as LightningCLI would
        learner.parameters(), lr=1e-5, fused=True
    )
    clock = StepClock()
    trainer(precision, [clock], epochs=arguments.epochs).fit(learner, datamodule=data)
    adam = torch.optim.Adam(network.parameters(), lr=1e-5, fused=True)
    mixed = precision == "bf16-mixed"
    bare_steps = []
    for _ in range(4):
        started = time.perf_counter()
        adam.zero_grad()
        with torch.autocast("cpu", torch.bfloat16) if mixed else nullcontext():
            logits = network.train()(images)
            loss = F.cross_entropy(logits.float(), target)
        loss.backward()
        adam.step()
        bare_steps.append(time.perf_counter() - started)
    alone = statistics.median(bare_steps[1:])
    return f"| {architecture} | {clock.seconds:.2f} s | {alone / clock.seconds:.0%} |"


def main() -> None:
    parser = argparse.ArgumentParser(description="Base learners against the plain way.")
    parser.add_argument("--networks", default=",".join(NETWORKS), help="networks, or none")
    parser.add_argument("--training", default="densenet161,vgg19_bn", help="networks, or none")
    parser.add_argument("--images", type=int, default=4, help="of the prediction")
    parser.add_argument("--training_images", type=int, default=64)
    parser.add_argument("--k", type=int, default=100, help="patches an image")
    parser.add_argument("--size_px", type=int, default=1024, help="side of the stored radiographs")
    parser.add_argument("--precision", type=resolved, default="auto")
    parser.add_argument("--workers", type=int, default=2, help="of the training's loader")
    parser.add_argument("--epochs", type=int, default=4, help="of the training")
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    print(
        f"{machine(arguments.precision)}, {arguments.images} images, K = {arguments.k}; "
        f"training with {arguments.workers} workers"
    )
    with tempfile.TemporaryDirectory() as place:
        if arguments.networks:
            study = write_study(Path(place) / "few", arguments.images, arguments.size_px)
            write_masked(Store(study / "store"), study / "masked")
            print("\n| network | plain patches/s | ours | ratio | of the bare network | votes |")
            print("|---|---|---|---|---|---|")
            for architecture in arguments.networks.split(","):
                print(compare_prediction(architecture, study, arguments), flush=True)
        if arguments.training:
            study = write_study(Path(place) / "many", arguments.training_images, arguments.size_px)
            print("\n| network | training step | of which the network |\n|---|---|---|")
            for architecture in arguments.training.split(","):
                print(compare_training(architecture, study, arguments), flush=True)


if __name__ == "__main__":
    main()
