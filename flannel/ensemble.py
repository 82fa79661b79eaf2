"""FLANNEL: a neural weight module that gives every base learner its weight, image by image."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from jsonargparse import Namespace
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor, nn
from torchmetrics import MetricCollection

from flannel.cli import RunPlace, StudyCLI, run_stage
from flannel.data.diagnosis import FLANNEL, index_of
from flannel.losses import FocalLoss, Reduction, inverse_frequency
from flannel.metrics import classification_metrics, measured_splits
from flannel.predictions import (
    aligned_probabilities,
    load_predictions,
    probability_columns,
    save_predictions,
)
from flannel.runs import Run, RunError, derived_seed, digest_of, read_json, write_json


class EnsembleError(ValueError):
    """Base predictions that cannot be put together, in a sentence."""


class NeuralWeightModule(nn.Module):
    """Weighs N learners by the outer product of their concatenated outputs.

    Paper 004, Section 2.3 and Algorithm 1: f = [p_1, ..., p_N]; w = tanh(W vec(f f^T) + b), one
    weight per learner in (-1, 1), neither normalised nor kept positive; the combined scores are
    sum_i w_i p_i. The softmax that makes them probabilities is inside the loss. With five learners
    and four classes it has 2,005 parameters, and since the scores are weighted sums of
    probabilities, no confidence can exceed e^5 / (e^5 + 3) = 0.980.

    Args:
        learners: Number of base learners, N.
        classes: Number of diagnoses.
        weights: "tanh" as the paper, or "softmax" (positive, summing to one: the original file's
            other form).
    """

    def __init__(
        self, learners: int, classes: int, weights: Literal["tanh", "softmax"] = "tanh"
    ) -> None:
        super().__init__()
        if weights not in ("tanh", "softmax"):
            raise ValueError(f"weights is {weights!r}; expected 'tanh' or 'softmax'.")
        self.learners, self.classes, self.weights = learners, classes, weights
        self.linear = nn.Linear((learners * classes) ** 2, learners)

    def learner_weights(
        self, probabilities: Float[Tensor, "batch learners classes"]
    ) -> Float[Tensor, "batch learners"]:
        """Gives the weight of each learner for each image."""
        if probabilities.shape[1:] != (self.learners, self.classes):
            raise ValueError(
                f"probabilities has the shape {tuple(probabilities.shape)}; expected (batch, "
                f"{self.learners} learners, {self.classes} classes)."
            )
        features = probabilities.flatten(1)  # (batch, learners * classes), learner-major
        products = features[:, :, None] * features[:, None, :]
        raw = self.linear(products.flatten(1))
        return raw.tanh() if self.weights == "tanh" else raw.softmax(dim=1)

    def forward(
        self, probabilities: Float[Tensor, "batch learners classes"]
    ) -> Float[Tensor, "batch classes"]:
        """Gives the combined scores, before the softmax."""
        return torch.einsum("bl,blc->bc", self.learner_weights(probabilities), probabilities)


class EnsembleBatch(NamedTuple):
    """Rows of the aligned base predictions: (batch, learners, classes), class indices."""

    probabilities: Float[Tensor, "batch learners classes"]
    target: Int[Tensor, " batch"]


class Rows:
    """Batches of rows that lie in memory: no files, no workers.

    Args:
        probabilities: All rows of the split.
        target: Their class indices.
        batch_size: Rows a batch.
        seed: With a seed, the order is drawn anew from (seed, epoch); None keeps the order.
    """

    def __init__(
        self,
        probabilities: Float[Tensor, "rows learners classes"],
        target: Int[Tensor, " rows"],
        batch_size: int,
        seed: int | None,
    ) -> None:
        self.probabilities, self.target = probabilities, target
        self.batch_size, self.seed, self.epoch = batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Notes the epoch that the order hangs on."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.target) // self.batch_size)

    def __iter__(self) -> Iterator[EnsembleBatch]:
        order = torch.arange(len(self.target))
        if self.seed is not None:
            generator = torch.Generator().manual_seed(derived_seed(self.seed, self.epoch))
            order = order[torch.randperm(len(order), generator=generator)]
        for index in order.split(self.batch_size):
            yield EnsembleBatch(self.probabilities[index], self.target[index])


class PredictionsDataModule(LightningDataModule):
    """The base learners' predictions of one fold, aligned image by image.

    Args:
        study: The study folder.
        arm: The ensemble's arm, for example "global" or "fused".
        learners: The base runs in the ensemble's order, as "<arm>/<learner>".
        fold: 0 to 4.
        batch_size: Rows a training step.
        seed: Of the order.
    """

    def __init__(
        self,
        study: Path,
        arm: str,
        learners: list[str],
        fold: int = 0,
        batch_size: int = 20,
        seed: int = 1,
    ) -> None:
        super().__init__()
        self.study, self.arm, self.learners, self.fold = study, arm, learners, fold
        self.batch_size, self.seed = batch_size, seed
        self.identity = pd.DataFrame()
        self.probabilities = np.empty((0, len(learners), len(FLANNEL)), dtype=np.float32)

    def setup(self, stage: str) -> None:
        """Reads and aligns the base predictions."""
        if not self.identity.empty:
            return
        folders = base_folders(self.study, self.learners, self.fold)
        tables = {name: load_predictions(path / "predictions.csv") for name, path in folders}
        self.identity, self.probabilities = aligned_probabilities(tables)

    def rows(self, split: str, seed: int | None = None) -> Rows:
        """Gives the rows of a split; the "train" rows are in-sample, as in the paper."""
        chosen = (self.identity["split"] == split).to_numpy()
        if not chosen.any():
            raise EnsembleError(f"Fold {self.fold} has no {split} rows in the base predictions.")
        target = [index_of(name) for name in self.identity["diagnosis"][chosen]]
        return Rows(
            torch.from_numpy(self.probabilities[chosen]),
            torch.tensor(target),
            self.batch_size,
            seed,
        )

    def class_counts(self) -> Int[Tensor, " classes"]:
        """Counts the training rows of each diagnosis."""
        return torch.bincount(self.rows("train").target, minlength=len(FLANNEL))

    def train_dataloader(self) -> Rows:
        """Gives the training rows, shuffled anew in every epoch."""
        return self.rows("train", self.seed)

    def val_dataloader(self) -> Rows:
        """Gives the validation rows."""
        return self.rows("val")

    def test_dataloader(self) -> Rows:
        """Gives the test rows."""
        return self.rows("test")


class Ensemble(LightningModule):
    """Trains the combination of the base learners with focal loss.

    Args:
        combination: Makes the combining module from (learners, classes); `NeuralWeightModule` is
            the paper's.
        learners: Number of base learners; filled from the data.
        gamma: Focusing parameter of the focal loss. The paper names none, its code has 10.
        alpha: "inverse_frequency" (1000 / training count, as the code), or None.
        reduction: "sum" over the batch, as the code, or "mean".
    """

    def __init__(
        self,
        combination: Callable[[int, int], nn.Module] = NeuralWeightModule,
        learners: int = 5,
        gamma: float = 10.0,
        alpha: Literal["inverse_frequency"] | None = "inverse_frequency",
        reduction: Reduction = "sum",
    ) -> None:
        super().__init__()
        self.combination = combination(learners, len(FLANNEL))
        self.gamma, self.alpha, self.reduction = gamma, alpha, reduction
        self.loss = FocalLoss(gamma, None, reduction)
        self.val_metrics = classification_metrics(len(FLANNEL), prefix="val/")
        self.test_metrics = classification_metrics(len(FLANNEL), prefix="test/")

    def setup(self, stage: str) -> None:
        """Takes alpha from the fold's training rows."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if self.alpha is not None and isinstance(data, PredictionsDataModule):
            alpha = inverse_frequency(data.class_counts())
            self.loss = FocalLoss(self.gamma, alpha, self.reduction)

    def training_step(self, batch: EnsembleBatch, batch_idx: int) -> Tensor:
        """Learns from a batch of rows."""
        loss: Tensor = self.loss(self.combination(batch.probabilities), batch.target)
        # By row, so that batch sums of different size can be compared.
        rows = len(batch.target)
        by_row = loss.detach() / rows if self.reduction == "sum" else loss.detach()
        self.log("train/loss", by_row, on_step=False, on_epoch=True, batch_size=rows)
        return loss

    def validation_step(self, batch: EnsembleBatch, batch_idx: int) -> None:
        """Measures validation rows."""
        self._measure(batch, "val", self.val_metrics)

    def test_step(self, batch: EnsembleBatch, batch_idx: int) -> None:
        """Measures test rows; reported numbers come from the predictions table."""
        self._measure(batch, "test", self.test_metrics)

    def _measure(self, batch: EnsembleBatch, split: str, metrics: MetricCollection) -> None:
        combined = self.combination(batch.probabilities)
        rows = len(batch.target)
        loss = self.loss(combined, batch.target) / (rows if self.reduction == "sum" else 1)
        self.log(f"{split}/loss", loss, batch_size=rows)
        metrics.update(combined, batch.target)
        self.log_dict(metrics, batch_size=rows)


