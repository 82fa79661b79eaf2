"""How runs are kept: run folders, fingerprints and locks."""

import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Literal, get_args

import yaml
from filelock import BaseFileLock, FileLock, Timeout

from flannel.errors import RunError
from flannel.files import remove_left_overs, write_json

LoggerName = Literal["wandb", "tensorboard", "mlflow", "csv"]
LOGGER_VARIABLE = "FLANNEL_LOGGER"
"""In the environment; `make LOGGER=...` sets it."""

LOGGER_PACKAGES: Mapping[str, tuple[str, ...]] = {
    "wandb": ("wandb",),
    "tensorboard": ("tensorboard", "tensorboardX"),
    "mlflow": ("mlflow",),
}
"""What Lightning's loggers need; one of several suffices."""

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

FINGERPRINT, COST = "fingerprint.json", "cost.json"
LAST_EPOCH = "last"
"""The `--selection` that selects nothing: the last epoch is taken, as papers 002 and 003 do."""
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
    begun = read_fingerprint(folder)
    return begun is not None and not begun.finished


@dataclass(frozen=True)
class Fingerprint:
    """What `fingerprint.json` records of a run.

    Attributes:
        finished: Whether every file of the run is there.
        parts: Named hashes of everything that decided its result.
    """

    finished: bool = False
    parts: Mapping[str, str] = field(default_factory=dict)

    def changed(self, parts: Mapping[str, str]) -> list[str]:
        """Names the parts that differ, sorted."""
        names = {*self.parts, *parts}
        return sorted(name for name in names if self.parts.get(name) != parts.get(name))

    def write(self, folder: Path) -> None:
        """Writes `fingerprint.json`, whole or not at all."""
        write_json({"finished": self.finished, "parts": dict(self.parts)}, folder / FINGERPRINT)


def read_fingerprint(folder: Path) -> Fingerprint | None:
    """Reads `fingerprint.json` of a run's folder; None where there is none.

    Raises:
        RunError: If it is damaged.
    """
    path = folder / FINGERPRINT
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        parts = {str(name): str(value) for name, value in content["parts"].items()}
        return Fingerprint(content["finished"] is True, parts)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as fault:
        raise RunError(
            f'{path} is no fingerprint (expected {{"finished": true, "parts": {{...}}}}): '
            f"{fault!r}. Make the run again with --redo true."
        ) from fault


def parts_of(folder: Path) -> Mapping[str, str]:
    """Returns the parts of a run's fingerprint.

    Raises:
        RunError: If the folder has no fingerprint, or a damaged one.
    """
    begun = read_fingerprint(folder)
    if begun is None:
        raise RunError(f"{folder} holds no run: make it first.")
    return begun.parts


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
        before = read_fingerprint(self.folder)
        if before is None or not self.best.is_file():
            raise RunError(
                f"{self.folder} holds no trained weights, and a network that has learnt nothing is "
                f"not measured. Train it first (fit), {way_out}"
            )
        if not before.finished:
            raise RunError(f"{self.folder} is not finished. Let fit finish it, {way_out}")
        changed = [name for name in before.changed(self.parts) if name in inputs]
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
        before = None if redo else read_fingerprint(self.folder)
        if before is None:
            return
        changed = before.changed(self.parts)
        # An unfinished run that keeps no state has nothing to lose, whatever it was started with.
        if changed and (before.finished or self.last.is_file()):
            state = "finished" if before.finished else "started"
            raise RunError(
                f"The run in {self.folder} was {state} with another {', '.join(changed)}. "
                "Use another study folder, or --redo true to replace it."
            )
        if before.finished and not changed:
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
        Fingerprint(False, self.parts).write(self.folder)

    def write_cost(
        self,
        labels: Mapping[str, str | int],
        seconds: Mapping[str, float],
        machine: Mapping[str, str | int],
    ) -> None:
        """Writes `cost.json`: what the run took.

        Args:
            labels: Which run it is: stage, arm, learner, fold.
            seconds: `seconds` in all, and of its parts; tenths are kept.
            machine: On what it ran: `device`, and what else is known.
        """
        rounded = {name: round(value, 1) for name, value in seconds.items()}
        write_json({**labels, **rounded, **machine}, self.folder / COST)

    def finish(self) -> None:
        """Notes that every file of the run is there, and deletes `last.ckpt`."""
        Fingerprint(True, self.parts).write(self.folder)
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


def logger_name() -> LoggerName:
    """Reads the choice from the environment: W&B where it is absent or empty.

    Raises:
        RunError: If there is no such logger, or its package is not installed.
    """
    word = os.environ.get(LOGGER_VARIABLE) or "wandb"
    known = {name: name for name in get_args(LoggerName)}
    if word not in known:
        raise RunError(f"LOGGER is {word!r}; expected one of {', '.join(known)}.")
    packages = LOGGER_PACKAGES.get(word, ())
    if packages and word != "wandb" and not any(find_spec(package) for package in packages):
        raise RunError(
            f"LOGGER is {word}, whose package is not installed: pip install {packages[0]}, or "
            "choose csv, which needs none."
        )
    name: LoggerName = known[word]
    return name


def wandb_mode() -> WandbMode:
    """Reads the W&B mode from WANDB_MODE: offline where it is absent or empty.

    Where another logger is chosen, it is off.

    Raises:
        RunError: If W&B knows no such mode, or as `logger_name`.
    """
    if logger_name() != "wandb":
        return "off"
    word = os.environ.get("WANDB_MODE") or "offline"
    mode = WANDB_MODES.get(word.lower())
    if mode is None:
        raise RunError(f"WANDB_MODE is {word!r}; expected one of {', '.join(WANDB_MODES)}.")
    return mode
