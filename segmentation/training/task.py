"""How the lung segmenter learns and is measured."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast

import torch
from jaxtyping import Bool, Float, Int64
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import LRSchedulerConfigType, OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torchmetrics import Metric

from flannel.errors import FlannelError
from flannel.runs.checkpoints import checkpoint_weights, load_weights
from flannel.runs.schedules import OneCycle, over_all_steps
from segmentation.checkpoint import channels_last
from segmentation.structures import Structures, classes_of, lung_channels
from segmentation.training.data import LungBatch
from segmentation.training.measures import jaccard

Loss = Literal["cross_entropy", "jaccard", "dice", "lovasz"]
Schedule = Literal["plateau", "steps", "one_cycle"]


class SegmenterError(FlannelError):
    """Raised when a network or recipe cannot make a lung segmenter."""


class MeanJaccard(Metric):
    """The mean of the Jaccard index over the masks that were taken in."""

    higher_is_better = True
    full_state_update = False
    total: Tensor
    images: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("images", torch.tensor(0), dist_reduce_fx="sum")

    def update(
        self,
        predicted: Bool[Tensor, "batch height width"],
        truth: Bool[Tensor, "batch height width"],
    ) -> None:
        """Takes in a batch of masks."""
        pairs = zip(predicted.cpu().numpy(), truth.cpu().numpy(), strict=True)
        self.total += sum(jaccard(first, other) for first, other in pairs)
        self.images += len(truth)

    def compute(self) -> Tensor:
        """Returns the mean, in [0, 1]."""
        return (self.total / self.images).float()


class LungSegmenter(LightningModule):
    """A network that finds the lungs, trained as in paper 004, Section 2.1.

    Adam at 1e-4, the learning rate divided by 10 when the validation loss stalls, cross-entropy.
    The paper's code differs from its text: it divides at epochs 70, 80 and 90
    (`schedule: steps`), weighs the background half (`class_weights: [0.5, 1, 1, 1]`), decays
    weights by 1e-6 (`weight_decay`) and tells heart, left and right lung apart
    (`structures: heart_left_right`).

    Args:
        network: Maps radiographs (batch, 1, height, width) with grey values in 0..255 to logits
            (batch, classes, height, width), the classes as in `classes_of(structures)`.
        structures: What is segmented.
        loss: Cross-entropy is the paper's; the others are those of segmentation-models-pytorch.
        class_weights: Weight of each class in cross-entropy; equal by default.
        learning_rate: Of Adam; 1e-4 is the paper's.
        weight_decay: Of Adam.
        schedule: `plateau` divides the learning rate when the validation loss stalls; `steps` at
            the milestones; `one_cycle` lets it rise over the first tenth of the training and fall
            to nothing (Smith and Topin 2019).
        patience: Epochs without a lower validation loss before the learning rate is divided.
        milestones: Epochs at which `steps` divides.
        begin_from: The `best.ckpt` of another run of the same network, from whose weights the
            training begins.

    Raises:
        CheckpointError: If those weights cannot be read or do not fit.
        SegmenterError: If there is not one weight for each class, weights meet another loss than
            cross-entropy, or a choice is unknown.
    """

    def __init__(
        self,
        network: nn.Module,
        structures: Structures = "lungs",
        loss: Loss = "cross_entropy",
        class_weights: Sequence[float] | None = None,
        learning_rate: float = 1e-4,
        weight_decay: float = 0.0,
        schedule: Schedule = "plateau",
        patience: int = 10,
        milestones: Sequence[int] = (70, 80, 90),
        begin_from: Path | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=["network", "begin_from"])
        self.structures: Structures = structures
        self.classes = classes_of(structures)
        self.loss = _loss(loss, class_weights, self.classes)
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.schedule: Schedule = schedule
        self.patience = patience
        self.milestones = list(milestones)
        if begin_from is not None:
            load_weights(network, checkpoint_weights(begin_from, "network."), str(begin_from))
            network.train()
        self.network = channels_last(network)
        self.val_metrics = _metrics(self.classes)
        self.test_metrics = _metrics(self.classes)

    def forward(
        self, radiographs: Float[Tensor, "batch 1 height width"]
    ) -> Float[Tensor, "batch classes height width"]:
        """Returns a logit for each class and pixel.

        Raises:
            SegmenterError: If the network's output has another shape.
        """
        logits = self.network(radiographs.contiguous(memory_format=torch.channels_last))
        expected = (len(radiographs), len(self.classes), *radiographs.shape[2:])
        if tuple(logits.shape) != expected:
            raise SegmenterError(
                f"The network {type(self.network).__name__} gave an output of shape "
                f"{tuple(logits.shape)} for radiographs of shape {tuple(radiographs.shape)}; "
                f"expected {expected}. Set its number of classes to {len(self.classes)} "
                f"({', '.join(self.classes)}), and check that it keeps the size."
            )
        return logits

    def training_step(self, batch: LungBatch, batch_idx: int) -> Tensor:
        """Returns the loss of a training batch."""
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

    def _step(self, batch: LungBatch, stage: str, metrics: nn.ModuleDict | None) -> Tensor:
        logits = self(batch.radiographs).float()
        loss: Tensor = self.loss(logits, batch.target)
        size = len(batch.target)
        self.log(
            f"{stage}/loss", loss, on_step=False, on_epoch=True, batch_size=size, sync_dist=True
        )
        if metrics is None:
            return loss
        predicted = logits.argmax(dim=1)
        for name, structures in _measured(self.classes).items():
            metric = cast(MeanJaccard, metrics[name])
            for channels in structures:
                metric.update(_belongs(predicted, channels), _belongs(batch.target, channels))
            self.log(f"{stage}/{name}", metric, on_step=False, on_epoch=True, batch_size=size)
        return loss

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Builds Adam and the schedule.

        Raises:
            SegmenterError: If the schedule is unknown.
        """
        optimiser = torch.optim.Adam(
            self.network.parameters(),
            lr=self.learning_rate,
            weight_decay=self.weight_decay,
            fused=True,  # the same arithmetic in one pass over memory
        )
        schedule: torch.optim.lr_scheduler.LRScheduler
        match self.schedule:
            case "plateau":
                schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
                    optimiser, factor=0.1, patience=self.patience
                )
            case "steps":
                schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, self.milestones)
            case "one_cycle":
                one_cycle = OneCycle(
                    optimiser,
                    self.learning_rate,
                    pct_start=0.1,
                    base_momentum=0.9,  # Adam's own throughout
                    max_momentum=0.9,
                )
                in_steps = cast(LRSchedulerConfigType, over_all_steps(one_cycle, self))
                return {"optimizer": optimiser, "lr_scheduler": in_steps}
            case _:
                raise SegmenterError(
                    f"schedule is {self.schedule!r}: expected plateau, steps or one_cycle."
                )
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": schedule, "monitor": "val/loss", "interval": "epoch"},
        }


