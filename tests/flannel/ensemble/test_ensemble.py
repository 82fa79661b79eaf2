"""Ensembles of made-up predictions: trained as a plain loop would, written, and refused."""

import json
import signal
from functools import partial
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn

from flannel.data.diagnosis import FLANNEL
from flannel.ensemble import NeuralWeightModule, ensemble
from flannel.ensemble.combinations import LinearCombination
from flannel.ensemble.ensemble import Ensemble, EpochOrder, PredictionsDataModule, whole_split
from flannel.ensemble.stacking import EnsembleError, MissingPredictionsError, Rows
from flannel.errors import RunError
from flannel.losses import ClassCountError, FocalLoss
from flannel.runs.checkpoints import CheckpointError
from flannel.runs.signals import Stopped
from flannel.study.predictions import load_predictions, probability_columns


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


@pytest.fixture
def stopped(base_study, monkeypatch):
    """An ensemble that was stopped in its fourth epoch of six: its folder, how it is trained."""
    study, names = base_study.folder, base_study.experts()

    def train(*options, name="flannel"):
        return ensemble.main(arguments(study, names, *options, epochs=6, name=name))

    def stop(self):
        if self.current_epoch == 3:
            raise Stopped(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Ensemble, "on_train_epoch_start", stop)
        with pytest.raises(Stopped):
            train()
    return study / "ensemble" / "global" / "fold0", train


def _cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _swap(path):
    path.write_bytes(path.with_name("best.ckpt").read_bytes())


DAMAGE = {
    "cut": _cut,
    "zeroed": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("no checkpoint"),
    "weights only": _swap,
}


@pytest.mark.slow
@pytest.mark.parametrize(("file", "kind"), [*product(["last.ckpt"], DAMAGE), ("best.ckpt", "cut")])
def test_a_damaged_state_is_put_aside_and_the_run_starts_anew(stopped, capsys, file, kind):
    folder, train = stopped
    DAMAGE[kind](folder / file)
    damaged = (folder / file).read_bytes()
    assert train() == 0
    printed = capsys.readouterr().out
    assert "The run starts anew; what was there is last.damaged-1.ckpt and best" in printed
    assert str(folder / "last.ckpt") in printed or str(folder / "best.ckpt") in printed
    assert (folder / file).with_name(file.replace(".", ".damaged-1.")).read_bytes() == damaged
    train(name="whole")
    whole = folder.parent / "whole" / "fold0" / "predictions.csv"
    assert (folder / "predictions.csv").read_bytes() == whole.read_bytes()


@pytest.mark.slow
def test_trained_weights_are_measured_and_never_random_ones(base_study, stopped, capsys):
    folder, train = stopped
    study, names = base_study.folder, base_study.experts()

    def measure(command, *options, name="flannel"):
        words = arguments(study, names, *options, name=name)
        kept = [w for w in words if not w.startswith("--optimizer")]
        return ensemble.main([command, *kept[1:]])

    with pytest.raises(RunError, match=r"never/fold0 holds no trained weights.*fit.*--ckpt_path"):
        measure("test", name="never")
    with pytest.raises(RunError, match=r"fold0 is not finished"):
        measure("validate")
    train()
    capsys.readouterr()
    measured = json.loads((folder / "metrics.json").read_text())
    for command, split in (("validate", "val"), ("test", "test")):
        measure(command)
        printed = capsys.readouterr().out
        assert f"weights: {folder / 'best.ckpt'}" in printed
        (row,) = (line for line in printed.splitlines() if f"{split}/macro_f1" in line)
        assert float(row.split()[-2]) == pytest.approx(measured[split]["macro_f1"], abs=1e-6)
    pickled = folder / "pickled.ckpt"
    torch.save({"state_dict": nn.Linear(1, 1)}, pickled)
    with pytest.raises(CheckpointError, match="nothing in it was run"):
        measure("test", f"--ckpt_path={pickled}")
    with pytest.raises(CheckpointError, match=r"no checkpoint .*best-of-all"):
        measure("test", "--ckpt_path=best-of-all")
    measure("test", f"--ckpt_path={folder / 'best.ckpt'}", name="never")
    base_study.run("global/expert1", 3, config="another")  # was trained again
    with pytest.raises(RunError, match=r"trained with another base"):
        measure("test")


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
