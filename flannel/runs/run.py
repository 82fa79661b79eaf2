"""How runs are kept: run folders, fingerprints and locks."""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Literal

import yaml
from filelock import BaseFileLock, FileLock, Timeout

from flannel.errors import RunError
from flannel.files import read_json, remove_left_overs, write_json

WandbMode = Literal["offline", "online", "off"]
WANDB_MODES: Mapping[str, WandbMode] = {
    "offline": "offline",
    "online": "online",
    "disabled": "off",
    "off": "off",
    "dryrun": "offline",  # W&B's older names
    "run": "online",
}
"""What WANDB_MODE may say."""

Answering = Literal["auto", "as_trained", "32-true", "bf16-mixed", "16-mixed"]
"""The precisions in which something trained may be asked (`flannel.runs.arithmetic`)."""

FINGERPRINT = "fingerprint.json"
DAMAGED = ".damaged-"
"""In the names of damaged files that were put aside."""


class RunFinishedError(RunError):
    """The run is already there with the same fingerprint: there is nothing to do."""


class RunHeldError(RunError):
    """Another process is working on the run."""


def is_unfinished(folder: Path) -> bool:
    """Returns whether a run was begun in a folder and has not finished.

    Weights that were handed on, without a fingerprint, are of no run that could.

    Raises:
        RunError: If its fingerprint is damaged.
    """
    path = folder / FINGERPRINT
    return path.is_file() and read_json(path).get("finished") is not True


@dataclass(frozen=True)
class Run:
    """One run and the folder that it owns.

    Attributes:
        folder: Where its files lie, for example `STUDY/base/global/vgg19_bn/fold0`.
        parts: Named hashes of everything that decides its result: config, split, store, masks,
            code.
    """

    folder: Path
    parts: Mapping[str, str]

    @property
    def fingerprint(self) -> Path:
        """The file that says with what the run was started, and whether it finished."""
        return self.folder / FINGERPRINT

    @property
    def best(self) -> Path:
        """The weights of the selected epoch."""
        return self.folder / "best.ckpt"

    @property
    def last(self) -> Path:
        """The whole state after the latest epoch; it is deleted when the run is finished."""
        return self.folder / "last.ckpt"

    @property
    def log(self) -> Path:
        """What a run of the queue printed."""
        return self.folder / "log.txt"

    @property
    def precision(self) -> str | None:
        """The precision in its config.yaml; None where there is no config.yaml.

        Raises:
            RunError: If config.yaml names no precision.
        """
        path = self.folder / "config.yaml"
        if not path.is_file():
            return None
        try:
            named = yaml.safe_load(path.read_text(encoding="utf-8"))["trainer"]["precision"]
        except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError) as fault:
            raise RunError(
                f"{path} does not say in which precision the run was begun ({fault!r}). Start it "
                "anew with --redo true."
            ) from fault
        return "32-true" if named is None else str(named)

    def trained(self, inputs: Collection[str]) -> Path:
        """Returns the weights of the finished run.

        Args:
            inputs: Parts that must be those of the training, such as the split, without which its
                test images may be images that it learnt from.

        Raises:
            RunError: If there are none, with how to get them.
        """
        way_out = "or name the weights to take as they are with --ckpt_path FILE."
        if not self.fingerprint.is_file() or not self.best.is_file():
            raise RunError(
                f"{self.folder} holds no trained weights, and a network that has learnt nothing is "
                f"not measured. Train it first (fit), {way_out}"
            )
        before = read_json(self.fingerprint)
        if not before.get("finished"):
            raise RunError(f"{self.folder} is not finished. Let fit finish it, {way_out}")
        parts = before.get("parts")
        known = parts if isinstance(parts, dict) else {}
        changed = sorted(name for name in inputs if self.parts[name] != known.get(name))
        if changed:
            raise RunError(
                f"The run in {self.folder} was trained with another {', '.join(changed)}. Train it "
                f"again (fit --redo true), {way_out}"
            )
        return self.best

    def check(self, redo: bool) -> None:
        """Decides whether the run may start or continue, and tidies up a finished one.

        Args:
            redo: Start anew whatever is there.

        Raises:
            RunFinishedError: If it is finished with the same fingerprint.
            RunError: If it was started with another fingerprint.
        """
        if redo or not self.fingerprint.is_file():
            return
        before = read_json(self.fingerprint)
        parts = before.get("parts")
        known = parts if isinstance(parts, dict) else {}
        changed = sorted(
            name for name in {*self.parts, *known} if self.parts.get(name) != known.get(name)
        )
        # An unfinished run that keeps no state has nothing to lose, whatever it was started with.
        if changed and (before.get("finished") or self.last.is_file()):
            state = "finished" if before.get("finished") else "started"
            raise RunError(
                f"The run in {self.folder} was {state} with another {', '.join(changed)}. "
                "Use another study folder, or --redo true to replace it."
            )
        if before.get("finished") and not changed:
            self.last.unlink(missing_ok=True)  # a kill may have left it
            remove_left_overs(self.folder)
            raise RunFinishedError(f"{self.folder} is finished with the same fingerprint: skipped.")

    def put_aside(self, path: Path) -> Path:
        """Renames a damaged file of the run, so that it is neither used nor lost.

        Returns:
            Its new place, such as `last.damaged-1.ckpt`.
        """
        names = (f"{path.stem}{DAMAGED}{number}{path.suffix}" for number in count(1))
        place = next(free for free in map(path.with_name, names) if not free.exists())
        return path.rename(place)

    def start(self, redo: bool) -> None:
        """Notes the fingerprint; clears what an earlier run left that is not continued."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if redo or not self.last.is_file():
            for path in self.folder.iterdir():
                aside = DAMAGED in path.name and not redo
                if path.is_file() and path.name not in (".lock", "log.txt") and not aside:
                    path.unlink()
            if self.log.is_file():
                os.truncate(self.log, 0)  # a queue may be writing to it
        write_json({"finished": False, "parts": dict(self.parts)}, self.fingerprint)

    def finish(self) -> None:
        """Notes that every file of the run is there, and deletes `last.ckpt`."""
        write_json({"finished": True, "parts": dict(self.parts)}, self.fingerprint)
        self.last.unlink(missing_ok=True)

    def lock(self) -> BaseFileLock:
        """Takes the run's file lock, as `lock_folder` does."""
        return lock_folder(self.folder)


def lock_folder(folder: Path) -> BaseFileLock:
    """Takes the file lock of a run's folder, so that two processes do not work in it at once.

    The queue takes it before it opens the run's log, and the run takes it again: within one process
    the lock counts how often it is held.

    Returns:
        The lock; it is let go by `release()`, or when the process ends, however it ends.

    Raises:
        RunHeldError: If another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock", is_singleton=True)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunHeldError(
            f"Another process is working in {folder}. Wait for it, or stop it first."
        ) from None
    return lock


def wandb_mode() -> WandbMode:
    """Reads the W&B mode from WANDB_MODE: offline where it is absent or empty.

    Raises:
        RunError: If W&B knows no such mode.
    """
    word = os.environ.get("WANDB_MODE") or "offline"
    mode = WANDB_MODES.get(word.lower())
    if mode is None:
        raise RunError(f"WANDB_MODE is {word!r}; expected one of {', '.join(WANDB_MODES)}.")
    return mode
