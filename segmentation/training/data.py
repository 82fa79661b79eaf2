"""Radiographs with their lung masks, as batches for the segmenter."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Int64
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from flannel.data.sources import MaskPair, find_pairs
from flannel.errors import check_range
from flannel.files import derived_seed
from segmentation.structures import Structures
from segmentation.training.augmentation import Augmentation, augment
from segmentation.training.pairs import (
    SPLITS,
    LungPairError,
    PreparedPairs,
    SplitProtocol,
    convention_of,
    group_of,
    prepare_pairs,
    split_pairs,
)


class LungBatch(NamedTuple):
    """A batch of prepared radiographs; grey values in 0..255, target a class for each pixel."""

    radiographs: Float32[Tensor, "batch 1 height width"]
    target: Int64[Tensor, "batch height width"]


class Draw(NamedTuple):
    """One radiograph of one epoch: all of an item's randomness derives from it."""

    epoch: int
    position: int
    turn: int = 0
    """Counts the draws of a radiograph that an epoch repeats."""


class LungDataset(Dataset[LungBatch]):
    """Prepared pairs, one by one; a training item may depart from its radiograph.

    Args:
        prepared: Pairs in memory.
        positions: Which of them belong here.
        augmentation: How far a draw may depart; None leaves every radiograph as it is.
        structures: Which structures the targets hold.
        seed: With epoch and stem, decides the departure.
    """

    def __init__(
        self,
        prepared: PreparedPairs,
        positions: Sequence[int],
        augmentation: Augmentation | None,
        structures: Structures,
        seed: int,
    ) -> None:
        self.prepared = prepared
        self.positions = list(positions)
        self.augmentation = augmentation
        self.structures: Structures = structures
        self.seed = seed

    @property
    def pairs(self) -> list[MaskPair]:
        """The pairs, in the order of the positions."""
        return [self.prepared.pairs[position] for position in self.positions]

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, draw: Draw) -> LungBatch:
        position = self.positions[draw.position]
        radiograph = self.prepared.radiographs[position].float()
        target = self.prepared.targets[position].long()
        if self.augmentation is None:
            return LungBatch(radiograph, target)
        stem = self.prepared.pairs[position].stem
        turn = [draw.turn] if draw.turn else []
        generator = np.random.default_rng(derived_seed(self.seed, draw.epoch, stem, *turn))
        return LungBatch(
            *augment(radiograph, target, self.augmentation, self.structures, generator)
        )


