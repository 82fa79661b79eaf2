"""What a patch costs from the store, against the plain way (plain_patches.py), on one core.

python benchmarks/patches.py

The files are in the page cache. Both ways take turns; medians of the rounds are shown, in processor
time.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from measuring import alternated, machine, resident_mb
from phantom_study import write_study
from plain_patches import plain_patch, write_masked

from flannel.data.manifest import load_manifest
from flannel.data.store import Store
from flannel.learners.datamodule import RadiographDataModule

WINDOW_PX = 224


def plain(folder: Path, image_ids: list[str]) -> None:
    """Cuts one patch an image."""
    generator = np.random.default_rng(1)
    for image_id in image_ids:
        plain_patch(folder / f"{image_id}.npz", WINDOW_PX, generator)


def delivered(data: RadiographDataModule, purpose: str) -> Callable[[], object]:
    """Builds a walk over all batches of a loader, without a network."""
    loader = data.train_dataloader() if purpose == "train" else data.predict_dataloader()
    epochs = iter(range(10**6))

    def walk() -> None:
        loader.sampler.set_epoch(next(epochs))
        for _ in loader:
            pass

    return walk


def augmented(data: RadiographDataModule) -> tuple[Callable[[], object], int]:
    """Builds the augmentation of a ready-made batch, as the network's device does it."""
    batch = next(iter(data.train_dataloader()))
    assert batch.augmented_by is not None
    return partial(batch.augmented_by.apply, batch.pixels), len(batch.target)


def ways(study: Path, k: int) -> dict[str, tuple[Callable[[], object], int]]:
    """Lists what is measured, with the number of patches that each delivers."""
    images = len(load_manifest(study / "manifest.csv"))
    found = {}
    for name, options in (
        (f"K = {k}, masked", {}),
        (f"K = {k}, masked, equalised", {"greyscale": "equalised"}),
        (f"K = {k}, masked, 299 px", {"size_px": 299}),
    ):
        data = data_of(study, predict_patches=k, **options)
        found[name] = (delivered(data, "predict"), images * k)
    for name, options in (
        ("training, masked", {}),
        ("training, masked, equalised, augmentation drawn", RECIPE),
    ):
        data = data_of(study, **options)
        data.table = pd.concat([data.table] * COPIES, ignore_index=True)
        found[name] = (delivered(data, "train"), sum(data.class_counts().values()))
    found["flip and rotation, where the network is"] = augmented(data_of(study, **RECIPE))
    return found


def data_of(study: Path, **options: object) -> RadiographDataModule:
    """Returns the data of the patched arm, augmented only where it is asked."""
    data = RadiographDataModule(study, arm="patched", batch_size=4, **{"flip": 0.0, **options})
    data.setup("fit")
    return data


COPIES = 20
"""How often an epoch of training has the few images, so that its beginning weighs little."""
RECIPE = {"greyscale": "equalised", "flip": 0.5, "rotation_degrees": 5}
"""Of `experiments/base/patched/_common.yaml`."""


def memory_of_epoch(study: Path, copies: int, k: int) -> float:
    """Returns the growth of this process's own memory, in MB, over an epoch of so many images."""
    data = data_of(study, predict_patches=k)
    data.table = pd.concat([data.table] * copies, ignore_index=True)
    before = resident_mb("RssAnon")
    highest = before
    for _ in data.predict_dataloader():
        highest = max(highest, resident_mb("RssAnon"))
    return highest - before


def main() -> None:
    parser = argparse.ArgumentParser(description="What a patch costs, against the plain way.")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--size_px", type=int, default=1024, help="side of the stored radiographs")
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{machine()}, median of {arguments.rounds} rounds")
    with tempfile.TemporaryDirectory() as place:
        study = write_study(Path(place), arguments.images, arguments.size_px)
        store = Store(study / "store")
        write_masked(store, study / "masked")
        measured = ways(study, arguments.k)
        works = {name: work for name, (work, _) in measured.items()}
        works["plain"] = partial(plain, study / "masked", list(store.image_ids))
        seconds = alternated(works, arguments.rounds, time.process_time)
        each = 1000 * seconds["plain"] / arguments.images
        print("\n| patches | plain | ours | ratio |\n|---|---|---|---|")
        for name, (_, patches) in measured.items():
            ours = 1000 * seconds[name] / patches
            print(f"| {name} | {each:.2f} ms | {ours:.4f} ms | {each / ours:.0f} |")
        for copies in (1, 20):
            grown = memory_of_epoch(study, copies, arguments.k)
            print(f"memory of an epoch of {copies * arguments.images} images: {grown:.0f} MB")


if __name__ == "__main__":
    main()
