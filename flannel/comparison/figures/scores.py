"""F1 as bars and predictions as confusion matrices (paper 004, Figures 3 and 4)."""

import textwrap
from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flannel.comparison.figures.style import (
    LETTERS,
    PAGE_INCHES,
    SHORTCUT_COLOUR,
    SHORTCUT_STYLES,
    arm_look,
    broken,
    drawn_in_style,
    legend_once,
    name_ticks,
)
from flannel.comparison.measurements import Measurements, Row
from flannel.comparison.results import Comparison
from flannel.metrics.classification import MACRO, scores
from flannel.study.contents import learner_place
from flannel.study.predictions import probability_columns

BAR_INCHES = 0.2
"""Wide enough for the value that is written on it."""

CELL_INCHES = 0.53
"""Of a confusion matrix: two lines of numbers, and a word of a diagnosis, fit into it."""

MOST_BARS = (PAGE_INCHES - 0.9) / BAR_INCHES
"""What fits beside the axis, gaps included."""

GAP, LEAST = 1.2, 3.6
"""Between the bars of two learners, and what each has at least for its name, in bars."""

NAME_LETTERS = 12
"""How much of a learner's name is on a line."""


def f1_bars(measurements: Measurements, name: str) -> Figure:
    """Draws F1 of each learner and ensemble, the arms side by side (paper 004, Figure 3).

    Over a bar are the sample deviation over folds, thick and grey, and the 95 % interval over
    groups of patients, thin and black; a shortcut baseline is a line across. Ensembles are in a
    panel below the base learners, and in several if they are many.

    Args:
        measurements: The rows.
        name: The diagnosis, or "macro".
    """
    rows = [row for row in measurements.rows if row.stage != "shortcut"] or list(measurements.rows)
    shortcuts = [row for row in measurements.shortcuts if row not in rows]
    lines = _lines(rows)
    longest = max(map(_length, lines))
    with drawn_in_style():
        width = min(max(4.5, BAR_INCHES * longest + 0.9), PAGE_INCHES)
        figure = Figure(figsize=(width, 1.9 * len(lines) + 0.9), layout="constrained")
        panels = figure.subplots(len(lines), squeeze=False).ravel()
        for axes, line in zip(panels, lines, strict=True):
            _draw_line(axes, line, shortcuts, name)
            axes.set_xlim(0, longest)  # so that bars are equally wide in all panels
        legend_once(figure, list(panels))
    return figure


def _lines(rows: Sequence[Row]) -> list[dict[str, list[Row]]]:
    """Lays learners out in lines that a page can hold: their rows by name, base learners first."""
    lines: list[dict[str, list[Row]]] = []
    for kind in ("base", "ensemble", "shortcut"):
        of_kind = [row for row in rows if row.stage == kind]
        learners = sorted({row.learner for row in of_kind}, key=learner_place)
        for place, learner in enumerate(learners):
            beside = [row for row in of_kind if row.learner == learner]
            if not place or _length({**lines[-1], learner: beside}) > MOST_BARS:
                lines.append({})
            lines[-1][learner] = beside
    return lines


def _length(line: Mapping[str, Sequence[Row]]) -> float:
    """Measures a line of bars and gaps, in bars."""
    return sum(max(len(rows) + GAP, LEAST) for rows in line.values())


def _draw_line(
    axes: Axes, line: Mapping[str, Sequence[Row]], shortcuts: Sequence[Row], name: str
) -> None:
    """Draws the bars of several learners, and the shortcut baselines across them."""
    middles: list[float] = []
    begin = 0.0
    for learner, rows in line.items():
        room = _length({learner: rows})
        middles.append(begin + room / 2)
        for number, row in enumerate(rows):
            _bar(axes, row, name, middles[-1] + number - (len(rows) - 1) / 2)
        begin += room
    for style, row in zip(cycle(SHORTCUT_STYLES), shortcuts, strict=False):
        value = row.measured.interval(name, "f1").value
        if not np.isnan(value):
            axes.axhline(
                value, color=SHORTCUT_COLOUR, linewidth=1.1, linestyle=style, zorder=2.5,
                label=f"shortcut baseline: {row.learner}",
            )  # fmt: skip
    names = [_in_lines(learner) for learner in line]
    axes.set_xticks(middles, names, fontsize=LETTERS)
    axes.set_ylim(0, max(1.02, axes.dataLim.y1))
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.set_ylabel(f"F1, {name}" if name != MACRO else "macro F1")
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)


