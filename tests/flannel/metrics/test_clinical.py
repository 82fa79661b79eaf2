import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from flannel.metrics.classification import MeasureError
from flannel.metrics.clinical import net_benefit, predictive_values, recalibration


def drawn(seed, add=0.0, times=1.0, images=400):
    """Probabilities whose log odds are the true ones, stretched and shifted."""
    random = np.random.default_rng(seed)
    odds = random.normal(0, 1.5, images)
    positive = random.random(images) < 1 / (1 + np.exp(-odds))
    return 1 / (1 + np.exp(-(times * odds + add))), positive


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_slope_is_that_of_a_logistic_regression(seed):
    probability, positive = drawn(seed)
    odds = np.log(probability / (1 - probability))
    model = LogisticRegression(C=1e9, tol=1e-10).fit(odds[:, None], positive)
    assert recalibration(probability, positive).slope == pytest.approx(model.coef_[0, 0], abs=1e-4)


def test_shifts_and_stretches_are_taken_back():
    plain = recalibration(*drawn(5, images=4000))
    assert plain.slope == pytest.approx(1, abs=0.1)
    assert plain.intercept == pytest.approx(0, abs=0.1)
    assert recalibration(*drawn(5, times=2, images=4000)).slope == pytest.approx(
        plain.slope / 2, rel=0.02
    )
    assert recalibration(*drawn(5, add=0.7, images=4000)).intercept == pytest.approx(
        plain.intercept - 0.7, abs=0.02
    )


def test_as_many_are_expected_as_there_are():
    probability, positive = drawn(7, add=1, times=2)
    odds = np.log(probability / (1 - probability))
    add = recalibration(probability, positive).intercept
    clipped = np.clip(odds, np.log(0.001 / 0.999), np.log(0.999 / 0.001))
    assert (1 / (1 + np.exp(-(clipped + add)))).sum() == pytest.approx(positive.sum(), abs=1e-6)


def test_what_has_no_slope_has_none():
    positive = np.array([True, True, False, False])
    assert np.isnan(recalibration(np.array([0.9, 0.8, 0.2, 0.1]), positive).slope)
    assert np.isnan(recalibration(np.array([0.1, 0.2, 0.8, 0.9]), positive).slope)
    alike = recalibration(np.full(4, 0.25), positive)
    assert np.isnan(alike.slope)
    assert alike.intercept == pytest.approx(np.log(3))  # from odds of 1 to 3 to even odds
    assert np.isnan(recalibration(np.array([0.9, 0.8]), np.array([True, True])).intercept)
    assert np.isnan(recalibration(np.zeros(0), np.zeros(0, bool)).slope)


def test_net_benefit_by_hand():
    probability = np.array([0.9, 0.4, 0.6, 0.1])
    positive = np.array([True, True, False, False])
    # From 0.5 on: one of four right, one wrong, weighed 1; from 0.2 on: two right, one at 1 / 4.
    found = net_benefit(probability, positive, np.array([0.5, 0.2]))
    assert found == pytest.approx([0, 2 / 4 - 1 / 16])
    everybody = net_benefit(np.ones(4), positive, np.array([0.0, 0.5]))
    assert everybody == pytest.approx([0.5, 0])
    with pytest.raises(MeasureError, match="expected some radiographs, and thresholds in"):
        net_benefit(probability, positive, np.array([1.0]))


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))
def test_predictive_values_are_those_of_a_table_of_that_prevalence(tp, fn, fp, tn):
    if not (tp + fn and fp + tn):
        return
    prevalence = (tp + fn) / (tp + fn + fp + tn)
    found = predictive_values(tp / (tp + fn), tn / (tn + fp), prevalence)
    expected = [
        share / total if total else np.nan for share, total in ((tp, tp + fp), (tn, tn + fn))
    ]
    assert found == pytest.approx(expected, nan_ok=True)


def test_a_rare_diagnosis_has_a_low_positive_predictive_value():
    assert predictive_values(0.9, 0.95, 0.01) == pytest.approx((0.1538, 0.9989), abs=1e-4)
