"""Radiographs with their lung masks, as batches for the segmenter."""

import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float16, Float32, Int64, UInt8
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from flannel.data.progress import progress
from flannel.data.radiograph import RadiographError, read_levels
from flannel.data.sources import MaskPair, find_pairs, read_pair_mask
from flannel.runs import derived_seed
from segmentation.preprocessing import prepare, prepare_mask

SplitProtocol = Literal["shares", "paper"]
SPLITS = ("train", "val", "test")
PAPER_SEED = 407
"""The NumPy seed of the original program's split."""


class LungPairError(ValueError):
    """Image + mask pairs that cannot be used, in a sentence."""


class LungBatch(NamedTuple):
    """A batch of prepared radiographs; grey values in 0..255, target 0 background and 1 lungs."""

    radiographs: Float32[Tensor, "batch 1 height width"]
    target: Int64[Tensor, "batch height width"]


class Draw(NamedTuple):
    """One radiograph of one epoch: all of an item's randomness derives from it."""

    epoch: int
    position: int


@dataclass(frozen=True)
class PreparedPairs:
    """Pairs at the network's size, in memory."""

    stems: tuple[str, ...]
    radiographs: Float16[Tensor, "pairs 1 size size"]
    masks: UInt8[Tensor, "pairs size size"]


def split_pairs(
    stems: Sequence[str],
    protocol: SplitProtocol = "shares",
    shares: Sequence[float] = (0.7, 0.15, 0.15),
    group_pattern: str | None = None,
    seed: int = 1,
) -> dict[str, list[str]]:
    """Splits pairs into train, val and test.

    Args:
        stems: Names of the pairs, each once.
        protocol: `shares` draws groups of pairs until each split has its share. `paper` is the
            original program's: the sorted list shuffled with NumPy's seed 407, the first 80 % for
            training and the rest for validation *and* test (197 and 50 of JSRT's 247), so that
            its test figure is one the network was selected on.
        shares: Parts of train, val and test under `shares`; they sum to 1.
        group_pattern: Regular expression; pairs whose stems match with the same text (the first
            group, or the whole match) stay together under `shares`. Others stand alone.
        seed: Seed of the draw under `shares`.

    Returns:
        The stems of each split, in a fixed order.

    Raises:
        LungPairError: If there are too few groups, the shares do not sum to 1, the pattern is no
            regular expression, or the protocol is unknown.
    """
    ordered = sorted(stems)
    match protocol:
        case "shares":
            return _split_by_shares(ordered, shares, group_pattern, seed)
        case "paper":
            np.random.RandomState(PAPER_SEED).shuffle(ordered)
            cut = int(0.8 * len(ordered))
            return {"train": ordered[:cut], "val": ordered[cut:], "test": ordered[cut:]}
        case _:
            raise LungPairError(f"split is {protocol!r}: expected shares or paper.")


def _split_by_shares(
    stems: list[str], shares: Sequence[float], group_pattern: str | None, seed: int
) -> dict[str, list[str]]:
    if len(shares) != len(SPLITS) or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise LungPairError(
            f"shares are {list(shares)}: expected three positive parts that sum to 1."
        )
    groups: dict[str, list[str]] = {}
    for stem in stems:
        groups.setdefault(_group_of(stem, group_pattern), []).append(stem)
    if len(groups) < len(SPLITS):
        raise LungPairError(
            f"{len(stems)} image + mask pairs in {len(groups)} groups cannot be split into train, "
            "val and test: give at least 3, or another group_pattern."
        )
    names = list(groups)
    np.random.default_rng(seed).shuffle(names)
    # One group for each split first, so that none is empty; the rest goes where most is missing.
    split: dict[str, list[str]] = {name: [] for name in SPLITS}
    for number, name in enumerate(names):
        missing = [
            share * len(stems) - len(split[key]) for key, share in zip(SPLITS, shares, strict=True)
        ]
        chosen = SPLITS[number] if number < len(SPLITS) else SPLITS[int(np.argmax(missing))]
        split[chosen].extend(groups[name])
    return {name: sorted(members) for name, members in split.items()}


def _group_of(stem: str, pattern: str | None) -> str:
    if pattern is None:
        return stem
    try:
        found = re.search(pattern, stem)
    except re.error as fault:
        raise LungPairError(
            f"group_pattern {pattern!r} is no regular expression: {fault}."
        ) from fault
    if found is None:
        return stem
    return found.group(1) if found.re.groups else found.group(0)


