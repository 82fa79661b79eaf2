"""Progress that a person can read, on a terminal and in a log file."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import track

Item = TypeVar("Item")


def announce(sentence: str) -> None:
    """Says a sentence on stderr."""
    Console(stderr=True).print(sentence, highlight=False, markup=False, soft_wrap=True)


def progress(items: Iterable[Item], total: int, title: str) -> Iterator[Item]:
    """Yields the items and shows how far they have come, on stderr.

    A terminal gets a bar; anything else gets a plain line at every fifth of the way.

    Args:
        items: What is worked through.
        total: How many items there are.
        title: What is being done, such as "Reading radiographs".
    """
    console = Console(stderr=True)
    if console.is_terminal:
        yield from track(items, description=title, total=total, console=console)
        return
    for done, item in enumerate(items, start=1):
        yield item
        if done * 5 // total > (done - 1) * 5 // total:
            announce(f"{title}: {done} of {total}")
