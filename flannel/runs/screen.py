"""What people see of a queue: lines, a live table on a terminal, and what came out at the end."""

import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from flannel.errors import RunError
from flannel.files import read_json
from flannel.runs.queue import QueueEntry, Screen, State

WORDS: dict[State, str] = {
    "waiting": "waiting",
    "running": "running",
    "done": "done",
    "skipped": "was finished",
    "elsewhere": "at work elsewhere",
    "failed": "FAILED",
    "stopped": "stopped",
}
WIDE = 200  # columns of a log file, so that no row of a table is broken
REFRESH_SECONDS = 1.0


def screen_for(stream: TextIO | None = None) -> Screen:
    """Chooses a live table for a terminal, and lines for anything else.

    Args:
        stream: Where to show; standard output by default.
    """
    stream = stream or sys.stdout
    return LiveScreen(Console(file=stream)) if stream.isatty() else PlainScreen(stream)


class PlainScreen:
    """Shows the queue as lines, each with the name of its run, as a log file wants them.

    Args:
        stream: Where the lines go.
    """

    def __init__(self, stream: TextIO) -> None:
        self.console = Console(file=stream, width=WIDE, color_system=None)

    def show(self, entries: Sequence[QueueEntry]) -> None:
        """Shows nothing: what is new was printed."""

    def say(self, entry: QueueEntry) -> None:
        """Prints the run's latest step, or how it ended."""
        _print(self.console, f"{entry.run.name:<36} {_news(entry)}")

    def close(self, entries: Sequence[QueueEntry]) -> None:
        """Prints the table of all runs."""
        self.console.print(results_table(entries))


class LiveScreen:
    """Shows the running runs in a table that stays in place; those that end scroll away above it.

    Args:
        console: The terminal.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        # No thread of its own: the queue forks.
        self.live = Live(console=console, auto_refresh=False, transient=True)
        self._shown = float("-inf")

    def show(self, entries: Sequence[QueueEntry]) -> None:
        """Redraws the table, at most once a second."""
        now = time.monotonic()
        if now - self._shown < REFRESH_SECONDS:
            return
        if not self.live.is_started:
            self.live.start()
        self._shown = now
        self.live.update(Group(_running_table(entries, now), _outlook(entries, now)), refresh=True)

    def say(self, entry: QueueEntry) -> None:
        """Prints how a run ended; its epochs are in the table."""
        if entry.state != "running":
            _print(self.console, f"{entry.run.name:<36} {_news(entry)}")

    def close(self, entries: Sequence[QueueEntry]) -> None:
        """Replaces the live table by that of all runs."""
        self.live.stop()
        self.console.print(results_table(entries))


def results_table(entries: Sequence[QueueEntry]) -> Table:
    """Lists the runs: what became of each, its minutes, macro F1, and where its files lie.

    Minutes and scores are read from the run's files, so a run that was finished before shows its
    own. They are empty where there are none.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("run", "state", "minutes", "val macro F1", "test macro F1", "where"):
        figure = title not in ("run", "state", "where")
        table.add_column(title, justify="right" if figure else "left", overflow="fold")
    for entry in entries:
        there = entry.state in ("done", "skipped")
        figures = _figures(entry.run.folder) if there else ("", "", "")
        cells = (entry.run.name, WORDS[entry.state], *figures, str(entry.run.folder))
        table.add_row(*map(Text, cells))
    return table


def _figures(folder: Path) -> tuple[str, str, str]:
    """Reads a finished run's minutes, and its macro F1 on validation and test."""
    seconds = _number(folder / "cost.json", "seconds")
    shown = [_number(folder / "metrics.json", split, "macro_f1") for split in ("val", "test")]
    val, test = ("" if value is None else f"{value:.4f}" for value in shown)
    return ("" if seconds is None else f"{seconds / 60:.1f}", val, test)


def _number(file: Path, *keys: str) -> float | None:
    try:
        value: object = read_json(file)
    except RunError:
        return None
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return float(value) if isinstance(value, int | float) else None


def _news(entry: QueueEntry) -> str:
    minutes = f"after {entry.seconds / 60:.1f} min"
    match entry.state:
        case "running":
            return entry.line
        case "done":
            return f"done {minutes}"
        case "failed":
            return f"FAILED {minutes}: {entry.sentence} See {entry.run.log}"
        case _:
            return f"{WORDS[entry.state]}: {entry.sentence}"


def _running_table(entries: Sequence[QueueEntry], now: float) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("run", "GPU", "for", "news"):
        table.add_column(title, no_wrap=True, overflow="ellipsis")
    for entry in entries:
        if entry.state == "running":
            cells = (entry.run.name, entry.device or "-", spoken(now - entry.began), entry.line)
            table.add_row(*map(Text, cells))
    return table


def _outlook(entries: Sequence[QueueEntry], now: float) -> Text:
    """Counts the runs by state, and says how long the rest will take, once a run has ended."""
    counts = Counter(entry.state for entry in entries)
    summary = ", ".join(f"{count} {WORDS[state]}" for state, count in counts.items())
    left = time_left(entries, now)
    return Text(summary if left is None else f"{summary}; about {spoken(left)} left")


def time_left(entries: Sequence[QueueEntry], now: float) -> float | None:
    """Estimates the seconds until the last run ends; None while nothing is known.

    A run takes as long as its epochs say, or as the runs before it took on average. Early stopping
    ends it sooner.

    Args:
        entries: The runs as they stand.
        now: The monotonic clock.
    """
    took = [entry.seconds for entry in entries if entry.state == "done"]
    running = [entry for entry in entries if entry.state == "running"]
    spans = [_span(entry) for entry in running]
    known = [*took, *(span for span in spans if span is not None)]
    if not known or not running:
        return None
    usual = sum(known) / len(known)
    ends = [
        max(0.0, (usual if span is None else span) - (now - entry.began))
        for entry, span in zip(running, spans, strict=True)
    ]
    waiting = sum(entry.state == "waiting" for entry in entries)
    # The waiting runs, one after the other, each where a place becomes free first.
    for _ in range(waiting):
        ends[ends.index(min(ends))] += usual
    return max(ends)


def _span(entry: QueueEntry) -> float | None:
    """How long a running run takes altogether, by the step that it reported last."""
    left = entry.seconds_left
    return None if left is None else entry.heard - entry.began + left


def spoken(seconds: float) -> str:
    """Returns a time as people say it: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _print(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)
