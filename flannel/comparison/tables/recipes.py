"""What the learners were trained with, from `config.yaml`, `curves.csv` and `cost.json`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import yaml

from flannel.comparison.results import Comparison
from flannel.comparison.tables.cells import UNDEFINED
from flannel.comparison.tables.layout import Line, Table
from flannel.files import read_json
from flannel.runs.run import COST, LAST_EPOCH
from flannel.study.contents import WHOLE_ARMS, StudyError, StudyRun
from flannel.study.design import NOT_STATED

SHOWN = {
    "weights": "model.network.init_args.weights",
    "optimiser": "optimizer.class_path",
    "learning rate": "optimizer.init_args.lr",
    "weight decay": "optimizer.init_args.weight_decay",
    "batch": "data.batch_size",
    "epochs, at most": "trainer.max_epochs",
    "input px": "data.size_px",
    "K": "data.predict_patches",
    "vote": "model.vote",
    "selected by": "selection",
}
"""The columns, and where they are in a recipe."""

PATCHED_ONLY = ("K", "vote")


def recipes_table(comparison: Comparison) -> Table | None:
    """Lists the main settings of each learner and ensemble, from the first fold's recipe.

    Returns:
        None where no run kept its recipe.

    Raises:
        StudyError: If a recipe is no YAML.
    """
    rows: list[dict[str, str]] = []
    for arm in comparison.arms:
        for learner in comparison.learners:
            for result in comparison.of(arm, learner)[:1]:
                recipe = read_recipe(result.run)
                if recipe:
                    rows.append({"arm": arm, "learner": learner, **_settings(arm, recipe)})
    if not rows:
        return None
    return Table(
        name="recipes",
        title="Recipes",
        caption="The main settings of the first fold's runs; the whole recipe is the config.yaml "
        "in each run's folder.",
        head=tuple(rows[0]),
        lines=_lines_by_arm(rows),
        numbers=pd.DataFrame(rows),
    )


def _lines_by_arm(rows: Sequence[Mapping[str, str]]) -> tuple[Line, ...]:
    """Returns a line for each row, with a rule above every further arm."""
    return tuple(
        Line(tuple(row.values()), opens=place > 0 and row["arm"] != rows[place - 1]["arm"])
        for place, row in enumerate(rows)
    )


def read_recipe(run: StudyRun) -> Mapping[str, object]:
    """Reads the recipe that a run was made with; empty where none was written.

    Raises:
        StudyError: If it is no YAML.
    """
    path = run.folder / "config.yaml"
    if not path.is_file():
        return {}
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as fault:
        raise StudyError(f"{path} is no YAML: {fault}. Make the run again.") from fault
    return content if isinstance(content, dict) else {}


def runs_table(runs: Sequence[StudyRun]) -> Table | None:
    """Lists seed, epochs, device and precision of every training.

    Args:
        runs: Those that were not trained by epochs are left out.

    Returns:
        None where no network was trained.

    Raises:
        StudyError: If a recipe is no YAML.
        RunError: If a `cost.json` is no JSON object.
    """
    rows = [
        {"arm": run.arm, "learner": run.learner, "fold": str(run.fold), **_record(run)}
        for run in runs
        if (run.folder / "curves.csv").is_file()
    ]
    if not rows:
        return None
    return Table(
        name="trained_runs",
        title="Seed, epochs, device and precision of every training",
        caption="Epochs count from 1. The chosen epoch is the first with the best selection "
        "metric on the validation radiographs.",
        head=tuple(rows[0]),
        lines=_lines_by_arm(rows),
        numbers=pd.DataFrame(rows),
        names=3,
    )


def _record(run: StudyRun) -> dict[str, str]:
    recipe, path = read_recipe(run), run.folder / COST
    cost = read_json(path) if path.is_file() else {}
    device = [cost.get("device"), cost.get("devices") if cost.get("devices") != 1 else None]
    return {
        "seed": _text(recipe.get("seed_everything")),
        "epochs": _text(cost.get("epochs")),
        "chosen epoch": _text(chosen_epoch(run.folder, str(recipe.get("selection", "")))),
        "device": _text(" × ".join(str(part) for part in device if part) or None),
        "precision": _text(cost.get("precision")),
        "PyTorch": _text(cost.get("torch")),
    }


def chosen_epoch(folder: Path, selection: str) -> int | None:
    """Returns the epoch whose weights a run kept, from 1; None where the curves do not tell.

    Args:
        folder: The run's.
        selection: The metric that chooses the epoch, the first highest value of `curves.csv`.
    """
    path = folder / "curves.csv"
    if not path.is_file():
        return None
    curves = pd.read_csv(path)
    if selection == LAST_EPOCH:
        return int(curves["epoch"].iloc[-1]) + 1 if len(curves) else None
    if selection not in curves or curves[selection].isna().all():
        return None
    return int(curves["epoch"][curves[selection].idxmax()]) + 1


def _text(value: object) -> str:
    return NOT_STATED if value is None else str(value)


def _settings(arm: str, recipe: Mapping[str, object]) -> dict[str, str]:
    settings = {}
    for name, place in SHOWN.items():
        value: object = recipe
        for key in place.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        whole = name in PATCHED_ONLY and arm in WHOLE_ARMS
        text = UNDEFINED if value is None or whole else str(value)
        settings[name] = text.rpartition(".")[2] if place.endswith("class_path") else text
    return settings
