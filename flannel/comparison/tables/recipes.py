"""What the learners were trained with, from the `config.yaml` of their runs."""

from collections.abc import Mapping

import pandas as pd
import yaml

from flannel.comparison.results import Comparison, Result
from flannel.comparison.tables.cells import UNDEFINED
from flannel.comparison.tables.layout import Line, Table
from flannel.study.contents import WHOLE_ARMS, StudyError

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
                recipe = _recipe(result)
                if recipe:
                    rows.append({"arm": arm, "learner": learner, **_settings(arm, recipe)})
    if not rows:
        return None
    lines = [
        Line(tuple(row.values()), opens=place > 0 and row["arm"] != rows[place - 1]["arm"])
        for place, row in enumerate(rows)
    ]
    return Table(
        name="recipes",
        title="Recipes",
        caption="The main settings of the first fold's runs; the whole recipe is the config.yaml "
        "in each run's folder.",
        head=tuple(rows[0]),
        lines=tuple(lines),
        numbers=pd.DataFrame(rows),
    )


def _recipe(result: Result) -> Mapping[str, object]:
    path = result.run.folder / "config.yaml"
    if not path.is_file():
        return {}
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as fault:
        raise StudyError(f"{path} is no YAML: {fault}. Make the run again.") from fault
    return content if isinstance(content, dict) else {}


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
