"""Radiographs with their masks, and with what a learner predicted."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from flannel.comparison.figures.style import PAGE_INCHES, SMALL_LETTERS, drawn_in_style
from flannel.comparison.radiograph_figures.drawing import shortened, show
from flannel.comparison.results import Result
from flannel.data.store import Store
from flannel.study.predictions import probability_columns

OF_EACH = 4
"""Radiographs of each diagnosis, the first by image name: nobody picks them."""

RIGHT, WRONG = "#00674C", "#B34700"


def first_of_each(
    table: pd.DataFrame, store: Store, diagnoses: Sequence[str], count: int = OF_EACH
) -> dict[str, pd.DataFrame]:
    """Returns the first radiographs of each diagnosis that the store holds, by image name."""
    stored = table[table["image_id"].isin(set(store.image_ids))].sort_values("image_id")
    return {name: stored[stored["diagnosis"] == name].head(count) for name in diagnoses}


def answer(true: str, predicted: str) -> str:
    """Writes a prediction as papers 000 and 001 do: `Normal [OK]`, `Normal [NO → Non-COVID]`."""
    return f"{true} [OK]" if predicted == true else f"{true} [NO → {predicted}]"


def answers(store: Store, result: Result, diagnoses: Sequence[str]) -> Figure:
    """Draws test radiographs with their predictions (paper 000, Figure 6).

    Args:
        store: Radiographs.
        result: Whose predictions; the radiographs are whole, whatever its arm saw of them.
        diagnoses: The label set; a row for each.
    """
    table = result.predictions.copy()
    probabilities = table[probability_columns(diagnoses)].to_numpy(float)
    table["predicted"] = np.array(diagnoses)[probabilities.argmax(axis=1)]
    table["p"] = probabilities.max(axis=1)
    run = result.run
    with drawn_in_style():
        figure = Figure(
            figsize=(PAGE_INCHES, 2.5 * len(diagnoses)), layout=ConstrainedLayoutEngine(h_pad=0.1)
        )
        panels = figure.subplots(len(diagnoses), OF_EACH, squeeze=False)
        for line, (name, part) in zip(
            panels, first_of_each(table, store, diagnoses).items(), strict=True
        ):
            for axes, row in _filled(line, part):
                show(axes, store.radiograph(row["image_id"]))
                words = answer(name, str(row["predicted"])).replace(" [", "\n[")
                axes.set_title(
                    words, color=RIGHT if row["predicted"] == name else WRONG, fontsize=8
                )
                named = shortened(row["image_id"], 28)
                axes.set_xlabel(f"p {row['p']:.2f}\n{named}", fontsize=SMALL_LETTERS)
        figure.suptitle(f"{run.learner}, {run.arm}, fold {run.fold}: test radiographs")
    return figure


def cohort_grid(store: Store, table: pd.DataFrame, diagnoses: Sequence[str]) -> Figure:
    """Draws radiographs of each diagnosis, and below each its lung mask (paper 000, Figure 2).

    Args:
        store: Radiographs, and masks as far as it has them.
        table: Their `image_id` and `diagnosis`.
        diagnoses: The label set.
    """
    first = first_of_each(table, store, diagnoses)
    masked = any(store.has_mask(name) for part in first.values() for name in part["image_id"])
    lines = 2 if masked else 1
    with drawn_in_style():
        figure = Figure(figsize=(PAGE_INCHES, 2.1 * lines * len(first)), layout="constrained")
        panels = figure.subplots(lines * len(first), OF_EACH, squeeze=False)
        for place, (name, part) in enumerate(first.items()):
            for axes, row in _filled(panels[lines * place], part):
                show(axes, store.radiograph(row["image_id"]))
                axes.set_title(name, fontsize=8)
            if masked:
                with_mask = part[part["image_id"].map(store.has_mask)]
                for axes, row in _filled(panels[lines * place + 1], with_mask):
                    show(axes, store.lung_mask(row["image_id"]) * np.uint8(255))
                    axes.set_title(f"{name}: lung mask", fontsize=8)
    return figure


def _filled(line: np.ndarray, part: pd.DataFrame) -> list[tuple[Axes, dict[str, Any]]]:
    """Pairs a line of panels with rows of a table, and empties the panels that are left over."""
    rows = part.to_dict("records")
    for axes in line[len(rows) :]:
        axes.set_axis_off()
    return list(zip(line, rows, strict=False))
