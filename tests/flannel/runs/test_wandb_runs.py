"""What W&B gets to know of a run, read back from the offline run."""

import json
import os
import subprocess
import sys

import pytest
import yaml

from flannel.data.diagnosis import FLANNEL
from flannel.learners import learner
from flannel.runs.wandb_runs import public

SMALL = {
    "name": "small",
    "model": {
        "network": {
            "class_path": "torchvision.models.SqueezeNet",
            "init_args": {"version": "1_1", "num_classes": 4},
        }
    },
    "data": {"size_px": 32, "window_px": 24, "batch_size": 8, "predict_patches": 3},
    "trainer": {"max_epochs": 2, "limit_train_batches": 2, "accelerator": "cpu"},
}


@pytest.mark.slow
def test_an_offline_run_holds_labels_curves_and_final_values_and_no_paths(
    phantom_study, experiments, tmp_path, monkeypatch, read_back
):
    monkeypatch.setattr("socket.gethostname", lambda: "unmistakable-host")
    small = tmp_path / "small.yaml"
    small.write_text(yaml.safe_dump(SMALL))
    recipe = experiments / "base" / "patched" / "_common.yaml"
    learner.main(
        ["fit", f"--config={recipe}", f"--config={small}", f"--study={phantom_study}",
         "--data.fold=0", "--wandb=offline"]
    )  # fmt: skip
    records = read_back(phantom_study)
    (run,) = (record["run"] for record in records if record["type"] == "run")
    assert (run["run_group"], run["job_type"]) == ("study", "base")
    assert run["display_name"] == "patched/small/fold0"
    assert run["tags"] == ["stage: base", "arm: patched", "learner: small", "fold: 0"]
    config = run["config"]["update"]
    labels = {key: config[key] for key in ("stage", "arm", "learner", "fold")}
    assert labels == {"stage": "base", "arm": "patched", "learner": "small", "fold": 0}
    assert config["optimizer"]["init_args"]["lr"] == 1e-5

    steps = [record["history"]["item"] for record in records if record["type"] == "history"]
    for name in ("train/loss", "val/loss", "val/macro_f1", *(f"val/f1_{one}" for one in FLANNEL)):
        assert sum(name in step for step in steps) == 2, name  # epochs

    summary = {}
    for record in records:
        summary |= record.get("summary", {}).get("update", {})
    folder = phantom_study / "base" / "patched" / "small" / "fold0"
    measured = json.loads((folder / "metrics.json").read_text())
    assert summary["metrics/test/macro_f1"] == measured["test"]["macro_f1"]
    assert summary["metrics/val/f1/COVID-19"] == measured["val"]["f1"]["COVID-19"]
    assert summary["cost/epochs"] == 2

    pictures = list(phantom_study.glob("wandb/offline-run-*/files/media/images/val/patches*.png"))
    assert len(pictures) == 1
    assert pictures[0].read_bytes() != b""
    text = json.dumps(records)
    assert str(phantom_study) not in text
    assert "unmistakable-host" not in text


def test_what_a_dashboard_sees_of_a_config_holds_no_path(tmp_path):
    (tmp_path / "weights").touch()
    config = {
        "study": "/data/hospital",
        "seed_everything": 1,
        "model": {"network": {"init_args": {"weights": "/home/someone/weights.pth"}}},
        "data": {
            "fold": 2,
            "study": "/data/hospital",
            "workers": 4,
            "learners": ["global/vgg19_bn", str(tmp_path / "weights"), "~/other", "runs/x.ckpt"],
        },
        "trainer": {"max_epochs": 3, "precision": None, "devices": 8},
    }
    seen = public(config)
    assert seen["data"] == {"fold": 2, "learners": ["global/vgg19_bn", *["(path)"] * 3]}
    assert seen["max_epochs"] == 3
    assert seen["model"]["network"]["init_args"]["weights"] == "(path)"


STAGES = """
import os, signal, sys
from pathlib import Path
from flannel.runs.wandb_runs import wandb_room

wandb_room(Path(sys.argv[1]))
if sys.argv[2] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_what_wandb_stages_lies_in_the_study_and_is_removed_after_a_kill(tmp_path):
    (tmp_path / "tmp").mkdir()
    room = tmp_path / "study" / "wandb"
    for end, left in (("killed", 1), ("whole", 0)):
        words = [sys.executable, "-c", STAGES, str(room.parent), end]
        subprocess.run(words, env={**os.environ, "TMPDIR": str(tmp_path / "tmp")}, check=False)
        assert len(list(room.glob(".*"))) == left, end
        assert not list((tmp_path / "tmp").iterdir()), end
