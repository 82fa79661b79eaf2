import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    f1_score,
    matthews_corrcoef,
    precision_score,
    recall_score,
    roc_auc_score,
)

from flannel.data.diagnosis import FLANNEL
from flannel.metrics.classification import OVERALL, measured_splits, ranking, scores

COVID, VIRAL, BACTERIAL, NORMAL = FLANNEL


def certain(names):
    return np.array([[float(name == column) for column in FLANNEL] for name in names])


def test_scores_by_hand():
    truth = [COVID, COVID, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, NORMAL]
    predicted = [COVID, VIRAL, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, COVID]
    measured = scores(truth, certain(predicted), FLANNEL)
    # COVID-19: 1 hit, 1 false alarm, 1 miss; viral: 2 hits, 1 false alarm; normal: 1 hit, 1 miss.
    f1 = {name: one.f1 for name, one in measured.by_class.items()}
    assert f1 == pytest.approx(
        {COVID: 1 / 2, VIRAL: 4 / 5, BACTERIAL: 1, NORMAL: 2 / 3, "macro": 89 / 120}
    )
    assert measured.by_class[VIRAL].precision == pytest.approx(2 / 3)
    assert measured.by_class[VIRAL].recall == 1
    assert [one.support for one in measured.by_class.values()] == [2, 2, 2, 2, 8]
    assert measured.accuracy == pytest.approx(6 / 8)
    assert measured.confusion.tolist() == [[1, 1, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0], [1, 0, 0, 1]]


def test_scores_equal_scikit_learn_on_random_predictions():
    generator = np.random.default_rng(3)
    truth = generator.choice(FLANNEL, 200).tolist()
    probabilities = generator.random((200, 4))
    predicted = [FLANNEL[i] for i in probabilities.argmax(axis=1)]
    measured = scores(truth, probabilities, FLANNEL)
    for name, one in measured.by_class.items():
        how = {"labels": list(FLANNEL) if name == "macro" else [name], "average": "macro"}
        assert one.f1 == pytest.approx(f1_score(truth, predicted, **how))
        assert one.precision == pytest.approx(precision_score(truth, predicted, **how))
        assert one.recall == pytest.approx(recall_score(truth, predicted, **how))
        if name == "macro":
            continue
        has, predicted_has = [t == name for t in truth], [p == name for p in predicted]
        score = probabilities[:, FLANNEL.index(name)]
        assert one.specificity == pytest.approx(recall_score(has, predicted_has, pos_label=False))
        assert one.roc_auc == pytest.approx(roc_auc_score(has, score))
        assert one.average_precision == pytest.approx(average_precision_score(has, score))
    classes = [measured.by_class[name] for name in FLANNEL]
    assert measured.by_class["macro"].roc_auc == pytest.approx(
        np.mean([one.roc_auc for one in classes])
    )
    assert measured.accuracy == pytest.approx(accuracy_score(truth, predicted))
    assert measured.balanced_accuracy == pytest.approx(balanced_accuracy_score(truth, predicted))
    assert measured.mcc == pytest.approx(matthews_corrcoef(truth, predicted))
    assert measured.undefined == {}
    assert measured.value(OVERALL, "mcc") == measured.mcc
    assert measured.value(COVID, "f1") == measured.by_class[COVID].f1


def test_the_brier_score_equals_scikit_learns():
    probabilities = np.random.default_rng(5).dirichlet(np.ones(4), 50)
    truth = np.random.default_rng(6).choice(FLANNEL, 50)
    expected = brier_score_loss(
        truth, probabilities[:, np.argsort(FLANNEL)], labels=sorted(FLANNEL), scale_by_half=False
    )
    assert scores(list(truth), probabilities, FLANNEL).brier == pytest.approx(expected)


