from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flannel.data.findings import SourceRow
from flannel.data.subset import balanced_subset

ROWS = [
    SourceRow("made-up", Path("set") / f"{number:03d}.png", str(number), str(number), finding, "PA")
    for number, finding in enumerate(["flu"] * 30 + ["cold"] * 4 + ["none"] * 20)
]


@given(st.randoms(use_true_random=False), st.integers(1, 40), st.integers(0, 2**32))
def test_it_is_a_part_with_so_many_of_each_whatever_the_order(shuffle, per_class, seed):
    drawn = balanced_subset(ROWS, per_class, seed)
    shuffled = list(ROWS)
    shuffle.shuffle(shuffled)
    assert balanced_subset(shuffled, per_class, seed) == drawn
    assert len(set(drawn)) == len(drawn)
    assert set(drawn) <= set(ROWS)
    for finding, count in (("flu", 30), ("cold", 4), ("none", 20)):
        assert sum(row.finding == finding for row in drawn) == min(count, per_class)


def test_seed_and_place_of_the_set():
    first = balanced_subset(ROWS, 10, seed=1)
    assert first != balanced_subset(ROWS, 10, seed=2)
    moved = [replace(row, path=Path("elsewhere") / row.path.name) for row in ROWS]
    again = balanced_subset(moved, 10, seed=1)
    assert [row.path.name for row in again] == [row.path.name for row in first]


def test_every_row_of_a_class_can_be_drawn_about_equally_often():
    # 300 draws of 10 of 30: each is expected 100 times, with a deviation of 8.2.
    times = dict.fromkeys((row.patient_id for row in ROWS[:30]), 0)
    for seed in range(300):
        for row in balanced_subset(ROWS[:30], 10, seed):
            times[row.patient_id] += 1
    assert min(times.values()) > 60
    assert max(times.values()) < 140


def test_unfit_rows_are_not_drawn_and_nothing_is_no_subset():
    unfit = [replace(row, unfit="modality CT") for row in ROWS[:29]]
    assert balanced_subset([*unfit, *ROWS[29:30]], 5, seed=0) == ROWS[29:30]
    with pytest.raises(ValueError, match="per_class is 0"):
        balanced_subset(ROWS, 0, seed=0)
