import numpy as np
import pytest

from flannel.metrics.intervals import draw_groups, few_groups, percentiles


def test_groups_are_drawn_whole_and_again_the_same():
    draws = draw_groups(["b", "a", "b", "c"], resamples=50)
    assert draws.groups == ("a", "b", "c")
    assert (draws.counts.sum(axis=1) == 3).all()
    again = draw_groups(["c", "b", "a"], resamples=50)
    assert np.array_equal(draws.counts, again.counts)
    assert not np.array_equal(draws.counts, draw_groups("abc", resamples=50, seed=2).counts)
    with pytest.raises(ValueError, match="groups is empty"):
        draw_groups([])


def test_every_group_is_drawn_equally_often():
    counts = draw_groups("abcd", resamples=4000).counts
    # Each of 16,000 draws is one group with probability 1/4; the deviation is 55.
    assert counts.sum(axis=0) == pytest.approx([4000] * 4, abs=4 * 55)
    assert counts.var(axis=0) == pytest.approx([0.75] * 4, rel=0.1)


def test_percentiles_by_hand():
    low, high, note = percentiles(np.r_[np.nan, np.arange(101)])
    assert (low, high, note) == (pytest.approx(2.5), pytest.approx(97.5), "")
    low, high, note = percentiles(np.r_[np.full(6, np.nan), np.arange(94)])
    assert np.isnan([low, high]).all()
    assert note == "no interval: undefined in 6 of 100 resamples"


def test_few_groups_are_named():
    assert few_groups("Normal", 10) == ""
    assert few_groups("Normal", 1) == "a rough interval: 1 group of patients with Normal"
    assert few_groups("Normal", 9) == "a rough interval: 9 groups of patients with Normal"
