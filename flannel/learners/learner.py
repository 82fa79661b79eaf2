"""A base learner: one network that classifies views, and the votes that make them a diagnosis."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from jsonargparse import Namespace
from lightning.pytorch import Callback, LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningArgumentParser
from torch import Tensor, nn
from torchmetrics import MeanMetric, MetricCollection

from flannel.data.manifest import load_manifest
from flannel.data.store import Store
from flannel.errors import FlannelError, check_range
from flannel.files import write_json
from flannel.learners.datamodule import RadiographDataModule
from flannel.learners.datasets import Batch
from flannel.learners.inference import for_inference, inference_dtype, logits_in_parts
from flannel.learners.network_summary import write_network
from flannel.learners.patch_pictures import PatchPictures
from flannel.learners.prediction_writer import BatchPrediction, PredictionsWriter
from flannel.learners.views import STATISTICS, normalise
from flannel.losses import balanced_weights
from flannel.metrics.classification import macro_f1_line, measured_splits
from flannel.networks import TimmNetwork
from flannel.progress import announce
from flannel.runs.cli import RunPlace, StudyCLI, run_stage
from flannel.runs.epoch_metrics import classification_metrics
from flannel.runs.refusals import options_refused
from flannel.runs.run import Run
from flannel.runs.steps import report
from flannel.study.contents import fold_inputs
from flannel.study.predictions import load_predictions
from patching.vote import Rule, vote


class TrainingError(FlannelError):
    """Raised when training cannot continue."""


class BaseLearner(LightningModule):
    """Trains a network on views (whole radiographs or patches) and votes over an image's views.

    Args:
        network: Any module from (batch, 3, side, side) to logits (batch, classes); it may give a
            pair (main, auxiliary) in training.
        diagnoses: The label set, in order, of which the network has one output each; filled from
            the data.
        vote: How the views' logits become one confidence per diagnosis: "share" of hard votes
            (paper 004, Section 2.2), "mean_softmax", or "mean_sigmoid" (its code). For a whole
            radiograph, "mean_softmax" is the softmax.
        loss: Any module from logits (batch, classes) and targets (batch,) to one loss a view;
            cross-entropy, as both papers, when None. `FocalLoss` with reduction "none" is
            FLANNEL's loss for its ensemble, which its code has commented out here.
        class_weights: "inverse_frequency" multiplies the losses of class c by N / (classes x n_c),
            n_c of the fold's N training images; None weighs all alike, as both papers.
        auxiliary_weight: Weight of the auxiliary head's loss; 0.4 in the patched code.
        l1: Factor of the sum of absolute parameters that is added to the training loss. The
            patch-based ancestor has 1e-5; the patched code has it commented out.
        channels_last: Train in the memory format that convolutions prefer; prediction always does.
        views_at_once: Views of a forward pass without gradients, which bounds its memory: K patches
            of an image, or the patches of several images, are sent through in parts.
    """

    def __init__(
        self,
        network: nn.Module,
        diagnoses: Sequence[str],
        vote: Rule = "share",
        loss: nn.Module | None = None,
        class_weights: Literal["inverse_frequency"] | None = None,
        auxiliary_weight: float = 0.4,
        l1: float = 0.0,
        channels_last: bool = True,
        views_at_once: int = 64,
    ) -> None:
        super().__init__()
        check_range(1, views_at_once=views_at_once)
        check_range(0, l1=l1, auxiliary_weight=auxiliary_weight)
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.network = network.to(memory_format=self.memory_format)  # type: ignore[call-overload]
        self.views_at_once = views_at_once
        self._for_inference: tuple[nn.Module, ...] = ()  # no submodule, so in no checkpoint
        self.rule: Rule = vote
        self.loss = nn.CrossEntropyLoss(reduction="none") if loss is None else loss
        self.class_weights = class_weights
        self.diagnoses = tuple(diagnoses)
        self.register_buffer("weight_of_class", torch.ones(len(diagnoses)), persistent=False)
        self.auxiliary_weight, self.l1 = auxiliary_weight, l1
        self._share = 1.0
        self.val_metrics = classification_metrics("val/", diagnoses)
        self.test_metrics = classification_metrics("test/", diagnoses)
        # Over several devices Lightning's own mean of a loss rounds the images of each down.
        self.val_loss, self.test_loss = MeanMetric(), MeanMetric()

    def setup(self, stage: str) -> None:
        """Sets the class weights of the fold, and the input's normalisation of a `TimmNetwork`."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if isinstance(data, RadiographDataModule) and isinstance(self.network, TimmNetwork):
            self.network.take_normalised(*STATISTICS[data.view_options.normalisation])
        if self.class_weights is not None and isinstance(data, RadiographDataModule):
            counts = torch.tensor([data.class_counts()[name] for name in self.diagnoses])
            self.weight_of_class = balanced_weights(counts)
            if stage == "fit" and data.order == "balanced" and self.trainer.is_global_zero:
                announce(
                    "model.class_weights and data.order=balanced each make up for rare diagnoses: "
                    "together they count them twice. Leave one of them out, unless that is wanted."
                )

    def _images(self, batch: Batch) -> Float[Tensor, "examples 3 side side"]:
        """Returns every training view as an example of its own, augmented as drawn for it."""
        augmented_by = batch.augmented_by
        pixels = batch.pixels if augmented_by is None else augmented_by.apply(batch.pixels)
        images = normalise(pixels.flatten(0, 1), batch.normalisation)
        return images.to(memory_format=self.memory_format)

    def refresh(self, batch: Batch) -> None:
        """Runs a training batch forward, for `RefreshBatchNorm`."""
        self.network(self._images(batch))

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Notes what the batch counts in its optimiser step, where several make one."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if isinstance(data, RadiographDataModule) and data.accumulate > 1:
            share = data.share_of_step(batch_idx, len(batch.target))
            self._share = share * data.accumulate  # Lightning divides by the number

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Learns from every view as an example of its image's diagnosis."""
        out = self.network(self._images(batch))
        target = batch.target.repeat_interleave(batch.pixels.shape[1])
        logits, auxiliary = out if isinstance(out, tuple) else (out, None)
        loss = self._loss(logits, target)
        if auxiliary is not None:
            loss = loss + self.auxiliary_weight * self._loss(auxiliary, target)
        if self.l1:
            loss = loss + self.l1 * sum(p.abs().sum() for p in self.network.parameters())
        if not torch.isfinite(loss):
            raise TrainingError(
                f"The loss is {loss.item()} in epoch {self.current_epoch + 1} on the images "
                f"{', '.join(batch.image_ids)}. Lower the learning rate, or train in 32 bit."
            )
        right = (logits.argmax(dim=1) == target).float().mean()  # in training mode, as the loss is
        self.log_dict(
            {"train/loss": loss, "train/accuracy": right},
            on_step=False,
            on_epoch=True,
            batch_size=len(target),
            sync_dist=True,
        )
        return self._share * loss

    def _loss(
        self, logits: Float[Tensor, "views classes"], target: Int[Tensor, " views"]
    ) -> Float[Tensor, ""]:
        """Averages the views' losses, each times the weight of its class."""
        if logits.shape[1] != len(self.diagnoses):
            raise TrainingError(
                f"The network has {logits.shape[1]} outputs and the study {len(self.diagnoses)} "
                f"diagnoses ({', '.join(self.diagnoses)}). Give the network one output for each: "
                f"--model.network.init_args.classes={len(self.diagnoses)}."
            )
        try:
            each: Tensor = self.loss(logits.float(), target)
        except torch.OutOfMemoryError:
            raise
        except (ValueError, RuntimeError) as fault:
            raise TrainingError(
                f"{type(self.loss).__name__} refuses logits of shape {tuple(logits.shape)} and "
                f"their classes ({fault}). Expected a loss of class indices as model.loss."
            ) from fault
        if each.shape != target.shape:
            raise TrainingError(
                f"{type(self.loss).__name__} gave a tensor of shape {tuple(each.shape)} for "
                f"{len(target)} views; expected one loss a view. Set the loss's reduction to none."
            )
        return (self.weight_of_class[target] * each).mean()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Measures a validation batch."""
        self._measure(batch, "val", self.val_metrics, self.val_loss)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Measures a test batch; reported numbers come from the predictions table."""
        self._measure(batch, "test", self.test_metrics, self.test_loss)

    def _measure(
        self, batch: Batch, split: str, metrics: MetricCollection, mean_loss: MeanMetric
    ) -> None:
        logits = logits_in_parts(
            self.network, batch.pixels, batch.normalisation, self.views_at_once
        )
        target = batch.target.repeat_interleave(logits.shape[1])
        loss = self._loss(logits.flatten(0, 1), target)
        images = len(batch.target)
        mean_loss.update(loss, images)
        self.log(f"{split}/loss", mean_loss, batch_size=images)
        metrics.update(vote(logits, self.rule, batch.places.weights), batch.target)
        self.log_dict(metrics, batch_size=images)

    def on_predict_start(self) -> None:
        """Makes the copy of the network that predicts."""
        dtype = inference_dtype(self.trainer.precision, self.network)
        self._for_inference = (for_inference(self.network, dtype),)

    def on_predict_end(self) -> None:
        """Lets go of the copy."""
        self._for_inference = ()

    def predict_step(self, batch: Batch, batch_idx: int) -> BatchPrediction:
        """Predicts a batch."""
        (network,) = self._for_inference
        logits = logits_in_parts(network, batch.pixels, batch.normalisation, self.views_at_once)
        confidences = vote(logits, self.rule, batch.places.weights)
        return BatchPrediction(batch.image_ids, logits, confidences, batch.places)