class EpochSampler(Sampler[Draw]):
    """Draws each radiograph of an epoch in an order that only (seed, epoch) decides.

    Lightning calls `set_epoch`, also when a run is resumed. Ranks take turns along the order; in
    training the few left over are dropped so that all ranks take as many steps.

    Args:
        counts: How often an epoch draws each radiograph.
        seed: Decides the order with the epoch; None keeps the given order (validation, test).
        rank: This process.
        ranks: Number of processes.
    """

    def __init__(
        self, counts: Sequence[int], seed: int | None, rank: int = 0, ranks: int = 1
    ) -> None:
        self.draws = [(place, turn) for place, count in enumerate(counts) for turn in range(count)]
        self.seed, self.rank, self.ranks = seed, rank, ranks
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch of the next pass."""
        self.epoch = epoch

    def __len__(self) -> int:
        if self.seed is not None:
            return len(self.draws) // self.ranks
        return len(range(self.rank, len(self.draws), self.ranks))

    def __iter__(self) -> Iterator[Draw]:
        order = list(self.draws)
        if self.seed is not None:
            np.random.default_rng(derived_seed(self.seed, self.epoch)).shuffle(order)
        for position, turn in order[self.rank :: self.ranks][: len(self)]:
            yield Draw(self.epoch, position, turn)


class LungDataModule(LightningDataModule):
    """Image + lung-mask pairs, for training the segmenter.

    Args:
        study: The study's folder.
        folder: Folder of the pairs, in any layout that `find_pairs` knows, or a CSV file that
            lists them; the study's `lung_masks` by default.
        structures: Which structures are segmented.
        size_px: Side of the network's input; 256 is the paper's.
        batch_size: Radiographs per step over all devices together; 2 is the paper's.
        split: See `split_pairs`.
        shares: Parts of train, val and test under `split: shares`.
        group_pattern: See `group_of`.
        train_on: Origins to learn from, see `split_pairs`; the others are for testing.
        mixed_conventions: Allow masks that follow different conventions.
        seed: Seed of the split, of the order of training and of the augmentation.
        augmentation: How far training radiographs may be changed; the paper's are not.
        repeats: How often an epoch draws each training pair of an origin, at least once; once by
            default.
        licence: Licence of the data, for the model card.
        strict: Refuse bad files instead of listing them and leaving them out.
        workers: Processes that build batches; the pairs lie in memory, so 0 does well.

    Raises:
        OptionError: If an origin would be drawn less than once.
    """

    def __init__(
        self,
        study: Path,
        folder: Path | None = None,
        structures: Structures = "lungs",
        size_px: int = 256,
        batch_size: int = 2,
        split: SplitProtocol = "shares",
        shares: tuple[float, float, float] = (0.7, 0.15, 0.15),
        group_pattern: str | None = None,
        train_on: Sequence[str] = (),
        mixed_conventions: bool = False,
        seed: int = 1,
        augmentation: Augmentation | None = None,
        repeats: Mapping[str, int] | None = None,
        licence: str = "",
        strict: bool = False,
        workers: int = 0,
    ) -> None:
        super().__init__()
        check_range(0, workers=workers)
        check_range(1, **{f"repeats of {name}": count for name, count in (repeats or {}).items()})
        self.folder = pairs_folder(study, folder)
        self.structures: Structures = structures
        self.size_px = size_px
        self.batch_size = batch_size
        self.split: SplitProtocol = split
        self.shares = shares
        self.group_pattern = group_pattern
        self.train_on = tuple(train_on)
        self.mixed_conventions = mixed_conventions
        self.seed = seed
        self.augmentation = augmentation
        self.repeats = dict(repeats or {})
        self.licence = licence
        self.strict = strict
        self.workers = workers
        self.datasets: Mapping[str, LungDataset] = {}
        self.convention = ""

    def setup(self, stage: str) -> None:
        """Reads, prepares and splits the pairs, once.

        Raises:
            LungPairError: If there are no pairs, two share a stem, their conventions differ, a
                split is left empty, or an origin that is repeated has no pairs.
        """
        if self.datasets:
            return
        pairs = find_pairs(self.folder)
        origins = sorted({pair.origin for pair in pairs})
        if unknown := sorted({*self.repeats} - {*origins}):
            raise LungPairError(
                f"repeats names {', '.join(unknown)}, but the pairs come from "
                f"{', '.join(origin or '(unnamed)' for origin in origins)}."
            )
        split = split_pairs(
            pairs, self.split, self.shares, self.group_pattern, self.train_on, self.seed
        )
        by_stem = {pair.stem: pair for pair in pairs}
        self.convention = convention_of(
            [by_stem[stem] for stem in (*split["train"], *split["val"])], self.mixed_conventions
        )
        used = {stem for members in split.values() for stem in members}
        prepared = prepare_pairs(
            [pair for pair in pairs if pair.stem in used],
            self.size_px,
            self.structures,
            self.strict,
        )
        place = {pair.stem: position for position, pair in enumerate(prepared.pairs)}
        datasets = {}
        for name in SPLITS:
            positions = [place[stem] for stem in split[name] if stem in place]
            if not positions:
                raise LungPairError(
                    f"No usable image + mask pair is left for {name} in {self.folder}: "
                    "give more pairs, or other shares."
                )
            augmentation = self.augmentation if name == "train" else None
            datasets[name] = LungDataset(
                prepared, positions, augmentation, self.structures, self.seed
            )
        self.datasets = datasets

    def groups(self, name: str) -> list[str]:
        """Names the patient, or what stands for one, of each pair of a split."""
        return [group_of(pair, self.group_pattern) for pair in self.datasets[name].pairs]

    def train_dataloader(self) -> DataLoader[LungBatch]:
        """Returns the training pairs, in a new order each epoch."""
        return self._share_loader("train", self.seed)

    def val_dataloader(self) -> DataLoader[LungBatch]:
        """Returns the validation pairs."""
        return self._share_loader("val", None)

    def test_dataloader(self) -> DataLoader[LungBatch]:
        """Returns the test pairs."""
        return self._share_loader("test", None)

    def whole_loader(self, name: str) -> DataLoader[LungBatch]:
        """Returns one split as batches in its own order, whole on every rank."""
        return self._loader(name, None, 0, 1)

    def _share_loader(self, name: str, shuffle_seed: int | None) -> DataLoader[LungBatch]:
        """Returns one split as batches; every rank takes its part of each batch."""
        if self.trainer is None:
            return self._loader(name, shuffle_seed, 0, 1)
        return self._loader(name, shuffle_seed, self.trainer.global_rank, self.trainer.world_size)

    def _loader(
        self, name: str, shuffle_seed: int | None, rank: int, ranks: int
    ) -> DataLoader[LungBatch]:
        dataset = self.datasets[name]
        counts = [
            self.repeats.get(pair.origin, 1) if shuffle_seed is not None else 1
            for pair in dataset.pairs
        ]
        return DataLoader(
            dataset=dataset,
            batch_size=max(1, self.batch_size // ranks),
            sampler=EpochSampler(counts, shuffle_seed, rank, ranks),
            num_workers=self.workers,
            pin_memory=torch.cuda.is_available(),
            # Without its own, starting an epoch would draw from the generator of dropout.
            generator=torch.Generator(),
        )


def pairs_folder(study: Path, folder: Path | None) -> Path:
    """Returns the folder of image + mask pairs that a study is segmented with."""
    return Path(study) / "lung_masks" if folder is None else Path(folder)
