"""Progress that a person can read, on a terminal and in a log file."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

Item = TypeVar("Item")

QUIET_SECONDS = 3.0
"""What takes less is not worth a line."""


def announce(sentence: str) -> None:
    """Prints a sentence to stderr."""
    Console(stderr=True).print(sentence, highlight=False, markup=False, soft_wrap=True)


def progress(items: Iterable[Item], total: int, title: str) -> Iterator[Item]:
    """Yields the items and shows how far they have come, how quickly, and the time left, on stderr.

    A terminal gets a bar; anything else gets a plain line at every fifth of the way, unless all is
    done in a moment.

    Args:
        items: What is worked through.
        total: How many items there are.
        title: What is being done, such as "Reading radiographs".
    """
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console) as bar:
            yield from bar.track(items, total=total, description=title)
        return
    started = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        if done * 5 // total > (done - 1) * 5 // total:
            seconds = time.monotonic() - started
            if seconds < QUIET_SECONDS:
                continue
            left = f", {seconds / done * (total - done):.0f} s left" if done < total else ""
            announce(f"{title}: {done} of {total} ({done / seconds:.1f}/s{left})")


class _Rate(ProgressColumn):
    """Items per second, once that is known."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "")