def place_of(arguments: Namespace, study: Path) -> RunPlace:
    """Finds a base learner's run folder, and hashes what its result depends on."""
    arm, fold = arguments.data.arm, arguments.data.fold
    manifest = load_manifest(study / "manifest.csv")
    store = Store(study / "store")
    return RunPlace(
        folder=f"base/{arm}/{arguments.name}/fold{fold}",
        labels={"stage": "base", "arm": arm, "learner": arguments.name, "fold": fold},
        inputs=fold_inputs(manifest, store, fold, masks=arm != "global"),
    )


def predict_fold(cli: StudyCLI, run: Run) -> None:
    """Predicts every image of the fold with the selected weights, and sums the run up."""
    data = cli.datamodule
    if not isinstance(data, RadiographDataModule):
        raise TypeError("a base learner's data are radiographs")
    data.setup("predict")
    writer = PredictionsWriter(run.folder, data.table, data.view_options.view, data.diagnoses)
    cli.trainer.callbacks.append(writer)  # type: ignore[attr-defined]
    cli.trainer.predict(cli.model, datamodule=data, return_predictions=False)
    if not cli.trainer.is_global_zero:
        return
    table = load_predictions(run.folder / "predictions.csv", data.diagnoses)
    measured = measured_splits(table, data.diagnoses)
    write_json(measured, run.folder / "metrics.json")
    report(f"predicted {len(table)} images: {macro_f1_line(measured)}")


