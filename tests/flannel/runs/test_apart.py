import os
import threading

import pytest

from flannel.errors import RunError
from flannel.runs.queue import apart


def test_work_is_done_in_another_process_and_waited_for(tmp_path):
    apart(lambda: (tmp_path / "who.txt").write_text(str(os.getpid())))
    assert int((tmp_path / "who.txt").read_text()) != os.getpid()


def test_no_thread_of_the_work_stays():
    before = threading.active_count()
    apart(lambda: threading.Thread(target=lambda: None).start())
    assert threading.active_count() == before


def test_what_went_wrong_is_said():
    def in_a_sentence():
        raise RunError("The masks are missing. Make them first.")

    with pytest.raises(RunError, match=r"^The masks are missing"):
        apart(in_a_sentence)
    with pytest.raises(RunError, match=r"^ZeroDivisionError: "):
        apart(lambda: 1 / 0)


def test_a_killed_part_is_told():
    with pytest.raises(RunError, match=r"killed \(exit code -9\)"):
        apart(lambda: os.kill(os.getpid(), 9))
