"""Run folders, fingerprints, locks, and the queue."""

import io
import multiprocessing
import time

import pytest

from flannel.runs import (
    QueuedRun,
    Run,
    RunError,
    RunFailedError,
    RunFinishedError,
    derived_seed,
    digest_of,
    speaks_plainly,
    wandb_mode,
    work_through,
)

PARTS = {"config": "1", "split": "2", "masks": "3"}


def test_a_new_run_starts_and_a_killed_one_may_continue(tmp_path):
    run = Run(tmp_path / "run", PARTS)
    run.check(redo=False)
    run.start(redo=False)
    run.last.write_text("state")
    run.check(redo=False)
    run.start(redo=False)
    assert run.last.read_text() == "state"


def test_a_finished_run_is_skipped_and_its_last_state_deleted(tmp_path):
    run = Run(tmp_path / "run", PARTS)
    run.start(redo=False)
    run.last.write_text("state")
    run.finish()
    assert not run.last.exists()
    with pytest.raises(RunFinishedError, match="same fingerprint: skipped"):
        run.check(redo=False)


@pytest.mark.parametrize("finished", [True, False])
def test_another_fingerprint_is_refused_by_the_names_of_what_changed(tmp_path, finished):
    run = Run(tmp_path / "run", PARTS)
    run.start(redo=False)
    run.last.write_text("state")
    if finished:
        run.finish()
    changed = Run(run.folder, {"config": "1", "split": "9", "masks": "8"})
    word = "finished" if finished else "started"
    with pytest.raises(RunError, match=f"{word} with another masks, split.*--redo") as caught:
        changed.check(redo=False)
    assert not isinstance(caught.value, RunFinishedError)
    changed.check(redo=True)


def test_a_run_that_failed_before_its_first_epoch_may_start_with_other_options(tmp_path):
    run = Run(tmp_path / "run", PARTS)
    run.start(redo=False)
    run.best.write_text("weights of a lost run")
    other = Run(run.folder, {**PARTS, "config": "2"})
    other.check(redo=False)
    other.start(redo=False)
    assert not other.best.exists()


def test_redo_clears_the_folder(tmp_path):
    run = Run(tmp_path / "run", PARTS)
    run.start(redo=False)
    run.last.write_text("state")
    run.start(redo=True)
    assert not run.last.exists()
    assert run.fingerprint.exists()


def test_two_processes_do_not_work_on_one_run(tmp_path):
    run = Run(tmp_path / "run", PARTS)
    held = run.lock()
    with pytest.raises(RunError, match="Another process is working in"):
        run.lock()
    held.release()
    run.lock().release()


def test_seeds_hang_on_every_part_and_on_nothing_else():
    assert derived_seed(1, 2, "a") == derived_seed(1, 2, "a")
    assert len({derived_seed(1, 2, "a"), derived_seed(1, 2, "b"), derived_seed(2, 1, "a")}) == 3
    assert 0 <= derived_seed("x") < 2**63


def test_a_digest_ignores_the_order_of_keys_only():
    assert digest_of({"a": 1, "b": [1, 2]}) == digest_of({"b": [1, 2], "a": 1})
    assert digest_of([1, 2]) != digest_of([2, 1])


@pytest.mark.parametrize(
    ("value", "mode"), [(None, "offline"), ("disabled", "off"), ("online", "online")]
)
def test_one_variable_turns_wandb_off(monkeypatch, value, mode):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    if value:
        monkeypatch.setenv("WANDB_MODE", value)
    assert wandb_mode() == mode


def test_an_error_of_ours_is_a_sentence_and_one_of_others_a_traceback(capsys):
    def ours() -> int:
        raise RunError("the mask is upside down")

    def theirs() -> int:
        raise ValueError("who knows")

    assert speaks_plainly(ours) == 1
    assert capsys.readouterr().err == "error: the mask is upside down\n"
    with pytest.raises(ValueError, match="who knows"):
        speaks_plainly(theirs)


def _pretend(words: list[str]) -> int:
    """What a queued run does in these tests: says its epoch, and fails when it is told to."""
    print(f"epoch 1/1 {words[0]}", flush=True)
    time.sleep(0.05)
    return 1 if words[0] == "fail" else 0


def runs(tmp_path, *words):
    return [
        QueuedRun(f"{at}-{word}", (word,), tmp_path / f"{at}.txt") for at, word in enumerate(words)
    ]


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")
def test_the_queue_runs_all_and_shows_their_epochs(tmp_path):
    screen = io.StringIO()
    report = work_through(runs(tmp_path, "a", "b", "c"), _pretend, (None, None), screen)
    assert sorted(report.done) == ["0-a", "1-b", "2-c"]
    assert "epoch 1/1 b" in screen.getvalue()
    assert "(3 of 3)" in screen.getvalue()
    assert (tmp_path / "2.txt").read_text() == "epoch 1/1 c\n"
    assert not multiprocessing.active_children()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")
def test_a_failed_run_is_named_with_its_log_and_the_others_go_on(tmp_path):
    with pytest.raises(RunFailedError, match=r"1 of 3 runs failed.*\n  1-fail: see .*1\.txt"):
        work_through(runs(tmp_path, "a", "fail", "c"), _pretend, (None,), io.StringIO())
    assert (tmp_path / "2.txt").read_text() == "epoch 1/1 c\n"