def base_folders(study: Path, learners: list[str], fold: int) -> list[tuple[str, Path]]:
    """Finds the finished base runs that an ensemble is made of.

    Raises:
        EnsembleError: If one is missing or unfinished, naming all of them and the command.
    """
    found, missing = [], []
    for name in learners:
        arm, _, learner = name.partition("/")
        folder = study / "base" / arm / learner / f"fold{fold}"
        fingerprint = folder / "fingerprint.json"
        if fingerprint.is_file() and read_json(fingerprint).get("finished"):
            found.append((name, folder))
        else:
            missing.append(name)
    if missing:
        raise EnsembleError(
            f"Fold {fold} lacks the finished predictions of {', '.join(missing)} in "
            f"{study / 'base'}. Run `make base-models FOLD={fold}` first."
        )
    return found


def place_of(arguments: Namespace, study: Path) -> RunPlace:
    """Finds an ensemble's run folder, and hashes the base runs that it hangs on."""
    data = arguments.data
    parts = {
        name: read_json(folder / "fingerprint.json")["parts"]
        for name, folder in base_folders(study, data.learners, data.fold)
    }
    common = {
        name: {digest_of(part.get(name)) for part in parts.values() if isinstance(part, dict)}
        for name in ("split", "store")
    }
    for name, digests in common.items():
        if len(digests) > 1:
            raise RunError(
                f"The base learners of arm {data.arm}, fold {data.fold}, were trained with "
                f"different fingerprints ({name}). Run `make base-models` for all of them again."
            )
    return RunPlace(
        folder=f"ensemble/{data.arm}/fold{data.fold}",
        labels={
            "stage": "ensemble",
            "arm": data.arm,
            "learner": arguments.name,
            "fold": data.fold,
        },
        inputs={"base": digest_of(parts), **_shared_parts(parts)},
    )


