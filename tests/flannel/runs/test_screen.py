"""What is shown of a queue."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from flannel.runs.queue import QueuedRun, QueueEntry
from flannel.runs.screen import (
    LiveScreen,
    PlainScreen,
    results_table,
    screen_for,
    spoken,
    time_left,
)


def entry(name="global/small/fold0", folder="x", **options):
    return QueueEntry(QueuedRun(name, ("learner", "fit"), Path(folder)), **options)


def shown(renderable):
    stream = io.StringIO()
    Console(file=stream, width=200).print(renderable)
    return stream.getvalue()


def test_a_log_file_gets_a_line_for_each_piece_of_news(tmp_path):
    stream = io.StringIO()
    screen = screen_for(stream)
    assert isinstance(screen, PlainScreen)
    screen.say(entry(state="running", line="epoch 1/9  val/macro_f1 0.5  3 s, at most 24 s left"))
    screen.say(entry(state="done", seconds=90))
    screen.say(entry(state="failed", seconds=60, sentence="No [mask]."))
    screen.say(entry(state="elsewhere", sentence="Another process is working in x."))
    lines = stream.getvalue().splitlines()
    assert [line.split(maxsplit=1)[1] for line in lines] == [
        "epoch 1/9  val/macro_f1 0.5  3 s, at most 24 s left",
        "done after 1.5 min",
        "FAILED after 1.0 min: No [mask]. See x/log.txt",
        "at work elsewhere: Another process is working in x.",
    ]


def test_the_last_table_reads_what_the_runs_have_left(tmp_path):
    done = tmp_path / "done"
    done.mkdir()
    (done / "cost.json").write_text(json.dumps({"seconds": 150}))
    measured = {"val": {"macro_f1": 0.75}, "test": {"macro_f1": 0.5, "f1": {}}}
    (done / "metrics.json").write_text(json.dumps(measured))
    entries = [entry("a", done, state="skipped"), entry("b", tmp_path / "none", state="failed")]
    head, first, second = shown(results_table(entries)).splitlines()
    assert " ".join(head.split()) == "run state minutes val macro F1 test macro F1 where"
    assert first.split() == ["a", "was", "finished", "2.5", "0.7500", "0.5000", str(done)]
    assert second.split() == ["b", "FAILED", str(tmp_path / "none")]


def test_a_terminal_sees_what_runs_and_for_how_long(tmp_path):
    stream = io.StringIO()
    screen = LiveScreen(Console(file=stream, force_terminal=True, width=120))
    entries = [
        entry("a", state="running", device="3", line="epoch 2/9"),
        entry("b"),
        entry("c", state="failed", sentence="No [mask]."),
    ]
    screen.show(entries)
    screen.say(entries[0])
    screen.say(entries[2])
    screen.close(entries)
    text = stream.getvalue()
    assert "epoch 2/9" in text
    assert "1 running, 1 waiting, 1 FAILED" in text
    assert "No [mask]." in text
    assert "test macro F1" in text


def test_the_time_that_is_left():
    assert time_left([entry()], now=0) is None
    assert time_left([entry(state="running")], now=5) is None
    running = entry(state="running", began=0, heard=10, seconds_left=80)
    assert time_left([running], now=30) == pytest.approx(60)
    done = entry(state="done", seconds=50)
    silent = entry(state="running", began=20)
    # By now, 30: the first lasts until 90, the silent one as long as the two known, 70, until 90.
    assert time_left([done, running, silent], now=30) == pytest.approx(60)
    # Three more runs of 70 on two places that become free at once.
    assert time_left([done, running, silent, *[entry()] * 3], now=30) == pytest.approx(200)


@pytest.mark.parametrize(
    ("seconds", "words"), [(40.2, "40 s"), (720, "12 min"), (12_600, "3.5 h"), (99, "99 s")]
)
def test_times_are_said_as_people_do(seconds, words):
    assert spoken(seconds) == words
