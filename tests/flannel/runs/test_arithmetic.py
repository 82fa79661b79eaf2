"""What `auto` becomes on faked devices, and how runs, questions and fingerprints keep it."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml

from flannel.commands.recipes import config_flags
from flannel.data.diagnosis import FLANNEL
from flannel.data.store import Store
from flannel.data.store.layout import Settings
from flannel.errors import RunError
from flannel.learners import learner
from flannel.prediction.predictors import Panel
from flannel.prediction.trained import Trained
from flannel.prediction.trained_study import trained_learner
from flannel.runs import arithmetic, cli
from flannel.runs.arithmetic import (
    PrecisionError,
    answering_precision,
    computes,
    device_of_trainer,
    emulation,
    lightnings_name,
    quickest,
)
from flannel.runs.run import Run, RunFinishedError
from flannel.study.contents import find_runs
from flannel.study.predictions import load_predictions, probability_columns

CPU, GPU, APPLE = torch.device("cpu"), torch.device("cuda", 0), torch.device("mps")


@pytest.fixture
def machine(monkeypatch):
    """Fakes what the libraries say of this machine."""

    def fake(onednn=True, extension=True, gpu=None, apple=False, processor="x86_64", limit=None):
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: onednn)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: extension)
        monkeypatch.setattr(arithmetic.platform, "machine", lambda: processor)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu is not None)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: gpu)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "A GPU")
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: apple)
        monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
        if limit:
            monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)

    return fake


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({}, "bf16-mixed"),
        ({"onednn": False}, "32-true"),  # AVX2
        (
            {"extension": False},
            "32-true",
        ),  # AVX-512 without bfloat16: oneDNN emulates, and says yes
        ({"limit": "AVX512_CORE"}, "32-true"),
        ({"limit": "avx512_core_vnni"}, "32-true"),
        ({"limit": "AVX512_CORE_BF16"}, "bf16-mixed"),
        ({"processor": "aarch64", "extension": False}, "bf16-mixed"),
        ({"processor": "aarch64", "onednn": False}, "32-true"),
        ({"apple": True}, "32-true"),
        ({"gpu": (7, 0)}, "16-mixed"),  # V100
        ({"gpu": (7, 5)}, "16-mixed"),
        ({"gpu": (8, 0)}, "bf16-mixed"),
        ({"gpu": (9, 0), "onednn": False}, "bf16-mixed"),
    ],
)
def test_auto_becomes_the_quickest_native_arithmetic(machine, known, expected):
    machine(**known)
    assert quickest(device_of_trainer("auto")) == expected
    assert computes(expected, device_of_trainer("auto"))


def test_a_trainer_on_the_cpu_does_not_ask_the_gpu(machine):
    machine(gpu=(9, 0), onednn=False)
    assert quickest(device_of_trainer("cpu")) == "32-true"
    assert device_of_trainer("gpu").type == "cuda"
    machine(apple=True)
    assert device_of_trainer("mps").type == device_of_trainer("auto").type == "mps"


@pytest.mark.slow
@pytest.mark.parametrize("limit", ["AVX2", "AVX512_CORE"])
def test_what_is_hidden_from_onednn_is_not_used(limit):
    code = "from flannel.runs.arithmetic import *; print(quickest(device_of_trainer('cpu')))"
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": limit}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "32-true"


@pytest.mark.parametrize(
    ("trained", "wanted", "known", "expected"),
    [
        ("bf16-mixed", "auto", {}, "bf16-mixed"),
        ("bf16-mixed", "auto", {"onednn": False}, "32-true"),
        ("bf16-mixed", "as_trained", {"onednn": False}, "bf16-mixed"),
        ("bf16-mixed", "auto", {"gpu": (7, 0)}, "16-mixed"),
        ("bf16-mixed", "auto", {"gpu": (8, 6)}, "bf16-mixed"),
        ("16-mixed", "auto", {"gpu": (8, 6)}, "16-mixed"),
        ("16-mixed", "auto", {}, "bf16-mixed"),
        ("16-mixed", "auto", {"onednn": False}, "32-true"),
        ("32-true", "auto", {"gpu": (9, 0)}, "32-true"),
        ("64-true", "auto", {}, "64-true"),
        ("32-true", "bf16-mixed", {"onednn": False}, "bf16-mixed"),
    ],
)
def test_a_question_is_answered_natively_unless_asked_otherwise(
    machine, trained, wanted, known, expected
):
    machine(**known)
    device = GPU if "gpu" in known else CPU
    assert answering_precision(trained, wanted, device) == expected


def test_emulation_is_told_with_its_factor(machine):
    machine(onednn=False)
    assert "3 to 11 times" in emulation("bf16-mixed", CPU)
    assert emulation("32-true", CPU) == ""
    machine(gpu=(7, 0))
    assert emulation("bf16-mixed", GPU) == (
        "bf16-mixed is emulated by A GPU (compute capability 7.0): slower than float32"
    )
    assert emulation("16-mixed", GPU) == ""
    assert emulation("16-mixed", APPLE) == ""


def test_short_names_are_lightnings_and_unknown_ones_a_sentence():
    assert [lightnings_name(one) for one in (16, "bf16", "32", "64-true")] == [
        "16-mixed", "bf16-mixed", "32-true", "64-true",
    ]  # fmt: skip
    with pytest.raises(PrecisionError, match=r"'bf17'; expected auto or one of 32-true"):
        lightnings_name("bf17")


@pytest.fixture
def train(phantom_study, tmp_path, experiments):
    """Trains one epoch of a tiny network; gives the run's folder."""
    small = {
        "name": "small",
        "model": {
            "network": {
                "class_path": "torchvision.models.SqueezeNet",
                "init_args": {"version": "1_1", "num_classes": 4},
            }
        },
        "data": {"size_px": 32, "resize_px": 40, "batch_size": 8},
        "trainer": {"max_epochs": 1, "accelerator": "cpu"},
    }
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(small))
    recipe = experiments / "base" / "global" / "_common.yaml"

    def run(*options):
        words = config_flags([recipe, tmp_path / "small.yaml"])
        learner.train(["fit", *words, f"--study={phantom_study}", "--data.fold=1", *options])
        return phantom_study / "base" / "global" / "small" / "fold1"

    return run


