"""The W&B workspace of a study: its runs by arm and learner, as bars, curves and tables."""

import json
from collections.abc import Sequence
from pathlib import Path

import wandb
import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws

from flannel.comparison.figures.style import ARM_COLOURS
from flannel.data.provenance import label_set_of
from flannel.errors import RunError
from flannel.files import read_json, write_json
from flannel.runs.wandb_runs import PROJECT
from flannel.study.contents import ENSEMBLE

MOST_LINES = 200  # W&B shows ten by default; five learners, five folds and four arms are 100

COMPARE_FIGURES = ("f1_covid19", "f1_macro", f"confusion_{ENSEMBLE}", "reliability", "cost")
COMPARE_TABLES = ("f1", "confusion")

CAPTION = """
One run is one learner of one arm in one fold; runs are grouped by arm, then learner. Bars are means
over the folds with their deviation. Baselines are no runs: they are in the table *f1* of
the run `compare`, with every interval, and in `comparison/report.html`.
"""


def study_workspace(study: Path, entity: str) -> ws.Workspace:
    """Builds the workspace of a study, of nothing but names that its runs log.

    Args:
        study: The study folder; its name is the group of its runs.
        entity: The W&B user or team; empty where nobody is logged in.
    """
    name, diagnoses = study.resolve().name, label_set_of(study)
    sections = [_scores(diagnoses), _curves(diagnoses), _curves_of_folds(), _comparison(), _cost()]
    return ws.Workspace(
        entity=entity,
        project=PROJECT,
        name=name,
        sections=sections,
        settings=ws.WorkspaceSettings(x_axis="epoch", max_runs=MOST_LINES),
        runset_settings=ws.RunsetSettings(
            filters=ws.And(ws.Metric("Group") == name),
            groupby=[ws.Config("arm"), ws.Config("learner")],
            order=[ws.Ordering(ws.Metric("Name"))],
            group_colors=dict(ARM_COLOURS),
            pinned_columns=["config:fold", "summary:metrics/test/macro_f1"],
        ),
    )


def _scores(diagnoses: Sequence[str]) -> ws.Section:
    """Bars of F1 on the test radiographs: macro, then each diagnosis."""
    bars = {"macro": "macro_f1", **{name: f"f1/{name}" for name in diagnoses}}
    panels = [
        wr.BarPlot(
            title=f"F1, {title}",
            metrics=[f"metrics/test/{metric}"],
            range_x=(0, 1),
            groupby_aggfunc="mean",
            groupby_rangefunc="stddev",
            max_bars_to_show=MOST_LINES,
        )
        for title, metric in bars.items()
    ]
    return ws.Section(
        name="F1 on the test radiographs",
        panels=[*panels, wr.MarkdownPanel(markdown=CAPTION)],
        is_open=True,
        pinned=True,
    )


def _curves(diagnoses: Sequence[str]) -> ws.Section:
    names = ["val/macro_f1", *(f"val/f1_{name}" for name in diagnoses), "train/loss", "val/loss"]
    return ws.Section(
        name="Curves: mean and range over the folds",
        panels=[
            wr.LinePlot(
                title=name,
                x="epoch",
                y=[name],
                groupby_aggfunc="mean",
                groupby_rangefunc="minmax",
                max_runs_to_show=MOST_LINES,
            )
            for name in names
        ],
        is_open=True,
    )


def _curves_of_folds() -> ws.Section:
    """The same where every run, so every fold, is a line of its own."""
    return ws.Section(
        name="Curves: every fold",
        panels=[
            wr.LinePlot(
                title=name,
                x="epoch",
                y=[name],
                groupby=wr.Metric("Name"),
                max_runs_to_show=MOST_LINES,
            )
            for name in ("val/macro_f1", "train/loss", "val/loss")
        ],
    )


def _comparison() -> ws.Section:
    return ws.Section(
        name="Comparison",
        panels=[
            *(wr.WeavePanelSummaryTable(table_name=name) for name in COMPARE_TABLES),
            *(wr.MediaBrowser(media_keys=[f"figures/{name}"]) for name in COMPARE_FIGURES),
        ],
    )


def _cost() -> ws.Section:
    return ws.Section(
        name="Cost",
        panels=[
            wr.BarPlot(title=f"{stage}, seconds a run", metrics=[f"cost/{stage}_seconds"])
            for stage in ("train", "predict")
        ],
    )


def make_dashboard(study: Path, entity: str | None = None, redo: bool = False) -> str:
    """Writes the workspace to `comparison/dashboard.json`, and saves it in W&B after a login.

    Args:
        study: The study folder.
        entity: The W&B user or team; by default WANDB_ENTITY, or who is logged in.
        redo: Save another one though there is one.

    Returns:
        A sentence on where the dashboard is, or on what is to be done so that it can be saved.

    Raises:
        RunError: If there is no such study, or W&B refuses the workspace.
    """
    if not study.is_dir():
        raise RunError(f"There is no study {study}: name the folder of one with --study.")
    path = study / "comparison" / "dashboard.json"
    saved = read_json(path).get("url") if path.is_file() else None
    if saved and not redo:
        return f"The dashboard is at {saved}; --redo=true saves another one."
    if not wandb.login(prompt=False, verify=False):
        _write(study_workspace(study, entity or ""), "", path)
        return (
            f"Not saved in W&B, which is offline or has no login: {path} holds the dashboard. Say "
            f"`wandb login`, send the runs (`wandb sync {study}/wandb/offline-run-*`), and call "
            "this again."
        )
    try:
        api = wandb.Api()
        owner = entity or api.settings["entity"] or api.default_entity or ""
        workspace = study_workspace(study, owner).save()
    except wandb.Error as fault:
        raise RunError(f"W&B did not take the dashboard: {fault}") from fault
    _write(workspace, workspace.url, path)
    return f"The dashboard is at {workspace.url}"


def _write(workspace: ws.Workspace, url: str, path: Path) -> None:
    view = json.loads(workspace._to_model().model_dump_json(by_alias=True, exclude_none=True))
    write_json({"url": url, "view": view}, path)
