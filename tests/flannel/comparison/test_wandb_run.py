import json

import pandas as pd
import pytest

from flannel.comparison.figures.scores import f1_bars
from flannel.comparison.figures.style import save_figure
from flannel.comparison.wandb_run import confusion_counts, f1_intervals, log_comparison
from flannel.data.diagnosis import FLANNEL

COVID, VIRAL, BACTERIAL, NORMAL = FLANNEL
TRUTH = (COVID, COVID, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, NORMAL)
TWO_WRONG = (COVID, VIRAL, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, COVID)


def test_rows_hold_fold_scores_and_the_interval_of_their_mean(study_files):
    for fold, predicted in enumerate((TWO_WRONG, TRUTH)):
        study_files.run(f"base/global/vgg19_bn/fold{fold}", predicted * 5, truth=TRUTH * 5)
    table = f1_intervals(study_files.measured())
    assert list(table) == [
        "arm", "learner", "fold", "class", "precision", "recall", "f1", "f1_mean", "f1_low",
        "f1_high",
    ]  # fmt: skip
    covid = table[table["class"] == COVID]
    assert covid["f1"].tolist() == [0.5, 1]
    assert covid["f1_mean"].tolist() == [0.75, 0.75]
    assert (covid["f1_low"] < 0.75).all()


def test_confusion_is_counted_per_fold(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TWO_WRONG)
    table = confusion_counts(study_files.measured())
    assert len(table) == 16
    assert table["radiographs"].sum() == 8
    found = table[(table["true"] == COVID) & (table["predicted"] == VIRAL)]
    assert found["radiographs"].item() == 1


def test_wandb_off_writes_nothing(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    log_comparison(study_files.measured(), {}, "off")
    assert not (study_files.folder / "wandb").exists()


@pytest.mark.slow
def test_an_offline_compare_run_holds_tables_figures_and_scores(
    study_files, monkeypatch, read_back
):
    monkeypatch.setenv("WANDB_DATA_DIR", "")  # the call sets it; this puts it back afterwards
    study_files.run("base/global/vgg19_bn/fold0", TWO_WRONG)
    study_files.run("ensemble/global/fold0", TRUTH)
    measurements = study_files.measured()
    bars = save_figure(f1_bars(measurements, COVID), study_files.folder, "bars")
    log_comparison(measurements, {"f1_covid19": bars}, "offline")
    records = read_back(study_files.folder)
    (run,) = (record["run"] for record in records if record["type"] == "run")
    assert (run["run_group"], run["job_type"], run["project"]) == (
        "study", "compare", "patched-flannel",
    )  # fmt: skip
    summary = {}
    for record in records:
        summary |= record.get("summary", {}).get("update", {})
    assert summary["global/FLANNEL/macro_f1"] == 1
    (figure,) = study_files.folder.rglob("f1_covid19_*.png")
    assert figure.read_bytes() == bars.read_bytes()
    tables = {
        name: json.loads(path.read_text())
        for name in ("f1", "confusion")
        for path in study_files.folder.rglob(f"{name}_*.table.json")
    }
    pd.testing.assert_frame_equal(
        _frame(tables["f1"]), f1_intervals(measurements), check_dtype=False
    )
    pd.testing.assert_frame_equal(_frame(tables["confusion"]), confusion_counts(measurements))
    shown = [record for record in records if record["type"] in ("run", "summary", "history")]
    assert str(study_files.folder) not in json.dumps(shown)
    # A table is sent as an artifact, which has to say where its file lies until it is sent.
    holding = {r["type"] for r in records if str(study_files.folder) in json.dumps(r)}
    assert holding == {"artifact"}


def _frame(table):
    return pd.DataFrame(table["data"], columns=table["columns"])
