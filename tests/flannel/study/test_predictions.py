"""The predictions table: what is read back, and what is refused."""

import numpy as np
import pandas as pd
import pytest

from flannel.data.diagnosis import FLANNEL
from flannel.study.predictions import (
    PredictionsError,
    aligned_probabilities,
    load_predictions,
    prediction_row,
    predictions_table,
    probability_columns,
    save_predictions,
    unusual_sums,
)


@pytest.fixture
def table():
    frame = pd.DataFrame(
        {
            "image_id": ["b", "a", "c"],
            "patient_id": ["1", "", "NA"],
            "group": ["g1", "g2", "g3"],
            "split": ["train", "val", "test"],
            "diagnosis": ["COVID-19", "Normal", "Viral pneumonia"],
        }
    )
    frame[probability_columns(FLANNEL)] = [[0.1, 0.2, 0.3, 0.4], [1, 0, 0, 0], [0.25] * 4]
    return frame


def test_rows_are_joined_to_their_identity(table):
    confidences = np.array([0.1, 0.2, 0.3, 0.4])
    rows = [
        prediction_row("a", confidences, FLANNEL, 100, 0.5),
        prediction_row("c", confidences[::-1], FLANNEL, 0, float("nan")),
    ]
    joined = predictions_table(table, rows)
    assert joined["image_id"].tolist() == ["a", "c"]
    assert joined["diagnosis"].tolist() == ["Normal", "Viral pneumonia"]
    np.testing.assert_array_equal(joined[probability_columns(FLANNEL)].loc[0], confidences)
    assert joined["patches"].tolist() == [100, 0]
    assert joined["coverage"].isna().tolist() == [False, True]
    with pytest.raises(ValueError, match="zip"):
        prediction_row("a", confidences, FLANNEL[:3], 0, 0.0)


def test_probabilities_that_do_not_sum_to_one_are_named():
    sums = {"one": np.array([1.0, 1.0005]), "two": np.array([0.5, 1.2]), "none": np.array([])}
    assert unusual_sums(sums) == [
        "The probabilities of two sum to 0.50 to 1.20 instead of 1 (as mean sigmoids do) and are "
        "used unchanged."
    ]


def test_what_is_written_is_read_back_sorted(table, tmp_path):
    save_predictions(table, tmp_path / "predictions.csv")
    found = load_predictions(tmp_path / "predictions.csv", FLANNEL)
    assert found["image_id"].tolist() == ["a", "b", "c"]
    assert found["patient_id"].tolist() == ["", "1", "NA"]
    np.testing.assert_allclose(found[probability_columns(FLANNEL)].loc[1], [0.1, 0.2, 0.3, 0.4])


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda t: t.drop(columns="p_Normal"), "lacks the columns p_Normal"),
        (lambda t: t.assign(image_id="a"), "the image a more than once"),
        (lambda t: t.assign(split="dev"), "'dev' as split"),
        (lambda t: t.assign(diagnosis="Covid"), "'Covid' as diagnosis"),
        (lambda t: t.assign(p_Normal=["0.1", "x", "0.2"]), "no number as a probability for 1"),
        (lambda t: t.assign(p_Normal=np.inf), "for 3 images, first b"),
    ],
)
def test_bad_tables_are_refused_in_a_sentence(table, tmp_path, spoil, sentence):
    spoil(table).to_csv(tmp_path / "predictions.csv", index=False)
    with pytest.raises(PredictionsError, match=sentence):
        load_predictions(tmp_path / "predictions.csv", FLANNEL)


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(PredictionsError, match="does not exist"):
        load_predictions(tmp_path / "predictions.csv", FLANNEL)


def test_learners_are_lined_up_whatever_their_row_order(table):
    other = table.iloc[::-1].copy()
    other["p_Normal"] = [0.5, 0.6, 0.7]  # c, a, b
    identity, probabilities = aligned_probabilities({"x": table, "y": other}, FLANNEL)
    assert identity["image_id"].tolist() == ["a", "b", "c"]
    assert probabilities.shape == (3, 2, 4)
    np.testing.assert_allclose(probabilities[:, 0, 3], [0, 0.4, 0.25])
    np.testing.assert_allclose(probabilities[:, 1, 3], [0.6, 0.7, 0.5], rtol=1e-6)


def test_learners_with_other_images_or_labels_are_refused(table):
    with pytest.raises(PredictionsError, match="1 images are in one table only, first b"):
        aligned_probabilities({"x": table, "y": table.iloc[1:]}, FLANNEL)
    relabelled = table.assign(diagnosis="Normal")
    with pytest.raises(PredictionsError, match="differ in the diagnosis of 2 images, first b"):
        aligned_probabilities({"x": table, "y": relabelled}, FLANNEL)
