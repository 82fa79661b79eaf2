"""Manifest, store, fold and arm become batches of radiographs or of patches."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from flannel.data.diagnosis import FLANNEL, index_of
from flannel.data.folds import splits_of_fold
from flannel.data.manifest import load_manifest
from flannel.data.store import Store
from flannel.predictions import SPLITS
from flannel.runs import derived_seed
from flannel.views import Border, Centres, Draw, Normalisation, PatchView, WholeView, normalise

Arm = Literal["global", "masked", "patched"]
Greyscale = Literal["plain", "equalised"]


class CohortError(ValueError):
    """A cohort that cannot be trained on, in a sentence."""


class Batch(NamedTuple):
    """What a learner sees: every image as one or more views.

    Attributes:
        pixels: uint8 grey levels from the loader, (images, views, 1, side, side); on the device
            normalised float32 with three channels.
        target: Class indices.
        image_ids: One per image.
        centres: Patch centres in store pixels, (images, views, 2); -1 for whole radiographs.
        coverage: Share of the lung's pixels that the patches see, 0 to 1; NaN for whole ones.
    """

    pixels: Tensor
    target: Int[Tensor, " images"]
    image_ids: list[str]
    centres: Int[Tensor, "images views 2"]
    coverage: Float[Tensor, " images"]


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
        greyscale: "plain" levels, or "equalised" ones (histogram equalisation and gamma 0.5).
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
        greyscale: Greyscale,
        patches: int,
        training: bool,
        seed: int,
        flip: float,
        rotation_degrees: int,
    ) -> None:
        self.image_ids = list(table["image_id"])
        self.targets = [index_of(diagnosis) for diagnosis in table["diagnosis"]]
        self.folder, self.view, self.greyscale = store, view, greyscale
        self.patches, self.training, self.seed = patches, training, seed
        self.flip, self.rotation_degrees = flip, rotation_degrees
        self.store: Store | None = None  # opened in each worker

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, key: Key) -> Batch:
        self.store = self.store or Store(self.folder)
        image_id = self.image_ids[key.row]
        levels = self.store.radiograph(image_id)
        if self.greyscale == "equalised":
            levels = self.store.equalisation(image_id)[levels]
        needs_mask = isinstance(self.view, PatchView) or self.view.masked
        mask = self.store.lung_mask(image_id) if needs_mask else None
        moment = ("train", key.epoch) if self.training else ("fixed",)
        generator = torch.Generator().manual_seed(derived_seed(self.seed, *moment, image_id))
        draw = Draw(generator, self.training, self.patches, self.flip, self.rotation_degrees)
        pixels, centres, seen = self.view.views(levels, mask, draw)
        return Batch(
            pixels,
            torch.tensor(self.targets[key.row]),
            [image_id],
            centres,
            torch.tensor(seen, dtype=torch.float32),
        )


def collate(items: Sequence[Batch]) -> Batch:
    """Stacks single images to a batch."""
    return Batch(
        torch.stack([item.pixels for item in items]),
        torch.stack([item.target for item in items]),
        [image_id for item in items for image_id in item.image_ids],
        torch.stack([item.centres for item in items]),
        torch.stack([item.coverage for item in items]),
    )


class RadiographDataModule(LightningDataModule):
    """The data of one base learner's run: one fold, one arm.

    Args:
        study: The study folder, with `manifest.csv` and `store/`.
        arm: "global", "masked" or "patched".
        fold: 0 to 4.
        batch_size: Images a training step, over all devices together.
        predict_batch_size: Images a step without gradients, on one device; `batch_size` when None.
        size_px: Side of the network's input; 299 for InceptionV3.
        resize_px: Side to which a whole radiograph is resized before its crop.
        window_px: Side of a patch, in the store's pixels.
        train_patches: Patches an image and epoch in training, each an example of its own.
        val_patches: Patches an image in validation, the same in every epoch. The original draws
            one anew each time.
        predict_patches: K of paper 004, patches an image that vote in prediction.
        centres: "uniform" over the lung, "spread", or "independent" rows and columns as the code.
        border: "inside" moves the window in, "padded" fills with 0, "stretched" as the code.
        mask_patches: Cut patches from the masked radiograph, as the paper.
        greyscale: "plain", or "equalised" as the lung segmenter's input.
        normalisation: "imagenet", "half" ((x - 0.5) / 0.5, FLANNEL's code) or "levels" (0..255,
            the patched code).
        flip: Probability of a horizontal flip in training.
        rotation_degrees: Random rotation in training by whole degrees; the patched code has 5.
        on_missing_mask: "error", or "skip" images without a (non-empty) lung mask, by name.
        workers: Loader processes.
        seed: Of order, crops, flips and patch centres.
    """

    def __init__(
        self,
        study: Path,
        arm: Arm = "global",
        fold: int = 0,
        batch_size: int = 10,
        predict_batch_size: int | None = None,
        size_px: int = 224,
        resize_px: int = 336,
        window_px: int = 224,
        train_patches: int = 1,
        val_patches: int = 4,
        predict_patches: int = 100,
        centres: Centres = "uniform",
        border: Border = "inside",
        mask_patches: bool = True,
        greyscale: Greyscale = "plain",
        normalisation: Normalisation = "imagenet",
        flip: float = 0.5,
        rotation_degrees: int = 0,
        on_missing_mask: Literal["error", "skip"] = "error",
        workers: int = 0,
        seed: int = 1,
    ) -> None:
        super().__init__()
        if arm != "patched" and resize_px < size_px:
            raise CohortError(
                f"resize_px is {resize_px} and size_px {size_px}: a radiograph cannot be cropped "
                "to more than it is resized to. Raise data.resize_px."
            )
        self.study, self.arm, self.fold = study, arm, fold
        self.batch_size = batch_size
        self.predict_batch_size = predict_batch_size or batch_size
        self.patches = {"train": train_patches, "val": val_patches, "predict": predict_patches}
        self.view: WholeView | PatchView = (
            PatchView(window_px, size_px, centres, border, mask_patches)
            if arm == "patched"
            else WholeView(resize_px, size_px, masked=arm == "masked")
        )
        self.greyscale, self.normalisation = greyscale, normalisation
        self.flip, self.rotation_degrees = flip, rotation_degrees
        self.on_missing_mask, self.workers, self.seed = on_missing_mask, workers, seed
        self.table = pd.DataFrame()

    def setup(self, stage: str) -> None:
        """Reads the manifest and settles the splits of the fold."""
        if not self.table.empty:
            return
        table = load_manifest(self.study / "manifest.csv")
        table["split"] = splits_of_fold(table, self.fold)
        table = self._with_masks(table[table["split"] != ""])
        for split in ("train", "val"):
            if not (table["split"] == split).any():
                raise CohortError(f"Fold {self.fold} has no {split} images to learn from.")
        self.table = table.sort_values("image_id", ignore_index=True)

    def _with_masks(self, table: pd.DataFrame) -> pd.DataFrame:
        """Settles what happens to images without a lung mask, where the arm needs one."""
        store = Store(self.study / "store")
        unstored = sorted(set(table["image_id"]) - set(store.image_ids))
        if unstored:
            raise CohortError(
                f"{len(unstored)} images of the manifest are not in the store, first "
                f"{unstored[0]}. Run `make data` again."
            )
        if self.arm == "global":
            return table
        usable = table["image_id"].map(store.has_mask)
        missing = list(table["image_id"][~usable])
        if missing and self.on_missing_mask == "error":
            raise CohortError(
                f"{len(missing)} images have no lung mask, or an empty one: {', '.join(missing)}. "
                "Run `make segment`, import better masks with `lungs import`, or leave these "
                "images out with --data.on_missing_mask skip."
            )
        if missing:
            print(f"left out for want of a lung mask: {', '.join(missing)}", flush=True)
        return table[usable]

    def class_counts(self) -> dict[str, int]:
        """Counts the training images of each diagnosis."""
        train = self.table["diagnosis"][self.table["split"] == "train"]
        return {diagnosis: int((train == diagnosis).sum()) for diagnosis in FLANNEL}

    def _loader(self, splits: Sequence[str], purpose: str) -> DataLoader[Batch]:
        training = purpose == "train"
        rank, ranks = (
            (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        )
        table = self.table[self.table["split"].isin(splits)]
        dataset = RadiographDataset(
            table,
            self.study / "store",
            self.view,
            greyscale=self.greyscale,
            patches=self.patches[purpose],
            training=training,
            seed=self.seed,
            flip=self.flip,
            rotation_degrees=self.rotation_degrees,
        )
        sampler = EpochSampler(len(dataset), self.seed, training, rank, ranks, even=training)
        size = self.batch_size // ranks if training else self.predict_batch_size
        return DataLoader(
            dataset=dataset,
            batch_size=size,
            sampler=sampler,
            num_workers=self.workers,
            collate_fn=collate,
            # Its own, because opening a loader would otherwise draw from dropout's generator.
            generator=torch.Generator(),
            # BatchNorm cannot learn from a batch of one.
            drop_last=training and len(sampler) % size == 1,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self.workers > 0,
        )

    def train_dataloader(self) -> DataLoader[Batch]:
        """Gives the fold's training images, augmented."""
        return self._loader(["train"], "train")

    def val_dataloader(self) -> DataLoader[Batch]:
        """Gives the fold's validation images."""
        return self._loader(["val"], "val")

    def test_dataloader(self) -> DataLoader[Batch]:
        """Gives the test images, with all patches."""
        return self._loader(["test"], "predict")

    def predict_dataloader(self) -> DataLoader[Batch]:
        """Gives every image of the fold, train, val and test, with all patches."""
        return self._loader(SPLITS, "predict")

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Normalises on the device, and gives grey images the network's three channels."""
        return batch._replace(pixels=normalise(batch.pixels, self.normalisation))
