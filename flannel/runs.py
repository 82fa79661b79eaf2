"""How runs are kept: run folders, fingerprints, locks, and the queue over many runs."""

import hashlib
import importlib
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TextIO

from filelock import BaseFileLock, FileLock, Timeout

from flannel.data.files import whole_file

WandbMode = Literal["offline", "online", "off"]


class RunError(ValueError):
    """A run that cannot go on, in a sentence."""


class RunFinishedError(RunError):
    """The run is already there with the same fingerprint: there is nothing to do."""


class RunFailedError(RunError):
    """Runs of a queue that failed, named."""


def digest_of(value: object) -> str:
    """Gives a short hash of a value of plain types, independent of the order of dictionary keys."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def derived_seed(*parts: object) -> int:
    """Derives a 63-bit seed from parts such as (seed, epoch, image_id).

    Neither the number of workers nor an interruption changes what is drawn from it.
    """
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def write_json(value: object, path: Path) -> None:
    """Writes a value of plain types as JSON, whole or not at all."""
    with whole_file(path) as beside:
        beside.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, object]:
    """Reads a JSON object.

    Raises:
        RunError: If the file is no JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise RunError(f"{path} cannot be read as JSON: {fault}.") from fault
    if not isinstance(value, dict):
        raise RunError(f"{path} should hold a JSON object, and holds {type(value).__name__}.")
    return value


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
        return self.folder / "fingerprint.json"

    @property
    def best(self) -> Path:
        """The weights of the selected epoch."""
        return self.folder / "best.ckpt"

    @property
    def last(self) -> Path:
        """The whole state after the latest epoch; it is deleted when the run is finished."""
        return self.folder / "last.ckpt"

    def check(self, redo: bool) -> None:
        """Decides whether the run may start or continue.

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
            raise RunFinishedError(f"{self.folder} is finished with the same fingerprint: skipped.")

    def start(self, redo: bool) -> None:
        """Notes the fingerprint; clears what an earlier run left that is not continued."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if redo or not self.last.is_file():
            for path in self.folder.iterdir():
                if path.is_file() and path.name not in (".lock", "log.txt"):
                    path.unlink()
        write_json({"finished": False, "parts": dict(self.parts)}, self.fingerprint)

    def finish(self) -> None:
        """Notes that every file of the run is there, and deletes `last.ckpt`."""
        write_json({"finished": True, "parts": dict(self.parts)}, self.fingerprint)
        self.last.unlink(missing_ok=True)

    def lock(self) -> BaseFileLock:
        """Takes the run's file lock, so that two invocations do not work on it at once.

        Returns:
            The lock; it is let go by `release()`, or when the process ends.

        Raises:
            RunError: If another process holds it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise RunError(
                f"Another process is working in {self.folder}. Wait for it, or stop it first."
            ) from None
        return lock


@dataclass(frozen=True)
class QueuedRun:
    """One entry of the queue.

    Attributes:
        name: What it is called on the screen, for example `patched/vgg19_bn/fold0`.
        arguments: The command line after `flannel`, also printed when the run fails.
        log: Where its output goes.
    """

    name: str
    arguments: tuple[str, ...]
    log: Path


@dataclass
class _Slot:
    """One place where a run can run: a GPU, or the CPU."""

    device: str | None
    process: multiprocessing.process.BaseProcess | None = None
    run: QueuedRun | None = None
    started: float = 0.0
    shown: int = 0  # characters of the log already on the screen


@dataclass
class QueueReport:
    """What became of a queue: names of runs, in the order in which they ended."""

    done: list[str] = field(default_factory=list)
    failed: list[QueuedRun] = field(default_factory=list)


def _work(command: Callable[[list[str]], int], run: QueuedRun, device: str | None) -> None:
    """Runs in the child process: its own GPU, its own log, the command line as its arguments."""
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    run.log.parent.mkdir(parents=True, exist_ok=True)
    log = run.log.open("w", buffering=1, encoding="utf-8")
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    sys.stdout = sys.stderr = log
    # Lightning starts the further processes of a DDP run from sys.argv.
    sys.argv = [sys.argv[0], *run.arguments]
    sys.exit(command(list(run.arguments)))


def _show_news(slot: _Slot, screen: TextIO) -> None:
    """Prints the lines that the slot's run has written since the last call."""
    if slot.run is None or not slot.run.log.is_file():
        return
    text = slot.run.log.read_text(encoding="utf-8", errors="replace")
    end = text.rfind("\n") + 1
    for line in text[slot.shown : end].splitlines():
        if line.startswith(("epoch", "predict")):
            print(f"{slot.run.name:<36} {line}", file=screen, flush=True)
    slot.shown = max(slot.shown, end)


