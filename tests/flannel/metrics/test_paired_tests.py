"""Paired tests against scipy, a loop over all pairs, and numbers by hand."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, t
from sklearn.metrics import roc_auc_score

from flannel.data.diagnosis import FLANNEL
from flannel.metrics.paired_tests import delong, fold_averaged, mcnemar, paired_tests

COVID, VIRAL, BACTERIAL, NORMAL = FLANNEL
COLUMNS = [f"p_{name}" for name in FLANNEL]


@pytest.mark.parametrize(("b", "c"), [(0, 0), (3, 3), (1, 9), (12, 2), (0, 5)])
def test_mcnemar_of_single_radiographs_equals_the_binomial_test(b, c):
    first = np.repeat([True, False, True, False], [b, c, 4, 2])
    second = np.repeat([False, True, True, False], [b, c, 4, 2])
    tested = mcnemar(first, second, np.arange(len(first)))
    assert (tested.first_only, tested.second_only) == (b, c)
    expected = binomtest(b, b + c, 0.5).pvalue if b + c else 1
    assert tested.p == pytest.approx(expected)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 7)), min_size=1, max_size=24)
)
def test_mcnemar_over_groups_equals_all_swaps_of_the_learners(radiographs):
    first, second, groups = (np.array(column) for column in zip(*radiographs, strict=True))
    surpluses = [
        int(second[groups == group].sum()) - int(first[groups == group].sum())
        for group in set(groups.tolist())
    ]
    observed = abs(sum(surpluses))
    sums = [
        abs(sum(sign * surplus for sign, surplus in zip(signs, surpluses, strict=True)))
        for signs in itertools.product((-1, 1), repeat=len(surpluses))
    ]
    expected = sum(one >= observed for one in sums) / len(sums)
    assert mcnemar(first, second, groups).p == pytest.approx(expected)


def obuchowski(first, second, positive, groups):
    """Obuchowski (1997) over all pairs of radiographs, with covariances of the two areas."""
    names = sorted(set(groups.tolist()))
    m, n = positive.sum(), (~positive).sum()
    ill_sums, well_sums, areas = [], [], []
    for score in (first, second):
        pairs = (score[positive][:, None] > score[~positive]) + 0.5 * (
            score[positive][:, None] == score[~positive]
        )  # (positives, negatives)
        areas.append(pairs.mean())
        of_ill = pairs.mean(axis=1) - areas[-1]
        of_well = pairs.mean(axis=0) - areas[-1]
        ill_sums.append([of_ill[groups[positive] == name].sum() for name in names])
        well_sums.append([of_well[groups[~positive] == name].sum() for name in names])
    ill, well = (np.array(sums[1]) - np.array(sums[0]) for sums in (ill_sums, well_sums))
    i10, i01 = (len(set(groups[kind].tolist())) for kind in (positive, ~positive))
    s10 = i10 / ((i10 - 1) * m) * (ill**2).sum()
    s01 = i01 / ((i01 - 1) * n) * (well**2).sum()
    s11 = len(names) / (len(names) - 1) * (ill * well).sum()
    return areas, np.sqrt(s10 / m + s01 / n + 2 * s11 / (m * n))


@pytest.mark.parametrize("steps", [6, 10_000])
@pytest.mark.parametrize("groups", [20, 80])
def test_delong_over_groups_equals_the_loop_over_all_pairs(steps, groups):
    generator = np.random.default_rng(3)
    positive = generator.random(80) < 0.3
    owner = np.arange(80) % groups  # of 20 groups, some have radiographs of both kinds
    first = np.round((generator.normal(size=80) + positive) * steps) / steps
    second = np.round((first + generator.normal(size=80) + 0.5 * positive) * steps) / steps
    tested = delong(first, second, positive, owner)
    (area, other), error = obuchowski(first, second, positive, owner)
    assert (tested.first, tested.second) == pytest.approx((area, other))
    assert tested.first == pytest.approx(roc_auc_score(positive, first))
    assert tested.error == pytest.approx(error)
    fewer = min(len(set(owner[kind])) for kind in (positive, ~positive))
    assert tested.p == pytest.approx(2 * t.sf(abs(other - area) / error, fewer - 1))


def test_delong_of_single_radiographs_has_delongs_error():
    """The variance as DeLong, DeLong and Clarke-Pearson (1988) write it."""
    generator = np.random.default_rng(4)
    positive = np.arange(50) < 20
    scores = generator.normal(size=(2, 50)) + positive
    placed = [(one[:20, None] > one[20:]).astype(float) for one in scores]
    ill, well = (np.cov([pairs.mean(axis=axis) for pairs in placed]) for axis in (1, 0))
    variance = sum(part[0, 0] + part[1, 1] - 2 * part[0, 1] for part in (ill / 20, well / 30))
    assert delong(*scores, positive, np.arange(50)).error == pytest.approx(np.sqrt(variance))


def test_repeated_radiographs_of_the_same_patients_prove_nothing_more():
    generator = np.random.default_rng(5)
    positive = np.arange(60) < 20
    first, second = generator.normal(size=(2, 60)) + positive
    once = delong(first, second, positive, np.arange(60))
    again = [np.tile(values, 4) for values in (first, second, positive, np.arange(60))]
    assert delong(*again).error == pytest.approx(once.error)
    assert delong(*again).p == pytest.approx(once.p)
    right = first > 0, second > 0
    patients = np.tile(np.arange(60), 4)
    many = mcnemar(*(np.tile(values, 4) for values in right), patients)
    assert many.p == pytest.approx(mcnemar(*right, np.arange(60)).p)


def test_delong_has_nothing_to_say_of_few_groups_or_equal_scores():
    score, positive = np.array([0.1, 0.2, 0.3]), np.array([False, False, True])
    assert np.isnan(delong(score, score, positive, np.arange(3)).p)
    twelve = np.arange(12) / 12
    alike = delong(twelve, twelve, twelve > 0.5, np.arange(12))
    assert alike.error == 0
    assert np.isnan(alike.p)  # no uncertainty is known, so nothing is tested
    shuffled = np.random.default_rng(1).permutation(twelve)
    few = delong(twelve, shuffled, twelve > 0.7, np.arange(12))
    assert few.error > 0
    assert np.isnan(few.p)  # three radiographs with the diagnosis


def test_two_against_two_that_change_alike_have_no_p_value_and_it_is_told():
    truth = (COVID, COVID, NORMAL, NORMAL)
    first = rows([[0.1, 0, 0, 0.9], [0.2, 0, 0, 0.8], [0.3, 0, 0, 0.7], [0.4, 0, 0, 0.6]], truth)
    second = rows([[0.9, 0, 0, 0.1], [0.8, 0, 0, 0.2], [0.3, 0, 0, 0.7], [0.4, 0, 0, 0.6]], truth)
    table = paired_tests({0: first}, {0: second}, FLANNEL)
    row = table[(table["test"] == "delong") & (table["class"] == COVID)].iloc[0]
    assert (row["first"], row["second"]) == (0, 1)
    assert np.isnan(row["p"])
    assert np.isnan(row["p_holm"])
    assert row["note"] == "no group changes its place, so no error is known"


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
    assert (
        by.loc["delong", VIRAL]["note"]
        == "0 groups of patients with Viral pneumonia and 16 without: too few"
    )
    assert len(found) == 9


def test_other_radiographs_cannot_be_paired():
    with pytest.raises(ValueError, match="no fold in common"):
        paired_tests({0: rows(np.eye(4))}, {1: rows(np.eye(4))}, FLANNEL)
    with pytest.raises(ValueError, match="different radiographs"):
        paired_tests({0: rows(np.eye(4))}, {0: rows(np.eye(4), name="other")}, FLANNEL)
