"""Ensembles of made-up predictions: trained as a plain loop would, written, and refused."""

import json
import signal
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn

from flannel import ensemble
from flannel.combinations import LinearCombination, NeuralWeightModule
from flannel.data.diagnosis import FLANNEL
from flannel.ensemble import Ensemble, EpochOrder, PredictionsDataModule, whole_split
from flannel.losses import ClassCountError, FocalLoss
from flannel.predictions import load_predictions, probability_columns
from flannel.runs import RunError
from flannel.signals import Stopped
from flannel.stacking import EnsembleError, MissingPredictionsError, Rows


def arguments(study, learners, *options, epochs=10, name="flannel"):
    return [
        "fit", f"--name={name}", f"--study={study}", "--data.arm=global", "--data.fold=0",
        f"--data.learners=[{','.join(learners)}]", "--data.batch_size=8",
        "--optimizer=torch.optim.Adam", "--optimizer.lr=0.05",
        "--optimizer.fused=true", f"--trainer.max_epochs={epochs}",
        "--trainer.accelerator=cpu", "--model.gamma=1", *options,
    ]  # fmt: skip


def test_rows_come_once_an_epoch_and_in_another_order_in_the_next():
    identity = pd.DataFrame({"diagnosis": [FLANNEL[i % 4] for i in range(10)]})
    probabilities = np.arange(10, dtype=np.float32).reshape(10, 1, 1).repeat(4, axis=2)
    loader = whole_split(Rows(identity, probabilities, FLANNEL), seed=3)
    (first,), (again,) = loader, loader
    loader.sampler.set_epoch(1)
    (second,) = loader
    assert first.probabilities.tolist() == again.probabilities.tolist()
    assert first.probabilities.tolist() != second.probabilities.tolist()
    assert sorted(second.probabilities[:, 0, 0].tolist()) == list(range(10))
    assert (second.target == second.probabilities[:, 0, 0].long() % 4).all()


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*isinstance.treespec")
@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize(
    "form",
    [
        NeuralWeightModule,
        partial(NeuralWeightModule, weights="softmax"),
        LinearCombination,
        lambda learners, classes: nn.Sequential(
            nn.Flatten(), nn.Linear(learners * classes, classes)
        ),
    ],
)
def test_training_is_that_of_a_plain_loop(base_study, form, reduction):
    """Same rows, same order, same first weights: the same weights after three epochs."""
    data = PredictionsDataModule(base_study.folder, "global", base_study.experts(), batch_size=20)
    torch.manual_seed(1)
    model = Ensemble(FLANNEL, 4, form, gamma=10, reduction=reduction)
    model.configure_optimizers = lambda: torch.optim.Adam(
        model.parameters(), lr=1e-2, weight_decay=1e-4, fused=True
    )
    plain = form(4, 4).double()
    plain.load_state_dict(model.combination.state_dict())
    trainer = Trainer(
        max_epochs=3, accelerator="cpu", precision="64-true", num_sanity_val_steps=0, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=base_study.folder,
    )  # fmt: skip
    trainer.fit(model, data)

    rows = data.stack.training
    probabilities = torch.from_numpy(rows.probabilities).double()
    target = torch.from_numpy(rows.targets)
    counts = torch.bincount(target, minlength=4)
    optimizer = torch.optim.Adam(plain.parameters(), lr=1e-2, weight_decay=1e-4)
    for epoch in range(3):
        sampler = EpochOrder(len(target), data.seed)
        sampler.set_epoch(epoch)
        (order,) = sampler
        for index in order.split(20):
            p = plain(probabilities[index]).softmax(dim=1).gather(1, target[index, None])[:, 0]
            each = -(1000 / counts.float())[target[index]] * (1 - p) ** 10 * p.log()
            optimizer.zero_grad()
            (each.sum() if reduction == "sum" else each.mean()).backward()
            optimizer.step()
    for name, value in model.combination.state_dict().items():
        torch.testing.assert_close(value, plain.state_dict()[name], atol=1e-12, rtol=0)


@pytest.mark.slow
def test_an_ensemble_is_trained_written_and_then_skipped(base_study, capsys):
    study, names = base_study.folder, base_study.experts()
    assert ensemble.main(arguments(study, names)) == 0
    folder = study / "ensemble" / "global" / "fold0"
    table = load_predictions(folder / "predictions.csv", FLANNEL)
    assert len(table) == 80
    np.testing.assert_allclose(table[probability_columns(FLANNEL)].sum(axis=1), 1, atol=1e-6)
    assert table[[f"w_expert{i}" for i in range(4)]].abs().max().max() <= 1
    single = load_predictions(study / "base/global/expert0/fold0/predictions.csv", FLANNEL)
    truth = table["diagnosis"].map(FLANNEL.index)
    right = (table[probability_columns(FLANNEL)].to_numpy().argmax(1) == truth).mean()
    alone = (single[probability_columns(FLANNEL)].to_numpy().argmax(1) == truth).mean()
    assert right > alone + 0.2
    assert json.loads((folder / "fingerprint.json").read_text())["finished"] is True
    assert not (folder / "last.ckpt").exists()
    curves = pd.read_csv(folder / "curves.csv")
    assert len(curves) == 10
    assert curves["train/loss"].iloc[-1] < curves["train/loss"].iloc[0]
    checkpoint = torch.load(folder / "best.ckpt", weights_only=True)
    assert "combination.linear.weight" in checkpoint["state_dict"]
    ensemble.main(arguments(study, names))
    assert "finished with the same fingerprint: skipped" in capsys.readouterr().out
    with pytest.raises(RunError, match="another config"):
        ensemble.main(arguments(study, names, epochs=11))


