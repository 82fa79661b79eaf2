import threading
import time

import pytest

from flannel.data.file_checks import RadiographError
from flannel.data.parallel import in_threads


def test_faults_come_in_the_order_of_the_rows_and_stop_nothing():
    done = []

    def work(row):
        if row % 3 == 0:
            raise RadiographError(f"{row} is bad.")
        done.append(row)

    assert in_threads(work, range(7), 3, "Working") == ["0 is bad.", "3 is bad.", "6 is bad."]
    assert sorted(done) == [1, 2, 4, 5]
    assert in_threads(work, [], 3, "Working") == []


def test_another_error_stops_the_rest():
    begun, first = [], threading.Event()

    def work(row):
        begun.append(row)
        if row == 0:
            first.set()
            raise OSError("full")
        first.wait()
        time.sleep(0.001)

    with pytest.raises(OSError, match="full"):
        in_threads(work, range(5000), 2, "Working")
    assert len(begun) < 5000
