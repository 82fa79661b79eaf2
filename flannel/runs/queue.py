"""The queue over many runs: one process per GPU, and no run that is lost without a word."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Literal, Protocol

from flannel.errors import RunError, sentence_of
from flannel.runs.run import RunFinishedError, RunHeldError, lock_folder
from flannel.runs.signals import Stopped, heeding_signals
from flannel.runs.steps import Step, listen

State = Literal["waiting", "running", "done", "skipped", "elsewhere", "failed", "stopped"]
Command = Callable[[list[str]], object]

LOOK_SECONDS = 0.2  # between two looks at the processes
GRACE_SECONDS = 10  # between asking a process to end and ending it


class RunFailedError(RunError):
    """Runs of a queue that failed, each with what was the matter."""


@dataclass(frozen=True)
class QueuedRun:
    """One run that the queue is to start.

    Attributes:
        name: What it is called on the screen, for example `patched/vgg19_bn/fold0`.
        arguments: The command line after `flannel`.
        folder: The run's folder; its lock and its `log.txt` lie there.
    """

    name: str
    arguments: tuple[str, ...]
    folder: Path

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return self.folder / "log.txt"


@dataclass
class QueueEntry:
    """How far one run of the queue has come.

    Attributes:
        run: The run.
        state: "skipped" had been finished before, "elsewhere" is held by another invocation.
        device: Its `CUDA_VISIBLE_DEVICES`; None where the environment was left alone.
        began: When it was started, on the monotonic clock.
        seconds: How long it took, once it has ended.
        line: The latest step that it reported: an epoch, or how far it has predicted.
        seconds_left: How long it will take at most from that step on, where that is known.
        heard: When it reported that, on the monotonic clock.
        sentence: Why it was skipped or failed.
    """

    run: QueuedRun
    state: State = "waiting"
    device: str | None = None
    began: float = 0.0
    seconds: float = 0.0
    line: str = ""
    seconds_left: float | None = None
    heard: float = 0.0
    sentence: str = ""


class Screen(Protocol):
    """Where people see how the queue gets on."""

    def show(self, entries: Sequence[QueueEntry]) -> None:
        """Shows all runs as they stand now; called several times a second."""

    def say(self, entry: QueueEntry) -> None:
        """Notes that a run has reported a step, or changed its state."""

    def close(self, entries: Sequence[QueueEntry]) -> None:
        """Sums up, when all runs have ended."""


@dataclass
class _Process:
    """A run's process, the pipe by which it reports steps and its end, and how it ended."""

    entry: QueueEntry
    process: multiprocessing.process.BaseProcess
    receiver: Connection
    ending: tuple[State, str] | None = None

    @property
    def pid(self) -> int:
        """The process id, which is its group's too."""
        return int(self.process.pid or 0)


def work_through(
    runs: Iterable[QueuedRun],
    command: Command,
    screen: Screen,
    devices: Sequence[str | None] = (None,),
) -> list[QueueEntry]:
    """Works through a list of runs, one process per device, until all have ended.

    A run that fails does not stop the others. A run that another invocation holds is left to it,
    and tried once more at the end, in case that invocation was stopped. The processes are forked
    where the system allows it, so that the libraries are imported once and not once a run.

    Args:
        runs: What to run, in order.
        command: Runs one command line (without the program's name); it raises what goes wrong.
        screen: Where progress is shown.
        devices: A `CUDA_VISIBLE_DEVICES` value per slot; None leaves the environment alone.

    Returns:
        The runs, each with what became of it.

    Raises:
        RunFailedError: At the end, if any run failed.
        Stopped: At once, if a signal stopped the queue.
    """
    entries = [QueueEntry(run) for run in runs]
    waiting, retried = deque(entries), False
    slots: dict[int, _Process | None] = dict.fromkeys(range(len(devices)))
    try:
        while waiting or any(slots.values()):
            for slot, device in enumerate(devices):
                current = slots[slot]
                if current is not None:
                    ended = current.process.exitcode is not None
                    _receive(current, screen)
                    if ended:
                        _conclude(current)
                        screen.say(current.entry)
                        slots[slot] = None
                elif waiting:
                    slots[slot] = _start(waiting.popleft(), command, device)
            screen.show(entries)
            if not waiting and not any(slots.values()) and not retried:
                retried = True
                waiting.extend(entry for entry in entries if entry.state == "elsewhere")
            time.sleep(LOOK_SECONDS)
    except (Stopped, KeyboardInterrupt):
        _stop([process for process in slots.values() if process])
        screen.close(entries)
        raise
    screen.close(entries)
    failed = [entry for entry in entries if entry.state == "failed"]
    if failed:
        raise RunFailedError(
            "\n".join([f"{len(failed)} of {len(entries)} runs failed.", *_reasons(failed)])
        )
    return entries


def _reasons(failed: Sequence[QueueEntry]) -> list[str]:
    """Returns a line for each reason of which runs have failed, with the first of their logs."""
    alike: dict[str, list[QueueEntry]] = {}
    for entry in failed:
        alike.setdefault(entry.sentence, []).append(entry)
    return [
        f"  {', '.join(entry.run.name for entry in entries)}: {sentence} Log: {entries[0].run.log}"
        for sentence, entries in alike.items()
    ]


def _start(entry: QueueEntry, command: Command, device: str | None) -> _Process:
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    receiver, sender = context.Pipe(duplex=False)
    sys.stdout.flush()
    process: multiprocessing.process.BaseProcess = context.Process(  # type: ignore[attr-defined]
        target=_work, args=(command, entry.run, device, sender), daemon=False
    )
    process.start()
    sender.close()
    entry.state, entry.device, entry.began = "running", device, time.monotonic()
    return _Process(entry, process, receiver)


