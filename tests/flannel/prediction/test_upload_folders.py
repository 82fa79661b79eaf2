import os
import signal
import subprocess
import sys
import tempfile
import threading

import pytest

from flannel.prediction.upload_folders import (
    MARK,
    PREFIX,
    empty_upload_folders,
    remove_left_uploads,
    upload_folder,
)

HOLD = """
import sys, time
from flannel.prediction.upload_folders import upload_folder
with upload_folder() as folder:
    (folder / "chest.png").write_bytes(b"RADIOGRAPH")
    (folder / "chest.png.opinion").mkdir()
    (folder / "chest.png.opinion" / "lungs.png").write_bytes(b"RADIOGRAPH")
    print(flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def room(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def holder(room):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD],
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(room)},
    )
    assert process.stdout.readline() == b"\n"
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("fault", [None, RuntimeError])
def test_a_folder_lives_as_long_as_its_block(room, fault):
    def use():
        with upload_folder() as folder:
            (folder / "a.png").write_bytes(b"x")
            assert remove_left_uploads() == 0
            assert (folder / "a.png").is_file()
            if fault:
                raise fault

    if fault:
        with pytest.raises(fault):
            use()
    else:
        use()
    assert list(room.iterdir()) == []


def test_what_a_killed_process_left_is_deleted_and_what_a_living_one_holds_is_not(room, holder):
    assert remove_left_uploads() == 0
    assert sum(path.is_file() for path in room.rglob("*.png")) == 2
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert sum(path.is_file() for path in room.rglob("*.png")) == 2
    assert remove_left_uploads() == 1
    assert list(room.iterdir()) == []
    assert remove_left_uploads() == 0


def test_what_is_not_of_a_page_stays(room):
    other = room / "elsewhere"
    other.mkdir()
    (other / MARK).touch()
    (other / "notes.txt").touch()
    (room / f"{PREFIX}notes").mkdir()
    (room / f"{PREFIX}notes" / "notes.txt").touch()
    (room / f"{PREFIX}file").touch()
    (room / f"{PREFIX}link").symlink_to(other, target_is_directory=True)
    before = sorted(room.rglob("*"))
    assert remove_left_uploads() == 0
    assert sorted(room.rglob("*")) == before


def test_a_thread_that_goes_on_leaves_no_radiograph(room):
    """The page ends while a network still computes: what came is deleted under it."""
    written, emptied = threading.Event(), threading.Event()

    def work():
        with upload_folder() as folder:
            (folder / "chest.png").write_bytes(b"x")
            (folder / "chest.png.opinion" / "store").mkdir(parents=True)
            written.set()
            emptied.wait()

    thread = threading.Thread(target=work)
    thread.start()
    written.wait()
    empty_upload_folders()
    assert [path.name for path in room.rglob("*") if not path.name.startswith(PREFIX)] == [MARK]
    emptied.set()
    thread.join()
    assert list(room.iterdir()) == []
