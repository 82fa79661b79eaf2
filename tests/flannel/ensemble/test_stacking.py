"""What an ensemble learns from: rows in and out of fold, and what cannot be put together."""

import json

import numpy as np
import pytest

from flannel.data.diagnosis import FLANNEL
from flannel.data.folds import splits_of_fold
from flannel.ensemble.stacking import (
    EnsembleError,
    MissingPredictionsError,
    base_inputs,
    ensemble_folder,
    read_stack,
)
from flannel.errors import RunError
from flannel.study.predictions import PredictionsError, load_predictions, probability_columns


def edit(base_study, learner, change, fold=0):
    path = base_study.folder / "base" / learner / f"fold{fold}" / "predictions.csv"
    table = load_predictions(path, FLANNEL)
    table = change(table)
    table.to_csv(path, index=False)
    return path


def test_in_sample_rows_are_the_folds_own_training_images(base_study):
    names = base_study.experts()
    stack = read_stack(base_study.folder, names, 0)
    split = splits_of_fold(base_study.manifest, 0)
    train = set(base_study.manifest["image_id"][split == "train"])
    assert set(stack.training.identity["image_id"]) == train
    assert stack.rows.probabilities.shape == (80, 4, 4)
    assert stack.notes == ()
    table = load_predictions(
        base_study.folder / "base/global/expert2/fold0/predictions.csv", FLANNEL
    )
    np.testing.assert_allclose(stack.rows.probabilities[:, 2], table[probability_columns(FLANNEL)])


@pytest.mark.parametrize(
    "base_study",
    ["patient", *(pytest.param(name, marks=pytest.mark.slow) for name in ("paper", "nested"))],
    indirect=True,
)
def test_out_of_fold_rows_leak_nothing(base_study):
    """No training row shares a group with test or validation, or was learnt from by its network."""
    names, manifest = base_study.experts(folds=range(4)), base_study.manifest
    by_fold = [said_by_networks_that_validate(base_study, names, fold) for fold in range(4)]
    for fold in range(4):
        stack = read_stack(base_study.folder, names, fold, "out_of_fold")
        split = splits_of_fold(manifest, fold)
        judged = manifest[split.isin(["val", "test"])]
        training = stack.training.identity
        assert len(training)
        assert not set(training["group"]) & set(judged["group"])
        assert not set(training["image_id"]) & set(judged["image_id"])
        validation = set(manifest["image_id"][split == "val"])
        assert set(stack.validation.identity["image_id"]) == validation
        probabilities = {}
        for other in set(range(4)) - {fold}:
            probabilities |= by_fold[other]
        for image_id, row in zip(training["image_id"], stack.training.probabilities, strict=True):
            np.testing.assert_allclose(row, probabilities[image_id], rtol=1e-6)


def said_by_networks_that_validate(base_study, names, fold):
    """Reads what the networks of a fold say of its validation images."""
    folders = [base_study.folder / "base" / name / f"fold{fold}" for name in names]
    tables = [load_predictions(folder / "predictions.csv", FLANNEL) for folder in folders]
    stacked = np.stack([table[probability_columns(FLANNEL)] for table in tables], axis=1)
    rows = zip(tables[0]["image_id"], tables[0]["split"], stacked, strict=True)
    return {image_id: row for image_id, split, row in rows if split == "val"}


def test_out_of_fold_keeps_every_other_validation_image_of_other_groups(base_study):
    names = base_study.experts(folds=range(4))
    stack = read_stack(base_study.folder, names, 2, "out_of_fold")
    manifest = base_study.manifest
    expected = (manifest["split"] == "development") & (manifest["fold"] != 2)
    assert sorted(stack.training.identity["image_id"]) == sorted(manifest["image_id"][expected])


def test_what_a_partial_study_lacks_is_named_by_fold(base_study):
    names = base_study.experts(folds=(0, 1))
    base_study.run("global/expert0", 0, fold=2)
    with pytest.raises(
        MissingPredictionsError,
        match=r"fold 2 lacks the finished predictions of global/expert1, global/expert2, "
        r"global/expert3; fold 3 lacks .*global/expert0.*FOLD=2,3",
    ):
        read_stack(base_study.folder, names, 0, "out_of_fold")