def _shared_parts(parts: dict[str, object]) -> dict[str, str]:
    """Hands on the split, store and masks that all base runs share."""
    first: dict[str, str] = {}
    for part in parts.values():
        if isinstance(part, dict):
            first.update({k: str(v) for k, v in part.items() if k in ("split", "store", "masks")})
    return first


def write_predictions(cli: StudyCLI, run: Run) -> None:
    """Writes the predictions of the selected epoch, with the weight that each learner had."""
    data, model = cli.datamodule, cli.model
    if not isinstance(data, PredictionsDataModule) or not isinstance(model, Ensemble):
        raise TypeError("an ensemble is made of predictions")
    model.eval()
    with torch.inference_mode():
        probabilities = torch.from_numpy(data.probabilities).to(model.device)
        confidences = model.combination(probabilities).softmax(dim=1).cpu().numpy()
        table = data.identity.copy()
        table[probability_columns()] = confidences
        table["patches"], table["coverage"] = "", ""
        if isinstance(model.combination, NeuralWeightModule):
            weights = model.combination.learner_weights(probabilities).cpu().numpy()
            table[[f"w_{name}" for name in weight_names(data.learners)]] = weights
    save_predictions(table, run.folder / "predictions.csv")
    measured = measured_splits(table)
    write_json(measured, run.folder / "metrics.json")
    figures = [f"{split} macro F1 {of['macro_f1']:.4f}" for split, of in measured.items()]
    print(f"{', '.join(figures)}, see {run.folder}", flush=True)


def weight_names(learners: list[str]) -> list[str]:
    """Names the weight columns: by learner, and with its arm where two arms meet."""
    arms = {name.partition("/")[0] for name in learners}
    if len(arms) == 1:
        return [name.partition("/")[2] for name in learners]
    return list(learners)


class EnsembleCLI(StudyCLI):
    """StudyCLI that counts the learners for the model."""

    def add_arguments_to_parser(self, parser):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
        """Adds the study's arguments, and the link from the data's learners to the model."""
        super().add_arguments_to_parser(parser)
        parser.link_arguments("data.learners", "model.learners", compute_fn=len)


def main(arguments: list[str]) -> int:
    """Runs `flannel ensemble fit | validate | test`."""
    return run_stage(
        lambda: EnsembleCLI(
            Ensemble,
            PredictionsDataModule,
            place=place_of,
            selection="val/macro_f1",
            conclude=write_predictions,
            args=arguments,
        )
    )
