"""A learner's predictions of a batch, and the callback that writes all of them."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor

from flannel.learners.views import PatchLocations, View
from flannel.runs.steps import report
from flannel.study.patches import Patches, save_patches
from flannel.study.predictions import (
    PredictionsError,
    prediction_row,
    predictions_table,
    save_predictions,
)


class BatchPrediction(NamedTuple):
    """What a learner says of a batch of images.

    Attributes:
        image_ids: One per image.
        logits: (images, views, classes).
        confidences: (images, classes), after the vote.
        places: Where the views lie, and how much each counts in the vote.
    """

    image_ids: list[str]
    logits: Float[Tensor, "images views classes"]
    confidences: Float[Tensor, "images classes"]
    places: PatchLocations


class PredictionsWriter(BasePredictionWriter):
    """Collects a learner's opinions over all devices and writes `predictions.csv`.

    Args:
        folder: The run's folder.
        table: The images that are predicted: identity columns, one row per image.
        view: What the learner sees. Of patches, `patches.npz` is written too, so that votes and K
            can be studied without a model.
        diagnoses: The label set.
    """

    def __init__(
        self,
        folder: Path,
        table: pd.DataFrame,
        view: View,
        diagnoses: Sequence[str],
    ) -> None:
        super().__init__(write_interval="batch")
        self.folder, self.identity, self.view = folder, table, view
        self.diagnoses = diagnoses
        self.table = pd.DataFrame()
        self._rows: list[dict[str, object]] = []
        self._patches: list[tuple[str, list[np.ndarray]]] = []
        self._shown = 0.0

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: BatchPrediction,
        batch_indices: Sequence[int] | None,
        batch: object,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Keeps a batch's rows, and says how far it is every ten seconds."""
        confidences = prediction.confidences.cpu().numpy()
        coverage = prediction.places.coverage.tolist()
        patched = self.view.patched
        for at, image_id in enumerate(prediction.image_ids):
            views = prediction.logits.shape[1] if patched else 0
            self._rows.append(
                prediction_row(image_id, confidences[at], self.diagnoses, views, coverage[at])
            )
            if patched:
                centres, windows_px, weights, *_ = prediction.places
                kept = (centres.int(), windows_px.int(), weights, prediction.logits.half())
                self._patches.append((image_id, [part[at].cpu().numpy() for part in kept]))
        if time.monotonic() - self._shown > 10 and trainer.is_global_zero:
            self._shown = time.monotonic()
            report(f"predict {len(self._rows)}/{len(self.identity)} images")

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Joins the devices' rows and writes the files, once."""
        gathered: list[object] = [None] * trainer.world_size
        if trainer.world_size > 1:
            torch.distributed.all_gather_object(gathered, (self._rows, self._patches))
        else:
            gathered = [(self._rows, self._patches)]
        rows = [row for part in gathered for row in part[0]]  # type: ignore[index]
        patches = [entry for part in gathered for entry in part[1]]  # type: ignore[index]
        self.table = predictions_table(self.identity, rows)
        lost = len(self.identity) - len(self.table)
        if lost:
            raise PredictionsError(f"{lost} images of the fold were not predicted.")
        if not trainer.is_global_zero:
            return
        save_predictions(self.table, self.folder / "predictions.csv")
        if self.view.patched:
            patches.sort(key=lambda entry: entry[0])
            centres, windows_px, weights, logits = map(
                np.stack, zip(*(kept for _, kept in patches), strict=True)
            )
            save_patches(
                Patches(
                    image_id=tuple(image_id for image_id, _ in patches),
                    centres=centres,
                    windows_px=windows_px,
                    weights=weights,
                    logits=logits,
                    strategy=self.view.centres,
                    lung_box=self.view.lung_box,
                ),
                self.folder / "patches.npz",
            )
