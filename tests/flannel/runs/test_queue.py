"""The queue: one run per device, and what becomes of runs that fail, are held, or are killed."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from flannel.errors import RunError
from flannel.runs import queue
from flannel.runs.queue import QueuedRun, RunFailedError, gpu_slots, work_through
from flannel.runs.run import RunFinishedError, lock_folder
from flannel.runs.signals import Stopped
from flannel.runs.steps import report

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")


class Heard:
    """A screen that remembers what it was shown."""

    def __init__(self):
        self.notes, self.closed, self.shows = [], None, 0

    def show(self, entries):
        self.shows += 1
        running = [entry.device for entry in entries if entry.state == "running"]
        assert not [device for device, n in Counter(running).items() if device and n > 1]

    def say(self, entry):
        self.notes.append((entry.run.name, entry.state, entry.line, entry.sentence))

    def close(self, entries):
        self.closed = {entry.run.name: entry.state for entry in entries}


def _pretend(words: list[str]) -> None:
    """What a queued run does in these tests: prints its epoch, and ends as its name says."""
    report(f"epoch 1/1 {words[0]} on {os.environ.get('CUDA_VISIBLE_DEVICES')}", seconds_left=7)
    match words[0]:
        case "ours":
            raise RunError("The mask is upside down.")
        case "theirs":
            raise KeyError("who knows")
        case "skipped":
            raise RunFinishedError("It is there.")
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "terminated":
            os.kill(os.getpid(), signal.SIGTERM)
        case "misspelt":
            print("error: no option --data.patchs\n")
            sys.exit(2)
        case "slow":
            time.sleep(0.3)
        case "endless":
            time.sleep(60)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(queue, "LOOK_SECONDS", 0.01)


def runs(tmp_path, *words):
    return [QueuedRun(f"{at}-{word}", (word,), tmp_path / f"{at}") for at, word in enumerate(words)]


def test_the_queue_runs_all_and_tells_their_epochs(tmp_path):
    screen = Heard()
    entries = work_through(runs(tmp_path, "a", "b", "c"), _pretend, screen, (None, None))
    assert [(entry.state, entry.seconds_left) for entry in entries] == [("done", 7)] * 3
    assert screen.closed == {"0-a": "done", "1-b": "done", "2-c": "done"}
    epochs = [note[2] for note in screen.notes if note[1] == "running"]
    assert sorted(epochs) == [f"epoch 1/1 {word} on None" for word in "abc"]
    assert (tmp_path / "2" / "log.txt").read_text() == "epoch 1/1 c on None\n"
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_every_gpu_has_one_run_at_a_time(tmp_path):
    words = ["slow"] * 5
    entries = work_through(runs(tmp_path, *words), _pretend, Heard(), ("0", "GPU-7", "2,3"))
    assert {entry.device for entry in entries} == {"0", "GPU-7", "2,3"}
    for entry in entries:
        assert entry.run.log.read_text() == f"epoch 1/1 slow on {entry.device}\n"


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("ours", "The mask is upside down."),
        pytest.param("theirs", "KeyError: 'who knows'", marks=pytest.mark.slow),
        ("killed", "Killed by SIGKILL, as the system does when memory runs out"),
        pytest.param("terminated", "Killed by SIGTERM.", marks=pytest.mark.slow),
        pytest.param("misspelt", "error: no option --data.patchs", marks=pytest.mark.slow),
    ],
)
def test_a_failed_run_is_told_with_its_sentence_and_log_and_the_others_go_on(
    tmp_path, word, sentence
):
    screen = Heard()
    with pytest.raises(RunFailedError) as failed:
        work_through(runs(tmp_path, "a", word, "c"), _pretend, screen)
    first, second = str(failed.value).splitlines()
    assert first == "1 of 3 runs failed."
    assert second.startswith(f"  1-{word}: {sentence}")
    assert second.endswith(f"Log: {tmp_path / '1' / 'log.txt'}")
    assert screen.closed == {"0-a": "done", f"1-{word}": "failed", "2-c": "done"}


def test_the_traceback_of_an_error_that_is_not_ours_is_in_the_log(tmp_path):
    with pytest.raises(RunFailedError):
        work_through(runs(tmp_path, "theirs"), _pretend, Heard())
    assert "Traceback" in (tmp_path / "0" / "log.txt").read_text()


def test_a_folder_that_cannot_be_written_fails_its_run_only(tmp_path, capfd):
    (tmp_path / "0").touch()
    screen = Heard()
    with pytest.raises(RunFailedError) as error:
        work_through(runs(tmp_path, "a", "b"), _pretend, screen)
    assert screen.closed == {"0-a": "failed", "1-b": "done"}
    assert f"0-a: {tmp_path / '0'}: " in str(error.value)
    assert "Traceback" not in "".join(capfd.readouterr())


def test_runs_that_fail_alike_share_a_line(tmp_path):
    with pytest.raises(RunFailedError) as error:
        work_through(runs(tmp_path, "ours", "a", "ours", "theirs"), _pretend, Heard())
    first, alike, other = str(error.value).splitlines()
    assert first == "3 of 4 runs failed."
    assert alike.startswith("  0-ours, 2-ours: The mask is upside down. Log: ")
    assert other.startswith("  3-theirs: KeyError")


def test_a_finished_run_is_told_as_such_and_its_log_kept(tmp_path):
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "log.txt").write_text("epoch 9/9 of the training\n")
    (entry,) = work_through(runs(tmp_path, "skipped"), _pretend, Heard())
    assert (entry.state, entry.sentence) == ("skipped", "It is there.")
    assert (tmp_path / "0" / "log.txt").read_text().startswith("epoch 9/9 of the training\n")


HOLDER = """
import sys
from pathlib import Path
from flannel.runs.run import lock_folder

