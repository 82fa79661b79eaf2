"""Calibration by hand, by scikit-learn, and on labels drawn from known probabilities."""

import math
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.metrics import brier_score_loss, log_loss

from flannel.data.diagnosis import FLANNEL
from flannel.metrics.calibration import (
    calibrate,
    calibration_error,
    calibration_table,
    fit_temperature,
    reliability,
    top_label,
)
from flannel.metrics.classification import MeasureError

COLUMNS = [f"p_{name}" for name in FLANNEL]


def drawn(images, overconfidence=1.0, seed=1):
    """True diagnoses drawn from softmax(logits); probabilities with the logits overdone."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(size=(images, 4))
    true = (softmax(logits, axis=1).cumsum(axis=1) < draw.random((images, 1))).sum(axis=1)
    return true, softmax(overconfidence * logits, axis=1)


def table(true, probabilities):
    rows = pd.DataFrame(probabilities, columns=COLUMNS)
    return rows.assign(diagnosis=[FLANNEL[i] for i in true])


def test_reliability_and_its_error_by_hand():
    confidence = np.array([0.0, 0.5, 0.6, 0.9, 1.0])
    happened = np.array([False, True, False, True, True])
    low, high = reliability(confidence, happened, bins=2)
    # An edge belongs to the bin below it, as in the original definition.
    assert (low.low, low.high, low.images, low.confidence, low.share) == (0, 0.5, 2, 0.25, 0.5)
    assert (high.images, high.share) == (3, pytest.approx(2 / 3))
    assert high.confidence == pytest.approx(2.5 / 3)
    assert calibration_error((low, high)) == pytest.approx((2 * 0.25 + 3 * (2.5 - 2) / 3) / 5)
    (_, empty, _) = reliability(np.array([0.1, 0.9]), np.array([True, True]), bins=3)
    assert empty.images == 0
    assert np.isnan([empty.confidence, empty.share]).all()
    with pytest.raises(ValueError, match=r"from -0.5 to 1.0; expected \[0, 1\]"):
        reliability(confidence - np.array([0.5, 0, 0, 0, 0]), happened)


@settings(max_examples=60)
@given(
    votes=st.integers(1, 400).flatmap(
        lambda k: st.lists(st.tuples(st.integers(0, k), st.just(k), st.booleans()), min_size=1)
    ),
    bins=st.sampled_from([5, 10, 15, 20]),
)
def test_shares_of_votes_lie_in_the_bins_of_their_fractions(votes, bins):
    """3 of 10 votes are in (0.2, 0.3], in float32 and as a table's 8 digits too."""
    wanted = [max(math.ceil(Fraction(hits, k) * bins) - 1, 0) for hits, k, _ in votes]
    shares = np.array([np.float32(hits) / np.float32(k) for hits, k, _ in votes])
    happened = np.array([true for *_, true in votes])
    read = np.array([float(f"{share:.8g}") for share in shares])
    for confidence in (shares, shares.astype(np.float64), read):
        found = reliability(np.minimum(confidence, 1), happened, bins)
        assert [one.images for one in found] == [wanted.count(place) for place in range(bins)]
    errors = [
        abs(sum(Fraction(h, k) - t for place, (h, k, t) in zip(wanted, votes, strict=True)
                if place == one))
        for one in range(bins)
    ]  # fmt: skip
    assert calibration_error(found) == pytest.approx(float(sum(errors) / len(votes)), abs=1e-6)


def test_probabilities_that_mean_what_they_say_have_little_error():
    true, honest = drawn(8_000)
    _, sure = drawn(8_000, overconfidence=3)
    assert calibration_error(reliability(*top_label(true, honest))) < 0.02
    assert calibration_error(reliability(*top_label(true, sure))) > 0.15


@pytest.mark.parametrize("overconfidence", [0.5, 1.0, 2.5])
def test_the_temperature_undoes_overconfidence(overconfidence):
    true, probabilities = drawn(8_000, overconfidence)
    found = fit_temperature(true, probabilities)
    assert found.value == pytest.approx(overconfidence, rel=0.08)
    assert not found.at_bound
    assert found.apply(probabilities) == pytest.approx(drawn(8_000)[1], abs=0.03)


def test_no_temperature_is_better_than_the_fitted_one():
    true, probabilities = drawn(300, 2)
    found = fit_temperature(true, probabilities)

    def loss(value):
        powers = probabilities ** (1 / value)
        return log_loss(true, powers / powers.sum(axis=1, keepdims=True), labels=range(4))

    losses = [loss(value) for value in np.linspace(1, 4, 40)]
    assert loss(found.value) <= min(losses)
    assert np.argsort(found.apply(probabilities)).tolist() == np.argsort(probabilities).tolist()


