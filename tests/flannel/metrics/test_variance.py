"""The parts of a number's variance, against sums written out, and against what was drawn."""

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flannel.errors import FlannelError
from flannel.metrics.variance import variance_parts

NUMBERS = st.floats(0, 1, allow_nan=False, width=32)
FOLDS = st.lists(st.lists(NUMBERS, min_size=1, max_size=4), min_size=1, max_size=5)


@given(FOLDS, st.lists(NUMBERS, min_size=2, max_size=9))
def test_parts_are_mean_squares(folds, drawn):
    values = {place: np.array(each) for place, each in enumerate(folds)}
    found = variance_parts(values, np.array(drawn))
    means = [statistics.fmean(each) for each in folds]
    squares, freedom = 0.0, 0
    for each, mean in zip(folds, means, strict=True):
        for value in each:
            squares += (value - mean) ** 2
        freedom += len(each) - 1
    assert found.mean == pytest.approx(statistics.fmean(means))
    assert (found.lowest, found.highest) == (min(map(min, folds)), max(map(max, folds)))
    assert found.patients == pytest.approx(statistics.stdev(drawn), abs=1e-9)
    assert found.folds_alone == (freedom > 0)
    if freedom:
        assert found.training == pytest.approx((squares / freedom) ** 0.5, abs=1e-9)
    else:
        assert np.isnan(found.training)
    if len(folds) == 1:
        assert np.isnan(found.folds)
    else:
        left = statistics.variance(means)
        if freedom:
            left -= squares / freedom * statistics.fmean(1 / len(each) for each in folds)
        assert found.folds == pytest.approx(max(left, 0) ** 0.5, abs=1e-7)


def test_the_deviations_that_were_drawn_are_found():
    rng = np.random.default_rng(1)
    folds = 0.7 + 0.03 * rng.standard_normal(400)
    values = {fold: mean + 0.02 * rng.standard_normal(3) for fold, mean in enumerate(folds)}
    found = variance_parts(values, np.full(9, 0.7))
    assert found.training == pytest.approx(0.02, rel=0.05)
    assert found.folds == pytest.approx(0.03, rel=0.1)
    assert found.patients == 0


def test_resamples_without_a_value_are_left_out():
    found = variance_parts({0: np.array([0.5])}, np.array([np.nan, 0.4, 0.6]))
    assert found.patients == pytest.approx(0.2 / 2**0.5)
    assert np.isnan(variance_parts({0: np.array([0.5])}, np.full(3, np.nan)).patients)


def test_nothing_has_no_variance():
    with pytest.raises(FlannelError, match="values is empty"):
        variance_parts({0: np.array([])}, np.zeros(2))
