"""How many patches it takes: macro F1, spread of the vote and coverage by K."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from flannel.comparison.figures.style import (
    LETTERS,
    LINE_COLOURS,
    LINE_STYLES,
    PAGE_INCHES,
    drawn_in_style,
    legend_once,
)

RULE_TITLES = {
    "share": "share of votes",
    "mean_softmax": "mean softmax",
    "mean_sigmoid": "mean sigmoid",
}

SAME = 1e-6
"""Coverages that are no further apart are those of the same patches."""


def patches_by_k(
    table: pd.DataFrame, f1: str, spread: str, coverages: tuple[str, str], split: str
) -> Figure:
    """Draws F1 above the spread of the vote, a column per vote rule, and the coverage beside them.

    Lines are means over folds. The band around F1 is its deviation over subsets.

    Args:
        table: What `flannel.analysis.patch_study.study_patches` gives.
        f1: The measure in the upper panels.
        spread: The measure in the lower panels.
        coverages: The measures in the last column; without rows it is left out.
        split: The images that are shown.
    """
    table = table[table["split"] == split]
    rules = [rule for rule in RULE_TITLES if (table["rule"] == rule).any()]
    covered = table["measure"].isin(coverages).any()
    with drawn_in_style():
        columns = len(rules) + covered
        figure = Figure(figsize=(min(2.2 * columns + 0.6, PAGE_INCHES), 4.6), layout="constrained")
        panels = figure.subplots(2, columns, squeeze=False, sharex=True)
        for column, rule in enumerate(rules):
            panels[0, column].sharey(panels[0, 0])  # before anything is drawn, or bands are cut off
            panels[1, column].sharey(panels[1, 0])
            of_rule = table[table["rule"] == rule]
            _lines(panels[0, column], of_rule[of_rule["measure"] == f1])
            _lines(panels[1, column], of_rule[of_rule["measure"] == spread])
            panels[0, column].set_title(RULE_TITLES[rule])
        panels[0, 0].set_ylabel(f"{f1}, {split} images")
        panels[1, 0].set_ylabel(spread)
        panels[1, 0].set_ylim(bottom=0)
        for row, measure in enumerate(coverages if covered else ()):
            _coverage(panels[row, -1], table[table["measure"] == measure])
            panels[row, -1].set_title(measure, fontsize=8.5)
            panels[row, -1].set_ylabel("share of lung pixels", fontsize=LETTERS)
            panels[row, -1].set_ylim(0, 1.02)
        for panel in panels[1]:
            panel.set_xlabel("patches per radiograph", fontsize=LETTERS)
        for panel in panels.ravel():
            panel.grid(color="#DDDDDD", linewidth=0.6)
        legend_once(figure, list(panels.ravel()))
    return figure


def _coverage(axes: Axes, table: pd.DataFrame) -> None:
    """Draws a line per learner, or a black one where all had the same patches."""
    by_learner = table.groupby(["window_px", "k", "learner"])["value"].mean().unstack()
    if by_learner.sub(by_learner.iloc[:, 0], axis=0).abs().max(axis=None) < SAME:
        _lines(axes, table.assign(learner="any learner"), ("#000000",))
    else:
        _lines(axes, table)


def _lines(axes: Axes, table: pd.DataFrame, colours: Sequence[str] = LINE_COLOURS) -> None:
    """Draws a line per learner and patch size, with a band where there is a deviation."""
    several = table["window_px"].nunique() > 1
    for number, ((learner, window_px), rows) in enumerate(
        table.groupby(["learner", "window_px"], sort=False)
    ):
        mean = rows.groupby("k")[["value", "deviation"]].mean()
        colour = colours[number % len(colours)]
        axes.plot(
            mean.index,
            mean["value"],
            color=colour,
            linestyle=LINE_STYLES[number % len(LINE_STYLES)],
            marker=".",
            linewidth=1.2,
            label=f"{learner}, {window_px} px" if several else learner,
        )
        if mean["deviation"].notna().all():
            low, high = (mean["value"] + sign * mean["deviation"] for sign in (-1, 1))
            axes.fill_between(mean.index, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.set_xscale("log")
    ticks = [k for k in (1, 2, 5, 10, 20, 50, 100, 200, 500) if k <= table["k"].max()]
    axes.set_xticks(ticks, [str(k) for k in ticks], fontsize=LETTERS)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(0.9, np.nextafter(table["k"].max() * 1.1, np.inf))
