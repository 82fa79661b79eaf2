"""A base learner's run through the real command line, on phantoms, with a small network."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from flannel import learner
from flannel.__main__ import main
from flannel.learner import BaseLearner, TrainingError
from flannel.patches import load_patches
from flannel.predictions import load_predictions, probability_columns
from flannel.runs import RunError
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


@pytest.fixture
def train(phantom_study, experiments, tmp_path):
    """Trains through `flannel learner fit`, with the recipe of an arm and the small network."""
    small = tmp_path / "small.yaml"
    small.write_text(yaml.safe_dump(SMALL))

    def run(arm, *options):
        recipe = experiments / "base" / ("global" if arm == "masked" else arm) / "_common.yaml"
        configs = [recipe, small]
        if arm == "masked":
            configs.append(experiments / "base" / "masked" / "_common.yaml")
        words = [f"--config={config}" for config in configs]
        learner.main(["fit", *words, f"--study={phantom_study}", "--data.fold=1", *options])
        return phantom_study / "base" / arm / "small" / "fold1"

    return run


@pytest.mark.parametrize("arm", ["global", "masked", "patched"])
def test_a_run_leaves_the_files_of_the_house(train, arm, phantom_study):
    folder = train(arm)
    table = load_predictions(folder / "predictions.csv")
    assert len(table) == 40
    assert table["split"].value_counts().to_dict().keys() == {"train", "val", "test"}
    np.testing.assert_allclose(table[probability_columns()].sum(axis=1), 1, atol=1e-5)
    assert set(table["patches"]) == ({5} if arm == "patched" else {0})
    assert table["coverage"].notna().all() == (arm == "patched")
    measured = json.loads((folder / "metrics.json").read_text())
    test = table[table["split"] == "test"]
    right = test[probability_columns()].to_numpy().argmax(1)
    truth = [probability_columns().index(f"p_{name}") for name in test["diagnosis"]]
    assert measured["test"]["accuracy"] == pytest.approx(np.mean(right == truth))
    fingerprint = json.loads((folder / "fingerprint.json").read_text())
    assert fingerprint["finished"]
    assert ("masks" in fingerprint["parts"]) == (arm != "global")
    assert not (folder / "last.ckpt").exists()
    torch.load(folder / "best.ckpt", weights_only=True)
    curves = pd.read_csv(folder / "curves.csv")
    assert curves["epoch"].tolist() == [0, 1]
    assert curves["val/macro_f1"].notna().all()
    cost = json.loads((folder / "cost.json").read_text())
    assert (cost["arm"], cost["learner"], cost["fold"]) == (arm, "small", 1)
    assert (folder / "patches.npz").exists() == (arm == "patched")


def test_votes_can_be_counted_again_without_the_model(train, phantom_study):
    folder = train("patched")
    table = load_predictions(folder / "predictions.csv")
    patches = load_patches(folder / "patches.npz")
    assert list(patches.image_id) == table["image_id"].tolist()
    assert patches.centres.shape == (40, 5, 2)
    assert (patches.windows_px == 24).all()
    assert (patches.strategy, patches.lung_box) == ("uniform", False)
    again = vote(torch.tensor(patches.logits.astype(np.float32)), "share").numpy()
    np.testing.assert_allclose(again, table[probability_columns()], atol=1e-6)
    assert set(np.unique((again * 5).round(4))) <= {0, 1, 2, 3, 4, 5}


def test_scales_box_and_area_weights_reach_the_predictions(train):
    folder = train(
        "patched",
        "--data.window_px=[16, 32]",
        "--data.lung_box=true",
        "--data.patch_weights=area",
        "--data.centres=blue_noise",
        "--trainer.max_epochs=1",
    )
    table = load_predictions(folder / "predictions.csv")
    patches = load_patches(folder / "patches.npz")
    assert set(table["patches"]) == {6}
    assert (patches.windows_px[:, :5] == [16, 32, 16, 32, 16]).all()
    assert (patches.strategy, patches.lung_box) == ("blue_noise", True)
    np.testing.assert_allclose(patches.weights.mean(axis=1), 1, atol=1e-5)
    assert patches.weights.std() > 0.1
    choice = patches.logits.astype(np.float32).argmax(axis=2)
    shares = np.stack([(patches.weights * (choice == c)).sum(axis=1) / 6 for c in range(4)], axis=1)
    np.testing.assert_allclose(shares, table[probability_columns()], atol=1e-5)


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
def test_a_killed_run_goes_on_to_the_same_weights(train, monkeypatch):
    class KilledError(Exception):
        pass

    whole = train("global", "--name=whole", "--trainer.max_epochs=3").parent.parent
    expected = torch.load(whole / "whole" / "fold1" / "best.ckpt", weights_only=True)

    step = BaseLearner.training_step
    with monkeypatch.context() as patch:

        def killed(self, batch, batch_idx):
            if self.current_epoch == 2 and batch_idx == 1:
                raise KilledError
            return step(self, batch, batch_idx)

        patch.setattr(BaseLearner, "training_step", killed)
        with pytest.raises(KilledError):
            train("global", "--name=killed", "--trainer.max_epochs=3")
    folder = train("global", "--name=killed", "--trainer.max_epochs=3").parent.parent / "killed"
    assert pd.read_csv(folder / "fold1" / "curves.csv")["epoch"].tolist() == [0, 1, 2]
    found = torch.load(folder / "fold1" / "best.ckpt", weights_only=True)
    assert found["epoch"] == expected["epoch"]
    for name, value in expected["state_dict"].items():
        assert torch.equal(found["state_dict"][name], value), name


def test_refreshed_batch_norm_is_the_average_over_training_batches(train):
    folder = train("global", "--refresh_batch_norm=2", "--trainer.max_epochs=1")
    state = torch.load(folder / "best.ckpt", weights_only=True)["state_dict"]
    counts = {int(v) for name, v in state.items() if name.endswith("num_batches_tracked")}
    assert counts == {2}


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
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
    monkeypatch.setattr(
        "flannel.learner.F.cross_entropy", lambda *_: torch.tensor(float("nan"), requires_grad=True)
    )
    with pytest.raises(TrainingError, match=r"The loss is nan in epoch 1 on the images [ck]cx-"):
        train("global")


def test_the_l1_term_adds_the_absolute_parameters(phantom_study):
    from flannel.datamodule import RadiographDataModule
    from flannel.views import normalise

    data = RadiographDataModule(phantom_study, batch_size=4, size_px=32, resize_px=40)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    batch = batch._replace(pixels=normalise(batch.pixels, "imagenet"))

    def loss(l1):
        torch.manual_seed(0)
        network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 4))
        model = BaseLearner(network, l1=l1, channels_last=False)
        model.log = lambda *_args, **_options: None
        return model.training_step(batch, 0).item(), network

    plain, network = loss(0.0)
    absolute = sum(p.abs().sum().item() for p in network.parameters())
    assert loss(0.01)[0] - plain == pytest.approx(0.01 * absolute, rel=1e-4)
