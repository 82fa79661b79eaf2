"""FLANNEL: trains the combination of the base learners, image by image, with focal loss."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from jsonargparse import Namespace
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torch.utils.data import DataLoader, Dataset, Sampler
from torchmetrics import MetricCollection

from flannel.data.provenance import label_set_of
from flannel.ensemble.combinations import NeuralWeightModule, combined
from flannel.ensemble.stacking import (
    EnsembleError,
    Rows,
    Stack,
    Stacking,
    base_inputs,
    ensemble_folder,
    read_stack,
    write_predictions,
)
from flannel.files import derived_seed
from flannel.losses import FocalLoss, Reduction, inverse_frequency
from flannel.runs.cli import RunPlace, StudyCLI, run_stage
from flannel.runs.epoch_metrics import classification_metrics
from flannel.runs.run import Run


class EnsembleBatch(NamedTuple):
    """Rows of the aligned base predictions: (batch, learners, classes), class indices."""

    probabilities: Float[Tensor, "batch learners classes"]
    target: Int[Tensor, " batch"]


class EpochOrder(Sampler[Tensor]):
    """All rows of an epoch at once, in an order that derives from (seed, epoch).

    Args:
        rows: Number of rows.
        seed: Seed of the order; None leaves the rows as they are.
    """

    def __init__(self, rows: int, seed: int | None) -> None:
        self.rows, self.seed, self.epoch = rows, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Notes the epoch; Lightning calls this."""
        self.epoch = epoch

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Int[Tensor, " rows"]]:
        if self.seed is None:
            yield torch.arange(self.rows)
        else:
            generator = torch.Generator().manual_seed(derived_seed(self.seed, self.epoch))
            yield torch.randperm(self.rows, generator=generator)


class RowsDataset(Dataset[EnsembleBatch]):
    """Rows that lie in memory and are taken many at once: no files, no workers, no collating.

    Args:
        rows: The images.
    """

    def __init__(self, rows: Rows) -> None:
        self.probabilities = torch.from_numpy(rows.probabilities)
        self.target = torch.from_numpy(rows.targets)

    def __getitem__(self, index: Int[Tensor, " batch"]) -> EnsembleBatch:
        return EnsembleBatch(self.probabilities[index], self.target[index])


def whole_split(rows: Rows, seed: int | None = None) -> DataLoader[EnsembleBatch]:
    """Hands over all rows as one batch; with a seed, in another order in each epoch."""
    return DataLoader(RowsDataset(rows), batch_size=None, sampler=EpochOrder(len(rows), seed))


class PredictionsDataModule(LightningDataModule):
    """The base learners' predictions of one fold, aligned image by image.

    Args:
        study: The study folder.
        arm: The ensemble's arm, for example "global" or "fused".
        learners: The base runs in the ensemble's order, as "<arm>/<learner>".
        fold: 0 to 4.
        stacking: What is learnt from: the fold's own training images ("in_sample", as the paper),
            or the other folds' validation images ("out_of_fold"; see `read_stack`).
        batch_size: Rows a training step.
        seed: Of the order.

    Attributes:
        diagnoses: The study's label set, in order.
    """

    stack: Stack

    def __init__(
        self,
        study: Path,
        arm: str,
        learners: list[str],
        fold: int = 0,
        stacking: Stacking = "in_sample",
        batch_size: int = 20,
        seed: int = 1,
    ) -> None:
        super().__init__()
        self.study, self.arm, self.learners, self.fold = study, arm, learners, fold
        self.stacking, self.batch_size, self.seed = stacking, batch_size, seed
        self.diagnoses = label_set_of(study)
        self._is_read = False

    def setup(self, stage: str) -> None:
        """Reads and aligns the base predictions, once."""
        if self._is_read:
            return
        self.stack = read_stack(self.study, self.learners, self.fold, self.stacking)
        self._is_read = True
        for note in self.stack.notes:
            print(note, flush=True)

    def class_counts(self) -> Int[Tensor, " classes"]:
        """Counts the training rows of each diagnosis."""
        targets = torch.from_numpy(self.stack.training.targets)
        return torch.bincount(targets, minlength=len(self.diagnoses))

    def train_dataloader(self) -> DataLoader[EnsembleBatch]:
        """Returns the training rows, in another order in each epoch."""
        return whole_split(self.stack.training, self.seed)

    def val_dataloader(self) -> DataLoader[EnsembleBatch]:
        """Returns the validation rows."""
        return whole_split(self.stack.validation)

    def test_dataloader(self) -> DataLoader[EnsembleBatch]:
        """Returns the test rows."""
        return whole_split(self.stack.rows.of("test"))


