import io

from rich.console import Console

from flannel import progress as module
from flannel.progress import progress


def test_what_is_done_in_a_moment_is_not_worth_a_line(capsys):
    assert list(progress(range(10), 10, "Reading")) == list(range(10))
    assert list(progress([], 0, "Reading")) == []
    assert capsys.readouterr().err == ""


def test_a_slow_log_says_at_every_fifth_how_quickly_and_what_is_left(capsys, monkeypatch):
    """Ten items in 2 s each: 0.5 a second; after 4 of 10, 12 s are left."""
    times = iter([0.0, 4.0, 8.0, 12.0, 16.0, 20.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(times))
    list(progress(range(10), 10, "Reading"))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5
    assert lines[1] == "Reading: 4 of 10 (0.5/s, 12 s left)"
    assert lines[-1] == "Reading: 10 of 10 (0.5/s)"


def test_a_terminal_gets_a_bar(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(
        module, "Console", lambda stderr: Console(file=screen, force_terminal=True, width=80)
    )
    assert list(progress(range(3), 3, "Reading")) == [0, 1, 2]
    assert "Reading" in screen.getvalue()
    assert "3/3" in screen.getvalue()
