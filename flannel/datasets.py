"""Radiographs as batches: the samples of an epoch, the views of an image, and their stacking."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from flannel.data.diagnosis import index_of
from flannel.data.store import Store
from flannel.runs import derived_seed
from flannel.views import Draw, PatchView, Places, WholeView


class Batch(NamedTuple):
    """What a learner sees: every image as one or more views.

    Attributes:
        pixels: uint8 grey levels from the loader, (images, views, 1, side, side); on the device
            normalised float32 with three channels.
        target: Class indices.
        image_ids: One per image.
        places: Where the views lie, and how much each counts.
    """

    pixels: Tensor
    target: Int[Tensor, " images"]
    image_ids: list[str]
    places: Places


class Key(NamedTuple):
    """What a sampler asks a dataset for: a row, in an epoch that its randomness hangs on."""

    epoch: int
    row: int


class EpochSampler(Sampler[Key]):
    """Gives this rank's images of an epoch, in an order derived from (seed, epoch).

    Args:
        count: Number of images.
        seed: Seed of the order.
        shuffle: Draw an order; else the images come as they are.
        rank: This process, 0 to ranks - 1.
        ranks: Number of processes.
        even: Give every rank equally many by leaving out the last few of the order, as training
            over several devices needs. Otherwise no image is left out and none comes twice.
    """

    def __init__(
        self, count: int, seed: int, shuffle: bool, rank: int = 0, ranks: int = 1, even: bool = True
    ) -> None:
        self.count, self.seed, self.shuffle = count, seed, shuffle
        self.rank, self.ranks, self.even = rank, ranks, even
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Notes the epoch; Lightning calls this."""
        self.epoch = epoch

    def __len__(self) -> int:
        mine = range(self.rank, self.count, self.ranks)
        return self.count // self.ranks if self.even else len(mine)

    def __iter__(self) -> Iterator[Key]:
        order = np.arange(self.count)
        if self.shuffle:
            order = np.random.default_rng(derived_seed(self.seed, self.epoch)).permutation(order)
        for index in order[self.rank :: self.ranks][: len(self)]:
            yield Key(self.epoch, int(index))


class RadiographDataset(Dataset[Batch]):
    """The images of one or more splits of a fold, each as its views.

    Args:
        table: Rows with `image_id` and `diagnosis`.
        store: Folder of the store.
        view: Whole radiographs or patches.
        patches: Patches an image; without meaning for whole radiographs.
        training: Crop, flip and rotate at random, anew in every epoch.
        seed: All randomness derives from (seed, epoch, image_id), outside training without epoch.
        flip: Probability of a horizontal flip.
        rotation_degrees: Rotation by a whole number of degrees in [-r, r].
    """

    def __init__(
        self,
        table: pd.DataFrame,
        store: Path,
        view: WholeView | PatchView,
        *,
        patches: int,
        training: bool,
        seed: int,
        flip: float,
        rotation_degrees: int,
    ) -> None:
        self.image_ids = list(table["image_id"])
        self.targets = [index_of(diagnosis) for diagnosis in table["diagnosis"]]
        self.folder, self.view = store, view
        self.patches, self.training, self.seed = patches, training, seed
        self.flip, self.rotation_degrees = flip, rotation_degrees
        self.store: Store | None = None  # opened in each worker

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, key: Key) -> Batch:
        self.store = self.store or Store(self.folder)
        image_id = self.image_ids[key.row]
        moment = ("train", key.epoch) if self.training else ("fixed",)
        generator = torch.Generator().manual_seed(derived_seed(self.seed, *moment, image_id))
        draw = Draw(generator, self.training, self.patches, self.flip, self.rotation_degrees)
        pixels, places = self.view.views(self.store, image_id, draw)
        return Batch(pixels, torch.tensor(self.targets[key.row]), [image_id], places)


def collate(items: Sequence[Batch]) -> Batch:
    """Stacks single images to a batch."""
    return Batch(
        torch.stack([item.pixels for item in items]),
        torch.stack([item.target for item in items]),
        [image_id for item in items for image_id in item.image_ids],
        Places(*map(torch.stack, zip(*(item.places for item in items), strict=True))),
    )
