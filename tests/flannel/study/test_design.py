"""What a study's files say of its design, flow and participants."""

import json

import numpy as np
import pandas as pd
import pytest

from flannel.__main__ import main
from flannel.data.diagnosis import FLANNEL
from flannel.data.folds import assign_folds, splits_of_fold
from flannel.data.manifest import load_manifest
from flannel.data.provenance import Choices, Flow, save_with_provenance
from flannel.study.design import NOT_STATED, design, flow_table, participants_table


@pytest.fixture
def manifest(phantom_study):
    return load_manifest(phantom_study / "manifest.csv")


def noted(study, manifest, flow=None):
    choices = Choices("patient", 3, "flannel", near_duplicates=True, version="0.2.0")
    table = assign_folds(manifest, "patient", seed=3)
    save_with_provenance(table, study / "manifest.csv", choices, flow)
    return table


def test_a_design_is_read_from_the_manifests_notes(phantom_study, manifest):
    noted(phantom_study, manifest, Flow({}, joined_by_header=2, joined_as_copies=1))
    items = design(phantom_study)
    assert items["split protocol"] == "patient"
    assert items["seed of the split"] == "3"
    assert items["what stays together"].startswith("whole groups of patients")
    assert items["near duplicates"] == "joined into one group"
    assert items["groups joined"] == "2 by Patient ID, 1 as near duplicates"


def test_what_no_file_says_is_not_stated(phantom_study):
    (phantom_study / "manifest.json").unlink(missing_ok=True)
    items = design(phantom_study)
    named = {"split protocol", "seed of the split", "label mapping", "groups joined", "version"}
    assert {name for name, text in items.items() if text == NOT_STATED} >= named


def test_the_flow_goes_from_the_data_sets_to_the_parts(phantom_study, manifest):
    flow = Flow({"ccx": {"view L": 3, "modality CT": 1}}, unusable=2, not_selected=5)
    table = noted(phantom_study, manifest, flow)
    rows = flow_table(phantom_study, table, 0, FLANNEL).set_index("step")
    assert rows["radiographs"].iloc[:5].to_dict() == {
        "found in the data sets": len(table) + 11,
        "left out, ccx: view L": 3,
        "left out, ccx: modality CT": 1,
        "left out: file missing or unreadable": 2,
        "left out by the selection": 5,
    }
    used = splits_of_fold(table, 0)
    for part, step in (("train", "training"), ("val", "validation"), ("test", "test")):
        rows_of = table[used == part]
        assert rows.loc[step, "radiographs"] == len(rows_of)
        assert rows.loc[step, "groups"] == rows_of["group"].nunique()
        assert rows.loc[step, list(FLANNEL)].sum() == len(rows_of)
    assert rows.loc["in the cohort", "radiographs"] == len(table)


def test_an_earlier_manifest_has_no_flow(phantom_study, manifest):
    table = noted(phantom_study, manifest)
    path = phantom_study / "manifest.json"
    content = json.loads(path.read_text())
    del content["flow"]
    path.write_text(json.dumps(content))
    rows = flow_table(phantom_study, table, 0, FLANNEL)
    assert rows["radiographs"].isna().tolist()[:3] == [True, True, False]
    assert design(phantom_study)["groups joined"] == NOT_STATED


def test_make_data_writes_what_was_left_out(tmp_path):
    sets, study = tmp_path / "sets", tmp_path / "study"
    sizes = ["--images=24", "--masks=1", "--size_px=64"]
    assert main(["phantoms", f"--out={sets}", *sizes]) == 0
    assert main(["manifest", f"--data={sets}", f"--study={study}", "--folds=2"]) == 0
    flow = json.loads((study / "manifest.json").read_text())["flow"]
    text = (study / "manifest.txt").read_text()
    for source, reasons in flow["left_out"].items():
        for reason, count in reasons.items():
            assert any(
                line.split() == [source, *reason.split(), str(count)] for line in text.splitlines()
            )
    assert sum(len(reasons) for reasons in flow["left_out"].values()) == 3


def test_participants_are_counted_by_part_and_diagnosis():
    table = pd.DataFrame(
        {
            "image_id": list("abcdef"),
            "source": "ccx",
            "patient_id": ["1", "1", "2", "3", "4", "5"],
            "group": ["1", "1", "2", "3", "4", "5"],
            "diagnosis": ["COVID-19"] * 4 + ["Normal"] * 2,
            "view": ["PA", "AP Supine", "", "PA", "PA", "PA"],
            "age": ["40", "41", "", "x", "5", "7"],
            "sex": ["F", "female", "M", "", "m", "?"],
            "split": ["test"] * 3 + ["development"] * 3,
            "fold": pd.array([pd.NA] * 3 + [0, 1, 1], "Int64"),
        }
    )
    masks = pd.DataFrame({"image_id": ["a", "b", "d"], "flag": ["", "empty", "small"]})
    rows = participants_table(table, masks, 0, FLANNEL).set_index(["part", "diagnosis"])
    assert list(rows.index) == [
        ("training", "Normal"), ("validation", "COVID-19"), ("test", "COVID-19"),
    ]  # fmt: skip
    test = rows.loc[("test", "COVID-19")]
    assert test.to_dict() == {
        "radiographs": 3, "patients": 2, "age_known": 2, "age_median": 40.5, "age_low": 40,
        "age_high": 41, "female": 2, "male": 1, "sex_unknown": 0, "ap": 1, "pa": 1,
        "view_other": 1, "no_mask": 2,
    }  # fmt: skip
    assert np.isnan(rows.loc[("validation", "COVID-19"), "age_median"])
    assert rows.loc[("training", "Normal"), "sex_unknown"] == 1
    assert participants_table(table, None, 0, FLANNEL)["no_mask"].isna().all()


def test_a_cohort_without_folds_is_counted_as_a_whole(phantom_study, manifest):
    table = assign_folds(manifest, "external")
    rows = flow_table(phantom_study, table, 0, FLANNEL).set_index("step")
    assert rows.loc["test", "radiographs"] == len(manifest)
