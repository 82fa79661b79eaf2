"""Paired tests against scipy, a loop over all pairs, and numbers by hand."""

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm
from sklearn.metrics import roc_auc_score

from flannel.data.diagnosis import FLANNEL
from flannel.metrics.significance import delong, fold_averaged, holm, mcnemar, paired_tests

COVID, VIRAL, BACTERIAL, NORMAL = FLANNEL
COLUMNS = [f"p_{name}" for name in FLANNEL]


def test_holm_by_hand():
    # Sorted: .01 x 4, .02 x 3 = .06, .03 x 2 = .06, .5 x 1.
    assert holm(np.array([0.03, 0.01, 0.5, 0.02])) == pytest.approx([0.06, 0.04, 0.5, 0.06])


def test_holm_leaves_out_what_was_not_tested_and_ends_at_one():
    found = holm(np.array([np.nan, 0.6, 0.7]))
    assert np.isnan(found[0])
    assert found[1:].tolist() == [1, 1]


@pytest.mark.parametrize(("b", "c"), [(0, 0), (3, 3), (1, 9), (12, 2), (0, 5)])
def test_mcnemar_equals_the_binomial_test(b, c):
    first = np.repeat([True, False, True, False], [b, c, 4, 2])
    second = np.repeat([False, True, True, False], [b, c, 4, 2])
    found = mcnemar(first, second)
    assert (found.first_only, found.second_only) == (b, c)
    expected = binomtest(b, b + c, 0.5).pvalue if b + c else 1
    assert found.p == pytest.approx(expected)


def by_pairs(first, second, positive):
    """DeLong's test as their paper writes it, over all pairs of radiographs."""
    m, n = positive.sum(), (~positive).sum()
    placed = [
        (score[positive][:, None] > score[~positive])
        + 0.5 * (score[positive][:, None] == score[~positive])
        for score in (first, second)
    ]  # each (positives, negatives)
    areas = [pairs.mean() for pairs in placed]
    of_positives = [pairs.mean(axis=1) - area for pairs, area in zip(placed, areas, strict=True)]
    of_negatives = [pairs.mean(axis=0) - area for pairs, area in zip(placed, areas, strict=True)]
    variance = sum(
        sign * ((v[i] * v[j]).sum() / (count - 1) / count)
        for v, count in ((of_positives, m), (of_negatives, n))
        for i, j, sign in ((0, 0, 1), (1, 1, 1), (0, 1, -2))
    )
    return areas, np.sqrt(variance)


@pytest.mark.parametrize("steps", [6, 10_000])
def test_delong_equals_the_loop_over_all_pairs(steps):
    generator = np.random.default_rng(3)
    positive = generator.random(80) < 0.3
    first = np.round((generator.normal(size=80) + positive) * steps) / steps
    second = np.round((first + generator.normal(size=80) + 0.5 * positive) * steps) / steps
    found = delong(first, second, positive)
    (area, other), error = by_pairs(first, second, positive)
    assert (found.first, found.second) == pytest.approx((area, other))
    assert found.first == pytest.approx(roc_auc_score(positive, first))
    assert found.error == pytest.approx(error)
    assert found.p == pytest.approx(2 * norm.sf(abs(other - area) / error))


def test_delong_has_nothing_to_say_of_one_radiograph_or_equal_scores():
    score, positive = np.array([0.1, 0.2, 0.3]), np.array([False, False, True])
    assert np.isnan(delong(score, score, positive).p)
    four, both = np.array([0.1, 0.4, 0.3, 0.9]), np.array([False, False, True, True])
    assert delong(four, four, both).p == 1


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 3), st.booleans()), min_size=4, max_size=9
    ).filter(lambda rows: min(sum(row[2] for row in rows), sum(not row[2] for row in rows)) >= 2)
)
def test_delong_has_a_p_value_where_the_variance_of_the_difference_has_one(radiographs):
    """The variance in fractions: 0 gives no p value, unless the areas are equal too."""
    ill, well = ([row[:2] for row in radiographs if row[2] is kind] for kind in (True, False))

    def placed(one, other, side):
        return Fraction(int(one[side] > other[side]) * 2 + int(one[side] == other[side]), 2)

    changes = [
        [sum(placed(a, b, 1) - placed(a, b, 0) for b in well) / len(well) for a in ill],
        [sum(placed(a, b, 1) - placed(a, b, 0) for a in ill) / len(ill) for b in well],
    ]
    apart = sum(changes[0]) / len(ill)
    variance = sum(
        sum((one - sum(part) / len(part)) ** 2 for one in part) / (len(part) - 1) / len(part)
        for part in changes
    )
    first, second, positive = (np.array(column) for column in zip(*radiographs, strict=True))
    found = delong(first.astype(float), second.astype(float), positive)
    assert found.second - found.first == pytest.approx(float(apart), abs=1e-12)
    assert found.error == pytest.approx(float(variance) ** 0.5, abs=1e-12)
    if variance:
        assert found.p == pytest.approx(2 * norm.sf(abs(apart) / float(variance) ** 0.5))
        assert found.p > 0
    else:
        assert found.p == 1 if apart == 0 else np.isnan(found.p)


