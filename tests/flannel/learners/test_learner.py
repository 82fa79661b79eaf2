"""A base learner's run through the real command line, on phantoms, with a small network."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from flannel.__main__ import main
from flannel.commands.base_models import CONTROLS
from flannel.data.diagnosis import FLANNEL
from flannel.errors import RunError
from flannel.learners import learner
from flannel.learners.datamodule import RadiographDataModule
from flannel.learners.learner import BaseLearner, TrainingError
from flannel.study.patches import load_patches
from flannel.study.predictions import load_predictions, probability_columns
from patching.vote import vote

SMALL = {
    "name": "small",
    "model": {
        "network": {
            "init_args": {"architecture": "mobilenet_v3_small", "weights": "random"},
        }
    },
    "data": {
        "size_px": 32,
        "resize_px": 40,
        "window_px": 24,
        "batch_size": 8,
        "predict_patches": 5,
    },
    "optimizer": {"init_args": {"lr": 0.001}},
    "trainer": {"max_epochs": 2, "accelerator": "cpu"},
}


def trainer_of(study, experiments, folder):
    """Trains through `flannel learner fit`, with the recipe of an arm and the small network."""
    small = folder / "small.yaml"
    small.write_text(yaml.safe_dump(SMALL))

    def run(arm, *options):
        recipe = experiments / "base" / ("global" if arm in CONTROLS else arm) / "_common.yaml"
        configs = [recipe, small]
        if arm in CONTROLS:
            configs.append(experiments / "base" / arm / "_common.yaml")
        words = [f"--config={config}" for config in configs]
        learner.main(["fit", *words, f"--study={study}", "--data.fold=1", *options])
        return study / "base" / arm / "small" / "fold1"

    return run


@pytest.fixture
def train(phantom_study, experiments, tmp_path):
    return trainer_of(phantom_study, experiments, tmp_path)


@pytest.fixture(scope="module")
def patched(_phantom_study, experiments, tmp_path_factory):
    """A finished run of the patched arm, to be looked at only."""
    place = tmp_path_factory.mktemp("patched")
    study = Path(shutil.copytree(_phantom_study, place / "study"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        return trainer_of(study, experiments, place)("patched")


@pytest.mark.parametrize(
    "arm",
    ["patched", *(pytest.param(arm, marks=pytest.mark.slow) for arm in ("global", *CONTROLS))],
)
def test_a_run_leaves_the_files_of_the_house(train, patched, arm):
    folder = patched if arm == "patched" else train(arm)
    table = load_predictions(folder / "predictions.csv", FLANNEL)
    assert len(table) == 40
    assert table["split"].value_counts().to_dict().keys() == {"train", "val", "test"}
    np.testing.assert_allclose(table[probability_columns(FLANNEL)].sum(axis=1), 1, atol=1e-5)
    assert set(table["patches"]) == ({5} if arm == "patched" else {0})
    assert table["coverage"].notna().all() == (arm == "patched")
    measured = json.loads((folder / "metrics.json").read_text())
    test = table[table["split"] == "test"]
    right = test[probability_columns(FLANNEL)].to_numpy().argmax(1)
    truth = [probability_columns(FLANNEL).index(f"p_{name}") for name in test["diagnosis"]]
    assert measured["test"]["accuracy"] == pytest.approx(np.mean(right == truth))
    fingerprint = json.loads((folder / "fingerprint.json").read_text())
    assert fingerprint["finished"]
    assert ("masks" in fingerprint["parts"]) == (arm != "global")
    assert not (folder / "last.ckpt").exists()
    torch.load(folder / "best.ckpt", weights_only=True)
    curves = pd.read_csv(folder / "curves.csv")
    assert curves["epoch"].tolist() == [0, 1]
    assert curves["val/macro_f1"].notna().all()
    assert curves["train/accuracy"].between(0, 1).all()
    network = pd.read_csv(folder / "network.csv")
    assert network["output"].iloc[-1] == "4"
    cost = json.loads((folder / "cost.json").read_text())
    assert (cost["arm"], cost["learner"], cost["fold"]) == (arm, "small", 1)
    assert (folder / "patches.npz").exists() == (arm == "patched")


def test_votes_can_be_counted_again_without_the_model(patched):
    table = load_predictions(patched / "predictions.csv", FLANNEL)
    patches = load_patches(patched / "patches.npz")
    assert list(patches.image_id) == table["image_id"].tolist()
    assert patches.centres.shape == (40, 5, 2)
    assert (patches.windows_px == 24).all()
    assert (patches.strategy, patches.lung_box) == ("uniform", False)
    again = vote(torch.tensor(patches.logits.astype(np.float32)), "share").numpy()
    np.testing.assert_allclose(again, table[probability_columns(FLANNEL)], atol=1e-6)
    assert set(np.unique((again * 5).round(4))) <= {0, 1, 2, 3, 4, 5}


@pytest.mark.slow
def test_scales_box_and_area_weights_reach_the_predictions(train):
    folder = train(
        "patched",
        "--data.window_px=[16, 32]",
        "--data.lung_box=true",
        "--data.patch_weights=area",
        "--data.centres=blue_noise",
        "--trainer.max_epochs=1",
    )
    table = load_predictions(folder / "predictions.csv", FLANNEL)
    patches = load_patches(folder / "patches.npz")
    assert set(table["patches"]) == {6}
    assert (patches.windows_px[:, :5] == [16, 32, 16, 32, 16]).all()
    assert (patches.strategy, patches.lung_box) == ("blue_noise", True)
    np.testing.assert_allclose(patches.weights.mean(axis=1), 1, atol=1e-5)
    assert patches.weights.std() > 0.1
    choice = patches.logits.astype(np.float32).argmax(axis=2)
    shares = np.stack([(patches.weights * (choice == c)).sum(axis=1) / 6 for c in range(4)], axis=1)
    np.testing.assert_allclose(shares, table[probability_columns(FLANNEL)], atol=1e-5)


@pytest.mark.slow
def test_a_finished_run_is_skipped_and_a_changed_one_refused(train, capsys):
    folder = train("global")
    before = (folder / "predictions.csv").stat().st_mtime_ns
    train("global")
    assert "skipped" in capsys.readouterr().out
    assert (folder / "predictions.csv").stat().st_mtime_ns == before
    with pytest.raises(RunError, match=r"finished with another config.*--redo"):
        train("global", "--optimizer.init_args.lr=0.01")
    train("global", "--optimizer.init_args.lr=0.01", "--redo=true")
    assert (folder / "predictions.csv").stat().st_mtime_ns > before


@pytest.mark.slow
def test_refreshed_batch_norm_is_the_average_over_training_batches(train):
    folder = train("global", "--refresh_batch_norm=2", "--trainer.max_epochs=1")
    state = torch.load(folder / "best.ckpt", weights_only=True)["state_dict"]
    counts = {int(v) for name, v in state.items() if name.endswith("num_batches_tracked")}
    assert counts == {2}


ONE_CYCLE = (
    "--optimizer={class_path: torch.optim.AdamW, init_args: {lr: 0.003, betas: [0.9, 0.99]}}",
    "--lr_scheduler={class_path: flannel.runs.schedules.OneCycle, init_args: {max_lr: 0.003}}",
)


@pytest.mark.slow
def test_the_last_epoch_is_taken_where_none_is_selected_and_one_cycle_ends_in_it(train):
    """In batches of 8, of which one of a single image would be left out."""
    seen = {}

    class Watch(BaseLearner):
        def on_train_batch_start(self, batch, batch_idx):
            seen.setdefault("rates", []).append(self.optimizers().param_groups[0]["lr"])

        def on_train_end(self):
            seen["last"] = self.network.network.classifier[0].weight.clone()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learner, "BaseLearner", Watch)
        folder = train("global", "--selection=last", *ONE_CYCLE)
    images = int((pd.read_csv(folder / "predictions.csv")["split"] == "train").sum())
    assert len(seen["rates"]) == 2 * (-(-images // 8) - (images % 8 == 1))
    assert max(seen["rates"]) == pytest.approx(0.003, rel=0.05)
    assert seen["rates"][0] == pytest.approx(0.003 / 25)
    assert seen["rates"][-1] == pytest.approx(0.003 / 25e4)
    checkpoint = torch.load(folder / "best.ckpt", weights_only=True)
    assert checkpoint["epoch"] == 1
    kept = checkpoint["state_dict"]["network.network.classifier.0.weight"]
    torch.testing.assert_close(kept, seen["last"])
    assert pd.read_csv(folder / "curves.csv")["val/macro_f1"].notna().all()


@pytest.mark.slow
def test_what_is_frozen_reaches_no_optimizer_and_stays_as_it_was(train):
    seen = {}

    class Watch(BaseLearner):
        def on_train_start(self):
            groups = self.optimizers().param_groups
            seen["learnt"] = sum(p.numel() for group in groups for p in group["params"])
            seen["before"] = self.network.base.features[0][0].weight.clone()

        def on_train_end(self):
            seen["after"] = self.network.base.features[0][0].weight.clone()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learner, "BaseLearner", Watch)
        train(
            "global", "--model.network.class_path=flannel.networks.FrozenNetwork",
            "--model.network.init_args.architecture=mobilenet_v3_small",
            "--model.network.init_args.classes=4", "--model.network.init_args.weights=random",
            "--model.loss=flannel.losses.SquaredError", "--trainer.max_epochs=1",
        )  # fmt: skip
    assert seen["learnt"] == (576 + 1) * 256 + 257 * 64 + 65 * 4
    torch.testing.assert_close(seen["after"], seen["before"])


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("--trainer.accumulate_grad_batches=2", "accumulate_grad_batches"),
        ("--trainer.max_epoch=3", "max_epoch"),
        ("--data.patchs=3", "patchs"),
        ("--model.network.init_args.architectur=resnet18", "architectur"),
    ],
)
def test_misspelt_options_are_refused_by_name(train, capsys, option, sentence):
    with pytest.raises(SystemExit):
        train("global", option)
    assert sentence in capsys.readouterr().err


def test_a_misspelt_yaml_key_is_refused_by_name(train, tmp_path, capsys):
    (tmp_path / "typo.yaml").write_text("data:\n  predict_patchs: 3\n")
    with pytest.raises(SystemExit):
        train("global", f"--config={tmp_path / 'typo.yaml'}")
    assert "predict_patchs" in capsys.readouterr().err


@pytest.mark.slow
def test_a_batch_that_does_not_divide_over_the_devices_is_refused(train):
    with pytest.raises(RunError, match="batch of 8 does not divide over 3 devices"):
        train("global", "--trainer.devices=3")


def test_a_checkpoint_from_an_address_is_refused(train):
    with pytest.raises(RunError, match="is an address"):
        train("global", "--ckpt_path=https://example.org/model.ckpt")


def test_a_fold_that_does_not_exist_is_a_sentence(phantom_study, experiments, tmp_path, capsys):
    small = tmp_path / "small.yaml"
    small.write_text(yaml.safe_dump(SMALL))
    recipe = experiments / "base" / "global" / "_common.yaml"
    words = ["learner", "fit", f"--config={recipe}", f"--config={small}"]
    assert main([*words, f"--study={phantom_study}", "--data.fold=9"]) == 1
    assert "9" in capsys.readouterr().err


def test_a_loss_that_is_no_number_stops_with_the_images(train, monkeypatch):
    nothing = torch.tensor(float("nan"), requires_grad=True)
    monkeypatch.setattr(BaseLearner, "_loss", lambda *_: nothing)
    with pytest.raises(TrainingError, match=r"The loss is nan in epoch 1 on the images [ck]cx-"):
        train("global")


@pytest.mark.parametrize(
    "fault",
    [
        torch.OutOfMemoryError("CUDA out of memory.\nTried"),
        pytest.param(RuntimeError("can't allocate memory"), marks=pytest.mark.slow),
    ],
)
def test_a_full_memory_is_a_sentence_with_the_options_that_need_less(train, monkeypatch, fault):
    def full(*_):
        raise fault

    monkeypatch.setattr(BaseLearner, "_loss", full)
    with pytest.raises(TrainingError, match=r"data\.accumulate \(now 2\).* batch of 8"):
        train("global", "--data.accumulate=2")


@pytest.mark.slow
def test_another_error_stays_what_it_is(train, monkeypatch):
    def broken(*_):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(BaseLearner, "_loss", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        train("global")


@pytest.mark.slow
def test_options_of_loss_and_order_reach_the_run(train, phantom_study):
    seen = {}

    class Watch(BaseLearner):
        def on_train_start(self):
            seen["weights"], seen["loss"] = self.weight_of_class, self.loss

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learner, "BaseLearner", Watch)
        train(
            "global", "--model.loss=flannel.losses.FocalLoss", "--model.loss.gamma=2",
            "--model.loss.reduction=none", "--model.class_weights=inverse_frequency",
            "--data.order=fixed", "--selection=val/accuracy", "--trainer.max_epochs=1",
        )  # fmt: skip
    data = RadiographDataModule(phantom_study, fold=1)
    data.setup("fit")
    counts = torch.tensor(list(data.class_counts().values()))
    torch.testing.assert_close(seen["weights"], counts.sum() / (4 * counts))
    assert (seen["loss"].gamma, seen["loss"].reduction) == (2, "none")
