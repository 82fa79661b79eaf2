"""Draws and intervals against plain computations, and by hand."""

import numpy as np
import pytest
from scipy import stats

from flannel import uncertainty
from flannel.uncertainty import (
    Extent,
    area_interval,
    draw_groups,
    few_groups,
    paired_difference,
    percentiles,
    resampled_difference,
    share_interval,
)


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
    counts = draw_groups("abcd", resamples=4000).counts.astype(int)
    # Each of 16,000 draws is one group with probability 1/4; the deviation is 55.
    assert counts.sum(axis=0) == pytest.approx([4000] * 4, abs=4 * 55)
    assert counts.var(axis=0) == pytest.approx([0.75] * 4, rel=0.1)


def test_little_memory_changes_no_draw_and_no_sum(monkeypatch):
    names = [f"group-{i}" for i in range(30)]
    numbers = np.random.default_rng(1).normal(size=(30, 3))
    draws = draw_groups(names, resamples=50)
    expected = draws.counts.astype(float) @ numbers
    monkeypatch.setattr(uncertainty, "AT_ONCE", 100)  # three resamples at once
    blocks = draw_groups(names, resamples=50)
    assert np.array_equal(blocks.counts, draws.counts)
    assert blocks.sums(numbers) == pytest.approx(expected)


def test_an_extent_counts_unequal_groups_as_fewer():
    extent = Extent.of(np.array([2, 2, 0, 2]))
    assert (extent.images, extent.groups, extent.effective) == (6, 3, pytest.approx(3))
    # One of 20 groups has half of the radiographs: 38^2 / (19 + 19^2).
    assert Extent.of(np.r_[np.ones(19), 19]).effective == pytest.approx(3.8)
    assert Extent.of(np.zeros(3)) == Extent(0, 0, 0)


def test_percentiles_by_hand():
    found = percentiles(50, np.r_[np.nan, np.arange(101)], groups=1e6)
    assert (found.value, found.note) == (50, "")
    assert (found.low, found.high) == (pytest.approx(2.5, rel=0.01), pytest.approx(97.5, rel=0.01))
    # Student's t of ten groups: 2.262 and the root of 10 / 9.
    expanded = stats.norm.sf(2.2622 * np.sqrt(10 / 9))
    found = percentiles(50, np.arange(101), groups=10)
    assert found.low == pytest.approx(100 * expanded, rel=1e-3)
    found = percentiles(50, np.r_[np.full(6, np.nan), np.arange(94)], groups=10)
    assert not found.exists
    assert found.note == "no interval: undefined in 6 of 100 resamples"
    assert percentiles(1, np.ones(9), groups=10).note == "no interval: the same in every resample"


def test_few_groups_are_counted():
    assert few_groups(5, "with Normal") == ""
    assert few_groups(1) == "no interval: 1 group of patients, expected at least 5"
    assert few_groups(4, "with Normal") == (
        "no interval: 4 groups of patients with Normal, expected at least 5"
    )


def test_the_interval_of_a_share_is_jeffreys_of_as_many_trials():
    drawn = np.random.default_rng(1).binomial(100, 0.8, 20_000) / 100  # independent trials
    found = share_interval(0.8, drawn, Extent(1000, 90, 90))
    trials = 0.8 * 0.2 / drawn.var()
    assert trials == pytest.approx(100, rel=0.05)
    fewer = trials * 89 / 90 * (1.96 / stats.t(89).ppf(0.975)) ** 2
    expected = stats.beta(0.8 * fewer + 0.5, 0.2 * fewer + 0.5).ppf([0.025, 0.975])
    assert (found.low, found.high) == pytest.approx(expected.tolist(), rel=1e-4)
    # No more trials than radiographs, however little the resamples differ.
    capped = share_interval(0.8, 0.8 + 0.001 * drawn, Extent(50, 10**6, 1e6))
    expected = stats.beta(40.5, 10.5).ppf([0.025, 0.975])
    assert (capped.low, capped.high) == pytest.approx(expected.tolist(), rel=1e-4)


