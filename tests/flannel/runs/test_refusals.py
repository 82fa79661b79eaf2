"""Options that only torch or Lightning refuses end in a sentence; faults of ours do not."""

import errno
import os

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flannel.__main__ import main
from flannel.errors import OptionError, RunError, sentence_of
from flannel.learners.datamodule import RadiographDataModule
from flannel.runs.refusals import options_refused

SMALL = {
    "model": {
        "network": {
            "class_path": "torchvision.models.SqueezeNet",
            "init_args": {"version": "1_1", "num_classes": 4},
        }
    },
    "data": {"size_px": 32, "window_px": 24, "batch_size": 8},
    "trainer": {"max_epochs": 1, "limit_train_batches": 1, "accelerator": "cpu"},
}
SCHEDULES = "torch.optim.lr_scheduler"
SGD = "--optimizer=torch.optim.SGD --optimizer.lr=0.1"


@pytest.fixture
def fit(phantom_study, experiments, tmp_path, capsys):
    """Runs `flannel learner fit` with options and returns its status and last sentence."""
    small = tmp_path / "small.yaml"
    small.write_text(yaml.safe_dump(SMALL))
    recipe = experiments / "base" / "global" / "_common.yaml"
    words = [f"--config={recipe}", f"--config={small}", f"--study={phantom_study}", "--name=a"]

    def run(options):
        status = main(["learner", "fit", *words, *options.split()])
        return status, capsys.readouterr().err

    return run


@settings(
    max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.sampled_from(["lr", "weight_decay", "eps"]),
    st.floats(max_value=-1e-9, allow_infinity=False, allow_nan=False),
)
def test_an_optimiser_that_refuses_a_number_is_a_sentence(fit, name, value):
    status, printed = fit(f"--optimizer.{name}={value!r}")
    assert status == 1
    assert printed.startswith("error: The options of ")
    assert "Invalid" in printed
    assert "Traceback" not in printed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (f"{SGD} --optimizer.nesterov=true", "Nesterov momentum requires"),
        (f"--lr_scheduler={SCHEDULES}.StepLR --lr_scheduler.step_size=0", "modulo by zero"),
        (f"--lr_scheduler={SCHEDULES}.CosineAnnealingLR --lr_scheduler.T_max=0", "modulo by zero"),
        (f"--lr_scheduler={SCHEDULES}.OneCycleLR --lr_scheduler.max_lr=1", "total_steps"),
        ("--optimizer=torch.optim.SparseAdam", "does not support dense gradients"),
        ("--trainer.max_epochs=-5", "max_epochs"),
        ("--trainer.accelerator=tpu", "torch_xla"),
        ("--trainer.accelerator=quantum", "invalid accelerator name"),
        ("--trainer.devices=0", "devices"),
        ("--trainer.precision=64-true", "networks are trained in auto, 32-true"),
        ("--trainer.val_check_interval=5000", "val_check_interval"),
        ("--trainer.limit_train_batches=1.5", "limit_train_batches"),
        ("--trainer.strategy=foo", "strategy"),
        ("--trainer.profiler=foo", "profiler"),
        ("--data.workers=-1", "workers is -1"),
        ("--data.batch_size=0", "batch_size is 0"),
        ("--model.network.init_args.version=9_9", "Unsupported SqueezeNet version"),
        ("--model.network.init_args.num_classes=-1", "negative dimension"),
        ("--model.network.init_args.dropout=2", "dropout"),
        ("--model.loss=torch.nn.CrossEntropyLoss --model.loss.reduction=foo", "foo"),
        ("--model.loss=torch.nn.CrossEntropyLoss --model.loss.label_smoothing=2", "refuses logits"),
        ("--model.views_at_once=0", "views_at_once is 0"),
        ("--data.size_px=1", "Kernel size"),
        ("--selection=val/nothing", "val/nothing"),
    ],
)
def test_what_only_a_library_refuses_is_a_sentence(fit, options, reason):
    status, printed = fit(options)
    assert status == 1
    assert printed.startswith("error: ")
    assert reason in printed


def test_a_fault_of_the_program_keeps_its_traceback(monkeypatch, fit):
    monkeypatch.setattr(RadiographDataModule, "_with_masks", None)
    with pytest.raises(TypeError, match="not callable"):
        fit("--optimizer.lr=0.001")


def test_a_sentence_and_a_full_memory_pass_unchanged(tmp_path):
    for fault in (OptionError("a sentence"), torch.OutOfMemoryError("full")):
        with pytest.raises(type(fault)), options_refused(tmp_path, between=True):
            raise fault


def test_our_own_error_is_no_refusal(tmp_path):
    with pytest.raises(ZeroDivisionError), options_refused(tmp_path, between=True):
        exec(compile("1 / 0", "flannel", "exec"), {"__name__": "flannel.something"})
    with (
        pytest.raises(RunError, match="ZeroDivisionError"),
        options_refused(tmp_path, between=True),
    ):
        exec(compile("1 / 0", "torch", "exec"), {"__name__": "torch.something"})


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_fault_of_the_system_is_none_of_the_options(tmp_path, number):
    fault = RuntimeError("Please call `iter(combined_loader)` first.")
    fault.__context__ = OSError(number, os.strerror(number), "/dev/shm/torch_1")
    refused = options_refused(tmp_path, between=True)
    with pytest.raises(RuntimeError, match="iter") as raised, refused:
        raise fault
    assert raised.value is fault
    assert "/dev/shm" in sentence_of(fault)
