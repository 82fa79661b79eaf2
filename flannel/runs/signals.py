"""Signals that ask a command to end: one exception for all of them, with its exit status."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

ENDING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
AGAIN_SECONDS = 0.05


class Stopped(BaseException):
    """A signal has asked this process to end.

    No `Exception`, as nothing but the end of the command may catch it; and no `KeyboardInterrupt`,
    for which Lightning ends the process with status 1.

    Args:
        number: The signal.

    Attributes:
        signal: The signal.
        status: The exit status that shells give it, 128 and its number.
        remains: What the same command finds, in a sentence.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = signal.Signals(number)
        self.status = 128 + number
        self.remains = "The same command goes on with what is finished."

    def __str__(self) -> str:
        return f"Stopped by {self.signal.name}. {self.remains}"


@contextlib.contextmanager
def heeding_signals() -> Iterator[None]:
    """Raises `Stopped` in the block when SIGINT, SIGTERM or SIGHUP arrives.

    A signal that this process ignores, such as SIGHUP under nohup, stays ignored. Processes that
    are forked in the block are ended by the signals as any other. Outside of the main thread,
    where Python hears no signal, nothing changes.

    Raises:
        Stopped: When one arrives.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in ENDING}
    heeded = {n: kept for n, kept in before.items() if kept not in (signal.SIG_IGN, None)}
    hook, sys.unraisablehook = sys.unraisablehook, _send_again
    for number in heeded:
        signal.signal(number, _stop)
    try:
        yield
    finally:
        for number, kept in heeded.items():
            signal.signal(number, kept)
        sys.unraisablehook = hook


def leave_interrupts_to_parent() -> None:
    """Ignores Ctrl-C in a process whose parent hears it too, and ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _stop(number: int, frame: object) -> None:
    raise Stopped(number)


def _send_again(unraisable: Any) -> None:  # noqa: ANN401  the type exists for checkers only
    """Sends a signal again whose exception was lost, as it was raised in a finaliser."""
    if isinstance(unraisable.exc_value, Stopped):
        number = unraisable.exc_value.signal
        threading.Timer(AGAIN_SECONDS, os.kill, (os.getpid(), number)).start()
    else:
        sys.__unraisablehook__(unraisable)


def _forget() -> None:
    """Restores the usual handlers of signals in a forked process."""
    for number in ENDING:
        if signal.getsignal(number) is _stop:
            usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, usual)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
