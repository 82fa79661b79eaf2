"""Radiographs as batches: the samples of an epoch, the views of an image, and their stacking."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int, UInt8
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from flannel.data.diagnosis import index_of
from flannel.data.store import Store
from flannel.errors import OptionError
from flannel.files import derived_seed
from flannel.learners.augmentation import NONE, Augmentation, AugmentationParams, stacked
from flannel.learners.views import (
    Normalisation,
    PatchLocations,
    View,
    ViewSampling,
)

Order = Literal["listed", "shuffled", "fixed", "balanced"]


class Batch(NamedTuple):
    """What a learner sees: every image as one or more views.

    Attributes:
        pixels: Grey levels 0..255 of one channel, which travel to the device as bytes, as the
            radiograph has them.
        target: Class indices.
        image_ids: One per image.
        places: Where the views lie, and how much each counts.
        normalisation: How the network wants the grey levels (`flannel.learners.views.normalise`).
        augmented_by: The parameters by which views are augmented on the device in training; None
            where they never are.
    """

    pixels: UInt8[Tensor, "images views 1 side side"]
    target: Int[Tensor, " images"]
    image_ids: list[str]
    places: PatchLocations
    normalisation: Normalisation
    augmented_by: AugmentationParams | None


class SampleKey(NamedTuple):
    """What a sampler asks a dataset for.

    Attributes:
        epoch: The epoch that the sample's randomness depends on.
        row: The image.
        turn: How often the image came before in the epoch, so that each time it looks different.
    """

    epoch: int
    row: int
    turn: int = 0


class EpochSampler(Sampler[SampleKey]):
    """Returns this rank's images of an epoch, in an order derived from (seed, epoch).

    Args:
        targets: Class index of each image.
        seed: Seed of the order.
        order: "listed" as they are; "shuffled" anew in every epoch; "fixed", shuffled once and the
            same in every epoch, as the loaders of paper 004 have it; "balanced", as many draws as
            there are images, with replacement, an image of class c as likely as N / n_c, as Oh,
            Park and Ye draw.
        rank: This process, 0 to ranks - 1.
        ranks: Number of processes.
        even: Give every rank equally many by leaving out the last few of the order, as training
            over several devices needs. Otherwise no image is left out and none comes twice.

    Raises:
        OptionError: If the order is unknown.
    """

    def __init__(
        self,
        targets: Sequence[int],
        seed: int,
        order: Order,
        rank: int = 0,
        ranks: int = 1,
        even: bool = True,
    ) -> None:
        self.targets = np.asarray(targets, dtype=np.int64)
        self.seed, self.order = seed, order
        self.rank, self.ranks, self.even = rank, ranks, even
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Notes the epoch; Lightning calls this."""
        self.epoch = epoch

    def __len__(self) -> int:
        count = len(self.targets)
        return count // self.ranks if self.even else len(range(self.rank, count, self.ranks))

    def __iter__(self) -> Iterator[SampleKey]:
        epoch, rows = self.epoch, self._rows()
        mine = slice(self.rank, self.rank + self.ranks * len(self), self.ranks)
        for row, turn in zip(rows[mine], _turns(rows)[mine], strict=True):
            yield SampleKey(epoch, int(row), int(turn))

    def _rows(self) -> Int[np.ndarray, " images"]:
        """Returns the rows of an epoch for all ranks together."""
        count = len(self.targets)
        match self.order:
            case "listed":
                return np.arange(count)
            case "shuffled":
                return self._generator(self.epoch).permutation(count)
            case "fixed":
                return self._generator(0).permutation(count)
            case "balanced":
                likely = 1.0 / np.bincount(self.targets)[self.targets]
                return self._generator(self.epoch).choice(count, count, p=likely / likely.sum())
            case _:
                raise OptionError(
                    f"order is {self.order!r}; expected listed, shuffled, fixed or balanced."
                )

    def _generator(self, epoch: int) -> np.random.Generator:
        return np.random.default_rng(derived_seed(self.seed, epoch))


def _turns(rows: Int[np.ndarray, " images"]) -> Int[np.ndarray, " images"]:
    """Counts for each row of an order how often it came before."""
    sorting = rows.argsort(kind="stable")
    ordered = rows[sorting]
    turns = np.empty_like(rows)
    turns[sorting] = np.arange(len(rows)) - ordered.searchsorted(ordered)
    return turns


class RadiographDataset(Dataset[Batch]):
    """The images of one or more splits of a fold, each as its views.

    Args:
        table: Rows with `image_id` and `diagnosis`.
        store: Folder of the store.
        view: Whole radiographs or patches.
        diagnoses: The label set, in order.
        normalisation: Noted in every batch, for the learner.
        patches: Patches an image; without meaning for whole radiographs.
        training: Crop at random, and augment.
        anew: Draw centres, crops and augmentation anew in every epoch, from (seed, epoch, turn,
            image_id); else from (seed, image_id), the same each time.
        seed: Of all that is drawn.
        augmentation: How training views are augmented.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        store: Path,
        view: View,
        *,
        diagnoses: Sequence[str],
        normalisation: Normalisation,
        patches: int,
        training: bool,
        anew: bool,
        seed: int,
        augmentation: Augmentation = NONE,
    ) -> None:
        self.image_ids = list(table["image_id"])
        self.targets = [index_of(diagnosis, diagnoses) for diagnosis in table["diagnosis"]]
        self.folder, self.view = store, view
        self.normalisation: Normalisation = normalisation
        self.patches, self.training, self.anew, self.seed = patches, training, anew, seed
        self.augmentation = augmentation if training else NONE
        self.store: Store | None = None  # opened in each worker

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, key: SampleKey) -> Batch:
        self.store = self.store or Store(self.folder)
        image_id = self.image_ids[key.row]
        moment = ("epoch", key.epoch, key.turn) if self.anew else ("fixed",)
        generator = torch.Generator().manual_seed(derived_seed(self.seed, *moment, image_id))
        sampling = ViewSampling(generator, self.training, self.patches)
        pixels, places = self.view.views(self.store, image_id, sampling)
        augmented_by = self.augmentation.draw(generator)
        target = torch.tensor(self.targets[key.row])
        return Batch(pixels, target, [image_id], places, self.normalisation, augmented_by)


def collate(items: Sequence[Batch]) -> Batch:
    """Stacks single images to a batch."""
    return Batch(
        torch.stack([item.pixels for item in items]),
        torch.stack([item.target for item in items]),
        [image_id for item in items for image_id in item.image_ids],
        PatchLocations(*map(torch.stack, zip(*(item.places for item in items), strict=True))),
        items[0].normalisation,
        stacked([item.augmented_by for item in items]),
    )
