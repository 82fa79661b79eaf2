import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from flannel.data.diagnosis import COVID_NORMAL, FLANNEL
from flannel.data.folds import assign_folds
from flannel.data.manifest import COLUMNS, ManifestError
from flannel.data.provenance import (
    Choices,
    colours_of,
    label_set_of,
    load_provenance,
    save_with_provenance,
    with_earlier_splits,
)
from flannel.files import sha256_of


@pytest.fixture
def table():
    rows = [
        {"image_id": f"{s}-{d[:3]}-{g}", "source": s, "diagnosis": d, "group": f"{s}-{d}-{g}"}
        for s in ("ccx", "kcx")
        for d in FLANNEL
        for g in range(10)
    ]
    table = pd.DataFrame(rows).reindex(columns=list(COLUMNS), fill_value="")
    table = table.assign(path=table["image_id"], width=32, height=32, fold=pd.NA)
    return table.sort_values("image_id", ignore_index=True)


def test_what_was_chosen_is_read_again(table, tmp_path):
    path = tmp_path / "manifest.csv"
    choices = Choices("nested", 3, "wide", version="0.1")
    saved = save_with_provenance(assign_folds(table, "nested", 3), path, choices)
    assert load_provenance(path) == saved
    assert saved.choices == choices
    assert saved.sources == {source: dict.fromkeys(FLANNEL, 10) for source in ("ccx", "kcx")}
    # No patient is named, so each group is one; all radiographs are of other groups.
    assert saved.folds["0"] == {
        "train": 48, "val": 16, "test": 16,
        "train patients": 48, "val patients": 16, "test patients": 16,
    }  # fmt: skip
    assert json.loads((tmp_path / "manifest.json").read_text())["sha256"] == sha256_of(path)


def test_folds_of_sources_are_named(table, tmp_path):
    table = assign_folds(table, "leave-source-out")
    choices = Choices("leave-source-out", 407, "flannel")
    folds = save_with_provenance(table, tmp_path / "m.csv", choices).folds
    for fold, source in enumerate(("ccx", "kcx")):
        counts = {"left out": source, "train": 32, "val": 8, "test": 40}
        assert folds[str(fold)].items() >= counts.items()


def test_a_record_of_another_manifest_is_refused(table, tmp_path):
    path = tmp_path / "manifest.csv"
    with pytest.raises(ManifestError, match=r"manifest\.json does not exist"):
        load_provenance(path)
    save_with_provenance(assign_folds(table), path, Choices("patient", 407, "flannel"))
    path.write_text(path.read_text().replace("ccx-COV-1,", "ccx-COV-x,"))
    with pytest.raises(ManifestError, match=r"belongs to another manifest\.csv"):
        load_provenance(path)
    path.with_suffix(".json").write_text("{}")
    with pytest.raises(ManifestError, match="does not say how a manifest was made"):
        load_provenance(path)


def test_the_label_set_is_that_of_the_noted_mapping(table, tmp_path):
    assert label_set_of(tmp_path) == FLANNEL  # nothing is noted
    path = tmp_path / "manifest.csv"
    for mapping, expected in (("wide", FLANNEL), ("covid_normal", COVID_NORMAL)):
        save_with_provenance(assign_folds(table), path, Choices("patient", 407, mapping))
        assert label_set_of(tmp_path) == expected
    path.write_text(path.read_text() + "\n")  # a manifest that was touched keeps its labels
    assert label_set_of(tmp_path) == COVID_NORMAL


def test_labels_and_colours_of_ones_own_are_noted_in_order(table, tmp_path):
    path, colours = tmp_path / "manifest.csv", {"b": "#D55E00", "a": "#009E73"}
    mine = assign_folds(table.assign(diagnosis=np.where(table["diagnosis"] == "Normal", "a", "b")))
    save_with_provenance(mine, path, Choices("patient", 407, "mine.csv"), colours=colours)
    assert label_set_of(tmp_path) == ("b", "a")
    assert colours_of(tmp_path) == colours
    beside = path.with_suffix(".json")
    beside.write_text(beside.read_text().replace('"b": "#', '"b/c": "#'))
    with pytest.raises(ManifestError, match=r"manifest\.json: 'b/c' cannot be the name"):
        label_set_of(tmp_path)


def test_a_mapping_that_does_not_exist_is_named(table, tmp_path):
    choices = Choices("patient", 407, "five_classes")
    save_with_provenance(assign_folds(table), tmp_path / "manifest.csv", choices)
    with pytest.raises(ManifestError, match="'five_classes' and no colours, which list"):
        label_set_of(tmp_path)
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(ManifestError, match="does not say how"):
        label_set_of(tmp_path)


def test_earlier_splits_of_the_same_cohort_stay(table, tmp_path):
    """An earlier version drew otherwise from the same seed, which another seed stands for."""
    path, choices = tmp_path / "manifest.csv", Choices("patient", 1, "flannel", version="0.1")
    drawn, earlier = (assign_folds(table, "patient", seed) for seed in (1, 2))
    assert with_earlier_splits(drawn, path, choices)[0] is drawn
    save_with_provenance(drawn, path, choices)
    assert with_earlier_splits(drawn, path, choices)[1] == ""
    save_with_provenance(earlier, path, choices)
    kept, remark = with_earlier_splits(drawn, path, replace(choices, version="0.2"))
    assert "The splits of the earlier manifest stay: this version would draw" in remark
    pd.testing.assert_frame_equal(kept, earlier, check_dtype=False)


def test_splits_that_change_say_why(table, tmp_path):
    path, choices = tmp_path / "manifest.csv", Choices("patient", 2, "flannel")
    save_with_provenance(assign_folds(table, "patient", 2), path, choices)
    drawn = assign_folds(table, "patient", 1)
    new, remark = with_earlier_splits(drawn, path, replace(choices, seed=1))
    assert new is drawn
    assert "in another split than before: seed was 2 and is 1. Runs that" in remark
    fewer = assign_folds(table[table["image_id"] != "ccx-COV-1"], "patient", 1)
    assert "79 radiographs were found, 80 before" in with_earlier_splits(fewer, path, choices)[1]
    joined = drawn.assign(group=drawn["group"].where(drawn["source"] == "ccx", "one"))
    assert "group of radiographs changed" in with_earlier_splits(joined, path, choices)[1]
    path.write_text(path.read_text() + "\n")  # by hand: nothing to compare with
    assert with_earlier_splits(drawn, path, choices)[0] is drawn