def work_through(
    runs: Sequence[QueuedRun],
    command: Callable[[list[str]], int],
    devices: Sequence[str | None] = (None,),
    screen: TextIO | None = None,
) -> QueueReport:
    """Works through a list of runs, one process per device, until all have ended.

    A run that fails does not stop the others. The processes are forked where the system allows it,
    so that the libraries are imported once and not once a run.

    Args:
        runs: What to run, in order.
        command: Runs one command line (without the program's name) and gives its exit status.
        devices: A `CUDA_VISIBLE_DEVICES` value per slot; None leaves the environment alone.
        screen: Where progress goes; standard output by default.

    Raises:
        RunFailedError: At the end, if any run failed, naming each with its log.
    """
    screen = screen or sys.stdout
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    waiting, slots, report = list(runs), [_Slot(device) for device in devices], QueueReport()
    while waiting or any(slot.process for slot in slots):
        for slot in slots:
            if slot.process is None and waiting:
                slot.run, slot.started, slot.shown = waiting.pop(0), time.monotonic(), 0
                slot.run.log.unlink(missing_ok=True)
                slot.process = context.Process(  # type: ignore[attr-defined]
                    target=_work, args=(command, slot.run, slot.device), daemon=False
                )
                screen.flush()
                slot.process.start()
            elif slot.process is not None:
                _show_news(slot, screen)
                if slot.process.exitcode is not None and slot.run is not None:
                    _note_end(slot, report, len(runs), screen)
        time.sleep(0.2)
    if report.failed:
        lines = [f"  {run.name}: see {run.log}" for run in report.failed]
        raise RunFailedError(
            f"{len(report.failed)} of {len(runs)} runs failed; the others are finished.\n"
            + "\n".join(lines)
        )
    return report


def _note_end(slot: _Slot, report: QueueReport, total: int, screen: TextIO) -> None:
    """Books a run that has ended, and frees its slot."""
    if slot.run is None or slot.process is None:
        raise RuntimeError("only a slot with a run can end")
    minutes = (time.monotonic() - slot.started) / 60
    if slot.process.exitcode == 0:
        report.done.append(slot.run.name)
        word = "done"
    else:
        report.failed.append(slot.run)
        word = f"FAILED, see {slot.run.log}"
    ended = len(report.done) + len(report.failed)
    print(
        f"{slot.run.name:<36} {word} after {minutes:.1f} min ({ended} of {total})",
        file=screen,
        flush=True,
    )
    slot.process.close()
    slot.process, slot.run = None, None


def gpu_slots(devices: int = 1) -> list[str | None]:
    """Names the slots of this machine: `CUDA_VISIBLE_DEVICES` values, or None for the CPU.

    Args:
        devices: GPUs per run; those left over stay idle.

    Raises:
        RunError: If a run asks for more GPUs than there are.
    """
    import torch

    count = torch.cuda.device_count()
    if devices > max(count, 1):
        raise RunError(f"A run asks for {devices} GPUs; this machine shows {count}.")
    if count == 0:
        return [None]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",")[:count] if visible else [str(index) for index in range(count)]
    whole = count - count % devices
    return [",".join(names[at : at + devices]) for at in range(0, whole, devices)]


def wandb_mode() -> WandbMode:
    """Reads the W&B mode from WANDB_MODE: offline, unless it says online or disabled."""
    mode = os.environ.get("WANDB_MODE", "offline")
    if mode in ("disabled", "off"):
        return "off"
    return "online" if mode == "online" else "offline"


def speaks_plainly(command: Callable[[], int]) -> int:
    """Runs a command; an error of ours ends in its sentence and status 1, not in a traceback."""
    try:
        return command()
    except ValueError as fault:
        if type(fault).__module__.split(".")[0] not in ("flannel", "segmentation", "patching"):
            raise
        print(f"error: {fault}", file=sys.stderr, flush=True)
        return 1


def run_command(
    program: str, commands: Mapping[str, tuple[str, str, str]], arguments: list[str] | None
) -> int:
    """Runs one command of a program, importing only what that command needs.

    Args:
        program: The program's name, for its usage.
        commands: By name: module, function, and what it does. A function called `main` parses
            its own arguments; any other is a plain function whose options are its parameters.
        arguments: The command line; `sys.argv` when None.

    Returns:
        The exit status: 0, 1 for an error of ours, 2 for an unknown command.
    """
    words = sys.argv[1:] if arguments is None else arguments
    wide = max(map(len, commands)) + 2
    listed = "\n".join(f"  {name:<{wide}}{text}" for name, (_, _, text) in commands.items())
    usage = f"usage: {program} COMMAND [--help] ...\n\n{listed}"
    if not words or words[0] in ("-h", "--help"):
        print(usage)
        return 0
    if words[0] not in commands:
        print(f"error: there is no command {words[0]!r}.\n{usage}", file=sys.stderr)
        return 2
    module, function, _ = commands[words[0]]
    return speaks_plainly(lambda: _call(module, function, program, words))


def _call(module: str, function: str, program: str, words: list[str]) -> int:
    command = getattr(importlib.import_module(module), function)
    if function == "main":
        # `lungs fit` is LightningCLI's own sub-command, `flannel learner fit` has it one further.
        return int(command(words if words[0] in ("fit", "validate", "test") else words[1:]))
    from jsonargparse import auto_cli

    auto_cli(
        command,
        args=words[1:],
        prog=f"{program} {words[0]}",
        allow_abbrev=False,
        as_positional=False,
    )
    return 0
