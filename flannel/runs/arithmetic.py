"""In which arithmetic networks train and answer: the one place that chooses it.

A precision is one of Lightning's names, such as "32-true" or "bf16-mixed". The word "auto" becomes
the quickest that the device computes natively; a processor that has no instructions for bfloat16
emulates it and is slower by far.
"""

import os
import platform
from typing import Final, Literal, get_args

import torch

from flannel.errors import FlannelError
from flannel.runs.run import Answering, Run

AUTO: Final = "auto"
AS_TRAINED: Final = "as_trained"

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
"""What `auto` may become."""

PRECISIONS = (
    *("32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true"),
    *("transformer-engine", "transformer-engine-float16"),
)
"""Lightning's names."""

_SHORT = {"64": "64-true", "32": "32-true", "16": "16-mixed", "bf16": "bf16-mixed"}

_WITHOUT_BFLOAT16 = ("AVX512_CORE", "AVX512_CORE_VNNI")
"""Limits of oneDNN that hide bfloat16, while oneDNN still calls it supported: it emulates there."""

SLOWER = "3 to 11 times as long as float32"
"""Measured on an AVX2 processor: inference 3 to 6, a training step 4 to 11 (ResNet152)."""


class PrecisionError(FlannelError):
    """Raised when a precision does not exist or cannot be had."""


def computes_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16, rather than emulating it.

    For a CPU oneDNN answers, which respects ONEDNN_MAX_CPU_ISA. It also says yes to AVX-512 without
    the bfloat16 extension, where it emulates, so that the extension is asked for as well.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():  # there is no public call
        return False
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper()
    return torch.cpu._is_avx512_bf16_supported() and limit not in _WITHOUT_BFLOAT16


def computes(precision: str, device: torch.device) -> bool:
    """Whether a device computes in a precision natively."""
    if precision.startswith("bf16"):
        return computes_bfloat16(device)
    return not precision.startswith("16") or device.type != "cpu"


def quickest(device: torch.device) -> Precision:
    """Returns what `auto` becomes on a device.

    bfloat16 where it is native; float16 on GPUs before Ampere, such as a V100; float32 otherwise,
    also on Apple's GPUs, where mixed precision was never measured.
    """
    if computes_bfloat16(device):
        return "bf16-mixed"
    return "16-mixed" if device.type == "cuda" else "32-true"


def device_of_trainer(accelerator: str) -> torch.device:
    """Returns a device of the kind on which Lightning's Trainer computes for an accelerator."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.device("cuda", 0)
    if accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def lightnings_name(precision: object) -> str:
    """Returns Lightning's full name of a precision, which may be given in short, as 16 or bf16.

    Raises:
        PrecisionError: If there is no such precision.
    """
    name = _SHORT.get(str(precision), str(precision))
    if name not in PRECISIONS:
        raise PrecisionError(
            f"trainer.precision is {precision!r}; expected {AUTO} or one of "
            f"{', '.join(PRECISIONS)}."
        )
    return name


def check_precision(precision: str, device: torch.device) -> None:
    """Refuses a precision in which Lightning would silently compute otherwise.

    Raises:
        PrecisionError: If it is float16 with float32 weights on a CPU.
    """
    if precision == "16-mixed" and device.type == "cpu":
        raise PrecisionError(
            "trainer.precision is 16-mixed, in which no CPU trains. Say auto, 32-true or "
            "bf16-mixed, or train on a GPU."
        )


def settle_precision(
    asked: object,
    device: torch.device,
    before: Run | None,
    *,
    training: bool,
    mixes: bool,
) -> tuple[object, str]:
    """Returns the precision of a run, and a line on it for the screen, which may be empty.

    Args:
        asked: What was given: "auto", one of Lightning's names, or such a name in short.
        device: Where the run computes.
        before: The run that goes on or is measured, which keeps what "auto" became in its
            config.yaml; None where it starts.
        training: Whether the run trains; if not, it is measured.
        mixes: Whether the model can train in mixed precision; if not, "auto" is float32.

    Raises:
        RunError: If the run's config.yaml names no precision.
        PrecisionError: If there is no such precision, or it cannot be had on the device.
    """
    if asked != AUTO:
        name = lightnings_name(asked)
        if training and name in PRECISIONS and name not in get_args(Precision):
            raise PrecisionError(
                f"trainer.precision is {name}; networks are trained in auto, "
                f"{', '.join(get_args(Precision))}."
            )
        check_precision(name, device)
        return asked, emulation(name, device)
    begun = None if before is None else before.precision
    if before is not None and begun == "16-mixed" and device.type == "cpu" and training:
        raise PrecisionError(
            f"{before.folder} was begun in 16-mixed on a GPU, in which no CPU trains. "
            "Continue it on a GPU, or start it anew with --redo true."
        )
    if begun is None:
        kept = ""
        precision: str = quickest(device) if mixes else "32-true"
    else:
        precision = begun if training else answering_precision(begun, AUTO, device)
        kept = ", in which the run was begun"
    slow = emulation(lightnings_name(precision), device)
    line = f"precision auto: {precision}{kept}"
    return precision, f"{line}; {slow}" if slow else line


def emulation(precision: str, device: torch.device) -> str:
    """Returns a line on a precision that a device only emulates; none where it is native."""
    if computes(precision, device):
        return ""
    line = f"{precision} is emulated by {device_name(device)}"
    return f"{line}: {SLOWER if device.type == 'cpu' else 'slower than float32'}"


def answering_precision(trained: str, wanted: Answering, device: torch.device) -> str:
    """Returns the precision in which what was trained is asked on a device.

    Args:
        trained: The precision of its training.
        wanted: "auto" takes that precision where the device computes it natively, and the quickest
            native one otherwise; "as_trained" takes it anyhow; any other is obeyed.
        device: Where it is asked.
    """
    if wanted == AS_TRAINED or (wanted == AUTO and computes(trained, device)):
        return trained
    return quickest(device) if wanted == AUTO else wanted


def device_name(device: torch.device) -> str:
    """Returns a device's kind and what it can, such as "a CPU with AVX2"."""
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        return f"{torch.cuda.get_device_name(device)} (compute capability {major}.{minor})"
    if device.type != "cpu":
        return f"a device of the kind {device.type}"
    capability = torch.backends.cpu.get_cpu_capability()
    return f"a CPU with {capability}{' and bfloat16' if computes_bfloat16(device) else ''}"
