"""How runs are started: W&B, help, and the public side of a config."""

import time

import pytest
import yaml
from jsonargparse import Namespace

from flannel import learner, wandb_runs
from flannel.__main__ import main
from flannel.runs import digest_of


@pytest.mark.slow
def test_an_offline_wandb_run_holds_labels_and_no_paths(
    phantom_study, experiments, tmp_path, monkeypatch
):
    monkeypatch.setattr("socket.gethostname", lambda: "unmistakable-host")
    recipe = experiments / "base" / "global" / "_common.yaml"
    small = tmp_path / "small.yaml"
    options = {
        "name": "small",
        "model": {"network": {"init_args": {"architecture": "mobilenet_v3_small"}}},
        "data": {"size_px": 32, "resize_px": 40, "batch_size": 8},
        "trainer": {"max_epochs": 1, "accelerator": "cpu"},
    }
    options["model"]["network"]["init_args"]["weights"] = "random"
    small.write_text(yaml.safe_dump(options))
    learner.main(
        ["fit", f"--config={recipe}", f"--config={small}", f"--study={phantom_study}",
         "--data.fold=0", "--wandb=offline"]
    )  # fmt: skip
    (log,) = (phantom_study / "wandb").glob("offline-run-*/run-*.wandb")
    until = time.monotonic() + 30  # W&B's own process writes the file, a moment later
    while b"macro_f1" not in (content := log.read_bytes()) and time.monotonic() < until:
        time.sleep(0.1)
    for label in (b"global", b"small", b"base", b"macro_f1"):
        assert label in content
    assert str(phantom_study).encode() not in content
    assert b"unmistakable-host" not in content


def test_what_a_dashboard_sees_of_a_config_holds_no_path():
    config = {
        "study": "/data/hospital",
        "seed_everything": 1,
        "model": {"network": {"init_args": {"weights": "/home/someone/weights.pth"}}},
        "data": {"fold": 2, "study": "/data/hospital", "workers": 4},
        "trainer": {"max_epochs": 3, "devices": 8},
    }
    seen = wandb_runs.public(config)
    assert seen["data"] == {"fold": 2}
    assert seen["max_epochs"] == 3
    assert seen["model"]["network"]["init_args"]["weights"] == "(path)"


def test_machine_settings_do_not_change_a_fingerprint():
    def digest(**options):
        return digest_of(wandb_runs.without_machine(Namespace(**options).as_dict()))

    same = digest(study="a", trainer=Namespace(devices=1, max_epochs=2))
    assert digest(study="b", trainer=Namespace(devices=4, max_epochs=2)) == same
    assert digest(study="a", trainer=Namespace(devices=1, max_epochs=3)) != same


@pytest.mark.parametrize("command", ["manifest", "base-models", "compare", "phantoms"])
def test_commands_explain_themselves(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert "--study" in capsys.readouterr().out or command == "phantoms"


def test_unknown_and_missing_commands(capsys):
    assert main([]) == 0
    assert "base-models" in capsys.readouterr().out
    assert main(["compar"]) == 2
    assert "no command 'compar'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["compare", "--stud=x"], ["manifest", "--data=x", "--protocl=paper"]]
)
def test_abbreviated_and_misspelt_options_are_refused(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    assert words[-1].split("=")[0].lstrip("-") in capsys.readouterr().err


def test_a_missing_folder_is_a_sentence(tmp_path, capsys):
    assert main(["manifest", f"--data={tmp_path / 'nowhere'}", f"--study={tmp_path}"]) == 1
    assert capsys.readouterr().err.startswith("error: ")
    assert main(["compare", f"--study={tmp_path}", "--wandb=off"]) == 1
    assert "make base-models" in capsys.readouterr().err
