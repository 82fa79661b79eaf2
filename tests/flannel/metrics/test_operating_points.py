"""Operating points by hand and by scikit-learn's ROC curve."""

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from flannel.data.diagnosis import FLANNEL
from flannel.metrics.operating_points import FoldPoint, operating_point, threshold_at
from flannel.uncertainty import Extent, draw_groups, share_interval

COVID, _, _, NORMAL = FLANNEL


def rows(scores, positives, name="test"):
    """Rows of which the first `positives` have COVID-19; every second pair shares a patient."""
    return pd.DataFrame(
        {
            "image_id": [f"{name}-{i}" for i in range(len(scores))],
            "group": [f"{name}-{i // 2}" for i in range(len(scores))],
            "diagnosis": [COVID] * positives + [NORMAL] * (len(scores) - positives),
            f"p_{COVID}": scores,
        }
    )


def random_rows(seed, images=200, positives=60):
    draw = np.random.default_rng(seed)
    return rows(draw.normal(size=images) + 1.5 * (np.arange(images) < positives), positives)


def test_the_lowest_threshold_that_reaches_the_specificity():
    score = np.array([0.9, 0.1, 0.2, 0.2, 0.3])
    positive = np.array([True, False, False, False, False])
    assert [threshold_at(score, positive, wanted) for wanted in (0.2, 0.5, 0.75, 0.8, 1)] == [
        0.1, 0.2, 0.2, 0.3, 0.3,
    ]  # fmt: skip


@pytest.mark.parametrize("steps", [8, 1_000_000])
def test_scikit_learns_curve_has_the_same_point(steps):
    table = random_rows(3)
    score = np.round(table[f"p_{COVID}"].to_numpy() * steps) / steps
    positive = (table["diagnosis"] == COVID).to_numpy()
    threshold = threshold_at(score, positive, 0.95)
    false, true, _ = roc_curve(positive, score, drop_intermediate=False)
    assert (score[~positive] > threshold).mean() <= 0.05
    assert (score[positive] > threshold).mean() == true[false <= 0.05].max()


def test_a_share_that_is_a_whole_number_stays_one():
    """0.56 times 25 is 14.000000000000002 in floating point."""
    assert threshold_at(np.arange(25.0), np.zeros(25, bool), 0.56) == 13


@settings(max_examples=50)
@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=12),
    st.integers(1, 1000),
)
def test_any_specificity_is_reached_by_the_lowest_threshold(scores, thousandths):
    wanted = Fraction(thousandths, 1000)
    reached = [
        one for one in scores if Fraction(sum(o <= one for o in scores), len(scores)) >= wanted
    ]
    score = np.array(scores, float)
    assert threshold_at(score, np.zeros(len(scores), bool), float(wanted)) == min(reached)
    assert threshold_at(score, np.zeros(len(scores), bool), 1e-12) == min(scores)


def test_thresholds_come_from_validation_and_numbers_from_test():
    validation = rows([0.8, 0.1, 0.2, 0.3, 0.4], 1)
    test = rows([0.35, 0.25, 0.9, 0.05, 0.5, 0.1], 3)
    draws = draw_groups(test["group"], resamples=400)
    found = operating_point({0: test}, {0: validation}, draws, COVID, FLANNEL, specificity=0.75)
    assert found.folds == {0: FoldPoint(0.3, pytest.approx(2 / 3), pytest.approx(2 / 3))}
    assert found.sensitivity.value == pytest.approx(2 / 3)


def test_the_interval_equals_repeated_rows():
    tests, validations = ({k: random_rows(s + k) for k in (0, 1)} for s in (10, 20))
    draws = draw_groups(tests[0]["group"], resamples=60)
    found = operating_point(tests, validations, draws, COVID, FLANNEL)
    drawn = []
    for counts in draws.counts:
        each = []
        for fold, table in tests.items():
            many = dict(zip(draws.groups, counts.astype(int), strict=True))
            again = table.loc[table.index.repeat(table["group"].map(many))]
            ill = again[f"p_{COVID}"][again["diagnosis"] == COVID]
            each.append((ill > found.folds[fold].threshold).mean())
        drawn.append(np.mean(each))
    groups = tests[0]["group"][tests[0]["diagnosis"] == COVID].value_counts()
    extent = Extent.of(groups.to_numpy())
    expected = share_interval(found.sensitivity.value, np.array(drawn), extent)
    assert found.sensitivity.low == pytest.approx(expected.low)
    assert found.sensitivity.high == pytest.approx(expected.high)
    assert found.sensitivity.value == pytest.approx(
        np.mean([point.sensitivity for point in found.folds.values()])
    )
    assert found.specificity.low < 0.95 < found.specificity.high


def test_folds_without_the_diagnosis_are_left_out_by_name():
    tests = {0: random_rows(1), 1: random_rows(2, positives=0)}
    draws = draw_groups(tests[0]["group"], resamples=50)
    found = operating_point(tests, {0: random_rows(3), 1: random_rows(4)}, draws, COVID, FLANNEL)
    assert list(found.folds) == [0]
    assert found.sensitivity.note == "fold 1: left out, no radiograph is COVID-19"
    none = operating_point({1: tests[1]}, {1: random_rows(4)}, draws, COVID, FLANNEL)
    assert np.isnan([none.sensitivity.value, none.specificity.low]).all()


def test_what_has_no_operating_point_is_refused():
    table = random_rows(1)
    draws = draw_groups(table["group"], resamples=5)
    with pytest.raises(ValueError, match="no validation rows of fold 0"):
        operating_point({0: table}, {}, draws, COVID, FLANNEL)
    with pytest.raises(ValueError, match=r"specificity is 95; expected"):
        operating_point({0: table}, {0: table}, draws, COVID, FLANNEL, specificity=95)
    with pytest.raises(ValueError, match="nothing sets a limit"):
        operating_point({0: table}, {0: random_rows(2, positives=200)}, draws, COVID, FLANNEL)
    with pytest.raises(ValueError, match="'Flu' is not in the label set"):
        operating_point({0: table}, {0: table}, draws, diagnosis="Flu", diagnoses=FLANNEL)
