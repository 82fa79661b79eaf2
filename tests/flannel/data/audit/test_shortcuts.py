"""Cohorts made so that the answer is known."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.metrics import f1_score

from flannel.data.audit.evidence import Evidence
from flannel.data.audit.shortcuts import (
    CENTRE_HIDDEN,
    FROM_MASKS,
    GREY_VALUES,
    LUNGS_HIDDEN,
    SIZE_AND_BORDER,
    f1_by_class,
    find_shortcuts,
    predict,
    views_of,
)

IMAGES = 120
CLASSES = np.array(["A", "B", "C", "D"])


@pytest.fixture(autouse=True)
def _few_trees(monkeypatch):
    monkeypatch.setattr("flannel.data.audit.shortcuts.TREES", 3)


def cohort() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "diagnosis": CLASSES[np.arange(IMAGES) % 4],
            "source": "ccx",
            "view": np.where(np.arange(IMAGES) % 2, "PA", "AP"),
        }
    )


def noise(masks: int = IMAGES) -> Evidence:
    draw = np.random.default_rng(5)
    pixels = draw.integers(0, 256, (5, IMAGES, 256), np.uint8)
    return Evidence(
        frame=draw.normal(size=(IMAGES, 23)).astype(np.float32),
        thumbnail=pixels[0],
        lungs_hidden=pixels[1],
        centre_hidden=pixels[2],
        lungs=pixels[3],
        lung_box=draw.random((IMAGES, 4)).astype(np.float32),
        lung_shape=pixels[4],
        has_mask=np.arange(IMAGES) < masks,
        histogram=draw.random((IMAGES, 64)).astype(np.float32),
        hashes=tuple(range(IMAGES)),
    )


def alone() -> list[str]:
    return [f"group-{number}" for number in range(IMAGES)]


@pytest.mark.slow
def test_a_size_that_tells_the_class_is_found_and_noise_is_not():
    evidence = noise()
    frame = evidence.frame.copy()
    frame[:, 0] = 100 * (np.arange(IMAGES) % 4)  # one width per class
    frame[:, 1:] = 0
    found = find_shortcuts(cohort(), replace(evidence, frame=frame), alone())
    by_name = {(s.target, s.evidence): s for s in found}
    size = by_name["diagnosis", SIZE_AND_BORDER]
    assert (size.macro_f1, size.low, size.high, size.chance) == (1, None, None, 0.25)
    assert size.f1 == {"A": 1, "B": 1, "C": 1, "D": 1}
    assert by_name["view", SIZE_AND_BORDER].macro_f1 == 1
    grey = by_name["diagnosis", GREY_VALUES]
    assert grey.macro_f1 < 0.4
    assert grey.low < grey.chance < grey.high
    assert not [s for s in found if s.target == "source"]  # there is one only


def test_nobody_is_told_from_another_radiograph_of_the_same_patient():
    owner = np.arange(IMAGES) // 4  # four radiographs a patient, classes drawn by patient
    truth = CLASSES[np.random.default_rng(2).permutation(np.arange(30) % 4)[owner]]
    fingerprint = np.eye(30)[owner]
    together = predict(fingerprint, truth, owner)
    apart = predict(fingerprint, truth, np.arange(IMAGES))
    assert np.mean(apart == truth) > 0.95
    assert np.mean(together == truth) < 0.5


def test_the_same_seed_gives_the_same_answers():
    numbers, truth = noise().histogram, cohort()["diagnosis"].to_numpy(str)
    owners = np.arange(IMAGES) // 2
    once, again, other = (predict(numbers, truth, owners, seed) for seed in (3, 3, 4))
    assert (once == again).all()
    assert (once != other).any()


def test_classes_of_few_groups_are_left_out_and_counted():
    table = cohort()
    table.loc[:7, "diagnosis"] = "rare"  # eight radiographs of four groups; five folds
    table.loc[8:9, "diagnosis"] = ""
    table["view"] = "AP"
    groups = [f"group-{number // 2}" for number in range(IMAGES)]
    found = find_shortcuts(table, noise(), groups)[0]
    assert found.left_out == {"": 2, "rare": 8}
    assert found.images == IMAGES - 10
    assert set(found.f1) == set("ABCD")


@pytest.mark.parametrize(
    ("masks", "seen"),
    [
        (IMAGES, {LUNGS_HIDDEN: IMAGES} | dict.fromkeys(FROM_MASKS, IMAGES)),
        (110, {LUNGS_HIDDEN: 110} | dict.fromkeys(FROM_MASKS, 110)),
        (100, {CENTRE_HIDDEN: IMAGES} | dict.fromkeys(FROM_MASKS, 100)),
        (0, {CENTRE_HIDDEN: IMAGES}),
    ],
)
def test_without_enough_masks_one_box_is_black_for_all(masks, seen):
    views = views_of(noise(masks))
    assert {name: int(views[name][1].sum()) for name in views if name in seen} == seen
    assert len(views) == 3 + len(seen)


def test_f1_is_that_of_scikit_learn():
    draw = np.random.default_rng(4)
    truth, predicted = draw.integers(0, 3, (2, 200))
    confusion = np.zeros((4, 4), int)  # the fourth class never occurs
    np.add.at(confusion, (truth, predicted), 1)
    expected = f1_score(truth, predicted, labels=range(4), average=None, zero_division=0)
    assert f1_by_class(confusion) == pytest.approx(expected)
    both = f1_by_class(np.stack([confusion, np.eye(4, dtype=int)]))
    assert both[0] == pytest.approx(expected)
    assert both[1] == pytest.approx(1)


def test_chance_is_what_stratified_guessing_gives():
    truth = np.repeat([0, 1, 2], [4000, 1500, 500])
    nothing = np.zeros((len(truth), 1))
    guesser = DummyClassifier(strategy="stratified", random_state=0).fit(nothing, truth)
    guessed = f1_score(truth, guesser.predict(nothing), average="macro")
    assert guessed == pytest.approx(1 / 3, abs=0.02)
