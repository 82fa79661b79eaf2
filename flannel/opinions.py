"""What a learner says of images, and the callback that writes it down."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor

from flannel.data.diagnosis import FLANNEL
from flannel.data.files import whole_file
from flannel.predictions import (
    IDENTITY,
    PredictionsError,
    probability_columns,
    save_predictions,
)


class Opinion(NamedTuple):
    """What a learner says of a batch of images.

    Attributes:
        image_ids: One per image.
        logits: (images, views, classes).
        confidences: (images, classes), after the vote.
        centres: (images, views, 2), -1 for whole radiographs.
        coverage: (images,), NaN for whole radiographs.
    """

    image_ids: list[str]
    logits: Float[Tensor, "images views classes"]
    confidences: Float[Tensor, "images classes"]
    centres: Int[Tensor, "images views 2"]
    coverage: Float[Tensor, " images"]


class PredictionsWriter(BasePredictionWriter):
    """Collects a learner's opinions over all devices and writes `predictions.csv`.

    Args:
        folder: The run's folder.
        table: The images that are predicted: identity columns, one row per image.
        window_px: Side of a patch in store pixels: also write `patches.npz` (image_id, centres,
            logits in float16, size_px), so that votes and K can be studied without a model. None
            for whole radiographs.
        diagnoses: The label set.
    """

    def __init__(
        self,
        folder: Path,
        table: pd.DataFrame,
        window_px: int | None,
        diagnoses: Sequence[str] = FLANNEL,
    ) -> None:
        super().__init__(write_interval="batch")
        self.folder, self.identity, self.window_px = folder, table, window_px
        self.diagnoses = diagnoses
        self.table = pd.DataFrame()
        self._rows: list[dict[str, object]] = []
        self._patches: list[tuple[str, np.ndarray, np.ndarray]] = []
        self._shown = 0.0

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Opinion,
        batch_indices: Sequence[int] | None,
        batch: object,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Keeps a batch's rows, and says how far it is every ten seconds."""
        confidences = prediction.confidences.cpu().numpy()
        whole = bool((prediction.centres < 0).all())
        for at, image_id in enumerate(prediction.image_ids):
            self._rows.append(
                {
                    "image_id": image_id,
                    **dict(zip(probability_columns(self.diagnoses), confidences[at], strict=True)),
                    "patches": 0 if whole else prediction.logits.shape[1],
                    "coverage": float(prediction.coverage[at]),
                }
            )
            if self.window_px is not None:
                self._patches.append(
                    (
                        image_id,
                        prediction.centres[at].cpu().numpy().astype(np.int16),
                        prediction.logits[at].cpu().numpy().astype(np.float16),
                    )
                )
        if time.monotonic() - self._shown > 10 and trainer.is_global_zero:
            self._shown = time.monotonic()
            print(f"predict {len(self._rows)}/{len(self.identity)} images", flush=True)

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Joins the devices' rows and writes the files, once."""
        gathered: list[object] = [None] * trainer.world_size
        if trainer.world_size > 1:
            torch.distributed.all_gather_object(gathered, (self._rows, self._patches))
        else:
            gathered = [(self._rows, self._patches)]
        rows = [row for part in gathered for row in part[0]]  # type: ignore[index]
        patches = [entry for part in gathered for entry in part[1]]  # type: ignore[index]
        self.table = self.identity[list(IDENTITY)].merge(
            pd.DataFrame(rows), on="image_id", validate="one_to_one"
        )
        lost = len(self.identity) - len(self.table)
        if lost:
            raise PredictionsError(f"{lost} images of the fold were not predicted.")
        if not trainer.is_global_zero:
            return
        save_predictions(self.table, self.folder / "predictions.csv")
        if self.window_px is not None:
            patches.sort(key=lambda entry: entry[0])
            with whole_file(self.folder / "patches.npz") as beside:
                np.savez_compressed(
                    beside,
                    image_id=np.array([entry[0] for entry in patches]),
                    centres=np.stack([entry[1] for entry in patches]),
                    logits=np.stack([entry[2] for entry in patches]),
                    size_px=np.array(self.window_px),
                )
