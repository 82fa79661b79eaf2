"""Small cohorts whose leaks are known by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd

from flannel.data.audit.leaks import DuplicatePair, Leak, duplicate_pairs, find_leaks, fold_rows
from flannel.data.duplicates import HASH_BYTES

COLUMNS = ["image_id", "source", "patient_id", "group", "diagnosis", "sha256", "split", "fold"]


def table(*rows) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=COLUMNS).astype({"fold": "Int64"})


CLEAN = (
    ("a", "ccx", "1", "g1", "COVID-19", "s1", "test", None),
    ("b", "ccx", "2", "g2", "COVID-19", "s2", "development", 0),
    ("c", "kcx", "1", "g3", "Normal", "s3", "development", 1),  # another source's patient 1
)


def test_a_clean_cohort_has_no_leak():
    assert find_leaks(table(*CLEAN), []) == []
    rows = fold_rows(table(*CLEAN))
    assert [row.fold for row in rows] == [0, 1]
    assert rows[0].images == {"train": 1, "val": 1, "test": 1}
    assert rows[0].shared == {"val": 0, "test": 0}


def test_a_patient_in_two_parts_is_listed_with_its_folds():
    rows = table(
        *CLEAN,
        ("d", "ccx", "1", "g1", "COVID-19", "s4", "development", 1),  # patient 1 is tested on too
        ("e", "ccx", "2", "g9", "COVID-19", "s5", "development", 1),  # 2 is in folds 0 and 1
    )
    assert find_leaks(rows, []) == [
        Leak("patient", "ccx 1", 2, (0, 1), ("train", "val", "test")),
        Leak("patient", "ccx 2", 2, (0, 1), ("train", "val")),
        Leak("group", "g1", 2, (0, 1), ("train", "val", "test")),
    ]
    first, second = fold_rows(rows)
    # Fold 0: b validates; c, d, e train. a shares patient 1 with d, b shares patient 2 with e.
    assert (first.shared, second.shared) == ({"val": 1, "test": 1}, {"val": 1, "test": 1})


def test_duplicates_across_parts_are_listed_even_when_no_patient_is():
    pair = DuplicatePair("a", "b", False, 3, ("patient",))
    leaks = find_leaks(table(*CLEAN), [pair])
    assert leaks == [Leak("duplicate", "a", 2, (0, 1), ("train", "val", "test"))]


def test_images_that_a_fold_leaves_out_do_not_leak():
    # leave-source-out: where group g1 is tested on (fold 0), its fixed training image is left out.
    rows = table(
        ("a", "ccx", "1", "g1", "COVID-19", "s1", "train", 0),
        ("b", "kcx", "2", "g1", "COVID-19", "s2", "train", 1),
        ("c", "kcx", "3", "g3", "Normal", "s3", "val", 1),
        ("d", "ccx", "4", "g4", "Normal", "s4", "val", 0),
    )
    assert find_leaks(rows, []) == []


def test_pairs_say_in_what_the_two_rows_differ():
    rows = table(
        ("a", "ccx", "1", "g1", "COVID-19", "s1", "test", None),
        ("b", "ccx", "1", "g1", "Normal", "s1", "test", None),
        ("c", "kcx", "1", "g2", "COVID-19", "s2", "test", None),
        ("d", "kcx", "8", "g8", "COVID-19", "s3", "test", None),
    )
    first, other = (np.random.default_rng(seed).bytes(HASH_BYTES) for seed in (1, 2))
    near = bytes([first[0] ^ 0b111, *first[1:]])  # three bits of 4,096 in a corner
    pairs = duplicate_pairs(rows, [first, first, near, other])
    assert [replace(pair, likeness=1.0) for pair in pairs] == [
        DuplicatePair("b", "c", False, 1.0, ("diagnosis", "source", "patient", "group")),
        DuplicatePair("a", "c", False, 1.0, ("source", "patient", "group")),
        DuplicatePair("a", "b", True, 1.0, ("diagnosis",)),
    ]
    assert [pair.likeness > 0.95 for pair in pairs] == [True] * 3


def test_flat_pictures_are_near_to_nothing():
    assert duplicate_pairs(table(*CLEAN), [bytes(HASH_BYTES)] * 3) == []


def test_identical_files_are_a_pair_whatever_their_hashes():
    rows = table(*CLEAN)
    rows["sha256"] = "same"
    far = [np.random.default_rng(seed).bytes(HASH_BYTES) for seed in range(3)]
    found = duplicate_pairs(rows, far)
    assert {(p.first, p.second) for p in found} == {("a", "b"), ("a", "c"), ("b", "c")}
    assert all(p.identical for p in found)
