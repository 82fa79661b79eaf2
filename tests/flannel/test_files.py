"""Files and folders appear whole or not at all; what a kill leaves is removed, and nothing else."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flannel.files import (
    FOREIGN_SECONDS,
    MACHINE,
    remove_left_overs,
    unfinished_place,
    whole_file,
    whole_folder,
)

WRITES = """
import os, signal, sys
from pathlib import Path
from flannel.files import whole_file, whole_folder

whole = {"file": whole_file, "folder": whole_folder}[sys.argv[1]]
with whole(Path(sys.argv[2])) as beside:
    (beside if sys.argv[1] == "file" else beside / "part").write_text("half")
    print("half", flush=True)
    sys.stdin.readline()
"""


def writer(kind, path):
    """A process that has written half."""
    words = [sys.executable, "-c", WRITES, kind, str(path)]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "half\n"
    return process


def end(process):
    process.kill()
    process.communicate()


def hidden(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def age(path, seconds):
    then = time.time() - seconds
    os.utime(path, (then, then))


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_process_left_is_removed_by_the_next_that_writes_there(tmp_path, kind):
    end(writer(kind, tmp_path / "table.csv"))
    assert len(hidden(tmp_path)) == 1
    with whole_file(tmp_path / "another.csv") as beside:
        beside.write_text("all")
    assert [path.name for path in tmp_path.iterdir()] == ["another.csv"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_living_process_writes_stays(tmp_path, kind):
    process = writer(kind, tmp_path / "table")
    remove_left_overs(tmp_path)
    assert len(hidden(tmp_path)) == 1
    process.communicate("on\n", timeout=20)
    assert process.returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["table"]


def test_a_living_process_that_got_the_number_of_a_dead_one_is_told_from_it(tmp_path):
    place = unfinished_place(tmp_path / "table.csv")
    place.write_text("half")
    remove_left_overs(tmp_path)
    assert place.exists()
    age(place, 10 * 24 * 3600)  # longer than this process can have lived
    remove_left_overs(tmp_path)
    assert not place.exists()


@pytest.mark.parametrize(("seconds", "left"), [(60, True), (FOREIGN_SECONDS + 60, False)])
def test_what_another_machine_writes_stays_for_a_day(tmp_path, seconds, left):
    place = tmp_path / f".{2**22 + 1}-{'0' * 8}-table.csv"
    place.write_text("half")
    age(place, seconds)
    remove_left_overs(tmp_path)
    assert place.exists() is left


@given(name=st.text("0123456789abcdef-.", max_size=40).map(lambda text: f".{text}x"))
def test_no_other_hidden_file_is_taken_for_a_left_over(tmp_path_factory, name):
    folder = tmp_path_factory.mktemp("theirs")
    (folder / name).write_text("the user's own")
    remove_left_overs(folder)
    assert (folder / name).exists()


def test_notes_and_links_of_the_user_stay(tmp_path):
    theirs = [".2026-11-30-notes.txt", ".3d-layout.json", ".lock", ".1-2-3", ".99999-masks.csv"]
    for name in theirs:
        (tmp_path / name).write_text("the user's own")
    (tmp_path / f".{2**22 + 1}-{MACHINE}-link").symlink_to(theirs[0])
    remove_left_overs(tmp_path)
    assert len(hidden(tmp_path)) == len(theirs) + 1


@given(length=st.integers(1, 250), letter=st.sampled_from("aé"))
def test_any_name_that_the_disk_takes_can_be_written(tmp_path_factory, length, letter):
    folder = tmp_path_factory.mktemp("names")
    path = folder / (letter * (length // len(letter.encode()) or 1) + ".npz")
    with whole_file(path) as beside:
        np.savez(beside, a=np.ones(3))
    assert list(folder.iterdir()) == [path]


@pytest.mark.parametrize("whole", [whole_file, whole_folder])
def test_a_block_that_fails_leaves_nothing(tmp_path, whole):
    (tmp_path / "there").write_text("before")

    def fail():
        with whole(tmp_path / "there") as beside:
            (beside if whole is whole_file else beside / "part").write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (tmp_path / "there").read_text() == "before"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_is_not_there_has_no_left_overs(tmp_path):
    remove_left_overs(tmp_path / "nowhere")
