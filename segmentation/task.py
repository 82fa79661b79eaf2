"""How the lung segmenter learns and is measured."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from segmentation.checkpoint import channels_last
from segmentation.data import LungBatch

CLASSES = ("background", "lungs")


class SegmenterError(ValueError):
    """A network that cannot be used as a lung segmenter, in a sentence."""


def jaccard(
    predicted: Bool[Tensor, "batch height width"], truth: Bool[Tensor, "batch height width"]
) -> Float[Tensor, " batch"]:
    """Gives the Jaccard index of each image: both lungs together, intersection over union.

    Unlike the papers' program, nothing is added to numerator and denominator. An empty prediction
    of an image with lungs counts 0; where there is nothing to find and nothing was found, 1.
    """
    both = (predicted & truth).sum(dim=(1, 2))
    either = (predicted | truth).sum(dim=(1, 2))
    return torch.where(either == 0, 1.0, both / either.clamp(min=1))


class MeanJaccard(Metric):
    """The mean over images of the Jaccard index."""

    higher_is_better = True
    full_state_update = False
    total: Tensor
    images: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("images", torch.tensor(0), dist_reduce_fx="sum")

    def update(
        self,
        predicted: Bool[Tensor, "batch height width"],
        truth: Bool[Tensor, "batch height width"],
    ) -> None:
        """Takes in a batch of masks."""
        self.total += jaccard(predicted, truth).sum()
        self.images += len(truth)

    def compute(self) -> Tensor:
        """Gives the mean, in [0, 1]."""
        return self.total / self.images


class LungSegmenter(LightningModule):
    """A network that tells lungs from background, trained as in paper 004, Section 2.1.

    Adam, the learning rate divided by 10 when the validation loss stalls, cross-entropy. The
    paper's code divides at fixed epochs, weighs the background half, decays weights by 1e-6 and
    tells left lung, right lung and heart apart; the text, followed here, names none of it.

    Args:
        network: Maps radiographs (batch, 1, height, width) with grey values in 0..255 to logits
            (batch, 2, height, width) for background and lungs.
        learning_rate: Of Adam; 1e-4 is the paper's.
        patience: Epochs without a lower validation loss before the learning rate is divided.
        class_weights: Weights of background and lungs in the loss; equal by default.

    Raises:
        SegmenterError: If there are not two class weights.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        network: nn.Module,
        learning_rate: float = 1e-4,
        patience: int = 10,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=["network"])
        if class_weights is not None and len(class_weights) != len(CLASSES):
            raise SegmenterError(
                f"class_weights has {len(class_weights)} values; expected one each for "
                f"{' and '.join(CLASSES)}."
            )
        self.learning_rate = learning_rate
        self.patience = patience
        weights = None if class_weights is None else torch.tensor(class_weights)
        self.register_buffer("class_weights", weights, persistent=False)
        self.network = channels_last(network)
        self.val_metrics = MetricCollection({"jaccard": MeanJaccard()}, prefix="val/")
        self.test_metrics = self.val_metrics.clone(prefix="test/")

    def forward(
        self, radiographs: Float[Tensor, "batch 1 height width"]
    ) -> Float[Tensor, "batch 2 height width"]:
        """Gives the logits of background and lungs.

        Raises:
            SegmenterError: If the network's output has another shape.
        """
        logits = self.network(radiographs.contiguous(memory_format=torch.channels_last))
        expected = (len(radiographs), len(CLASSES), *radiographs.shape[2:])
        if tuple(logits.shape) != expected:
            raise SegmenterError(
                f"The network {type(self.network).__name__} gave an output of shape "
                f"{tuple(logits.shape)} for radiographs of shape {tuple(radiographs.shape)}; "
                f"expected {expected}. Set its number of classes to {len(CLASSES)}, and check "
                "that it keeps the size."
            )
        return logits

    def training_step(self, batch: LungBatch, batch_idx: int) -> Tensor:
        """Gives the loss of a training batch."""
        return self._step(batch, "train", None)

    def validation_step(self, batch: LungBatch, batch_idx: int) -> None:
        """Measures a validation batch."""
        self._step(batch, "val", self.val_metrics)

    def test_step(self, batch: LungBatch, batch_idx: int) -> None:
        """Measures a test batch."""
        self._step(batch, "test", self.test_metrics)

    def refresh(self, batch: LungBatch) -> None:
        """Runs the forward pass alone, so that BatchNorm sees a training batch."""
        self(batch.radiographs)

    def _step(self, batch: LungBatch, stage: str, metrics: MetricCollection | None) -> Tensor:
        logits = self(batch.radiographs).float()
        loss = F.cross_entropy(logits, batch.target, weight=self.class_weights)
        self.log(
            f"{stage}/loss",
            loss,
            on_step=False,
            on_epoch=True,
            batch_size=len(batch.target),
            sync_dist=True,
        )
        if metrics is not None:
            metrics.update(logits.argmax(dim=1) == 1, batch.target == 1)
            self.log_dict(metrics, on_step=False, on_epoch=True, batch_size=len(batch.target))
        return loss

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Builds Adam and the schedule that waits for the validation loss."""
        optimiser = torch.optim.Adam(self.network.parameters(), lr=self.learning_rate)
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimiser, factor=0.1, patience=self.patience
        )
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": schedule, "monitor": "val/loss", "interval": "epoch"},
        }
