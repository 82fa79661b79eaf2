"""A base learner: one network that classifies views, and the votes that make them a diagnosis."""

from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from jsonargparse import Namespace
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torchmetrics import MetricCollection

from flannel.cli import RunPlace, StudyCLI, run_stage
from flannel.data.diagnosis import FLANNEL
from flannel.data.manifest import load_manifest
from flannel.data.store import Store
from flannel.datamodule import RadiographDataModule
from flannel.datasets import Batch
from flannel.inputs import fold_inputs
from flannel.metrics import classification_metrics, measured_splits
from flannel.opinions import Opinion, PredictionsWriter
from flannel.runs import Run, write_json
from patching.vote import Rule, vote


class TrainingError(ValueError):
    """Training that cannot go on, in a sentence."""


class BaseLearner(LightningModule):
    """Trains a network on views (whole radiographs or patches) and votes over an image's views.

    Args:
        network: Any module from (batch, 3, side, side) to logits (batch, classes); it may give a
            pair (main, auxiliary) in training.
        vote: How the views' logits become one confidence per diagnosis: "share" of hard votes
            (paper 004, Section 2.2), "mean_softmax", or "mean_sigmoid" (its code). For a whole
            radiograph, "mean_softmax" is the softmax.
        auxiliary_weight: Weight of the auxiliary head's cross-entropy; 0.4 in the patched code.
        l1: Factor of the sum of absolute parameters that is added to the training loss. The
            patch-based ancestor has 1e-5; the patched code has it commented out.
        channels_last: Keep the network in the memory format that convolutions prefer.
    """

    def __init__(
        self,
        network: nn.Module,
        vote: Rule = "share",
        auxiliary_weight: float = 0.4,
        l1: float = 0.0,
        channels_last: bool = True,
    ) -> None:
        super().__init__()
        self.network = network
        if channels_last:
            self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.rule: Rule = vote
        self.auxiliary_weight, self.l1 = auxiliary_weight, l1
        self.val_metrics = classification_metrics(len(FLANNEL), prefix="val/")
        self.test_metrics = classification_metrics(len(FLANNEL), prefix="test/")

    def forward(
        self, pixels: Float[Tensor, "images views 3 side side"]
    ) -> Float[Tensor, "images views classes"]:
        """Gives the logits of every view."""
        out = self.network(pixels.flatten(0, 1))
        logits = out[0] if isinstance(out, tuple) else out
        return logits.unflatten(0, pixels.shape[:2])

    def refresh(self, batch: Batch) -> None:
        """Runs a training batch forward, for `RefreshBatchNorm`."""
        self.network(batch.pixels.flatten(0, 1))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Learns from every view as an example of its image's diagnosis."""
        out = self.network(batch.pixels.flatten(0, 1))
        target = batch.target.repeat_interleave(batch.pixels.shape[1])
        logits, auxiliary = out if isinstance(out, tuple) else (out, None)
        loss = F.cross_entropy(logits.float(), target)
        if auxiliary is not None:
            loss = loss + self.auxiliary_weight * F.cross_entropy(auxiliary.float(), target)
        if self.l1:
            loss = loss + self.l1 * sum(p.abs().sum() for p in self.network.parameters())
        if not torch.isfinite(loss):
            raise TrainingError(
                f"The loss is {loss.item()} in epoch {self.current_epoch + 1} on the images "
                f"{', '.join(batch.image_ids)}. Lower the learning rate, or train in 32 bit."
            )
        self.log(
            "train/loss", loss, on_step=False, on_epoch=True, batch_size=len(target), sync_dist=True
        )
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Measures a validation batch."""
        self._measure(batch, "val", self.val_metrics)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Measures a test batch; reported numbers come from the predictions table."""
        self._measure(batch, "test", self.test_metrics)

    def _measure(self, batch: Batch, split: str, metrics: MetricCollection) -> None:
        logits = self(batch.pixels).float()
        target = batch.target.repeat_interleave(logits.shape[1])
        loss = F.cross_entropy(logits.flatten(0, 1), target)
        images = len(batch.target)
        self.log(f"{split}/loss", loss, batch_size=images, sync_dist=True)
        metrics.update(vote(logits, self.rule, batch.places.weights), batch.target)
        self.log_dict(metrics, batch_size=images)

    def predict_step(self, batch: Batch, batch_idx: int) -> Opinion:
        """Gives the opinion on a batch."""
        logits = self(batch.pixels).float()
        confidences = vote(logits, self.rule, batch.places.weights)
        return Opinion(batch.image_ids, logits, confidences, batch.places)


def place_of(arguments: Namespace, study: Path) -> RunPlace:
    """Finds a base learner's run folder, and hashes what its result hangs on."""
    arm, fold = arguments.data.arm, arguments.data.fold
    manifest = load_manifest(study / "manifest.csv")
    store = Store(study / "store")
    return RunPlace(
        folder=f"base/{arm}/{arguments.name}/fold{fold}",
        labels={"stage": "base", "arm": arm, "learner": arguments.name, "fold": fold},
        inputs=fold_inputs(manifest, store, fold, masks=arm != "global"),
    )


def write_predictions(cli: StudyCLI, run: Run) -> None:
    """Predicts every image of the fold with the selected weights, and sums the run up."""
    data = cli.datamodule
    if not isinstance(data, RadiographDataModule):
        raise TypeError("a base learner's data are radiographs")
    data.setup("predict")
    writer = PredictionsWriter(run.folder, data.table, data.view)
    cli.trainer.callbacks.append(writer)  # type: ignore[attr-defined]
    cli.trainer.predict(cli.model, datamodule=data, return_predictions=False)
    if not cli.trainer.is_global_zero:
        return
    measured = measured_splits(writer.table)
    write_json(measured, run.folder / "metrics.json")
    figures = [f"{split} macro F1 {of['macro_f1']:.4f}" for split, of in measured.items()]
    print(f"predicted {len(writer.table)} images: {', '.join(figures)}", flush=True)


def train(arguments: list[str]) -> StudyCLI:
    """Trains (or validates, or tests) one base learner.

    Args:
        arguments: The command line after `flannel learner`.

    Raises:
        RunFinishedError: If the run is there already.
        RunHeldError: If another process works on it.
        RunError: If it cannot go on; other modules' errors in a sentence likewise.
    """
    return StudyCLI(
        BaseLearner,
        RadiographDataModule,
        place=place_of,
        selection="val/macro_f1",
        conclude=write_predictions,
        args=arguments,
    )


def main(arguments: list[str]) -> int:
    """Runs `flannel learner fit | validate | test`."""
    return run_stage(lambda: train(arguments))
