"""A cohort from elsewhere: a study's own test radiographs, whose answers are there, stand in."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageOps

from flannel.__main__ import main
from flannel.bundle.layout import BundleError
from flannel.bundle.read import open_trained
from flannel.comparison.results import read_comparison
from flannel.data.diagnosis import COVID_NORMAL, FLANNEL
from flannel.data.manifest import load_manifest, save_manifest
from flannel.data.provenance import (
    Choices,
    Flow,
    label_set_of,
    provenance_of,
    save_with_provenance,
)
from flannel.files import sha256_of
from flannel.prediction.external import EvaluationError, evaluate_cohort
from flannel.prediction.predictors import Panel
from flannel.prediction.trained_study import trained_of_study
from flannel.study.patches import load_patches
from flannel.study.predictions import load_predictions, probability_columns

pytestmark = pytest.mark.slow

PLACES = ("base/global/small", "base/patched/small", "ensemble/fused")


def test_the_studys_test_rows_come_back_and_the_rest_is_left_out(
    trained_study, tmp_path, capsys, monkeypatch
):
    compared = []  # what the comparison makes of such files, its own tests tell
    monkeypatch.setattr(
        "flannel.comparison.compare.compare_study", lambda study, wandb: compared.append(study)
    )
    out = tmp_path / "elsewhere"
    words = [f"--manifest={trained_study / 'manifest.csv'}", f"--study={trained_study}"]
    assert main(["evaluate", *words, f"--out={out}"]) == 0
    printed = capsys.readouterr().out
    tested = 0
    for place in PLACES:
        before = load_predictions(trained_study / place / "fold0" / "predictions.csv", FLANNEL)
        before = before[before["split"] == "test"].reset_index(drop=True)
        after = load_predictions(out / place / "fold0" / "predictions.csv", FLANNEL)
        assert after["image_id"].tolist() == before["image_id"].tolist()
        columns = [*probability_columns(FLANNEL)]
        np.testing.assert_allclose(after[columns], before[columns], atol=1e-6)
        tested = len(before)
    assert f"{40 - tested} radiographs of the cohort are among those" in printed
    patches = load_patches(out / "base/patched/small/fold0/patches.npz")
    assert patches.logits.shape == (tested, 6, 4)
    weights = pd.read_csv(out / "ensemble/fused/fold0/predictions.csv").filter(like="w_")
    assert list(weights) == ["w_global/small", "w_patched/small"]
    assert compared == [out]
    comparison = read_comparison(out)
    assert [one.run.arm for one in comparison.results] == ["global", "patched", "fused"]
    asked = (
        f"Fold 0 of {trained_study.name} predicted this cohort. Identical files, and copies "
        "that were found, of its training and validation radiographs are left out."
    )
    assert comparison.notes[0] == asked
    assert main(["evaluate", *words, f"--out={out}", "--arm=global"]) == 1
    assert "another trained" in capsys.readouterr().err


def test_copies_of_training_radiographs_are_left_out_by_study_and_bundle(
    trained_study, bundle, tmp_path
):
    table = load_manifest(trained_study / "manifest.csv")
    used = table[table["split"] == "development"].head(10)
    paths = [tmp_path / f"{number}.jpg" for number in range(len(used))]
    for old, new in zip(used["path"], paths, strict=True):
        ImageOps.mirror(Image.open(old).convert("L")).save(new, quality=85)
    tested = table[table["split"] == "test"].head(4)
    again = used.assign(path=list(map(str, paths)), sha256=[sha256_of(path) for path in paths])
    flow = Flow({"ccx": {"view L": 3}}, unusable=1)
    cohort = tmp_path / "manifest.csv"
    save_with_provenance(pd.concat([again, tested]), cohort, Choices("patient", 1, "flannel"), flow)
    for place in (trained_study, bundle):
        panel = Panel(open_trained(place, arms=["global"]))
        done = evaluate_cohort(panel, tmp_path / "manifest.csv", tmp_path / f"of-{place.name}")
        assert done.radiographs == 4
        assert "10 radiographs of the cohort are copies" in " ".join(done.notes)
        assert all(image_id in " ".join(done.notes) for image_id in used["image_id"])
        after = provenance_of(done.folder).flow
        assert after.radiographs == 3 + 1 + 10
        assert after.left_out["ccx"]["view L"] == 3


def test_a_bundle_without_hashes_measures_the_same(trained_study, bundle, tmp_path):
    trained = replace(open_trained(bundle), hashes=None)
    panel = Panel(trained)
    evaluated = evaluate_cohort(panel, trained_study / "manifest.csv", tmp_path / "out")
    assert evaluated.radiographs == 40
    for place in PLACES:
        before = load_predictions(trained_study / place / "fold0" / "predictions.csv", FLANNEL)
        after = load_predictions(tmp_path / "out" / place / "fold0" / "predictions.csv", FLANNEL)
        assert set(after["split"]) == {"test"}
        columns = probability_columns(FLANNEL)
        np.testing.assert_allclose(after[columns], before[columns], atol=1e-6)
    with pytest.raises(BundleError, match="holds fold 0, not 1"):
        open_trained(bundle, fold=1)
    with pytest.raises(BundleError, match="has its own segmenter"):
        open_trained(bundle, segmenter=bundle)


def test_what_cannot_be_measured_is_said(trained_study, tmp_path):
    panel = Panel(trained_of_study(trained_study, arms=["global"]))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    manifest = elsewhere / "manifest.csv"
    table = pd.read_csv(trained_study / "manifest.csv", dtype=str, keep_default_na=False)
    table.assign(diagnosis="Pneumonia").to_csv(manifest, index=False)
    with pytest.raises(EvaluationError, match="is about Pneumonia; what was trained distinguishes"):
        evaluate_cohort(panel, manifest, tmp_path / "out")
    table[table["split"] == "development"].to_csv(manifest, index=False)
    with pytest.raises(EvaluationError, match="no radiograph that the fold did not learn from"):
        evaluate_cohort(panel, manifest, tmp_path / "out")
    shutil.copy(trained_study / "manifest.csv", manifest)
    with pytest.raises(EvaluationError, match="holds something else"):
        evaluate_cohort(panel, manifest, elsewhere)


def test_the_label_set_goes_with_the_cohort(trained_study, tmp_path):
    trained = replace(
        trained_of_study(trained_study, arms=["global"]), learners=(), known={}, hashes=None
    )
    table = load_manifest(trained_study / "manifest.csv")
    table = table[table["diagnosis"].isin(COVID_NORMAL)].head(4)
    save_manifest(table, tmp_path / "manifest.csv")
    two = replace(trained, diagnoses=COVID_NORMAL, segmenter=None)
    evaluate_cohort(Panel(two), tmp_path / "manifest.csv", tmp_path / "out")
    assert label_set_of(tmp_path / "out") == COVID_NORMAL
    own = (*COVID_NORMAL, "Flat foot")
    other = replace(two, diagnoses=own)
    evaluate_cohort(Panel(other), tmp_path / "manifest.csv", tmp_path / "other")
    assert label_set_of(tmp_path / "other") == own