def _work(command: Command, run: QueuedRun, device: str | None, sender: Connection) -> None:
    """Runs in the child process: its own GPU, its own log, the command line as its arguments."""
    os.setpgid(0, 0)
    threading.Thread(target=_end_with_the_queue, daemon=True).start()
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    try:
        lock = lock_folder(run.folder)  # before the log is opened, which the holder writes to
        log = run.log.open("a", buffering=1, encoding="utf-8", errors="backslashreplace")
    except RunHeldError as elsewhere:
        sender.send(("elsewhere", str(elsewhere)))
        return
    except OSError as fault:
        sender.send(("failed", sentence_of(fault)))
        return
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    sys.stdout = sys.stderr = log
    listen(sender.send)
    # Lightning starts the further processes of a DDP run from sys.argv.
    sys.argv = [sys.argv[0], *run.arguments]
    state: State = "failed"
    sentence = ""
    try:
        with heeding_signals():
            command(list(run.arguments))
        state = "done"
    except Stopped as stop:
        sentence = _killed_by(stop.signal)
        print(stop)
    except RunFinishedError as finished:
        state, sentence = "skipped", str(finished)
    except Exception as fault:
        plain = sentence_of(fault)
        if plain is None:
            traceback.print_exc()
        else:
            print(f"error: {plain}")
        sentence = plain or f"{type(fault).__name__}: {(str(fault).splitlines() or [''])[0]}"
    sender.send((state, sentence))
    lock.release()
    sys.exit(state == "failed")


def _end_with_the_queue() -> None:
    """Ends this run, its loaders and its DDP ranks when the queue's process has been killed."""
    queue = multiprocessing.parent_process()
    if queue is not None:
        wait([queue.sentinel])
        os.killpg(0, signal.SIGKILL)


def _receive(current: _Process, screen: Screen) -> None:
    """Passes what the run has reported since the last look to the screen, and notes its end."""
    entry = current.entry
    with contextlib.suppress(EOFError, OSError):  # it was ended before it could report an end
        while current.receiver.poll():
            message = current.receiver.recv()
            if isinstance(message, Step):
                entry.line, entry.seconds_left = message.line, message.seconds_left
                entry.heard = time.monotonic()
                screen.say(entry)
            else:
                current.ending = message


def _conclude(current: _Process) -> None:
    """Books how a run has ended; what a failed one left running is ended too."""
    entry, exitcode = current.entry, current.process.exitcode
    entry.seconds = time.monotonic() - entry.began
    if current.ending is not None:
        entry.state, entry.sentence = current.ending
    elif exitcode is not None and exitcode < 0:
        entry.state, entry.sentence = "failed", _killed_by(signal.Signals(-exitcode))
    else:  # sys.exit, as of a command line that cannot be parsed
        entry.state, entry.sentence = "failed", _last_line(entry.run.log)
    if entry.state == "failed":
        _signal_group(current, signal.SIGKILL)
    current.receiver.close()
    current.process.close()


def _killed_by(number: signal.Signals) -> str:
    if number is signal.SIGKILL:
        return (
            "Killed by SIGKILL, as the system does when memory runs out: try a smaller "
            "data.batch_size or data.predict_batch_size, or fewer data.workers."
        )
    return f"Killed by {number.name}."


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.is_file() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "It printed nothing.")


def _stop(running: Sequence[_Process]) -> None:
    """Asks the running processes to end, and ends those that do not."""
    for current in running:
        _signal_group(current, signal.SIGTERM)
    until = time.monotonic() + GRACE_SECONDS
    for current in running:
        current.process.join(max(0.0, until - time.monotonic()))
        _signal_group(current, signal.SIGKILL)
        current.process.join()
        current.entry.state = "stopped"
        current.entry.seconds = time.monotonic() - current.entry.began


def _signal_group(current: _Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # all of its processes have ended
        os.killpg(current.pid, number)


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


BEAT_SECONDS = 0.5


def apart(work: Callable[[], object], beat: Callable[[], object] = lambda: None) -> None:
    """Does a piece of work in a child process, and waits for it.

    A process that has computed with several threads, or on a GPU, must not be forked any more: its
    children would wait for threads that they do not have. So a command that forks runs later
    (`flannel.runs.queue`) computes nothing itself before.

    Args:
        work: What is to be done; what it changes in memory is lost, what it writes stays.
        beat: Called every half second until it is done.

    Raises:
        RunError: With the sentence of the child's error, or with the name of one that has none.
        Stopped: If a signal stopped this process; the child is ended too.
    """
    if sys.platform != "linux":  # where runs are not forked either
        work()
        return
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    sys.stdout.flush()
    process = context.Process(target=_tell, args=(work, sender))
    process.start()
    sender.close()
    try:
        while not receiver.poll(BEAT_SECONDS):
            beat()
        sentence = receiver.recv()
    except EOFError:
        sentence = f"A part of the command was killed (exit code {_exit_code(process)})."
    except (Stopped, KeyboardInterrupt):
        process.terminate()
        process.join(GRACE_SECONDS)
        process.kill()
        raise
    finally:
        process.join()
    if sentence:
        raise RunError(sentence)


def _tell(work: Callable[[], object], sender: Connection) -> None:
    sentence = ""
    try:
        with heeding_signals():
            work()
    except Stopped as stop:
        sys.exit(stop.status)
    except Exception as fault:
        plain = sentence_of(fault)
        if plain is None:
            traceback.print_exc()
        sentence = plain or f"{type(fault).__name__}: {fault}"
    sys.stdout.flush()
    sender.send(sentence)


def _exit_code(process: multiprocessing.process.BaseProcess) -> int | None:
    process.join()
    return process.exitcode
