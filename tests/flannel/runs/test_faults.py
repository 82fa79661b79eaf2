"""A run that is killed, at any moment, ends as if it had not been."""

import multiprocessing
import os
import shutil
import signal

import pandas as pd
import pytest
import torch
import yaml

from flannel.learners import learner
from flannel.learners.learner import BaseLearner
from flannel.runs.run import Run

# All that has a state: dropout, images drawn anew and augmented, a batch in two parts, a schedule,
# and early stopping after three of six epochs, for no epoch is better by 1.
SMALL = {
    "model": {
        "network": {
            "class_path": "torchvision.models.SqueezeNet",
            "init_args": {"version": "1_1", "num_classes": 4, "dropout": 0.5},
        }
    },
    "data": {
        **{"size_px": 32, "window_px": 24, "batch_size": 8, "predict_patches": 3},
        **{"order": "balanced", "accumulate": 2, "warp": 0.2, "lighting": 0.2},
    },
    "optimizer": {"init_args": {"lr": 0.001}},
    "lr_scheduler": {
        "class_path": "torch.optim.lr_scheduler.MultiStepLR",
        "init_args": {"milestones": [1, 2], "gamma": 0.1},
    },
    "early_stopping": {"patience": 2, "min_delta": 1.0},
    "trainer": {"max_epochs": 6, "limit_train_batches": 4, "accelerator": "cpu"},
}


@pytest.fixture
def train(phantom_study, experiments, tmp_path):
    """Trains in a process of its own, which may be killed; gives its exit code and folder."""
    small = tmp_path / "small.yaml"
    small.write_text(yaml.safe_dump(SMALL))
    recipe = experiments / "base" / "patched" / "_common.yaml"
    words = ["fit", f"--config={recipe}", f"--config={small}", f"--study={phantom_study}"]

    def run(name, kill=None):
        def work():
            torch.set_num_threads(1)  # a forked process could not use others
            _keep_the_last_state()
            if kill is not None:
                _kill_at(*kill)
            learner.main([*words, f"--name={name}", "--data.fold=1"])

        process = multiprocessing.get_context("fork").Process(target=work)
        process.start()
        process.join()
        return process.exitcode, phantom_study / "base" / "patched" / name / "fold1"

    return run


def _keep_the_last_state():
    finish = Run.finish

    def keeping(self):
        shutil.copy(self.last, self.folder / "kept.ckpt")
        finish(self)

    Run.finish = keeping


def _kill_at(step, epoch, batch):
    """Makes this process kill itself in that batch of a training, validation or prediction step."""
    usual = getattr(BaseLearner, step)

    def deadly(self, a_batch, batch_idx):
        if (self.current_epoch, batch_idx) == (epoch, batch):
            os.kill(os.getpid(), signal.SIGKILL)
        return usual(self, a_batch, batch_idx)

    setattr(BaseLearner, step, deadly)


def _state(folder):
    kept = torch.load(folder / "kept.ckpt", weights_only=True)
    waited = [state for name, state in kept["callbacks"].items() if "Stopping" in name]
    return [
        *(kept[key] for key in ("epoch", "global_step", "state_dict")),
        *(kept[key] for key in ("optimizer_states", "lr_schedulers")),
        waited,
        torch.load(folder / "best.ckpt", weights_only=True)["state_dict"],
    ]


def _equal(one, two):
    match one:
        case torch.Tensor():
            return torch.equal(one, two)
        case dict():
            return one.keys() == two.keys() and all(_equal(one[key], two[key]) for key in one)
        case list() | tuple():
            return len(one) == len(two) and all(map(_equal, one, two))
        case _:
            return one == two


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")
def test_a_killed_run_ends_bitwise_as_one_that_was_not(train):
    code, whole = train("whole")
    assert code == 0
    expected = pd.read_csv(whole / "curves.csv").drop(columns="seconds")
    assert expected["epoch"].tolist() == [0, 1, 2]
    assert expected["learning_rate"].tolist() == pytest.approx([1e-3, 1e-4, 1e-5])
    moments = {"training": ("training_step", 2, 1), "predicting": ("predict_step", 3, 1)}
    for name, moment in moments.items():
        assert train(name, moment)[0] == -signal.SIGKILL, name
        code, folder = train(name)
        assert code == 0, name
        found = pd.read_csv(folder / "curves.csv").drop(columns="seconds")
        pd.testing.assert_frame_equal(found, expected, check_exact=True)
        assert _equal(_state(folder), _state(whole)), name
        for file in ("predictions.csv", "metrics.json"):
            assert (folder / file).read_bytes() == (whole / file).read_bytes(), (name, file)