def _in_lines(name: str) -> str:
    """Breaks a long name at its spaces and underscores."""
    parts = name.replace("_", "_ ")
    return textwrap.fill(parts, NAME_LETTERS, break_long_words=False).replace("_ ", "_")


def _bar(axes: Axes, row: Row, name: str, x: float) -> None:
    """Draws one bar, its value at the foot and its doubt at the top."""
    values, interval = row.measured.values(name, "f1"), row.measured.interval(name, "f1")
    mean = interval.value
    if np.isnan(mean):
        axes.text(x, 0.02, "undefined", rotation=90, ha="center", va="bottom", fontsize=7)
        return
    colour, hatch = arm_look(row.arm)
    axes.bar(
        x,
        mean,
        0.94,
        color=colour,
        hatch=hatch,
        edgecolor="white",
        linewidth=0,
        label=row.arm,
    )
    if len(values) > 1:
        deviation = values.std(ddof=1)
        axes.vlines(
            x,
            mean - deviation,
            mean + deviation,
            color="#555555",
            linewidth=4.5,
            alpha=0.75,
            label="± deviation over folds",
        )
    if not np.isnan(interval.low):
        axes.errorbar(
            x,
            mean,
            [[max(0.0, mean - interval.low)], [max(0.0, interval.high - mean)]],
            color="black",
            capsize=2.5,
            linewidth=0.9,
            zorder=3,
            label="95 % interval",
        )
    axes.text(
        x,
        0.02,
        f"{mean:.2f}",
        rotation=90,
        ha="center",
        va="bottom",
        fontsize=7,
        zorder=4,  # over the line of the interval
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 0.8},
    )


def confusion_matrices(
    comparison: Comparison, learner: str, validation: bool = False
) -> Figure | None:
    """Draws a learner's confusion matrix in every arm: rows true, columns predicted.

    The folds share one test set, so their counts are averaged and never added up.

    Args:
        comparison: The results.
        learner: A base learner, or the ensemble.
        validation: Of the validation radiographs, on which papers 000 and 001 report, and not of
            the test radiographs.
    """
    arms = {arm: _counts(comparison, arm, learner, validation) for arm in comparison.arms}
    arms = {arm: counts for arm, counts in arms.items() if counts}
    if not arms:
        return None
    classes = len(comparison.diagnoses)
    columns = min(len(arms), 3 if classes < 5 else 2)
    lines = -(-len(arms) // columns)
    with drawn_in_style():
        side = max(CELL_INCHES * classes, 2.0)
        figure = Figure(figsize=(side * columns + 0.9, (side + 0.9) * lines), layout="constrained")
        panels = figure.subplots(lines, columns, squeeze=False, sharey=True).ravel()
        for panel, (arm, counts) in zip(panels, arms.items(), strict=False):
            which = f"fold {min(counts)}" if len(counts) == 1 else f"mean of {len(counts)} folds"
            which = f"validation, {which}" if validation else which
            panel.set_title(f"{learner}, {arm}\n({which})", fontsize=8.5)
            mean = np.mean(list(counts.values()), axis=0)
            _matrix(panel, mean, comparison.diagnoses, whole=len(counts) == 1)
        for panel in panels[len(arms) :]:
            panel.set_axis_off()
        for panel in panels[::columns]:
            panel.set_ylabel("true")
    return figure


def _counts(
    comparison: Comparison, arm: str, learner: str, validation: bool
) -> dict[int, Float[np.ndarray, "classes classes"]]:
    """Returns each fold's confusion, of those that have radiographs."""
    by_fold = {}
    for result in comparison.of(arm, learner):
        table = result.validation if validation else result.predictions
        if len(table):
            columns = probability_columns(comparison.diagnoses)
            values = (list(table["diagnosis"]), table[columns].to_numpy(float))
            by_fold[result.run.fold] = scores(*values, comparison.diagnoses).confusion
    return by_fold


def _matrix(
    axes: Axes, counts: Float[np.ndarray, "classes classes"], names: Sequence[str], whole: bool
) -> None:
    """Draws one matrix: colour and percentage are shares of the row, numbers are radiographs."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-9)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        share = shares[row, column]
        axes.text(
            column,
            row,
            f"{count:.0f}\n{share:.0%}" if whole else f"{count:.1f}\n{share:.0%}",
            ha="center",
            va="center",
            color="white" if share > 0.55 else "black",
            fontsize=LETTERS,
        )
    name_ticks(axes, [broken(name) for name in names], [broken(name) for name in names])
    axes.set_xlabel("predicted")