class LearnerCLI(StudyCLI):
    """StudyCLI that accumulates as the data are cut, draws patches, and explains a full memory."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds the study's arguments, and links from the data to the Trainer and the model."""
        super().add_arguments_to_parser(parser)
        parser.link_arguments("data.diagnoses", "model.diagnoses", apply_on="instantiate")
        parser.link_arguments("data.accumulate", "trainer.accumulate_grad_batches")

    def before_fit(self) -> None:
        """Takes the run's folder into use, and writes there what the network is made of."""
        super().before_fit()
        model = self.model
        if self.trainer.is_global_zero and isinstance(model, BaseLearner):
            size_px = self.arguments.data.size_px
            with options_refused(self.run.folder, between=True):
                write_network(model.network, size_px, self.run.folder / "network.csv")

    def stage_callbacks(self) -> list[Callback]:
        """Returns the picture of the patches, where there are patches."""
        if self.arguments.data.arm != "patched":
            return []
        return [PatchPictures(self.run.folder, self.logs_images)]

    def fit(self, model: LightningModule, datamodule: LightningDataModule, ckpt_path: Any) -> None:  # noqa: ANN401
        """Trains and predicts.

        Raises:
            TrainingError: If the memory does not suffice, naming the options that need less.
        """
        try:
            super().fit(model, datamodule, ckpt_path)
        except RuntimeError as fault:  # the CPU has no error of its own
            if not isinstance(fault, torch.OutOfMemoryError) and "can't allocate" not in str(fault):
                raise
            model, data, trainer = (self.arguments[part] for part in ("model", "data", "trainer"))
            raise TrainingError(
                "The memory of the device does not suffice "
                f"({str(fault).splitlines()[0]}). In training, raise data.accumulate (now "
                f"{data.accumulate}), which keeps the batch of {data.batch_size}; in prediction, "
                f"lower model.views_at_once (now {model.views_at_once}) and "
                f"data.predict_batch_size (now {data.predict_batch_size or data.batch_size}); in "
                "both, use a trainer.precision of 16-mixed or bf16-mixed (now "
                f"{trainer.precision}), or spread the batch over GPUs with DEVICES=n."
            ) from fault


def train(arguments: list[str]) -> StudyCLI:
    """Trains (or validates, or tests) one base learner.

    Args:
        arguments: The command line after `flannel learner`.

    Raises:
        RunFinishedError: If the run is there already.
        RunHeldError: If another process works on it.
        RunError: If it cannot go on; other modules' errors in a sentence likewise.
    """
    return LearnerCLI(
        BaseLearner,
        RadiographDataModule,
        place=place_of,
        selection="val/macro_f1",
        conclude=predict_fold,
        args=arguments,
    )


def main(arguments: list[str]) -> int:
    """Runs `flannel learner fit | validate | test`."""
    return run_stage(lambda: train(arguments))
