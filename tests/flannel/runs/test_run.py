"""Run folders, fingerprints and locks."""

import subprocess
import sys

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from flannel.errors import RunError
from flannel.files import derived_seed, digest_of, read_json
from flannel.runs.run import (
    WANDB_MODES,
    Fingerprint,
    Run,
    RunFinishedError,
    RunHeldError,
    lock_folder,
    parts_of,
    read_fingerprint,
    wandb_mode,
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


def test_a_finished_run_that_is_skipped_loses_what_a_kill_left(tmp_path):
    run = Run(tmp_path / "run", PARTS)
    run.start(redo=False)
    run.finish()
    run.last.write_text("state")
    with pytest.raises(RunFinishedError):
        run.check(redo=False)
    assert not run.last.exists()


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
    assert read_fingerprint(run.folder)


def test_a_fingerprint_is_read_as_it_was_written(tmp_path):
    assert read_fingerprint(tmp_path) is None
    with pytest.raises(RunError, match="holds no run"):
        parts_of(tmp_path)
    for finished in (False, True):
        Fingerprint(finished, PARTS).write(tmp_path)
        assert read_fingerprint(tmp_path) == Fingerprint(finished, PARTS)
    assert parts_of(tmp_path) == PARTS
    assert Fingerprint(True, {"a": "1", "b": "2"}).changed({"b": "3", "c": "4"}) == ["a", "b", "c"]


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"finished": true}', '{"parts": {}}', '{"finished": 1, "parts": 2}']
)
def test_a_damaged_fingerprint_is_a_sentence(tmp_path, content):
    (tmp_path / "fingerprint.json").write_text(content)
    with pytest.raises(RunError, match=r"is no fingerprint .* --redo true"):
        read_fingerprint(tmp_path)


def test_the_cost_of_a_run_is_in_tenths_of_seconds(tmp_path):
    run = Run(tmp_path, PARTS)
    run.write_cost({"stage": "base", "fold": 2}, {"seconds": 12.345}, {"device": "cpu"})
    cost = {"stage": "base", "fold": 2, "seconds": 12.3, "device": "cpu"}
    assert read_json(tmp_path / "cost.json") == cost


def test_redo_empties_a_log_that_a_queue_is_writing_to(tmp_path):
    run = Run(tmp_path / "run", PARTS)
    run.start(redo=False)
    with run.log.open("a", buffering=1) as log:
        log.write("the first attempt\n")
        run.start(redo=True)
        log.write("the second one\n")
    assert run.log.read_text() == "the second one\n"


def test_two_processes_do_not_work_on_one_run(tmp_path):
    held = (
        "import sys, filelock; lock = filelock.FileLock(sys.argv[1]); lock.acquire();"
        "print('held', flush=True); sys.stdin.read()"
    )
    run = Run(tmp_path / "run", PARTS)
    run.folder.mkdir()
    words = [sys.executable, "-c", held, str(run.folder / ".lock")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(RunHeldError, match="Another process is working in"):
            run.lock()
        other.kill()
    run.lock().release()


def test_a_process_may_hold_a_run_twice(tmp_path):
    outer, inner = lock_folder(tmp_path), Run(tmp_path, PARTS).lock()
    inner.release()
    assert outer.is_locked
    outer.release()
    assert not outer.is_locked


def test_seeds_hang_on_every_part_and_on_nothing_else():
    assert derived_seed(1, 2, "a") == derived_seed(1, 2, "a")
    assert len({derived_seed(1, 2, "a"), derived_seed(1, 2, "b"), derived_seed(2, 1, "a")}) == 3
    assert 0 <= derived_seed("x") < 2**63


def test_a_digest_ignores_the_order_of_keys_only():
    assert digest_of({"a": 1, "b": [1, 2]}) == digest_of({"b": [1, 2], "a": 1})
    assert digest_of([1, 2]) != digest_of([2, 1])


@pytest.mark.parametrize(
    ("value", "mode"),
    [
        (None, "offline"),
        ("offline", "offline"),
        ("dryrun", "offline"),
        ("online", "online"),
        ("ONLINE", "online"),
        ("disabled", "off"),
    ],
)
def test_one_variable_turns_wandb_off(monkeypatch, value, mode):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    if value:
        monkeypatch.setenv("WANDB_MODE", value)
    assert wandb_mode() == mode


@given(word=st.text(st.characters(exclude_characters="\x00", codec="utf-8"), min_size=1))
def test_a_word_that_is_no_mode_is_refused_with_those_that_are(word):
    assume(word.lower() not in WANDB_MODES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", word)
        with pytest.raises(RunError, match="expected one of offline, online, disabled"):
            wandb_mode()