def test_shares_of_votes_have_half_a_vote_as_floor():
    true = np.array([0, 1, 2, 3, 0])
    shares = np.array([[8, 2, 0, 0], [3, 7, 0, 0], [5, 0, 5, 0], [0, 0, 0, 10], [0, 10, 0, 0]]) / 10
    found = fit_temperature(true, shares)
    assert found.floor == pytest.approx(0.2 / 2)
    assert np.isfinite(found.apply(shares)).all()
    assert found.apply(shares)[3, :3] == pytest.approx(1 / (3 + 10 ** (1 / found.value)), rel=1e-6)
    assert fit_temperature(true, shares, floor=0.01).floor == 0.01


def test_a_learner_without_an_error_has_no_temperature():
    found = fit_temperature(np.array([0, 1]), np.array([[0.9, 0.1], [0.3, 0.7]]))
    assert found.at_bound


def test_test_rows_are_measured_with_the_temperature_of_validation_rows():
    validation, test = drawn(2000, 3, seed=2), drawn(500, 3, seed=3)
    found = calibrate(table(*test), table(*validation), FLANNEL)
    assert found.temperature == fit_temperature(*validation)
    order = np.argsort(FLANNEL)
    truth = [FLANNEL[i] for i in test[0]]
    for scores, probabilities in (
        (found.before, test[1]),
        (found.after, found.temperature.apply(test[1])),
    ):
        ordered = probabilities[:, order]
        assert scores.log_loss == pytest.approx(log_loss(truth, ordered), rel=1e-6)
        brier = brier_score_loss(truth, ordered, labels=sorted(FLANNEL), scale_by_half=False)
        assert scores.brier == pytest.approx(brier)
        assert sum(one.images for one in scores.bins) == 500
        assert scores.ece == calibration_error(scores.bins)
    assert found.after.log_loss < found.before.log_loss
    assert found.after.ece < found.before.ece


def test_no_rows_are_a_sentence():
    rows = table(*drawn(50))
    with pytest.raises(MeasureError, match="no test rows"):
        calibrate(rows.iloc[:0], rows, FLANNEL)
    with pytest.raises(MeasureError, match="no validation rows"):
        calibrate(rows, rows.iloc[:0], FLANNEL)


def test_the_smallest_number_there_is_has_a_temperature():
    true = np.array([0, 1, 0, 1])
    probabilities = np.array([[1, 5e-324], [5e-324, 1], [5e-324, 1], [0.4, 0.6]])
    found = fit_temperature(true, probabilities)
    assert found.floor > 0
    assert np.isfinite(found.apply(probabilities)).all()


def test_means_of_sigmoids_are_divided_by_their_sum():
    true, probabilities = drawn(50)
    rows, validation = table(true, probabilities), table(*drawn(50, seed=2))
    loud = rows.assign(**{column: 1.7 * rows[column] for column in COLUMNS})
    assert calibrate(loud, validation, FLANNEL).before.ece == pytest.approx(
        calibrate(rows, validation, FLANNEL).before.ece
    )


def test_folds_are_averaged():
    folds = {
        k: calibrate(table(*drawn(80, seed=k)), table(*drawn(80, seed=9)), FLANNEL) for k in (0, 2)
    }
    rows = calibration_table(folds).set_index("measure")
    ece = [one.before.ece for one in folds.values()]
    assert rows.loc["ece", "before"] == pytest.approx(np.mean(ece))
    assert rows.loc["ece", "before_deviation"] == pytest.approx(np.std(ece, ddof=1))
    assert rows.loc["log_loss", "after"] == pytest.approx(
        np.mean([one.after.log_loss for one in folds.values()])
    )
    assert set(rows["folds"]) == {"0, 2"}


@pytest.mark.parametrize("row", [[0, 0, 0, 0], [-0.1, 0.5, 0.3, 0.3]])
def test_logits_are_no_probabilities(row):
    rows = table([0], np.array([row]))
    with pytest.raises(ValueError, match="are these logits"):
        calibrate(rows, table(*drawn(9)), FLANNEL)
    with pytest.raises(ValueError, match="are these logits"):
        calibrate(table(*drawn(9)), rows, FLANNEL)
    with pytest.raises(ValueError, match="no validation rows"):
        calibrate(rows, rows[:0], FLANNEL)
