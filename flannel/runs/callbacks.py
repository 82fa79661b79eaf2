"""Callbacks of every training: report epochs, seed them, refresh BatchNorm statistics."""

import csv
import time
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor, nn

from flannel.errors import RunError
from flannel.files import derived_seed, whole_file
from flannel.runs.steps import report


@runtime_checkable
class RefreshesBatchNorm(Protocol):
    """A module that can push a training batch through its network without learning from it."""

    def refresh(self, batch: Any) -> None:  # noqa: ANN401  each module has its own batch
        """Runs the network's forward pass on a training batch."""


class EpochLine(Callback):
    """Reports each epoch, writes `curves.csv`, and keeps both across interruptions.

    Args:
        selection: The metric that chooses the epoch.
        curves: The table to write: one row per epoch.
    """

    def __init__(self, selection: str, curves: Path) -> None:
        self.selection, self.curves = selection, curves
        self.epochs: list[dict[str, float]] = []
        self._since = time.monotonic()
        self._rate = 0.0

    @property
    def seconds(self) -> float:
        """How long the epochs took together, validation included."""
        return self.epochs[-1]["seconds"] if self.epochs else 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock, and notes the learning rate before a schedule changes it."""
        self._since = time.monotonic()
        self._rate = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Notes the epoch's figures, and prints the chief ones."""
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        seconds = self.seconds + time.monotonic() - self._since
        epoch = trainer.current_epoch
        noted = {"epoch": epoch, "seconds": seconds, "learning_rate": self._rate}
        self.epochs.append({**noted, **values})
        if not trainer.is_global_zero:
            return
        with whole_file(self.curves) as beside, beside.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, fieldnames=list(self.epochs[-1]), extrasaction="ignore")
            writer.writeheader()
            writer.writerows(self.epochs)
        chief = [name for name in ("train/loss", "val/loss", self.selection) if name in values]
        shown = "  ".join(f"{name} {values[name]:.4f}" for name in chief)
        planned = max(trainer.max_epochs or 0, epoch + 1)  # -1 has no end
        left = seconds / len(self.epochs) * (planned - epoch - 1)
        taken = f"{seconds:.0f} s, at most {left:.0f} s left"  # early stopping may end it sooner
        report(f"epoch {epoch + 1}/{planned}  {shown}  {taken}", seconds_left=left)

    def state_dict(self) -> dict[str, Any]:
        """Returns what `last.ckpt` keeps."""
        return {"epochs": self.epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up the epochs of an interrupted run."""
        self.epochs = list(state_dict["epochs"])


class StayStopped(Callback):
    """Trains no further where early stopping had ended a run that was killed while it predicted.

    `last.ckpt` keeps how long early stopping has waited, but not that it stopped.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops before the first epoch, if an earlier process had."""
        waited = [
            callback.wait_count >= callback.patience
            for callback in trainer.early_stopping_callbacks
        ]
        trainer.should_stop = trainer.should_stop or any(waited)


class SteadyEarlyStopping(EarlyStopping):
    """EarlyStopping whose best score never falls, so that a negative `min_delta` is a tolerance.

    The patched code of paper 004 counts an epoch against its patience only where the score is 0.05
    or more below the best. That is a `min_delta` of -0.05; but Lightning would take every epoch
    that is not counted for the best one, and a slow decline would never end.
    """

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Judges the epoch, where validations are the occasion for it."""
        best = self.best_score
        super().on_validation_end(trainer, pl_module)
        self._keep(best)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Judges the epoch, where the ends of epochs are the occasion for it."""
        best = self.best_score
        super().on_train_epoch_end(trainer, pl_module)
        self._keep(best)

    def _keep(self, best: Tensor) -> None:
        """Takes the best score back, if the epoch's is worse."""
        better = torch.maximum if self.mode == "max" else torch.minimum
        self.best_score = better(best.to(self.best_score), self.best_score)


class SeedEachEpoch(Callback):
    """Derives dropout from (seed, epoch, rank), so that a resumed run draws the same."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Seeds this epoch."""
        torch.manual_seed(derived_seed(self.seed, trainer.current_epoch, trainer.global_rank))


class RefreshBatchNorm(Callback):
    """Estimates BatchNorm's running statistics anew on training batches before each validation.

    In runs of few steps the running averages lag far behind the weights, and a network that has
    learned looks as if it had not. Papers 000 to 004 do not do this; it is off by default. What is
    frozen keeps the statistics that it was frozen with.

    Args:
        batches: How many training batches the statistics are averaged over.
    """

    def __init__(self, batches: int) -> None:
        self.batches = batches

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Replaces the running statistics."""
        if trainer.sanity_checking or trainer.train_dataloader is None:
            return
        if not isinstance(pl_module, RefreshesBatchNorm):
            raise RunError(
                f"refresh_batch_norm needs a module with refresh(batch); "
                f"{type(pl_module).__name__} has none. Set refresh_batch_norm to 0."
            )
        norms = [
            module
            for module in pl_module.modules()
            if isinstance(module, nn.modules.batchnorm._BatchNorm)
            and (module.weight is None or module.weight.requires_grad)
        ]
        usual = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain average over the batches
            norm.train()
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            for number, batch in enumerate(trainer.train_dataloader):
                if number == self.batches:
                    break
                pl_module.refresh(trainer.strategy.batch_to_device(batch))
        for norm, momentum in zip(norms, usual, strict=True):
            norm.momentum = momentum
            norm.eval()