def test_an_unfinished_learner_counts_as_missing(base_study):
    names = base_study.experts()
    path = base_study.folder / "base/global/expert1/fold0/fingerprint.json"
    path.write_text(json.dumps({"finished": False, "parts": {}}))
    with pytest.raises(MissingPredictionsError, match=r"predictions of global/expert1\. Run"):
        read_stack(base_study.folder, names, 0)


@pytest.mark.parametrize("base_study", ["leave-source-out"], indirect=True)
def test_folds_that_validate_alike_have_nothing_out_of_fold(base_study):
    names = base_study.experts(folds=range(2))
    with pytest.raises(EnsembleError, match=r"no train rows with data.stacking out_of_fold"):
        read_stack(base_study.folder, names, 0, "out_of_fold")


def test_mean_sigmoids_need_not_sum_to_one_and_are_told(base_study):
    names = base_study.experts()

    def sigmoids(table):
        table[probability_columns(FLANNEL)] *= 0.5
        return table

    edit(base_study, "global/expert1", sigmoids)
    stack = read_stack(base_study.folder, names, 0)
    assert len(stack.notes) == 1
    assert "global/expert1 sum to 0.50 to 0.50 instead of 1" in stack.notes[0]
    np.testing.assert_allclose(stack.rows.probabilities[:, 1].sum(axis=1), 0.5, atol=1e-5)


def test_logits_are_refused_with_file_and_image(base_study):
    names = base_study.experts()

    def logits(table):
        table.loc[3, "p_Normal"] = 7.5
        return table

    path = edit(base_study, "global/expert1", logits)
    with pytest.raises(EnsembleError, match=r"holds 7.5 for image-003; expected prob") as fault:
        read_stack(base_study.folder, names, 0)
    assert str(path) in str(fault.value)


def test_no_number_is_refused_with_file_and_image(base_study):
    names = base_study.experts()

    def blank(table):
        table["p_Normal"] = table["p_Normal"].astype(object)
        table.loc[3, "p_Normal"] = "nan"
        return table

    path = edit(base_study, "global/expert1", blank)
    with pytest.raises(PredictionsError, match=r"no number as a probability.*image-003") as fault:
        read_stack(base_study.folder, names, 0)
    assert str(path) in str(fault.value)


def test_rows_that_differ_between_learners_are_named(base_study):
    names = base_study.experts()
    edit(base_study, "global/expert1", lambda table: table.iloc[1:])
    with pytest.raises(PredictionsError, match=r"expert0 and global/expert1 .*first image-000"):
        read_stack(base_study.folder, names, 0)


def test_an_empty_list_of_learners_is_refused(base_study):
    with pytest.raises(EnsembleError, match=r"data.learners is empty"):
        read_stack(base_study.folder, [], 0)


def test_runs_hang_on_all_the_base_runs_that_they_use(base_study):
    names = base_study.experts(folds=range(4))
    study = base_study.folder
    own = base_inputs(study, "global", names, 0, "in_sample")
    every = base_inputs(study, "global", names, 0, "out_of_fold")
    assert {key: own[key] for key in ("split", "store")} == {"split": "s0", "store": "t"}
    assert own["base"] != every["base"]
    base_study.run("global/expert3", 3, fold=2, config="another")
    assert base_inputs(study, "global", names, 0, "in_sample") == own
    assert base_inputs(study, "global", names, 0, "out_of_fold")["base"] != every["base"]
    base_study.run("global/expert3", 3, fold=2, store="another")
    with pytest.raises(RunError, match=r"different fingerprints \(store\)"):
        base_inputs(study, "global", names, 0, "out_of_fold")


def test_other_forms_lie_beside_the_papers():
    assert ensemble_folder("global", "flannel", 3) == "ensemble/global/fold3"
    assert ensemble_folder("global", "mean", 3) == "ensemble/global/mean/fold3"
    for name in ("fold1", "FLANNEL", "a/b", ""):
        with pytest.raises(EnsembleError, match="small letters"):
            ensemble_folder("global", name, 0)
