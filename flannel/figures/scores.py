"""F1 as bars and predictions as confusion matrices (paper 004, Figures 3 and 4)."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flannel.comparison import Comparison
from flannel.figures.style import (
    ARM_COLOURS,
    ARM_HATCHES,
    LINE_STYLES,
    broken,
    drawn_in_style,
    legend_once,
    name_ticks,
)
from flannel.measurements import Measurements, Row
from flannel.metrics import MACRO, scores
from flannel.predictions import probability_columns
from flannel.study import learner_place


def f1_bars(measurements: Measurements, name: str) -> Figure:
    """Draws F1 of each learner and ensemble, the arms side by side (paper 004, Figure 3).

    Over a bar stand the sample deviation over folds, thick and grey, and the 95 % interval over
    groups of patients, thin and black; what the cheats reach is a line across.

    Args:
        measurements: The rows.
        name: The diagnosis, or "macro".
    """
    rows = [row for row in measurements.rows if row.stage != "cheat"] or list(measurements.rows)
    learners = list(dict.fromkeys(row.learner for row in rows))
    learners.sort(key=learner_place)
    with drawn_in_style():
        width = 0.32 * len(rows) + 0.3 * len(learners) + 1.6
        figure = Figure(figsize=(max(4.5, width), 3.6), layout="constrained")
        axes = figure.subplots()
        for place, learner in enumerate(learners):
            beside = [row for row in rows if row.learner == learner]
            width = min(0.84 / len(beside), 0.3)
            for number, row in enumerate(beside):
                x = place + (number - (len(beside) - 1) / 2) * width
                _bar(axes, row, name, x, width)
        for style, row in zip(LINE_STYLES[1:], measurements.cheats, strict=False):
            value = row.measured.interval(name, "f1").value
            if row not in rows and not np.isnan(value):
                label = f"cheat: {row.learner}"
                axes.axhline(
                    value, color="#D55E00", linewidth=1.1, linestyle=style, zorder=2.5, label=label
                )
        axes.set_xticks(range(len(learners)), learners, rotation=20 if len(learners) > 3 else 0)
        axes.set_xlim(-0.6, len(learners) - 0.4)
        axes.set_ylim(0, max(1.02, axes.dataLim.y1))
        axes.set_yticks(np.linspace(0, 1, 6))
        axes.set_ylabel(f"F1, {name}" if name != MACRO else "macro F1")
        axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
        axes.set_axisbelow(True)
        legend_once(figure, [axes])
    return figure


def _bar(axes: Axes, row: Row, name: str, x: float, width: float) -> None:
    """Draws one bar, its value at the foot and its doubt at the top."""
    values, interval = row.measured.values(name, "f1"), row.measured.interval(name, "f1")
    mean = interval.value
    if np.isnan(mean):
        axes.text(x, 0.02, "undefined", rotation=90, ha="center", va="bottom", fontsize=7)
        return
    axes.bar(
        x,
        mean,
        width * 0.94,
        color=ARM_COLOURS.get(row.arm, "#56B4E9"),
        hatch=ARM_HATCHES.get(row.arm, ""),
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
    columns = min(len(arms), 2)
    lines = -(-len(arms) // columns)
    with drawn_in_style():
        figure = Figure(figsize=(4.3 * columns, 3.9 * lines), layout="constrained")
        panels = figure.subplots(lines, columns, squeeze=False).ravel()
        for panel, (arm, counts) in zip(panels, arms.items(), strict=False):
            which = f"fold {min(counts)}" if len(counts) == 1 else f"mean of {len(counts)} folds"
            which = f"validation, {which}" if validation else which
            panel.set_title(f"{learner}, {arm} ({which})")
            mean = np.mean(list(counts.values()), axis=0)
            _matrix(panel, mean, comparison.diagnoses, whole=len(counts) == 1)
        for panel in panels[len(arms) :]:
            panel.set_axis_off()
    return figure


def _counts(
    comparison: Comparison, arm: str, learner: str, validation: bool
) -> dict[int, Float[np.ndarray, "classes classes"]]:
    """Gives each fold's confusion, of those that have radiographs."""
    found = {}
    for result in comparison.of(arm, learner):
        table = result.validation if validation else result.predictions
        if len(table):
            columns = probability_columns(comparison.diagnoses)
            values = (list(table["diagnosis"]), table[columns].to_numpy(float))
            found[result.run.fold] = scores(*values, comparison.diagnoses).confusion
    return found


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
        )
    name_ticks(axes, [broken(name) for name in names], [broken(name) for name in names])
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
