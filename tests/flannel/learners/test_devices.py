"""One run over two processes: the same predictions as in one, and every image once."""

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from flannel.data.diagnosis import FLANNEL
from flannel.data.manifest import load_manifest, save_manifest
from flannel.errors import RunError
from flannel.learners import learner
from flannel.study.predictions import load_predictions, probability_columns

# A network without BatchNorm, which cannot be synchronised over processes of the CPU.
SMALL = {
    "name": "small",
    "model": {
        "network": {
            "class_path": "torchvision.models.SqueezeNet",
            "init_args": {"version": "1_1", "num_classes": 4, "dropout": 0.0},
        }
    },
    "data": {"size_px": 32, "window_px": 24, "batch_size": 8, "predict_patches": 5},
    "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.01, "fused": False}},
    "trainer": {"max_epochs": 2, "limit_train_batches": 2, "accelerator": "cpu"},
}


@pytest.fixture
def train(phantom_study, experiments, tmp_path):
    small = tmp_path / "small.yaml"
    small.write_text(yaml.safe_dump(SMALL))
    recipe = experiments / "base" / "patched" / "_common.yaml"

    def run(name, *options):
        words = [f"--config={recipe}", f"--config={small}", f"--name={name}"]
        learner.main(["fit", *words, f"--study={phantom_study}", "--data.fold=1", *options])
        return phantom_study / "base" / "patched" / name / "fold1"

    return run


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")
def test_two_processes_predict_as_one_and_every_image_once(train, phantom_study):
    table = load_manifest(phantom_study / "manifest.csv")
    save_manifest(table.iloc[:-1], phantom_study / "manifest.csv")  # 39 do not divide
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the forked processes could not use others
    try:
        one = train("one")
        two = train("two", "--trainer.devices=2", "--trainer.strategy=ddp_fork")
    finally:
        torch.set_num_threads(threads)
    columns = probability_columns(FLANNEL)
    alone, shared = (load_predictions(folder / "predictions.csv", FLANNEL) for folder in (one, two))
    assert alone["image_id"].tolist() == shared["image_id"].tolist()
    assert len(shared) == 39 == shared["image_id"].nunique()
    np.testing.assert_allclose(alone[columns], shared[columns], atol=1e-5)
    with np.load(one / "patches.npz") as first, np.load(two / "patches.npz") as second:
        assert (first["centres"] == second["centres"]).all()
        np.testing.assert_allclose(
            first["logits"].astype(float), second["logits"].astype(float), atol=2e-3
        )
    curves = [pd.read_csv(folder / "curves.csv") for folder in (one, two)]
    for name in ("train/loss", "val/loss", "val/macro_f1"):
        np.testing.assert_allclose(curves[0][name], curves[1][name], rtol=1e-4)


@pytest.mark.slow
def test_batch_norm_that_cannot_be_synchronised_is_refused(train):
    network = "--model.network.class_path=torchvision.models.MobileNetV2"
    two = ("--trainer.devices=2", "--trainer.strategy=ddp_fork")
    with pytest.raises(RunError, match="BatchNorm cannot be synchronised over 2 processes"):
        train("normed", network, "--model.network.init_args={num_classes: 4}", *two)


@pytest.mark.slow
def test_a_run_with_redo_that_is_refused_loses_nothing(train, phantom_study):
    folder = phantom_study / "base" / "patched" / "kept" / "fold1"
    folder.mkdir(parents=True)
    (folder / "best.ckpt").write_text("weights")
    with pytest.raises(RunError, match="batch of 8 does not divide over 3 devices"):
        train("kept", "--redo=true", "--trainer.devices=3", "--trainer.strategy=ddp_fork")
    assert (folder / "best.ckpt").read_text() == "weights"
