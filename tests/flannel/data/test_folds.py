import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flannel.data.diagnosis import FLANNEL
from flannel.data.folds import assign_folds, splits_of_fold
from flannel.data.manifest import ManifestError


def cohort(groups_each=12, seed=0, split=""):
    generator = np.random.default_rng(seed)
    rows = [
        (f"{diagnosis[:3]}-{group}-{image}", diagnosis, f"{diagnosis}-{group}")
        for diagnosis in FLANNEL
        for group in range(groups_each)
        for image in range(generator.integers(1, 5))
    ]
    table = pd.DataFrame(rows, columns=["image_id", "diagnosis", "group"])
    return table.assign(split=split, fold=pd.array([pd.NA] * len(rows), "Int64"))


@settings(max_examples=25, deadline=None)
@given(st.integers(8, 30), st.integers(0, 10_000), st.integers(2, 5))
def test_no_group_lies_in_two_splits(groups_each, seed, folds):
    table = assign_folds(cohort(groups_each, seed), "patient", seed, folds)
    parts = table["fold"].fillna(-1)
    assert (parts.groupby(table["group"]).nunique() == 1).all()
    assert ((table["split"] == "test") == table["fold"].isna()).all()
    for part in range(-1, folds):
        assert set(table["diagnosis"][parts == part]) == set(FLANNEL)


def test_shares_are_those_of_the_paper():
    table = assign_folds(cohort(60), "patient", seed=1)
    shares = splits_of_fold(table, 0).value_counts(normalize=True)
    assert shares["test"] == pytest.approx(0.20, abs=0.02)
    assert shares["val"] == pytest.approx(0.16, abs=0.02)


@pytest.mark.parametrize("protocol", ["patient", "paper"])
def test_the_order_of_rows_does_not_matter_and_the_seed_does(protocol):
    table = cohort()
    first = assign_folds(table, protocol, seed=3)
    mixed = assign_folds(table.sample(frac=1, random_state=5), protocol, seed=3)
    pd.testing.assert_frame_equal(mixed.sort_index(), first)
    other = assign_folds(table, protocol, seed=4)
    assert not other["split"].equals(first["split"])


def test_paper_cuts_where_the_original_cuts():
    # 6,413 rows: the team's files hold 4,104 / 1,026 / 1,283 in every fold.
    ids = [f"{number:05d}" for number in range(6413)]
    table = pd.DataFrame({"image_id": ids, "diagnosis": "Normal", "group": ids, "split": ""})
    table = assign_folds(table.assign(fold=pd.NA), "paper", seed=0)
    for fold in range(5):
        counts = splits_of_fold(table, fold).value_counts()
        assert (counts["train"], counts["val"], counts["test"]) == (4104, 1026, 1283)


def test_given_keeps_the_sources_own_test_set():
    table = cohort(12)
    kaggle = table["diagnosis"] != "COVID-19"
    own = np.where(table["group"].str.contains("-[12]$"), "test", "development")
    table["split"] = np.where(kaggle, own, "")
    result = assign_folds(table, "given", seed=0)
    assert (result["split"][kaggle] == table["split"][kaggle]).all()
    assert set(result["split"][~kaggle]) == {"test", "development"}
    parts = result["fold"].fillna(-1)
    assert (parts.groupby(result["group"]).nunique() == 1).all()
    with pytest.raises(ManifestError, match="already has folds"):
        assign_folds(result, "given")
    with pytest.raises(ManifestError, match="No source in the manifest"):
        assign_folds(cohort(), "given")


def test_splits_of_fold_by_hand():
    table = pd.DataFrame(
        {"image_id": list("abc"), "split": ["test", "development", "development"]},
        index=[7, 8, 9],
    )
    table["fold"] = pd.array([pd.NA, 0, 1], "Int64")
    assert splits_of_fold(table, 0).to_dict() == {7: "test", 8: "val", 9: "train"}
    assert splits_of_fold(table, 1).to_dict() == {7: "test", 8: "train", 9: "val"}
    with pytest.raises(ManifestError, match="Fold 5 does not exist in the manifest; it has 0, 1"):
        splits_of_fold(table, 5)
    table.loc[8, "fold"] = pd.NA
    with pytest.raises(ManifestError, match="neither test split nor fold, first b"):
        splits_of_fold(table, 1)


def test_too_few_groups_are_told_with_counts():
    table = cohort(12)
    table = table[~table["group"].str.fullmatch(r"Normal-([5-9]|1\d)")]
    with pytest.raises(ManifestError, match="Normal 5; each diagnosis needs 6"):
        assign_folds(table, "patient")
    with pytest.raises(ManifestError, match="'image' is unknown"):
        assign_folds(table, "image")
    with pytest.raises(ValueError, match="folds is 1"):
        assign_folds(table, folds=1)