def test_rankings_and_their_changes_equal_scikit_learn_with_weights_and_equal_scores():
    """Each change is the derivative by the weight of one radiograph, by finite differences."""
    generator = np.random.default_rng(8)
    score = generator.integers(0, 12, 90) / 12  # like votes: many radiographs share a score
    positive = generator.random(90) < 0.3
    step = 1e-5
    for found, measure in zip(
        ranking(score, positive), (roc_auc_score, average_precision_score), strict=True
    ):
        assert found.value == pytest.approx(measure(positive, score))
        assert found.changes.sum() == pytest.approx(0, abs=1e-12)
        for image in range(90):
            lighter, heavier = (
                measure(
                    positive, score, sample_weight=np.ones(90) + sign * step * np.eye(90)[image]
                )
                for sign in (-1, 1)
            )
            expected = (heavier - lighter) / (2 * step)
            assert found.changes[image] == pytest.approx(expected, abs=1e-6)


def test_a_ranking_of_one_kind_is_undefined():
    area, precision = ranking(np.array([0.1, 0.2]), np.array([True, True]))
    assert np.isnan(area.value)
    assert precision.value == 1
    area, precision = ranking(np.array([0.1, 0.2]), np.array([False, False]))
    assert np.isnan([area.value, precision.value]).all()


def test_a_class_that_is_never_predicted_has_f1_zero_and_no_precision():
    measured = scores([COVID, NORMAL], certain([NORMAL, NORMAL]), FLANNEL)
    assert measured.by_class[COVID].f1 == 0
    assert np.isnan(measured.by_class[COVID].precision)
    assert np.isnan(measured.by_class["macro"].precision)
    assert measured.undefined[COVID, "precision"] == "COVID-19 is never predicted"
    assert measured.undefined["macro", "precision"] == "undefined for COVID-19"
    assert np.isnan(measured.mcc)
    assert "one and the same" in measured.undefined[OVERALL, "mcc"]


def test_a_class_that_nobody_has_is_undefined_and_outside_the_macro_mean():
    measured = scores([COVID, NORMAL], certain([COVID, NORMAL]), FLANNEL)
    assert np.isnan(measured.by_class[VIRAL].f1)
    assert measured.by_class["macro"].f1 == 1
    assert measured.undefined[VIRAL, "roc_auc"] == "no radiograph is Viral pneumonia"
    assert (VIRAL, "specificity") not in measured.undefined
    assert measured.by_class[VIRAL].specificity == 1


def test_one_diagnosis_alone_leaves_no_specificity_and_no_curve():
    measured = scores([COVID, COVID], certain([COVID, NORMAL]), FLANNEL)
    assert np.isnan([measured.by_class[COVID].specificity, measured.by_class[COVID].roc_auc]).all()
    assert measured.undefined[COVID, "roc_auc"] == "every radiograph is COVID-19"
    assert measured.undefined["macro", "specificity"] == "undefined for COVID-19"
    assert measured.by_class[COVID].average_precision == 1


def test_numbers_are_compared_as_numbers():
    """The original's argmax over text would take "9.1e-05" for larger than "0.99"."""
    measured = scores([VIRAL], np.array([[9.1e-05, 0.99, 0.005, 0.004]]), FLANNEL)
    assert measured.accuracy == 1


@pytest.mark.parametrize(
    ("truth", "probabilities", "complaint"),
    [
        ([], np.zeros((0, 4)), "at least one"),
        ([COVID], np.zeros((1, 3)), r"expected \(1, 4\)"),
        ([COVID], np.full((1, 4), np.nan), "not numbers"),
        (["Flu"], np.ones((1, 4)), "'Flu' is not in the label set"),
    ],
)
def test_what_cannot_be_measured_is_refused(truth, probabilities, complaint):
    with pytest.raises(ValueError, match=complaint):
        scores(truth, probabilities, FLANNEL)


@pytest.mark.slow
def test_metrics_do_not_wait_for_torch():
    program = "import sys, flannel.metrics.classification; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_measured_splits_keeps_the_splits_apart():
    guesses = certain([COVID, NORMAL, NORMAL])
    table = pd.DataFrame(guesses, columns=[f"p_{name}" for name in FLANNEL])
    table["split"] = ["train", "train", "test"]
    table["diagnosis"] = [COVID, NORMAL, COVID]
    measured = measured_splits(table, FLANNEL)
    assert {split: part["accuracy"] for split, part in measured.items()} == {"train": 1, "test": 0}
    assert measured["train"]["images"] == 2
    assert measured["train"]["f1"][COVID] == 1
