"""The demo's frame: its outlook, its stages' output, and what it refuses beforehand."""

import resource
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flannel.__main__ import main
from flannel.commands import demo
from flannel.commands.demo import DemoStage, check_room, free_memory_gb, run_stages, time_left
from flannel.errors import RunError

GB = 10**9


def test_stages_speak_into_the_log_and_one_progress_is_shown(tmp_path, capsys):
    def fail():
        print("nearly")
        raise RunError("No lungs. Draw some.")

    log = tmp_path / "study" / "demo.log"
    fine = DemoStage("draw", (1, 1), lambda: print("drawn", file=sys.stderr))
    run_stages([fine, fine], [1, 1], log)
    assert [line for line in log.read_text().splitlines() if "took" not in line] == [
        "--- draw", "drawn", "--- draw", "drawn",
    ]  # fmt: skip
    assert "2 of 2 stages in " in capsys.readouterr().out
    with pytest.raises(RunError, match=r"Draw some\.\nIt failed in the stage 'learn': .*demo\.log"):
        run_stages([fine, DemoStage("learn", (1, 1), fail), fine], [1, 1, 1], log)
    assert log.read_text().endswith("nearly\n")
    assert "1 of 3 stages" in capsys.readouterr().out


@given(
    st.lists(st.floats(0.1, 1e4), min_size=1, max_size=9),
    st.data(),
    st.floats(0, 1e4),
    st.floats(0, 1e4),
)
def test_the_time_left_is_positive_and_falls_with_the_clock(seconds, data, before, since):
    done = data.draw(st.integers(0, len(seconds) - 1))
    left = time_left(seconds, done, before, before + since)
    assert 0 < left <= time_left(seconds, done, before, before) + 1e-6


def test_the_time_left_by_hand():
    assert time_left([10, 20, 30], 0, 0, 0) == 60  # as planned
    assert time_left([30, 20, 30], 1, 90, 90) == 100  # at half the pace: (90 + 30) / (30 + 30)
    assert time_left([30, 20, 30], 1, 30, 40) == 40
    assert time_left([30, 20, 30], 1, 30, 90) == 31  # later than planned


def _machine(root, available, *limits):
    files = {
        "proc/meminfo": f"MemTotal: 99999999 kB\nMemAvailable: {available // 1024} kB\n",
        "proc/self/cgroup": "0::/job/step\n",
        **dict(limits),
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_free_memory_is_the_least_of_what_is_left_and_what_is_allowed(tmp_path, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (resource.RLIM_INFINITY,) * 2)
    assert free_memory_gb(tmp_path) is None
    _machine(tmp_path, 8 * GB)
    assert free_memory_gb(tmp_path) == pytest.approx(8, abs=1e-3)
    _machine(tmp_path, 8 * GB, ("sys/fs/cgroup/job/step/memory.max", "max\n"))
    assert free_memory_gb(tmp_path) == pytest.approx(8, abs=1e-3)
    _machine(tmp_path, 8 * GB, ("sys/fs/cgroup/job/memory.max", f"{4 * GB}\n"))
    assert free_memory_gb(tmp_path) == 4
    old = ("sys/fs/cgroup/memory/job/memory.limit_in_bytes", f"{2 * GB}\n")
    _machine(tmp_path, 8 * GB, old, ("proc/self/cgroup", "3:memory:/job\n1:cpu:/\n"))
    assert free_memory_gb(tmp_path) == 2
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (GB, GB))
    assert free_memory_gb(tmp_path) == 1


def test_too_little_memory_or_disk_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "free_memory_gb", lambda: 2.5)
    with pytest.raises(RunError, match=r"needs 3\.0 GB of memory, and 2\.5 GB are free"):
        check_room(tmp_path, 3.0, 0.1)
    check_room(tmp_path / "not" / "yet", 2.0, 0.001)
    with pytest.raises(RunError, match=r"needs 1000000\.0 GB of disk"):
        check_room(tmp_path / "not" / "yet", 2.0, 1e6)


def test_an_unknown_learner_is_refused_before_anything_is_written(tmp_path, capsys):
    experiments = Path(__file__).parents[3] / "experiments"
    words = [f"--study={tmp_path / 'demo'}", f"--experiments={experiments}"]
    assert main(["demo", "--learner=densenet1", *words]) == 1
    assert "There is no recipe" in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()
