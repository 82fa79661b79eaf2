"""How the base learners learnt, epoch by epoch."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from flannel.comparison.figures.style import (
    LINE_COLOURS,
    LINE_STYLES,
    PAGE_INCHES,
    drawn_in_style,
    legend_once,
)
from flannel.study.contents import ARMS, arm_place, learner_place
from flannel.study.repeats import recipe_of


def training_curves(study: Path) -> Figure | None:
    """Draws training loss and validation macro F1 by epoch, one line per base learner and fold."""
    curves = _curves(study)
    if not curves:
        return None
    arms = sorted(curves, key=lambda arm: (ARMS.index(arm) if arm in ARMS else len(ARMS), arm))
    learners = sorted({learner for arm in arms for learner, _ in curves[arm]}, key=learner_place)
    with drawn_in_style():
        width = min(3.6 * len(arms) + 1.2, PAGE_INCHES)
        figure = Figure(figsize=(width, 5.0), layout="constrained")
        panels = figure.subplots(2, len(arms), squeeze=False, sharex="col", sharey="row")
        for column, arm in enumerate(arms):
            for learner, table in curves[arm]:
                number = learners.index(learner)
                for row, name in enumerate(("train/loss", "val/macro_f1")):
                    if name in table and table[name].notna().any():
                        panels[row, column].plot(
                            table[name].dropna().rename(lambda epoch: epoch + 1),
                            color=LINE_COLOURS[number % len(LINE_COLOURS)],
                            linestyle=LINE_STYLES[number % len(LINE_STYLES)],
                            marker=".",
                            linewidth=1.2,
                            label=learner,
                        )
            panels[0, column].set_title(arm)
            panels[1, column].set_xlabel("epoch")
            panels[1, column].xaxis.get_major_locator().set_params(integer=True)
        panels[0, 0].set_ylabel("training loss")
        panels[1, 0].set_ylabel("validation macro F1")
        panels[1, 0].set_ylim(0, 1)
        legend_once(figure, [axes for line in panels for axes in line])
    return figure


def learning_curves(study: Path, learner: str) -> Figure | None:
    """Draws loss and accuracy by epoch, training beside validation (paper 000, Figure 5).

    A row per arm; repeats of the same recipe and other folds are further lines of it. Training is
    measured as it goes, with dropout and augmentation, so that it can be the worse of the two.

    Args:
        study: The study's folder.
        learner: The recipe.
    """
    arms = {
        arm: [table for name, table in curves if recipe_of(name) == learner]
        for arm, curves in sorted(_curves(study).items(), key=lambda item: arm_place(item[0]))
    }
    arms = {arm: tables for arm, tables in arms.items() if tables}
    if not arms:
        return None
    with drawn_in_style():
        figure = Figure(figsize=(PAGE_INCHES, 2.5 * len(arms) + 0.5), layout="constrained")
        panels = figure.subplots(len(arms), 2, squeeze=False)
        for line, (arm, tables) in zip(panels, arms.items(), strict=True):
            for axes, measure in zip(line, ("loss", "accuracy"), strict=True):
                for part, colour in zip(("train", "val"), LINE_COLOURS, strict=False):
                    for table in tables:
                        values = table.get(f"{part}/{measure}")
                        if values is not None and values.notna().any():
                            axes.plot(
                                values.dropna().rename(lambda epoch: epoch + 1),
                                color=colour,
                                linestyle="-" if part == "train" else "--",
                                marker="." if len(values) < 20 else "",
                                linewidth=1.2,
                                alpha=1 if len(tables) == 1 else 0.6,
                                label={"train": "training", "val": "validation"}[part],
                            )
                axes.set_ylabel(f"{arm}: {measure}")
                axes.set_xlabel("epoch")
                axes.xaxis.get_major_locator().set_params(integer=True)
            line[1].set_ylim(0, 1.02)
        legend_once(figure, list(panels.ravel()))
    return figure


def _curves(study: Path) -> Mapping[str, list[tuple[str, pd.DataFrame]]]:
    """Reads the base runs' curves: a row per epoch, by arm, as (learner, table) pairs."""
    curves: dict[str, list[tuple[str, pd.DataFrame]]] = {}
    for path in sorted(study.glob("base/*/*/fold*/curves.csv")):
        arm, learner = path.parts[-4], path.parts[-3]
        curves.setdefault(arm, []).append((learner, pd.read_csv(path, index_col="epoch")))
    return curves