def test_two_against_two_that_change_alike_have_no_p_value_and_it_is_told():
    truth = (COVID, COVID, NORMAL, NORMAL)
    first = rows([[0.1, 0, 0, 0.9], [0.2, 0, 0, 0.8], [0.3, 0, 0, 0.7], [0.4, 0, 0, 0.6]], truth)
    second = rows([[0.9, 0, 0, 0.1], [0.8, 0, 0, 0.2], [0.3, 0, 0, 0.7], [0.4, 0, 0, 0.6]], truth)
    table = paired_tests({0: first}, {0: second}, FLANNEL)
    row = table[(table["test"] == "delong") & (table["class"] == COVID)].iloc[0]
    assert (row["first"], row["second"]) == (0, 1)
    assert np.isnan(row["p"])
    assert np.isnan(row["p_holm"])
    assert row["note"] == (
        f"2 of 4 radiographs are {COVID}; all change alike, so no error is known"
    )


def rows(probabilities, truth=(COVID, VIRAL, NORMAL, NORMAL), name="image"):
    return pd.DataFrame(probabilities, columns=COLUMNS).assign(
        image_id=[f"{name}-{i}" for i in range(len(truth))],
        group=[f"patient-{i}" for i in range(len(truth))],
        diagnosis=truth,
    )


def test_folds_are_averaged_image_by_image():
    first = rows(np.eye(4))
    second = rows(np.full((4, 4), 0.25))[::-1]
    averaged = fold_averaged({0: first, 1: second}, FLANNEL)
    assert averaged["image_id"].tolist() == [f"image-{i}" for i in range(4)]
    assert averaged[COLUMNS].to_numpy() == pytest.approx(np.eye(4) / 2 + 0.125)
    assert averaged["diagnosis"].tolist() == [COVID, VIRAL, NORMAL, NORMAL]
    apart = fold_averaged({0: first, 1: rows(np.full((4, 4), 0.25), name="other")}, FLANNEL)
    assert len(apart) == 8
    assert apart[COLUMNS].to_numpy()[:4] == pytest.approx(np.eye(4))


def test_paired_tests_by_hand():
    truth = (COVID,) * 8 + (NORMAL,) * 8
    right = np.eye(4)[[FLANNEL.index(name) for name in truth]]
    swapped = right.copy()
    swapped[:6] = np.eye(4)[3]  # six of COVID-19 are called normal
    found = paired_tests(
        {0: rows(swapped, truth), 1: rows(swapped, truth)}, {0: rows(right, truth)}, FLANNEL
    )
    by = found.set_index(["test", "class"])
    overall = by.loc["mcnemar", "overall"]
    assert overall["p"] == pytest.approx(2 / 2**6)
    assert overall["difference"] == pytest.approx(6 / 16)
    assert overall["note"] == "right alone: first 0, second 6"
    assert by.loc["mcnemar", COVID]["p_holm"] == pytest.approx(4 * 2 / 2**6)
    assert by.loc["mcnemar", VIRAL]["p"] == 1
    assert by.loc["delong", COVID][["first", "second"]].tolist() == [10 / 16, 1]
    assert np.isnan(by.loc["delong", VIRAL]["p"])
    assert by.loc["delong", VIRAL]["note"] == "0 of 16 radiographs are Viral pneumonia"
    assert len(found) == 9


def test_other_radiographs_cannot_be_paired():
    with pytest.raises(ValueError, match="no fold in common"):
        paired_tests({0: rows(np.eye(4))}, {1: rows(np.eye(4))}, FLANNEL)
    with pytest.raises(ValueError, match="different radiographs"):
        paired_tests({0: rows(np.eye(4))}, {0: rows(np.eye(4), name="other")}, FLANNEL)
