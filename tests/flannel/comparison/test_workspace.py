"""The W&B workspace, read as W&B gets it."""

import json
from dataclasses import asdict

import pandas as pd
import pytest
import wandb
from wandb_workspaces.workspaces import internal

from flannel.comparison.figures.style import ARM_COLOURS
from flannel.comparison.workspace import make_dashboard, study_workspace
from flannel.data.diagnosis import FLANNEL
from flannel.data.provenance import Choices, Provenance
from flannel.errors import RunError
from flannel.metrics.classification import measured_splits
from flannel.runs.epoch_metrics import classification_metrics
from flannel.runs.wandb_runs import log_final_values
from flannel.study.predictions import probability_columns


@pytest.fixture
def study(tmp_path):
    folder = tmp_path / "covid"
    folder.mkdir()
    return folder


def section_of(study):
    """Returns what W&B gets, after its way through JSON."""
    text = study_workspace(study, "someone")._to_model().model_dump_json(by_alias=True)
    return json.loads(text)["spec"]["section"]


def panels_of(study, view):
    sections = section_of(study)["panelBankConfig"]["sections"]
    return [p["config"] for s in sections for p in s["panels"] if p["viewType"] == view]


def logged_names():
    """Returns the names under which a run logs curves and final values, from what does log them."""
    table = pd.DataFrame(0.25, index=range(4), columns=probability_columns(FLANNEL))
    table["split"], table["diagnosis"] = "test", list(FLANNEL)
    summary = {}

    class Logger:
        class experiment:  # noqa: N801  the name in wandb
            pass

    Logger.experiment.summary = summary
    cost = {"train_seconds": 1.0, "predict_seconds": 1.0}
    log_final_values(Logger, {"metrics": measured_splits(table, FLANNEL), "cost": cost})
    curves = {*classification_metrics("val/", FLANNEL).keys(), "val/loss", "train/loss"}
    return set(summary), curves


def test_runs_of_the_study_are_grouped_by_arm_then_learner(study):
    section = section_of(study)
    (runs,) = section["runSets"]
    assert [key["name"] for key in runs["grouping"]] == ["arm.value", "learner.value"]
    (only,) = runs["filters"]["filters"]
    assert (only["key"]["name"], only["op"], only["value"]) == ("group", "=", "covid")
    assert sorted(section["customRunColors"].values()) == sorted(ARM_COLOURS.values())


def test_bars_show_f1_of_every_diagnosis_under_the_names_that_runs_log(study):
    finals, _ = logged_names()
    bars = [name for config in panels_of(study, "Bar Chart") for name in config["metrics"]]
    assert set(bars) <= finals
    assert {f"metrics/test/f1/{name}" for name in FLANNEL} | {"metrics/test/macro_f1"} <= set(bars)


def test_a_study_of_other_diagnoses_shows_its_own(study):
    noted = Provenance(Choices("patient", 1, "covid_normal"), {}, {}, "")
    (study / "manifest.json").write_text(json.dumps(asdict(noted)))
    bars = {name for config in panels_of(study, "Bar Chart") for name in config["metrics"]}
    of_diagnoses = {name for name in bars if "/f1/" in name}
    assert of_diagnoses == {"metrics/test/f1/COVID-19", "metrics/test/f1/Normal"}


def test_curves_are_means_over_the_folds_and_each_fold_by_itself(study):
    _, logged = logged_names()
    lines = panels_of(study, "Run History Line Plot")
    assert {name for config in lines for name in config["metrics"]} <= logged
    assert {config["xAxis"] for config in lines} == {"epoch"}
    apart = {c["metrics"][0] for c in lines if c["groupBy"] == "displayName"}
    together = {c["metrics"][0] for c in lines if c["groupBy"] is None}
    assert apart == {"val/macro_f1", "train/loss", "val/loss"}
    assert together == apart | {f"val/f1_{name}" for name in FLANNEL}


def test_without_a_login_the_dashboard_lies_in_the_study(study, monkeypatch):
    monkeypatch.setattr(wandb, "login", lambda **_: False)
    message = make_dashboard(study)
    kept = json.loads((study / "comparison" / "dashboard.json").read_text())
    assert kept["url"] == ""
    assert kept["view"]["displayName"] == "covid"
    assert "wandb login" in message
    assert str(study / "comparison" / "dashboard.json") in message


@pytest.mark.slow
def test_with_a_login_it_is_saved_once_and_its_address_kept(study, monkeypatch):
    sent = []

    class Api:
        settings = {"entity": None}  # noqa: RUF012
        default_entity = "someone"

    def save(view):
        sent.append(view)
        return {"upsertView": {"view": {"name": f"nw-abc{len(sent)}-v", "id": "1"}}}

    monkeypatch.setattr(wandb, "login", lambda **_: True)
    monkeypatch.setattr(wandb, "Api", Api)
    monkeypatch.setattr(internal, "upsert_view2", save)
    monkeypatch.setattr(
        "wandb_workspaces.workspaces.interface.get_app_url", lambda api: "https://wandb.example"
    )
    address = "https://wandb.example/someone/patched-flannel?nw=abc1"
    assert make_dashboard(study) == f"The dashboard is at {address}"
    assert json.loads((study / "comparison" / "dashboard.json").read_text())["url"] == address
    assert address in make_dashboard(study)
    assert len(sent) == 1
    assert make_dashboard(study, "team", redo=True).endswith("team/patched-flannel?nw=abc2")
    assert [view.entity for view in sent] == ["someone", "team"]


@pytest.mark.slow
def test_a_refusal_of_wandb_is_a_sentence(study, monkeypatch):
    def refuse():
        raise wandb.errors.CommError("project not found")

    monkeypatch.setattr(wandb, "login", lambda **_: True)
    monkeypatch.setattr(wandb, "Api", refuse)
    with pytest.raises(RunError, match="did not take the dashboard: project not found"):
        make_dashboard(study)


def test_a_study_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(RunError, match="There is no study"):
        make_dashboard(tmp_path / "nowhere")
