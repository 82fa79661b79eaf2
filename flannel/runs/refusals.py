"""Options that only a library refuses: what it raises, apart from faults of this program."""

import contextlib
import traceback
from collections.abc import Iterator
from pathlib import Path

import torch

from flannel.errors import FlannelError, RunError, sentence_of

OURS = ("flannel", "segmentation", "patching")
"""The packages whose code this is."""

REFUSALS = (ValueError, TypeError, RuntimeError, ArithmeticError, ImportError, AttributeError)
"""What torch, torchvision, Lightning and jsonargparse raise for an option that cannot be."""


@contextlib.contextmanager
def options_refused(folder: Path, *, between: bool) -> Iterator[None]:
    """Turns what a library refuses in the block into a sentence.

    What this project's own code raises, or lets a library raise, is a fault of the program and
    keeps its traceback.

    Args:
        folder: Of the run, whose options they are.
        between: Whether code of ours may stand between the block and the library, as that of
            networks and data does where a run is built from its options. What Lightning itself
            raises is a refusal in any case.

    Raises:
        RunError: If the library refuses.
    """
    try:
        yield
    except (FlannelError, torch.OutOfMemoryError):
        raise
    except REFUSALS as fault:
        if sentence_of(fault) is not None:
            raise  # of the system, such as a full disk or too little shared memory
        modules = [
            frame.f_globals.get("__name__", "").partition(".")[0]
            for frame, _ in traceback.walk_tb(fault.__traceback__)
        ]
        called = modules[next((i for i, name in enumerate(modules) if name == "lightning"), 0) :]
        ours = called[-1:] if between or called[-1] == "lightning" else called
        if any(name in OURS for name in ours) or "can't allocate" in str(fault):
            raise
        reason = " ".join(str(fault).split()) or type(fault).__name__
        raise RunError(
            f"The options of {folder} do not fit ({type(fault).__name__}): {reason}"
        ) from fault