lock = lock_folder(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def other(tmp_path):
    """Another process that works in the folder of run 0, until it is stopped."""
    words = [sys.executable, "-c", HOLDER, str(tmp_path / "0")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


@pytest.mark.slow
def test_what_another_invocation_holds_is_left_to_it(tmp_path, other):
    (tmp_path / "0" / "log.txt").write_text("what the other writes\n")
    held, taken = work_through(runs(tmp_path, "a", "b"), _pretend, Heard())
    assert (held.state, taken.state) == ("elsewhere", "done")
    assert "Another process is working in" in held.sentence
    assert (tmp_path / "0" / "log.txt").read_text() == "what the other writes\n"


@pytest.mark.slow
def test_a_run_that_was_held_is_tried_again_when_the_others_are_done(tmp_path, other):
    class Stops(Heard):
        def say(self, entry):
            super().say(entry)
            if entry.run.name == "1-b" and entry.state == "done":
                other.kill()
                other.wait()

    held, taken = work_through(runs(tmp_path, "a", "b"), _pretend, Stops())
    assert (held.state, taken.state) == ("done", "done")


def test_a_stopped_queue_stops_its_runs(tmp_path):
    class Impatient(Heard):
        def say(self, entry):
            super().say(entry)
            if entry.state == "running":
                raise Stopped(signal.SIGTERM)

    screen = Impatient()
    with pytest.raises(Stopped, match="The same command goes on"):
        work_through(runs(tmp_path, "endless", "b"), _pretend, screen)
    assert screen.closed == {"0-endless": "stopped", "1-b": "waiting"}
    assert not multiprocessing.active_children()
    lock_folder(tmp_path / "0").release()


def _queue_of_one(folder):
    work_through(runs(folder, "endless"), _pretend, Heard())


@pytest.mark.slow
def test_a_killed_queue_leaves_no_run_behind(tmp_path):
    process = multiprocessing.get_context("fork").Process(target=_queue_of_one, args=(tmp_path,))
    process.start()
    until = time.monotonic() + 10
    log = tmp_path / "0" / "log.txt"
    while not (log.is_file() and log.read_text()) and time.monotonic() < until:
        time.sleep(0.01)
    process.kill()
    process.join()
    while time.monotonic() < until:
        try:
            lock_folder(tmp_path / "0").release()
            break
        except RunError:
            time.sleep(0.01)
    else:
        pytest.fail("the run goes on without its queue")


@pytest.mark.parametrize(
    ("count", "visible", "devices", "slots"),
    [
        (0, None, 1, [None]),
        (3, None, 1, ["0", "1", "2"]),
        (2, "5,GPU-7", 1, ["5", "GPU-7"]),
        (5, None, 2, ["0,1", "2,3"]),
    ],
)
def test_slots_are_the_gpus_of_the_machine(monkeypatch, count, visible, devices, slots):
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpu_slots(devices) == slots


def test_more_gpus_than_there_are(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(RunError, match="asks for 4 GPUs; this machine shows 2"):
        gpu_slots(4)
