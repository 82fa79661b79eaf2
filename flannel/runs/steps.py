"""How far a run is: a line in its log, and a message to the queue that started it."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """What a run has just done.

    Attributes:
        line: In words, such as an epoch with its losses.
        seconds_left: How long the run will still take at most; None where that is not known.
    """

    line: str
    seconds_left: float | None = None


_listeners: list[Callable[[Step], None]] = []


def listen(listener: Callable[[Step], None]) -> None:
    """Calls a function with every step that this process reports from now on."""
    _listeners.append(listener)


def report(line: str, seconds_left: float | None = None) -> None:
    """Prints how far the run is, and hands it to those who listen. For the first rank only."""
    print(line, flush=True)
    for listener in _listeners:
        listener(Step(line, seconds_left))
