"""Baselines on cohorts whose answer is known, and on the phantoms' files."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier

from flannel.data.audit.shortcuts import EXPLAINED
from flannel.data.diagnosis import FLANNEL
from flannel.data.folds import splits_of_fold
from flannel.data.manifest import load_manifest
from flannel.data.mask import write_mask
from flannel.data.store import Store, fill_lung_masks
from flannel.learners.shortcut_baselines import BASELINES, fit_baselines, predicted_by_forest
from flannel.metrics.classification import scores
from flannel.study.contents import find_runs, fold_inputs
from flannel.study.predictions import load_predictions

COLUMNS = [f"p_{name}" for name in FLANNEL]


@pytest.fixture(autouse=True)
def _few_trees(monkeypatch):
    monkeypatch.setattr("flannel.data.audit.shortcuts.TREES", 8)


def cohort(images=80, names=FLANNEL):
    """Two thirds train; the numbers are the diagnosis and noise."""
    truth = np.array(names)[np.arange(images) % len(names)]
    rows = pd.DataFrame(
        {
            "image_id": [f"image-{i}" for i in range(images)],
            "patient_id": "p",
            "group": [f"group-{i}" for i in range(images)],
            "split": np.where(np.arange(images) % 3, "train", "test"),
            "diagnosis": truth,
            "view": "PA",
        }
    )
    noise = np.random.default_rng(1).normal(size=(images, 2))
    places = np.array([FLANNEL.index(name) for name in truth])
    return rows, np.column_stack([places, noise])


def test_a_baseline_tells_what_its_numbers_give_away():
    rows, numbers = cohort()

    def macro_f1(seen):
        table = predicted_by_forest(rows, seen, FLANNEL, seed=1)
        test = table[table["split"] == "test"]
        found = scores(list(test["diagnosis"]), test[COLUMNS].to_numpy(), FLANNEL)
        return found.by_class["macro"].f1

    assert macro_f1(numbers[:, :1]) == 1
    assert macro_f1(numbers[:, 1:]) < 0.5


def test_a_baseline_is_the_audits_forest_on_the_training_rows():
    rows, numbers = cohort()
    table = predicted_by_forest(rows, numbers[:, 1:], FLANNEL, seed=3)
    train = (rows["split"] == "train").to_numpy()
    forest = RandomForestClassifier(8, class_weight="balanced", max_samples=53, random_state=3)
    forest.fit(numbers[train, 1:], rows["diagnosis"][train])
    expected = pd.DataFrame(forest.predict_proba(numbers[:, 1:]), columns=forest.classes_)
    assert table[COLUMNS].to_numpy() == pytest.approx(expected[list(FLANNEL)].to_numpy())
    assert table[COLUMNS].sum(axis=1).to_numpy() == pytest.approx(1)


def test_test_rows_teach_nothing():
    rows, numbers = cohort()
    swapped = rows.copy()
    test = rows["split"] == "test"
    swapped.loc[test, "diagnosis"] = rows.loc[test, "diagnosis"].to_numpy()[::-1]
    both = [
        predicted_by_forest(table, numbers, FLANNEL, seed=1)[COLUMNS] for table in (rows, swapped)
    ]
    assert both[0].equals(both[1])


def test_a_diagnosis_that_is_not_learnt_is_never_predicted():
    rows, numbers = cohort(names=FLANNEL[1:])
    assert (predicted_by_forest(rows, numbers, FLANNEL, seed=1)["p_COVID-19"] == 0).all()


def finish_run(study, fold=0):
    """Leaves what lets a fold count as run."""
    folder = study / "base" / "global" / "vgg19_bn" / f"fold{fold}"
    folder.mkdir(parents=True)
    (folder / "fingerprint.json").write_text(json.dumps({"finished": True, "parts": {}}))
    (folder / "predictions.csv").write_text("")


def test_baselines_stand_beside_the_learners_of_each_fold(phantom_study):
    assert fit_baselines(phantom_study) == [
        "no shortcut baseline: no learner or ensemble is finished yet"
    ]
    finish_run(phantom_study, 0)
    finish_run(phantom_study, 2)
    sentences = fit_baselines(phantom_study)
    assert [line.partition(":")[0] for line in sentences] == [
        f"shortcut/{name}/fold{fold}"
        for name in ("lungs_hidden", "position_of_lungs", "shape_of_mask", "size_and_border")
        for fold in (0, 2)
    ]
    manifest, store = load_manifest(phantom_study / "manifest.csv"), Store(phantom_study / "store")
    for name, masks in (("size_and_border", False), ("position_of_lungs", True)):
        folder = phantom_study / "shortcut" / name / "fold2"
        table = load_predictions(folder / "predictions.csv", FLANNEL)
        split = splits_of_fold(manifest, 2)
        expected = manifest.assign(split=split).set_index("image_id")["split"]
        assert table.set_index("image_id")["split"].to_dict() == expected.to_dict()
        fingerprint = json.loads((folder / "fingerprint.json").read_text())
        inputs = fold_inputs(manifest, store, 2, masks)
        assert fingerprint["finished"]
        assert {**fingerprint["parts"], **inputs} == fingerprint["parts"]
        assert ("masks" in fingerprint["parts"]) is masks
        measured = json.loads((folder / "metrics.json").read_text())
        test = table[table["split"] == "test"]
        found = scores(list(test["diagnosis"]), test[COLUMNS].to_numpy(), FLANNEL)
        assert measured["test"]["macro_f1"] == pytest.approx(found.by_class["macro"].f1)


@pytest.mark.slow
def test_a_baseline_is_made_anew_only_where_something_changed(phantom_study):
    finish_run(phantom_study)
    fit_baselines(phantom_study)
    made = phantom_study / "shortcut" / "size_and_border" / "fold0" / "predictions.csv"
    before, text = made.stat().st_mtime_ns, made.read_text()
    assert fit_baselines(phantom_study) == [
        "shortcut/lungs_hidden/fold0: there", "shortcut/position_of_lungs/fold0: there",
        "shortcut/shape_of_mask/fold0: there", "shortcut/size_and_border/fold0: there",
    ]  # fmt: skip
    manifest = load_manifest(phantom_study / "manifest.csv")
    first = manifest.iloc[0]
    mask = np.ones((first["height"], first["width"]), bool)
    write_mask(mask, phantom_study / "masks" / f"{first['image_id']}.png")
    fill_lung_masks(phantom_study / "store", phantom_study / "masks", manifest)
    sentences = fit_baselines(phantom_study)
    assert all("test macro F1" in sentence for sentence in sentences[:3])
    assert sentences[3] == "shortcut/size_and_border/fold0: there"
    assert made.stat().st_mtime_ns == before
    shutil.rmtree(phantom_study / "shortcut")
    fit_baselines(phantom_study)
    assert made.read_text() == text


def test_earlier_studies_keep_their_folder(phantom_study):
    finish_run(phantom_study)
    fit_baselines(phantom_study)
    (phantom_study / "shortcut").rename(phantom_study / "cheat")
    assert all(sentence.endswith(": there") for sentence in fit_baselines(phantom_study))
    assert not (phantom_study / "shortcut").exists()
    runs = [run for run in find_runs(phantom_study) if run.stage == "shortcut"]
    assert [run.name_in(phantom_study) for run in runs] == [
        f"cheat/{name}/fold0"
        for name in ("lungs_hidden", "position_of_lungs", "shape_of_mask", "size_and_border")
    ]
    assert {run.arm for run in runs} == {"shortcut"}


def test_the_centre_is_hidden_where_a_mask_is_missing(phantom_study):
    finish_run(phantom_study)
    manifest = load_manifest(phantom_study / "manifest.csv")
    (phantom_study / "masks" / f"{manifest['image_id'].iloc[0]}.png").unlink()
    fill_lung_masks(phantom_study / "store", phantom_study / "masks", manifest)
    assert [line.partition(":")[0] for line in fit_baselines(phantom_study)] == [
        "shortcut/centre_hidden/fold0", "shortcut/size_and_border/fold0",
    ]  # fmt: skip


def test_without_a_store_there_is_no_baselines_row(phantom_study):
    finish_run(phantom_study)
    shutil.rmtree(phantom_study / "store")
    (sentence,) = fit_baselines(phantom_study)
    assert sentence.startswith("no shortcut baseline: ")
    assert "holds no finished store" in sentence
    (phantom_study / "manifest.csv").unlink()
    (sentence,) = fit_baselines(phantom_study)
    assert sentence.endswith("manifest.csv is not there")
    assert not (phantom_study / "shortcut").exists()


def test_every_baseline_is_explained():
    assert set(BASELINES.values()) <= EXPLAINED.keys()
