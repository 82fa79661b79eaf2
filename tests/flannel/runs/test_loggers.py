"""One choice of logger for all stages; nothing goes online."""

import sys
from types import ModuleType

import pandas as pd
import pytest
import yaml

from flannel.errors import RunError
from flannel.learners import learner
from flannel.runs.loggers import run_logger
from flannel.runs.run import LOGGER_VARIABLE, logger_name, wandb_mode

SMALL = {
    "name": "small",
    "model": {
        "network": {
            "class_path": "torchvision.models.SqueezeNet",
            "init_args": {"version": "1_1", "num_classes": 4},
        }
    },
    "data": {"size_px": 32, "batch_size": 8},
    "trainer": {"max_epochs": 1, "limit_train_batches": 1, "accelerator": "cpu"},
}
LABELS = {"stage": "base", "arm": "global", "learner": "small", "fold": 0}


def test_wandb_is_the_default_and_off_where_another_is_chosen(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    assert (logger_name(), wandb_mode()) == ("wandb", "online")
    monkeypatch.setenv(LOGGER_VARIABLE, "csv")
    assert (logger_name(), wandb_mode()) == ("csv", "off")


def test_an_unknown_logger_and_one_without_its_package_are_sentences(monkeypatch):
    monkeypatch.setenv(LOGGER_VARIABLE, "clearml")
    with pytest.raises(RunError, match="expected one of wandb, tensorboard, mlflow, csv"):
        logger_name()
    monkeypatch.setattr("flannel.runs.run.find_spec", lambda name: None)
    for name in ("tensorboard", "mlflow"):
        monkeypatch.setenv(LOGGER_VARIABLE, name)
        with pytest.raises(RunError, match=f"pip install {name}, or choose csv"):
            logger_name()


def test_wandb_that_is_off_logs_nothing(tmp_path):
    assert run_logger(tmp_path, "global/small/fold0", LABELS, {}, "off") is None


@pytest.mark.slow
def test_a_run_logs_curves_and_final_values_to_csv(
    phantom_study, experiments, tmp_path, monkeypatch
):
    monkeypatch.setenv(LOGGER_VARIABLE, "csv")
    small = tmp_path / "small.yaml"
    small.write_text(yaml.safe_dump(SMALL))
    recipe = experiments / "base" / "global" / "_common.yaml"
    words = ["fit", f"--config={recipe}", f"--config={small}", f"--study={phantom_study}"]
    learner.main(words)
    folder = phantom_study / "csv" / "base" / "global" / "small" / "fold0"
    table = pd.read_csv(folder / "metrics.csv")
    assert {"train/loss", "val/macro_f1", "metrics/test/macro_f1", "cost/seconds"} <= set(table)
    options = (folder / "hparams.yaml").read_text()
    assert "data/size_px: 32" in options
    assert str(phantom_study) not in options
    assert not (phantom_study / "wandb").exists()


def test_mlflow_is_told_a_folder_of_the_study(tmp_path, monkeypatch):
    arguments = {}

    class Recorded:
        def __init__(self, **options):
            arguments.update(options)

        def log_hyperparams(self, options):
            arguments["options"] = options

    monkeypatch.setenv(LOGGER_VARIABLE, "mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://elsewhere.example")
    monkeypatch.setitem(sys.modules, "mlflow", ModuleType("mlflow"))
    monkeypatch.setattr("flannel.runs.run.find_spec", lambda name: object())
    monkeypatch.setattr("flannel.runs.loggers.MLFlowLogger", Recorded)
    config = {"trainer": {"max_epochs": 1, "precision": None}, "data": {"size_px": 8}}
    run_logger(tmp_path, "global/small/fold0", LABELS, config, "off")
    assert arguments["tracking_uri"] == f"file:{tmp_path / 'mlruns'}"
    assert arguments["options"]["data/size_px"] == 8
