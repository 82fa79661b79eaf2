"""Where a learner's patches lie, as a picture, when it starts to learn."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from PIL import Image

from flannel.data.pictures import colour_of, contact_sheet, draw_patch_boxes
from flannel.data.provenance import colours_of
from flannel.data.store import Store
from flannel.files import whole_file
from flannel.learners.datamodule import RadiographDataModule
from flannel.learners.datasets import Batch

COLUMNS = 4
SHOWN_PX = 320


class PatchPictures(Callback):
    """Draws the patches of the first validation radiographs, once, into `patches.png`.

    These are the patches of every validation of the run. The colour and the caption tell the true
    diagnosis; no image is named.

    Args:
        folder: The run's folder.
        to_wandb: Log the picture, which shows radiographs, to W&B too.
        radiographs: How many are shown at most, all of the first batch.
    """

    def __init__(self, folder: Path, to_wandb: bool, radiographs: int = 8) -> None:
        self.folder, self.to_wandb, self.radiographs = folder, to_wandb, radiographs
        self.drawn = False

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draws the first batch of patches."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        if self.drawn or not trainer.is_global_zero or not isinstance(data, RadiographDataModule):
            return
        self.drawn = True
        picture = self.draw(Store(data.study / "store"), batch, colours_of(data.study))
        with whole_file(self.folder / "patches.png") as beside:
            Image.fromarray(picture).save(beside, format="PNG")
        for logger in trainer.loggers:
            if self.to_wandb and isinstance(logger, WandbLogger):
                logger.log_image("val/patches", [Image.fromarray(picture)])

    def draw(
        self, store: Store, batch: Batch, colours: Mapping[str, str]
    ) -> UInt8[np.ndarray, "height width 3"]:
        """Returns a contact sheet of radiographs with the windows of their patches."""
        pictures, captions, diagnoses = [], [], list(colours)
        for at, image_id in enumerate(batch.image_ids[: self.radiographs]):
            diagnosis = diagnoses[int(batch.target[at])]
            small = Image.fromarray(store.radiograph(image_id)).resize((SHOWN_PX, SHOWN_PX))
            picture = np.array(small)
            centres = batch.places.centres[at].cpu().numpy() * SHOWN_PX // store.size_px
            sides = batch.places.windows_px[at].cpu().numpy() * SHOWN_PX // store.size_px
            for centre, side in zip(centres, sides, strict=True):
                edge = [colour_of(colours[diagnosis])]
                picture = draw_patch_boxes(picture, centre[None], int(side), edge)
            pictures.append(picture)
            captions.append(diagnosis)
        return contact_sheet(pictures, captions, COLUMNS)

    def state_dict(self) -> dict[str, bool]:
        """Returns what `last.ckpt` keeps."""
        return {"drawn": self.drawn}

    def load_state_dict(self, state_dict: dict[str, bool]) -> None:
        """Does not draw again in a run that goes on."""
        self.drawn = state_dict["drawn"]