def test_no_error_gives_a_bound_by_the_rule_of_three():
    found = share_interval(1.0, np.ones(100), Extent(500, 300, 300.0))
    assert found.at_least
    assert not found.at_most
    assert found.low == pytest.approx(1 - 3 / 300, abs=1e-4)
    assert (found.high, found.note) == (1, "no error in 300 groups of patients")
    found = share_interval(0.0, np.zeros(100), Extent(9, 7, 6.0))
    assert found.at_most
    assert (found.low, found.high) == (0, pytest.approx(1 - 0.05 ** (1 / 6)))
    assert found.note == "none right in 7 groups of patients"


def test_the_interval_of_an_area_solves_newcombes_equation():
    ill, well = Extent(10, 10, 10.0), Extent(40, 40, 40.0)
    found = area_interval(0.9, np.full(100, 0.9), ill, well)
    for end in (found.low, found.high):
        spread = 1 + 24 * ((1 - end) / (2 - end) + end / (1 + end))
        error = np.sqrt(end * (1 - end) * spread / 400)
        assert abs(end - 0.9) == pytest.approx(1.96 * error, rel=0.02)
    varied = 0.9 + np.random.default_rng(1).normal(0, 0.1, 1000)
    wider = area_interval(0.9, varied, ill, well)
    assert wider.low < found.low
    perfect = area_interval(1.0, np.ones(100), ill, well)
    assert perfect.at_least
    assert 0.7 < perfect.low < 1
    assert perfect.note == "no error in 10 groups of patients"


def test_a_paired_difference_by_hand():
    drawn = np.array([0.0, 0.2] * 50)
    found = paired_difference(0.1, drawn, groups=8, change=0.5)
    error = np.sqrt((8**2 * 0.01 + 2 * 0.5**2) / 10 / 9)  # eight groups and two more
    half = stats.t(9).ppf(0.975) * error
    assert (found.interval.low, found.interval.high) == pytest.approx((0.1 - half, 0.1 + half))
    assert found.p == pytest.approx(2 * stats.t(9).sf(0.1 / error))


def test_a_paired_difference_of_independent_pairs_is_bonett_and_prices():
    """Their table: 5 and 11 discordant of 60 pairs, each raised by one of 62."""
    pairs = np.repeat([1, -1, 0], [11, 5, 44])
    draws = draw_groups([str(place) for place in range(60)], resamples=20_000)
    drawn = draws.sums(pairs[:, None].astype(float))[:, 0] / 60
    found = paired_difference(6 / 60, drawn, groups=60)
    more, fewer = 12 / 62, 6 / 62
    half = 1.96 * np.sqrt((more + fewer - (more - fewer) ** 2) / 62)
    assert found.interval.high - found.interval.low == pytest.approx(2 * half, rel=0.03)


def test_rows_that_are_right_alike_differ_by_less_with_more_groups():
    widths = []
    for groups in (10, 40):
        found = paired_difference(0.0, np.zeros(100), groups)
        assert found.interval.low < 0 < found.interval.high
        assert found.p == 1
        widths.append(found.interval.high)
    assert widths[1] < widths[0] / 3
    assert paired_difference(0.0, np.zeros(100), groups=1).interval.high == 1


def test_a_resampled_difference_has_a_p_value_only_with_its_interval():
    drawn = np.r_[np.full(4, -1.0), np.full(95, 1.0)]
    assert resampled_difference(0.9, drawn, groups=1e7).p == pytest.approx(2 * 5 / 100, rel=1e-3)
    few = resampled_difference(0.9, drawn, groups=6)
    assert few.p > 0.1
    assert (few.interval.low > 0) == (few.p < 0.05)
    assert np.isnan(resampled_difference(0.9, np.full(99, 0.9), groups=6).p)
