"""Manifest, store, fold and arm become batches of radiographs or of patches."""

from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Literal

import pandas as pd
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from flannel.data.folds import splits_of_fold
from flannel.data.manifest import load_manifest
from flannel.data.provenance import label_set_of
from flannel.data.store import Store
from flannel.errors import FlannelError, check_range
from flannel.learners.augmentation import Augmentation
from flannel.learners.datasets import Batch, EpochSampler, Order, RadiographDataset, collate
from flannel.learners.view_options import ViewOptions, view_options
from flannel.learners.views import (
    Arm,
    Greyscale,
    Normalisation,
    PatchWeights,
)
from flannel.study.predictions import SPLITS
from patching.sampling import Border, Strategy

TrainingOrder = Literal["shuffled", "fixed", "balanced"]


class CohortError(FlannelError):
    """Raised when a cohort cannot be trained on."""


class RadiographDataModule(LightningDataModule):
    """The data of one base learner's run: one fold, one arm.

    Args:
        study: The study folder, with `manifest.csv` and `store/`.
        arm: "global", the whole radiograph; "masked", all but its lungs set to 0; "background", its
            lungs set to 0; "cropped", the rectangle around them; "patched", patches of its lungs.
        fold: 0 to 4.
        batch_size: Images a training step, over all devices together.
        accumulate: Number of micro-batches per optimiser step. Gradients are unchanged, and memory
            falls. BatchNorm statistics are of a micro-batch, so an image that would be alone in
            its micro-batch is left out of the epoch.
        predict_batch_size: Images a step without gradients, on one device; `batch_size` when None.
        size_px: Side of the network's input; 299 for InceptionV3.
        resize_px: Side to which a whole radiograph is resized before its crop.
        crop_margin_px: Of the rectangle in the arm "cropped", around the lungs, in the store's
            pixels; 30 of 1024 are the 15 of 512 of paper 002's finder.
        window_px: Side of a patch, in the store's pixels; of several, such as [224, 448], an
            image's patches take the next in turn, and the network sees them all at `size_px`.
        lung_box: Add the square around both lungs as one more view behind an image's patches.
        train_patches: Patches an image and epoch in training, each an example of its own.
        val_patches: Patches an image in validation; 1 in the patched code.
        val_anew: Draw the validation patches anew in every epoch, as the patched code; else they
            are the same each time, so that selection does not chase noise.
        predict_patches: K of paper 004, patches an image that vote in prediction.
        centres: "uniform" over the lung as the paper's text, or "independent" rows and columns as
            its code; "spread", "blue_noise" and "relaxed" keep them apart (`patching.strategies`).
        border: "inside" moves the window in, "padded" fills with 0, "stretched" as the code.
        mask_patches: Cut patches from the masked radiograph, as the paper.
        patch_weights: "equal" votes, as the paper, or each weighed by the "area" of the lungs that
            is nearest to its patch. Training counts every patch alike.
        greyscale: "plain", or "equalised" as the lung segmenter's input.
        normalisation: "imagenet", "half" ((x - 0.5) / 0.5, FLANNEL's code) or "levels" (0..255,
            the patched code).
        order: Training images in an epoch: "shuffled" anew each time, "fixed" shuffled once (the
            loaders of paper 004), or "balanced", drawn with replacement so that all diagnoses are
            equally frequent (Oh, Park and Ye).
        flip: Probability of a horizontal flip in training.
        rotation_degrees: Random rotation in training by whole degrees; the patched code has 5.
        warp: Sides lengthened or shortened in training by up to this share, as of a tilted plate.
        zoom: Enlargement in training by up to this share.
        lighting: Brightness and contrast changed in training by up to this share.
        augment_probability: With which each of these but the flip is done; 0.75 in fastai, whose
            defaults (10 degrees, 0.1, and 0.2 for warp and lighting) trained DarkCovidNet.
        on_missing_mask: "error", or "skip" images without a (non-empty) lung mask, by name.
        workers: Loader processes.
        seed: Of order, crops, flips and patch centres.

    Attributes:
        diagnoses: The study's label set, in order.
        view_options: What the learner sees of a radiograph.
    """

    def __init__(
        self,
        study: Path,
        arm: Arm = "global",
        fold: int = 0,
        batch_size: int = 10,
        accumulate: int = 1,
        predict_batch_size: int | None = None,
        size_px: int = 224,
        resize_px: int = 336,
        crop_margin_px: int = 30,
        window_px: int | list[int] = 224,
        lung_box: bool = False,
        train_patches: int = 1,
        val_patches: int = 4,
        val_anew: bool = False,
        predict_patches: int = 100,
        centres: Strategy = "uniform",
        border: Border = "inside",
        mask_patches: bool = True,
        patch_weights: PatchWeights = "equal",
        greyscale: Greyscale = "plain",
        normalisation: Normalisation = "imagenet",
        order: TrainingOrder = "shuffled",
        flip: float = 0.5,
        rotation_degrees: int = 0,
        warp: float = 0.0,
        zoom: float = 0.0,
        lighting: float = 0.0,
        augment_probability: float = 1.0,
        on_missing_mask: Literal["error", "skip"] = "error",
        workers: int = 0,
        seed: int = 1,
    ) -> None:
        super().__init__()
        check_range(0, workers=workers)
        self.view_options = view_options(
            arm=arm,
            batch_size=batch_size,
            predict_batch_size=predict_batch_size,
            size_px=size_px,
            resize_px=resize_px,
            crop_margin_px=crop_margin_px,
            window_px=window_px,
            lung_box=lung_box,
            train_patches=train_patches,
            val_patches=val_patches,
            predict_patches=predict_patches,
            centres=centres,
            border=border,
            mask_patches=mask_patches,
            patch_weights=patch_weights,
            greyscale=greyscale,
            normalisation=normalisation,
            seed=seed,
        )
        self.study, self.fold = study, fold
        self.diagnoses = label_set_of(study)
        self.batch_size, self.accumulate = batch_size, accumulate
        self.val_anew = val_anew
        self.order: TrainingOrder = order
        self.augmentation = Augmentation(
            flip, rotation_degrees, warp, zoom, lighting, augment_probability
        )
        self.on_missing_mask, self.workers = on_missing_mask, workers
        self.table = pd.DataFrame()

    def setup(self, stage: str) -> None:
        """Reads the manifest and settles the splits of the fold."""
        if not self.table.empty:
            return
        table = load_manifest(self.study / "manifest.csv")
        strange = sorted(set(table["diagnosis"]) - set(self.diagnoses))
        if strange:
            raise CohortError(
                f"The manifest of {self.study} holds the diagnosis {strange[0]!r}; by its "
                f"manifest.json, or without one, the study's are {', '.join(self.diagnoses)}. Make "
                "the manifest again with the mapping that you want (make data MAPPING=...)."
            )
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
        if self.view_options.arm == "global":
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
            print(f"left out without a lung mask: {', '.join(missing)}", flush=True)
        return table[usable]

    def class_counts(self) -> dict[str, int]:
        """Counts the training images of each diagnosis."""
        train = self.table["diagnosis"][self.table["split"] == "train"]
        return {diagnosis: int((train == diagnosis).sum()) for diagnosis in self.diagnoses}

    def _loader(self, splits: Sequence[str], purpose: str) -> DataLoader[Batch]:
        training, options = purpose == "train", self.view_options
        table = self.table[self.table["split"].isin(splits)]
        dataset = RadiographDataset(
            table,
            self.study / "store",
            options.view,
            diagnoses=self.diagnoses,
            normalisation=options.normalisation,
            patches=options.patches[purpose],
            training=training,
            anew=training or (purpose == "val" and self.val_anew),
            seed=options.seed,
            augmentation=self.augmentation,
        )
        order: Order = self.order if training else "listed"
        sampler = EpochSampler(dataset.targets, options.seed, order, *self._rank(), even=training)
        size = self._micro_batch() if training else options.predict_batch_size
        return DataLoader(
            dataset=dataset,
            batch_size=size,
            sampler=sampler,
            num_workers=self.workers,
            collate_fn=collate,
            # Its own, because opening a loader would otherwise draw from dropout's generator.
            generator=torch.Generator(),
            drop_last=training and _ends_with_one(len(sampler), size),
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self.workers > 0,
        )

    def _rank(self) -> tuple[int, int]:
        """Returns this process's number, and how many there are."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _micro_batch(self) -> int:
        """Returns the images of a micro-batch on one device.

        Raises:
            CohortError: If the batch does not divide into such.
        """
        parts = self._rank()[1] * self.accumulate
        if self.accumulate < 1 or self.batch_size % parts:
            raise CohortError(
                f"The batch of {self.batch_size} does not divide into {self.accumulate} "
                f"micro-batches on each of {self._rank()[1]} devices. Choose a data.accumulate "
                "that divides it."
            )
        return self.batch_size // parts

    def share_of_step(self, batch_idx: int, images: int) -> float:
        """Returns the share of a micro-batch in its training step, of which shares add up to 1.

        Args:
            batch_idx: The micro-batch's number in the epoch.
            images: Its number of images, on this device.
        """
        micro_batch = self._micro_batch()
        in_epoch = sum(self.class_counts().values()) // self._rank()[1]
        in_epoch -= _ends_with_one(in_epoch, micro_batch)  # which the loader drops
        step = micro_batch * self.accumulate
        begin = batch_idx // self.accumulate * step
        return images / min(step, in_epoch - begin)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Returns the fold's training images, augmented."""
        return self._loader(["train"], "train")

    def val_dataloader(self) -> DataLoader[Batch]:
        """Returns the fold's validation images."""
        return self._loader(["val"], "val")

    def test_dataloader(self) -> DataLoader[Batch]:
        """Returns the test images, with all patches."""
        return self._loader(["test"], "predict")

    def predict_dataloader(self) -> DataLoader[Batch]:
        """Returns every image of the fold, train, val and test, with all patches."""
        return self._loader(SPLITS, "predict")


def _ends_with_one(images: int, batch: int) -> bool:
    """Returns whether the last batch would be one image, from which BatchNorm cannot learn."""
    return images % batch == 1


def view_options_of(options: Mapping[str, object]) -> ViewOptions:
    """Returns what the options of a `RadiographDataModule` say about views; no folder is read.

    Args:
        options: By name; those that are absent have the data module's defaults.

    Raises:
        OptionError: If a value cannot be used.
        TypeError: If there is no option of that name.
    """
    bound = signature(RadiographDataModule).bind_partial(**options)
    bound.apply_defaults()
    return view_options(
        **{name: bound.arguments[name] for name in signature(view_options).parameters}
    )