def _precision_of(folder):
    config = yaml.safe_load((folder / "config.yaml").read_text())
    cost = json.loads((folder / "cost.json").read_text())
    assert cost["precision"] == config["trainer"]["precision"]
    return cost["precision"]


@pytest.mark.slow
@pytest.mark.parametrize("native", [True, False])
def test_what_auto_became_is_told_written_and_no_part_of_the_fingerprint(
    train, machine, capsys, native
):
    machine(onednn=native)
    folder = train("--trainer.precision=auto")
    expected = "bf16-mixed" if native else "32-true"
    assert _precision_of(folder) == expected
    assert capsys.readouterr().out.count(f"precision auto: {expected}\n") == 1
    machine(onednn=not native)  # the same study on another machine
    with pytest.raises(RunFinishedError):
        train("--trainer.precision=auto")
    with pytest.raises(RunError, match="another config"):
        train("--trainer.precision=32-true")


@pytest.mark.slow
def test_a_run_goes_on_in_the_arithmetic_that_it_was_begun_in(
    train, machine, phantom_study, capsys, monkeypatch
):
    machine()
    conclude = cli.StudyCLI.fit

    def killed(self, model, datamodule, ckpt_path):
        monkeypatch.setattr(self, "_conclude", lambda cli, run: (_ for _ in ()).throw(SystemExit))
        conclude(self, model, datamodule, ckpt_path)

    with monkeypatch.context() as patch:
        patch.setattr(learner.LearnerCLI, "fit", killed)
        with pytest.raises(SystemExit):
            train("--trainer.precision=auto")
    config = phantom_study / "base/global/small/fold1/config.yaml"
    begun = config.read_text()
    config.write_text(begun.replace("precision: bf16-mixed", "precision: 16-mixed"))
    with pytest.raises(PrecisionError, match="was begun in 16-mixed on a GPU"):
        train("--trainer.precision=auto")
    config.write_text(begun)
    machine(onednn=False)
    folder = train("--trainer.precision=auto")
    printed = capsys.readouterr().out
    assert _precision_of(folder) == "bf16-mixed"
    assert (
        "precision auto: bf16-mixed, in which the run was begun; bf16-mixed is emulated" in printed
    )


@pytest.mark.parametrize(
    ("value", "sentence"),
    [("bf17", "'bf17'; expected auto or one of"), ("16-mixed", "in which no CPU trains")],
)
def test_a_precision_that_cannot_be_had_is_a_sentence(train, phantom_study, value, sentence):
    with pytest.raises(PrecisionError, match=sentence):
        train(f"--trainer.precision={value}")
    assert not (phantom_study / "base" / "global" / "small" / "fold1" / "config.yaml").exists()


def test_a_damaged_config_of_a_run_is_a_sentence(tmp_path):
    run = Run(tmp_path, {})
    assert run.precision is None
    (tmp_path / "config.yaml").write_text("trainer: {}\n")
    with pytest.raises(RunError, match="does not say in which precision the run was begun"):
        _ = run.precision


@pytest.fixture
def asked(train, phantom_study, machine):
    """Asks a run that was trained in bfloat16 about the study's radiographs."""
    machine()
    folder = train("--trainer.precision=auto")
    learner_of = trained_learner(find_runs(phantom_study)[0], FLANNEL)
    trained = Trained("study", 1, FLANNEL, Settings(64, "stretch"), None, learners=(learner_of,))
    table = load_predictions(folder / "predictions.csv", FLANNEL)
    store = Store(phantom_study / "store")

    def ask(precision="auto", double=False, **known):
        machine(**known)
        panel = Panel(trained, CPU, precision=precision, keep=True)
        ready = panel.ready(panel.trained.learners[0])
        if double:
            ready.network.double()
        answers = ready.predict(store, list(table["image_id"]))
        return np.stack([one.confidences for one in answers]), panel

    return ask, table[probability_columns(FLANNEL)].to_numpy(np.float32)


@pytest.mark.slow
def test_emulated_bfloat16_is_asked_in_float32_within_what_bfloat16_moves(asked):
    ask, own = asked
    natively, panel = ask()
    assert panel.trained.notes == ()
    as_trained, _ = ask("as_trained", onednn=False)
    assert natively.tobytes() == as_trained.tobytes()
    np.testing.assert_allclose(as_trained, own, atol=5e-7)  # the table's last printed digit
    in_float32, panel = ask(onednn=False)
    (note,) = panel.trained.notes
    assert note.startswith("Trained in bf16-mixed, predicting in 32-true on a CPU with ")
    assert "--precision as_trained" in note
    exact, _ = ask(onednn=False, double=True)
    by_bfloat16 = np.abs(as_trained - exact).max()
    assert np.abs(in_float32 - exact).max() < 1e-4 < by_bfloat16 < 0.02
    assert np.abs(in_float32 - as_trained).max() <= by_bfloat16 + 1e-4


@pytest.mark.slow
def test_an_answer_is_one_prediction_whatever_the_machine_chose(asked):
    ask, _ = asked
    _, one = ask()
    _, other = ask(onednn=False)
    _, chosen = ask("as_trained")
    assert one.identity == other.identity == chosen.identity
    assert one.chosen_precision == other.chosen_precision == ()
    assert chosen.chosen_precision == ("as_trained",)
