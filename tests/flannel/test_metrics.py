import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score

from flannel.data.diagnosis import FLANNEL
from flannel.metrics import classification_metrics, measured_splits, scores

COVID, VIRAL, BACTERIAL, NORMAL = FLANNEL


def certain(names):
    return np.array([[float(name == column) for column in FLANNEL] for name in names])


def test_scores_by_hand():
    truth = [COVID, COVID, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, NORMAL]
    predicted = [COVID, VIRAL, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, COVID]
    measured = scores(truth, certain(predicted))
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
    measured = scores(truth, probabilities)
    for name, one in measured.by_class.items():
        how = {"labels": list(FLANNEL) if name == "macro" else [name], "average": "macro"}
        assert one.f1 == pytest.approx(f1_score(truth, predicted, **how))
        assert one.precision == pytest.approx(precision_score(truth, predicted, **how))
        assert one.recall == pytest.approx(recall_score(truth, predicted, **how))
    assert measured.accuracy == pytest.approx(accuracy_score(truth, predicted))


def test_a_class_that_is_never_predicted_scores_zero():
    measured = scores([COVID, NORMAL], certain([NORMAL, NORMAL]))
    assert measured.by_class[COVID].f1 == 0


def test_a_class_that_nobody_has_is_undefined_and_outside_the_macro_mean():
    measured = scores([COVID, NORMAL], certain([COVID, NORMAL]))
    assert np.isnan(measured.by_class[VIRAL].f1)
    assert measured.by_class["macro"].f1 == 1


def test_numbers_are_compared_as_numbers():
    """The original's argmax over text would take "9.1e-05" for larger than "0.99"."""
    measured = scores([VIRAL], np.array([[9.1e-05, 0.99, 0.005, 0.004]]))
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
        scores(truth, probabilities)


def test_classification_metrics_equal_the_scores():
    generator = np.random.default_rng(4)
    probabilities = generator.random((60, 4)).astype(np.float32)
    target = generator.integers(0, 4, 60)
    metrics = classification_metrics(4, "val/")
    metrics.update(torch.from_numpy(probabilities), torch.from_numpy(target))
    measured = scores([FLANNEL[i] for i in target], probabilities)
    logged = {name: float(value) for name, value in metrics.compute().items()}
    assert logged == pytest.approx(
        {"val/macro_f1": measured.by_class["macro"].f1, "val/accuracy": measured.accuracy}
    )


def test_metrics_do_not_wait_for_torch():
    program = "import sys, flannel.metrics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_measured_splits_keeps_the_splits_apart():
    guesses = certain([COVID, NORMAL, NORMAL])
    table = pd.DataFrame(guesses, columns=[f"p_{name}" for name in FLANNEL])
    table["split"] = ["train", "train", "test"]
    table["diagnosis"] = [COVID, NORMAL, COVID]
    measured = measured_splits(table)
    assert {split: part["accuracy"] for split, part in measured.items()} == {"train": 1, "test": 0}
    assert measured["train"]["images"] == 2
    assert measured["train"]["f1"][COVID] == 1
