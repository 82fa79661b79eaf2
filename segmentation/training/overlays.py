"""What the segmenter finds in a few validation radiographs, as a picture, while it learns."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from PIL import Image
from torch.utils.data import default_collate

from flannel.data.pictures import ORANGE, SKY, contact_sheet, overlay_mask
from flannel.files import whole_file
from segmentation.structures import lung_channels
from segmentation.training.data import Draw, LungBatch, LungDataModule
from segmentation.training.measures import jaccard
from segmentation.training.task import LungSegmenter

COLUMNS = 4


class ValidationOverlays(Callback):
    """Draws `validation.png` of the selected epoch, that is whenever it is the best so far.

    Predicted lungs are blue, the reference orange, below it; the caption gives the Jaccard index.

    Args:
        folder: The run's folder.
        selection: The metric that chooses the epoch; the larger, the better. Where none does and
            the last one is taken, None.
        to_wandb: Log the picture, which shows radiographs, to W&B too.
        radiographs: How many are shown, spread over the validation split.
    """

    def __init__(
        self, folder: Path, selection: str | None, to_wandb: bool, radiographs: int = 8
    ) -> None:
        self.folder, self.selection, self.to_wandb = folder, selection, to_wandb
        self.radiographs = radiographs
        self.best = -np.inf

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws, if this epoch is the best so far."""
        if trainer.sanity_checking:
            return
        if self.selection is not None:
            reached = float(trainer.callback_metrics.get(self.selection, -np.inf))
            if reached <= self.best:
                return
            self.best = reached
        data = trainer.datamodule  # type: ignore[attr-defined]
        if not trainer.is_global_zero or not isinstance(data, LungDataModule):
            return
        if not isinstance(pl_module, LungSegmenter):
            return
        picture = self.draw(pl_module, data, trainer)
        with whole_file(self.folder / "validation.png") as beside:
            Image.fromarray(picture).save(beside, format="PNG")
        for logger in trainer.loggers:
            if self.to_wandb and isinstance(logger, WandbLogger):
                logger.log_image("val/overlays", [Image.fromarray(picture)])

    def draw(
        self, model: LungSegmenter, data: LungDataModule, trainer: Trainer
    ) -> UInt8[np.ndarray, "height width 3"]:
        """Returns a contact sheet of validation radiographs with both masks."""
        dataset = data.datasets["val"]
        count = min(self.radiographs, len(dataset))
        places = np.linspace(0, len(dataset) - 1, count).round().astype(int).tolist()
        batch: LungBatch = default_collate([dataset[Draw(0, place)] for place in places])
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            logits = model(batch.radiographs.to(trainer.strategy.root_device))
        lungs = lung_channels(model.classes)
        predicted = np.isin(logits.argmax(dim=1).cpu().numpy(), lungs)
        target = np.isin(batch.target.numpy(), lungs)
        grey = batch.radiographs[:, 0].clamp(0, 255).byte().numpy()
        pictures = [
            overlay_mask(overlay_mask(picture, truth, ORANGE), mask, SKY)
            for picture, truth, mask in zip(grey, target, predicted, strict=True)
        ]
        captions = [
            f"{jaccard(mask, truth):.3f}  {dataset.pairs[place].stem}"
            for mask, truth, place in zip(predicted, target, places, strict=True)
        ]
        return contact_sheet(pictures, captions, COLUMNS)

    def state_dict(self) -> dict[str, float]:
        """Returns what `last.ckpt` keeps."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """Takes up the best of an interrupted run."""
        self.best = state_dict["best"]