class Ensemble(LightningModule):
    """Trains the combination of the base learners with focal loss.

    A step of 20 rows takes less time than a turn of the Trainer's loop. So the loader hands over
    all training rows of an epoch in its order, and `training_step` walks through them in batches.

    Args:
        diagnoses: The label set, in order; filled from the data.
        learners: Number of base learners; filled from the data.
        combination: Makes the combining module from (learners, classes); `NeuralWeightModule` is
            the paper's.
        gamma: Focusing parameter of the focal loss. The paper names none, its code has 10.
        alpha: "inverse_frequency" (1000 / training count, as the code), or None.
        reduction: "sum" over the batch, as the code, or "mean".
    """

    def __init__(
        self,
        diagnoses: Sequence[str],
        learners: int,
        combination: Callable[[int, int], nn.Module] = NeuralWeightModule,
        gamma: float = 10.0,
        alpha: Literal["inverse_frequency"] | None = "inverse_frequency",
        reduction: Reduction = "sum",
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.combination = combination(learners, len(diagnoses))
        self.gamma, self.alpha, self.reduction = gamma, alpha, reduction
        self.loss = FocalLoss(gamma, None, reduction)
        self.batch_size = 1
        self.val_metrics = classification_metrics("val/", diagnoses)
        self.test_metrics = classification_metrics("test/", diagnoses)

    def setup(self, stage: str) -> None:
        """Takes batch size and alpha from the fold's data.

        Raises:
            EnsembleError: If the trainer has several devices or mixed precision.
            ClassCountError: If a diagnosis has no training row to take alpha from.
        """
        if self.trainer.world_size > 1 or "mixed" in str(self.trainer.precision):
            raise EnsembleError(
                f"An ensemble trains on one device in one precision; trainer.devices gives "
                f"{self.trainer.world_size}, trainer.precision is {self.trainer.precision}."
            )
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if isinstance(data, PredictionsDataModule):
            self.batch_size = data.batch_size
            if self.alpha is not None:
                alpha = inverse_frequency(data.class_counts())
                self.loss = FocalLoss(self.gamma, alpha, self.reduction)

    def training_step(self, epoch: EnsembleBatch, batch_idx: int) -> None:
        """Learns from all training rows, batch by batch."""
        optimizer = self.optimizers()
        if not isinstance(optimizer, LightningOptimizer):
            raise TypeError("an ensemble has one optimizer")
        total = torch.zeros(())
        for probabilities, target in zip(
            epoch.probabilities.split(self.batch_size),
            epoch.target.split(self.batch_size),
            strict=True,
        ):
            optimizer.zero_grad()
            loss: Tensor = self.loss(self.combination(probabilities), target)
            self.manual_backward(loss)
            optimizer.step()
            total += loss.detach() * (1 if self.reduction == "sum" else len(target))
        rows = len(epoch.target)
        self.log("train/loss", total / rows, on_step=False, on_epoch=True, batch_size=rows)

    def on_train_epoch_end(self) -> None:
        """Moves the learning rate's schedule on, where the recipe has one."""
        schedule = self.lr_schedulers()
        if isinstance(schedule, ReduceLROnPlateau):
            schedule.step(self.trainer.callback_metrics[schedule.monitor])  # type: ignore[attr-defined]
        elif isinstance(schedule, LRScheduler):
            schedule.step()

    def validation_step(self, rows: EnsembleBatch, batch_idx: int) -> None:
        """Measures the validation rows."""
        self._measure(rows, "val", self.val_metrics)

    def test_step(self, rows: EnsembleBatch, batch_idx: int) -> None:
        """Measures the test rows; reported numbers come from the predictions table."""
        self._measure(rows, "test", self.test_metrics)

    def _measure(self, rows: EnsembleBatch, split: str, metrics: MetricCollection) -> None:
        combined = self.combination(rows.probabilities)
        count = len(rows.target)
        loss = self.loss(combined, rows.target) / (count if self.reduction == "sum" else 1)
        self.log(f"{split}/loss", loss, batch_size=count)
        metrics.update(combined, rows.target)
        self.log_dict(metrics, batch_size=count)


def place_of(arguments: Namespace, study: Path) -> RunPlace:
    """Finds an ensemble's run folder, and hashes the base runs that it depends on."""
    data, name = arguments.data, arguments.name
    return RunPlace(
        folder=ensemble_folder(data.arm, name, data.fold),
        labels={"stage": "ensemble", "arm": data.arm, "learner": name, "fold": data.fold},
        inputs=base_inputs(study, data.arm, data.learners, data.fold, data.stacking),
    )


def conclude(cli: StudyCLI, run: Run) -> None:
    """Writes the predictions of the selected epoch, with the weight that each learner had."""
    data, model = cli.datamodule, cli.model
    if not isinstance(data, PredictionsDataModule) or not isinstance(model, Ensemble):
        raise TypeError("an ensemble is made of predictions")
    model.eval()
    rows = data.stack.rows
    confidences, weights = combined(model.combination, rows.probabilities)
    write_predictions(rows, confidences, run.folder, data.learners, weights)


class EnsembleCLI(StudyCLI):
    """StudyCLI that counts the learners for the model."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds the study's arguments, and the links from the data to the model."""
        super().add_arguments_to_parser(parser)
        parser.link_arguments("data.learners", "model.learners", compute_fn=len)
        parser.link_arguments("data.diagnoses", "model.diagnoses", apply_on="instantiate")


def train(arguments: list[str]) -> EnsembleCLI:
    """Runs one command line of `flannel ensemble`.

    Raises:
        RunFinishedError: If the run is finished.
    """
    return EnsembleCLI(
        Ensemble,
        PredictionsDataModule,
        place=place_of,
        selection="val/macro_f1",
        conclude=conclude,
        args=arguments,
        mixes=False,
    )


def main(arguments: list[str]) -> int:
    """Runs `flannel ensemble fit | validate | test`."""
    return run_stage(lambda: train(arguments))