def _loss(name: Loss, class_weights: Sequence[float] | None, classes: tuple[str, ...]) -> nn.Module:
    if class_weights and (name != "cross_entropy" or len(class_weights) != len(classes)):
        raise SegmenterError(
            f"class_weights has {len(class_weights)} values and the loss is {name}: expected one "
            f"each for {', '.join(classes)}, with cross_entropy."
        )
    if name == "cross_entropy":
        weights = None if class_weights is None else torch.tensor(class_weights)
        return nn.CrossEntropyLoss(weights)
    from segmentation_models_pytorch import losses

    match name:
        case "jaccard":
            return losses.JaccardLoss(losses.MULTICLASS_MODE)
        case "dice":
            return losses.DiceLoss(losses.MULTICLASS_MODE)
        case "lovasz":
            return losses.LovaszLoss(losses.MULTICLASS_MODE)
        case _:
            raise SegmenterError(
                f"loss is {name!r}: expected cross_entropy, jaccard, dice or lovasz."
            )


def _measured(classes: tuple[str, ...]) -> dict[str, list[list[int]]]:
    """Names the Jaccard indices that are followed: the structures of each, as outputs to unite.

    `jaccard` is that of both lungs together. Where several structures are segmented each has its
    own, and `jaccard_structures` is the mean over them, by which the papers' program selects.
    """
    measured = {"jaccard": [lung_channels(classes)]}
    if len(classes) > 2:
        each = {name: [[place]] for place, name in enumerate(classes) if place}
        measured |= {f"jaccard_{name.replace(' ', '_')}": place for name, place in each.items()}
        measured["jaccard_structures"] = [[place] for place in range(1, len(classes))]
    return measured


def _metrics(classes: tuple[str, ...]) -> nn.ModuleDict:
    return nn.ModuleDict({name: MeanJaccard() for name in _measured(classes)})


def _belongs(
    target: Int64[Tensor, "batch height width"], channels: list[int]
) -> Bool[Tensor, "batch height width"]:
    return torch.isin(target, torch.tensor(channels, device=target.device))