def prepare_pairs(pairs: Sequence[MaskPair], size_px: int, strict: bool) -> PreparedPairs:
    """Reads and prepares pairs, several at a time; bad files are listed together.

    Args:
        pairs: What to read.
        size_px: Side of the prepared radiographs and masks.
        strict: Refuse bad files instead of leaving their pairs out.

    Raises:
        LungPairError: If no pair is left, or `strict` and a file is bad.
    """
    with ThreadPoolExecutor() as threads:
        read = threads.map(lambda pair: _prepare_pair(pair, size_px), pairs)
        outcomes = list(progress(read, len(pairs), "Preparing radiographs and masks"))
    faults = [outcome for outcome in outcomes if isinstance(outcome, str)]
    good = [
        (pair.stem, *outcome)
        for pair, outcome in zip(pairs, outcomes, strict=True)
        if not isinstance(outcome, str)
    ]
    listing = "\n".join(f"  {fault}" for fault in faults)
    if faults and (strict or not good):
        raise LungPairError(
            f"{len(faults)} of {len(pairs)} image + mask pairs cannot be used:\n{listing}\n"
            "Correct or remove these files" + (", or leave data.strict off." if good else ".")
        )
    if faults:
        print(f"Left out {len(faults)} of {len(pairs)} image + mask pairs:\n{listing}", flush=True)
    return PreparedPairs(
        stems=tuple(stem for stem, _, _ in good),
        radiographs=torch.from_numpy(np.stack([image for _, image, _ in good])),
        masks=torch.from_numpy(np.stack([mask for _, _, mask in good]).astype(np.uint8)),
    )


def _prepare_pair(
    pair: MaskPair, size_px: int
) -> tuple[Float16[np.ndarray, "1 size size"], Bool[np.ndarray, "size size"]] | str:
    """Gives a pair at the network's size, or the sentence that says why not."""
    try:
        stored = read_levels(pair.image)
        mask = read_pair_mask(pair)
        if mask.shape != stored.levels.shape:
            # SCR's masks are half as large as JSRT's radiographs; only the shape must agree.
            ratio = (mask.shape[0] / mask.shape[1]) / np.divide(*stored.levels.shape)
            if abs(ratio - 1) > 0.01:
                return (
                    f"{pair.image}: {stored.levels.shape[1]} x {stored.levels.shape[0]} pixels, "
                    f"but its mask has {mask.shape[1]} x {mask.shape[0]} and another aspect."
                )
        radiograph = prepare(stored.levels, stored.polarity, size_px)
        return radiograph.astype(np.float16), prepare_mask(mask, size_px)
    except RadiographError as fault:
        return str(fault)


class LungDataset(Dataset[LungBatch]):
    """Prepared pairs, one by one; a training item may be mirrored.

    Args:
        pairs: Pairs in memory.
        positions: Which of them belong here.
        flip: Mirror left and right in half of the draws.
        seed: With epoch and stem, decides which.
    """

    def __init__(
        self, pairs: PreparedPairs, positions: Sequence[int], flip: bool, seed: int
    ) -> None:
        self.pairs = pairs
        self.positions = list(positions)
        self.flip = flip
        self.seed = seed

    @property
    def stems(self) -> list[str]:
        """The names of the pairs, in the order of the positions."""
        return [self.pairs.stems[position] for position in self.positions]

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, draw: Draw) -> LungBatch:
        position = self.positions[draw.position]
        radiograph = self.pairs.radiographs[position].float()
        target = self.pairs.masks[position].long()
        if self.flip and derived_seed(self.seed, draw.epoch, self.pairs.stems[position]) % 2:
            radiograph, target = radiograph.flip(-1), target.flip(-1)
        return LungBatch(radiograph, target)