@pytest.mark.slow
def test_the_kept_epoch_is_the_one_with_the_best_validation(base_study):
    study, names = base_study.folder, base_study.experts()
    ensemble.main(arguments(study, names, "--selection=val/accuracy", epochs=6))
    folder = study / "ensemble" / "global" / "fold0"
    best = pd.read_csv(folder / "curves.csv")["val/accuracy"].max()
    table = load_predictions(folder / "predictions.csv", FLANNEL)
    table = table[table["split"] == "val"]
    guessed = table[probability_columns(FLANNEL)].to_numpy().argmax(axis=1)
    assert (guessed == table["diagnosis"].map(FLANNEL.index)).mean() == pytest.approx(best)


@pytest.mark.slow
def test_a_killed_ensemble_goes_on_to_the_same_weights(base_study, monkeypatch):
    study, names = base_study.folder, base_study.experts()
    schedule = ["--lr_scheduler=torch.optim.lr_scheduler.StepLR", "--lr_scheduler.step_size=2"]
    ensemble.main(arguments(study, names, *schedule, epochs=6, name="whole"))

    def stop(self):
        if self.current_epoch == 3:
            raise Stopped(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Ensemble, "on_train_epoch_start", stop)
        with pytest.raises(Stopped, match=r"by SIGTERM.* after the last epoch in .*last\.ckpt"):
            ensemble.main(arguments(study, names, *schedule, epochs=6))
    folder = study / "ensemble" / "global"
    assert (folder / "fold0" / "last.ckpt").is_file()
    ensemble.main(arguments(study, names, *schedule, epochs=6))
    weights = [
        torch.load(path / "best.ckpt", weights_only=True)["state_dict"]
        for path in (folder / "whole" / "fold0", folder / "fold0")
    ]
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name])
    curves = pd.read_csv(folder / "fold0" / "curves.csv")
    np.testing.assert_allclose(
        curves["learning_rate"], [0.05, 0.05, 0.005, 0.005, 0.0005, 0.0005], rtol=1e-6
    )


def test_missing_learners_are_all_named(base_study):
    base_study.run("global/a", 0)
    with pytest.raises(
        MissingPredictionsError, match=r"global/b, global/c.*make base-models FOLD=0"
    ):
        ensemble.main(arguments(base_study.folder, ["global/a", "global/b", "global/c"]))


def test_learners_of_another_split_are_refused(base_study):
    base_study.run("global/a", 0)
    base_study.run("global/b", 1, split="other")
    with pytest.raises(RunError, match=r"different fingerprints \(split\)"):
        ensemble.main(arguments(base_study.folder, ["global/a", "global/b"]))


def test_several_devices_and_mixed_precision_are_refused(base_study):
    words = arguments(base_study.folder, base_study.experts(), "--trainer.precision=bf16-mixed")
    with pytest.raises(EnsembleError, match=r"one device in one precision.*bf16-mixed"):
        ensemble.main(words)


def test_a_diagnosis_without_training_rows_is_refused(base_study):
    names = base_study.experts()
    for name in names:
        path = base_study.folder / "base" / name / "fold0" / "predictions.csv"
        table = load_predictions(path, FLANNEL)
        table.loc[table["diagnosis"] == "Normal", "split"] = "test"
        table.to_csv(path, index=False)
    with pytest.raises(ClassCountError, match=r"0\]: a class without any"):
        ensemble.main(arguments(base_study.folder, names))


def test_training_rows_give_the_class_counts(base_study):
    table = base_study.run("global/a", 0)
    data = PredictionsDataModule(base_study.folder, "global", ["global/a"])
    data.setup("fit")
    train = table[table["split"] == "train"]["diagnosis"]
    assert data.class_counts().tolist() == [(train == name).sum() for name in FLANNEL]


def test_alpha_and_gamma_reach_the_loss(base_study):
    scores, target = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    model = Ensemble(FLANNEL, 4, gamma=2.0, alpha=None, reduction="mean")
    assert model.loss(scores, target) == FocalLoss(2.0, None, "mean")(scores, target)
