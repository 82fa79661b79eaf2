"""How a training's checkpoints are written and read, and whether it can go on from one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import CheckpointIO
from torch import Tensor, nn

from flannel.errors import RunError
from flannel.files import whole_file
from flannel.runs.checkpoints import CheckpointError, read_checkpoint, read_saved
from flannel.runs.run import Run

RESUMED = (
    *("state_dict", "optimizer_states", "lr_schedulers", "callbacks", "loops"),
    *("epoch", "global_step"),
)
"""What a training goes on from."""


class WholeCheckpointIO(CheckpointIO):
    """Checkpoints that appear whole or not at all, written on the disk of the run.

    Unlike Lightning's, which stages them in TMPDIR: a full one ends the run, and a copy from there
    that is interrupted leaves half a checkpoint.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: object = None
    ) -> None:
        """Writes a checkpoint.

        Raises:
            RunError: If the disk does not take it.
        """
        try:
            with whole_file(Path(path)) as beside:
                torch.save(checkpoint, beside)
        except (OSError, RuntimeError) as fault:  # torch's for a full disk speaks of positions
            reason = fault.strerror if isinstance(fault, OSError) else "not to the end"
            raise RunError(
                f"{path} cannot be written ({reason}). Make room there, or let it be written: the "
                "same command goes on after the last epoch that was."
            ) from fault

    def load_checkpoint(
        self, path: str | Path, map_location: object = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Reads what was written into main memory, never running anything in it.

        Raises:
            CheckpointError: If it cannot be read.
        """
        return read_saved(Path(path))

    def remove_checkpoint(self, path: str | Path) -> None:
        """Removes a checkpoint."""
        Path(path).unlink(missing_ok=True)


def check_resumable(last: Path, best: Path | None, model: nn.Module) -> None:
    """Checks that a training can go on from its state.

    Args:
        last: The whole state after an epoch.
        best: The weights of the best epoch so far, which the training is concluded with; None
            where it will find its own.
        model: The module that was trained.

    Raises:
        CheckpointError: If a file is damaged or missing, or of another kind or network.
    """
    state = _of_network(model, last)
    missing = [name for name in RESUMED if name not in state]
    if missing:
        raise CheckpointError(f"{last} is no whole state of a training: no {', '.join(missing)}.")
    if best is not None:
        selected = [
            str(callback.get("best_model_path")) for callback in state["callbacks"].values()
        ]
        if best.exists() or best.name in {Path(path).name for path in selected}:
            _of_network(model, best)


def put_damaged_aside(run: Run, model: nn.Module) -> None:
    """Lets a run start anew that cannot go on from its state, and prints why and what is where."""
    if not run.last.exists():
        return
    try:
        check_resumable(run.last, run.best, model)
    except CheckpointError as fault:
        aside = [run.put_aside(path) for path in (run.last, run.best) if path.exists()]
        names = " and ".join(path.name for path in aside)
        print(f"{fault}\nThe run starts anew; what was there is {names} now.", flush=True)


def _of_network(model: nn.Module, path: Path) -> dict[str, Any]:
    """Reads a checkpoint of the model.

    Raises:
        CheckpointError: If it is damaged or missing, or of another network.
    """
    state = read_checkpoint(path)
    if _shapes(state["state_dict"]) != _shapes(model.state_dict()):
        raise CheckpointError(f"{path} is of another network.")
    return state


def _shapes(weights: Mapping[str, object]) -> dict[str, tuple[int, ...]]:
    return {n: tuple(value.shape) for n, value in weights.items() if isinstance(value, Tensor)}