class EpochSampler(Sampler[Draw]):
    """Draws each radiograph once an epoch, in an order that only (seed, epoch) decides.

    Lightning calls `set_epoch`, also when a run is resumed. Ranks take turns along the order; in
    training the few left over are dropped so that all ranks take as many steps.

    Args:
        length: Number of radiographs.
        seed: Decides the order with the epoch; None keeps the given order (validation, test).
        rank: This process.
        ranks: Number of processes.
    """

    def __init__(self, length: int, seed: int | None, rank: int = 0, ranks: int = 1) -> None:
        self.length, self.seed, self.rank, self.ranks = length, seed, rank, ranks
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch of the next pass."""
        self.epoch = epoch

    def __len__(self) -> int:
        if self.seed is not None:
            return self.length // self.ranks
        return len(range(self.rank, self.length, self.ranks))

    def __iter__(self) -> Iterator[Draw]:
        order = list(range(self.length))
        if self.seed is not None:
            np.random.default_rng(derived_seed(self.seed, self.epoch)).shuffle(order)
        for position in order[self.rank :: self.ranks][: len(self)]:
            yield Draw(self.epoch, position)


class LungDataModule(LightningDataModule):
    """Image + lung-mask pairs of one folder, for training the segmenter.

    Args:
        study: The study's folder.
        folder: Folder of the pairs, in any layout that `find_pairs` knows; the study's
            `lung_masks` by default.
        size_px: Side of the network's input; 256 is the paper's.
        batch_size: Radiographs per step over all devices together; 2 is the paper's.
        split: See `split_pairs`.
        shares: Parts of train, val and test under `split: shares`.
        group_pattern: See `split_pairs`.
        seed: Seed of the split, of the order of training and of mirroring.
        flip: Mirror left and right in half of the training draws; the paper has no augmentation.
        strict: Refuse bad files instead of listing them and leaving them out.
        workers: Processes that build batches; the pairs lie in memory, so 0 does well.
    """

    def __init__(
        self,
        study: Path,
        folder: Path | None = None,
        size_px: int = 256,
        batch_size: int = 2,
        split: SplitProtocol = "shares",
        shares: tuple[float, float, float] = (0.7, 0.15, 0.15),
        group_pattern: str | None = None,
        seed: int = 1,
        flip: bool = False,
        strict: bool = False,
        workers: int = 0,
    ) -> None:
        super().__init__()
        self.folder = pairs_folder(study, folder)
        self.size_px = size_px
        self.batch_size = batch_size
        self.split = split
        self.shares = shares
        self.group_pattern = group_pattern
        self.seed = seed
        self.flip = flip
        self.strict = strict
        self.workers = workers
        self.datasets: Mapping[str, LungDataset] = {}

    def setup(self, stage: str) -> None:
        """Reads, prepares and splits the pairs, once.

        Raises:
            LungPairError: If there are no pairs, two share a stem, or a split is left empty.
        """
        if self.datasets:
            return
        pairs = find_pairs(self.folder)
        stems = [pair.stem for pair in pairs]
        twice = sorted({stem for stem in stems if stems.count(stem) > 1})
        if twice:
            raise LungPairError(
                f"{self.folder} holds {len(twice)} names more than once, first {twice[0]}: "
                "rename them, so that a pair can be told by its name."
            )
        split = split_pairs(stems, self.split, self.shares, self.group_pattern, self.seed)
        prepared = prepare_pairs(pairs, self.size_px, self.strict)
        place = {stem: position for position, stem in enumerate(prepared.stems)}
        datasets = {}
        for name, members in split.items():
            positions = [place[stem] for stem in members if stem in place]
            if not positions:
                raise LungPairError(
                    f"No usable image + mask pair is left for {name} in {self.folder}: "
                    "give more pairs, or other shares."
                )
            flip = self.flip and name == "train"
            datasets[name] = LungDataset(prepared, positions, flip, self.seed)
        self.datasets = datasets

    def train_dataloader(self) -> DataLoader[LungBatch]:
        """Gives the training pairs, in a new order each epoch."""
        return self._share_loader("train", self.seed)

    def val_dataloader(self) -> DataLoader[LungBatch]:
        """Gives the validation pairs."""
        return self._share_loader("val", None)

    def test_dataloader(self) -> DataLoader[LungBatch]:
        """Gives the test pairs."""
        return self._share_loader("test", None)

    def whole_loader(self, name: str) -> DataLoader[LungBatch]:
        """Gives one split as batches in its own order, whole on every rank."""
        return self._loader(name, None, 0, 1)

    def _share_loader(self, name: str, shuffle_seed: int | None) -> DataLoader[LungBatch]:
        """Gives one split as batches; every rank takes its part of each batch."""
        if self.trainer is None:
            return self._loader(name, shuffle_seed, 0, 1)
        return self._loader(name, shuffle_seed, self.trainer.global_rank, self.trainer.world_size)

    def _loader(
        self, name: str, shuffle_seed: int | None, rank: int, ranks: int
    ) -> DataLoader[LungBatch]:
        dataset = self.datasets[name]
        return DataLoader(
            dataset=dataset,
            batch_size=max(1, self.batch_size // ranks),
            sampler=EpochSampler(len(dataset), shuffle_seed, rank, ranks),
            num_workers=self.workers,
            pin_memory=torch.cuda.is_available(),
            # Without its own, starting an epoch would draw from the generator of dropout.
            generator=torch.Generator(),
        )


def pairs_folder(study: Path, folder: Path | None) -> Path:
    """Gives the folder of image + mask pairs that a study is segmented with."""
    return Path(study) / "lung_masks" if folder is None else Path(folder)
