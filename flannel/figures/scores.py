"""F1 as bars and predictions as confusion matrices (paper 004, Figures 3 and 4)."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flannel.comparison import Comparison
from flannel.figures.style import ARM_COLOURS, ARM_HATCHES, broken, drawn_in_style, name_ticks
from flannel.metrics import MACRO
from flannel.study import ENSEMBLE
from flannel.tables import F1Row


def f1_bars(rows: Sequence[F1Row], name: str) -> Figure:
    """Draws F1 of each learner and the ensemble, the arms side by side (paper 004's final report).

    Args:
        rows: The F1 table. Error bars show the sample deviation where there is more than one fold.
        name: The diagnosis, or "macro".
    """
    learners = list(dict.fromkeys(row.learner for row in rows))
    learners.sort(key=lambda learner: learner == ENSEMBLE)
    with drawn_in_style():
        figure = Figure(figsize=(max(4.5, 1.15 * len(learners) + 1), 3.4), layout="constrained")
        axes = figure.subplots()
        for place, learner in enumerate(learners):
            beside = [row for row in rows if row.learner == learner]
            width = min(0.8 / len(beside), 0.3)
            for number, row in enumerate(beside):
                x = place + (number - (len(beside) - 1) / 2) * width
                _bar(axes, row, name, x, width)
        axes.set_xticks(range(len(learners)), learners, rotation=20 if len(learners) > 3 else 0)
        axes.set_xlim(-0.6, len(learners) - 0.4)
        tops = np.nan_to_num([[row.means[name], row.deviations[name]] for row in rows]).sum(axis=1)
        axes.set_ylim(0, max(1, tops.max() + 0.02))
        axes.set_yticks(np.linspace(0, 1, 6))
        axes.set_ylabel(f"F1, {name}" if name != MACRO else "macro F1")
        axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
        axes.set_axisbelow(True)
        handles, labels = axes.get_legend_handles_labels()
        by_arm = dict(zip(labels, handles, strict=True))
        figure.legend(by_arm.values(), by_arm.keys(), loc="outside upper center", ncols=4)
    return figure


def _bar(axes: Axes, row: F1Row, name: str, x: float, width: float) -> None:
    """Draws one arm's bar with its value at the foot, and its deviation where there is one."""
    mean, deviation = row.means[name], row.deviations[name]
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
    if not np.isnan(deviation):
        axes.errorbar(x, mean, deviation, color="black", capsize=2, linewidth=0.9)
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


def confusion_matrices(comparison: Comparison, learner: str) -> Figure | None:
    """Draws a learner's confusion matrix in every arm: rows true, columns predicted.

    The folds share one test set, so their counts are averaged and never added up.

    Args:
        comparison: The results.
        learner: A base learner, or the ensemble.
    """
    arms = [arm for arm in comparison.arms if comparison.of(arm, learner)]
    if not arms:
        return None
    columns = min(len(arms), 2)
    lines = -(-len(arms) // columns)
    with drawn_in_style():
        figure = Figure(figsize=(4.3 * columns, 3.9 * lines), layout="constrained")
        panels = figure.subplots(lines, columns, squeeze=False).ravel()
        for panel, arm in zip(panels, arms, strict=False):
            results = comparison.of(arm, learner)
            folds = [result.run.fold for result in results]
            counts = np.mean([result.scores.confusion for result in results], axis=0)
            which = f"fold {folds[0]}" if len(folds) == 1 else f"mean of {len(folds)} folds"
            panel.set_title(f"{learner}, {arm} ({which})")
            _matrix(panel, counts, comparison.diagnoses, whole=len(folds) == 1)
        for panel in panels[len(arms) :]:
            panel.set_axis_off()
    return figure


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
