"""ROC and precision-recall curves (the final report of paper 004's authors)."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation
from sklearn.metrics import (
    average_precision_score,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)

from flannel.comparison.figures.style import (
    LETTERS,
    LINE_COLOURS,
    LINE_STYLES,
    PAGE_INCHES,
    SHORTCUT_STYLES,
    arm_look,
    drawn_in_style,
)
from flannel.comparison.measurements import Measurements, Row
from flannel.comparison.tables.cells import interval_text
from flannel.study.contents import ENSEMBLE, SHORTCUT
from flannel.study.predictions import probability_columns

MICRO = "micro"
"""All decisions of one diagnosis against the rest, counted together."""

GRID = (np.arange(1000) + 0.5) / 1000
KINDS = {
    "roc_auc": ("ROC", "false positive rate", "true positive rate"),
    "average_precision": ("precision and recall", "recall", "precision"),
}


def learner_curves(measurements: Measurements, name: str) -> Figure | None:
    """Draws the curves of base learners and FLANNEL, a column per arm: ROC above precision, recall.

    Each line is the mean of its folds' curves, at every false positive rate (or recall); the
    legend shows the area under it.

    Args:
        measurements: The rows.
        name: A diagnosis, against the rest, or "micro".

    Returns:
        None where no curve is defined.
    """
    arms = [arm for arm in measurements.comparison.arms if arm != SHORTCUT]
    # Other forms of an ensemble would hide the learners; their areas are in the tables.
    rows = [row for row in measurements.rows if row.stage == "base" or row.learner == ENSEMBLE]
    columns = {arm: [row for row in rows if row.arm == arm] for arm in arms}
    learners = [row.learner for row in rows]
    numbers = {learner: number for number, learner in enumerate(dict.fromkeys(learners))}
    return _figure(measurements, columns, name, lambda row: _of_learner(row, numbers[row.learner]))


def ensemble_curves(measurements: Measurements, name: str) -> Figure | None:
    """Draws the curves of the arms' ensembles and the shortcut baselines, a panel of each kind.

    Args:
        measurements: The rows.
        name: A diagnosis, against the rest, or "micro".

    Returns:
        None without ensembles, or where no curve is defined.
    """
    if not measurements.ensembles:
        return None
    kinds = (measurements.ensembles, measurements.shortcuts)
    places = {id(row): place for rows in kinds for place, row in enumerate(rows)}
    columns = {ENSEMBLE: [row for rows in kinds for row in rows]}
    return _figure(measurements, columns, name, lambda row: _of_arm(row, places[id(row)]))


def _figure(
    measurements: Measurements,
    columns: dict[str, list[Row]],
    name: str,
    styled: Callable[[Row], tuple[str, dict[str, object]]],
) -> Figure | None:
    """Draws a column of two panels for each list of rows; a single one lies on its side."""
    diagnoses = measurements.comparison.diagnoses
    columns = {
        title: [row for row in rows if _is_defined(row, name, diagnoses)]
        for title, rows in columns.items()
    }
    columns = {title: rows for title, rows in columns.items() if rows}
    if not columns:
        return None
    with drawn_in_style():
        wide, high = (len(columns), 2) if len(columns) > 1 else (2, 1)
        most = max(map(len, columns.values()))
        side = PAGE_INCHES / max(wide, 2)
        # A square panel, title and axis, and a line of the legend for each row.
        height = side - 0.7 + 0.95 + 0.16 * most
        figure = Figure(figsize=(side * wide, height * high + 0.3), layout="constrained")
        panels = figure.subplots(high, wide, squeeze=False).reshape(2, len(columns))
        for line, measure in enumerate(KINDS):
            for column, (title, rows) in enumerate(columns.items()):
                axes = panels[line, column]
                for row in rows:
                    label, style = styled(row)
                    x, y, area = mean_curve(row, name, measure, diagnoses)
                    axes.plot(x, y, label=f"{label} {area}", **style)
                _dress(figure, axes, title, measure)
        which = "micro: all decisions together" if name == MICRO else f"{name}, against the rest"
        figure.suptitle(which)
        figure.draw_without_rendering()  # square panels need a second pass to find their place
    return figure


def mean_curve(
    row: Row, name: str, measure: str, diagnoses: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, str]:
    """Averages the curves of a row's folds at every place of the x axis.

    The area under the mean is the mean of the areas, so that the line fits the number in the
    legend, with its 95 % interval where the tables have one.

    Args:
        row: With test rows by fold.
        name: A diagnosis, or "micro".
        measure: "roc_auc" or "average_precision".
        diagnoses: The label set.

    Returns:
        x in [0, 1], y in [0, 1], and the area as text.
    """
    curve, area = {
        "roc_auc": (_roc, roc_auc_score),
        "average_precision": (_precision_recall, average_precision_score),
    }[measure]
    decided = [_decisions(row, fold, name, diagnoses) for fold in row.tests]
    y = np.mean([curve(happened, scores) for happened, scores in decided], axis=0)
    mean = float(np.mean([area(happened, scores) for happened, scores in decided]))
    text = f"{mean:.2f}"
    if name != MICRO:
        interval = row.measured.interval(name, measure)
        text += interval_text(interval.value, (interval.low, interval.high), digits=2)
    if measure == "roc_auc":
        return np.array([0, *GRID, 1]), np.array([0, *y, 1]), text
    return GRID, y, text


def _roc(happened: Bool[np.ndarray, " n"], scores: Float[np.ndarray, " n"]) -> np.ndarray:
    false, true, _ = roc_curve(happened, scores)
    return np.interp(GRID, false, true)


def _precision_recall(
    happened: Bool[np.ndarray, " n"], scores: Float[np.ndarray, " n"]
) -> np.ndarray:
    """Returns the precision of the highest threshold that reaches each recall, a step function."""
    precision, recall, _ = precision_recall_curve(happened, scores)
    # scikit-learn ends at recall 0; the other way round recall rises.
    return precision[::-1][np.searchsorted(recall[::-1], GRID, side="left")]


def _decisions(
    row: Row, fold: int, name: str, diagnoses: Sequence[str]
) -> tuple[Bool[np.ndarray, " decisions"], Float[np.ndarray, " decisions"]]:
    """Returns what is true and its predicted probability, decision by decision."""
    table = row.tests[fold]
    chosen = list(diagnoses) if name == MICRO else [name]
    happened = table["diagnosis"].to_numpy(str)[:, None] == np.array(chosen)
    return happened.ravel(), table[probability_columns(chosen)].to_numpy(float).ravel()


def _is_defined(row: Row, name: str, diagnoses: Sequence[str]) -> bool:
    """Returns whether both answers occur in every fold."""
    return all(
        len(set(_decisions(row, fold, name, diagnoses)[0].tolist())) == 2 for fold in row.tests
    )


def _of_learner(row: Row, number: int) -> tuple[str, dict[str, object]]:
    if row.learner == ENSEMBLE:
        return row.learner, {"color": "black", "linewidth": 2.0, "zorder": 3}
    return row.learner, {
        "color": LINE_COLOURS[number % (len(LINE_COLOURS) - 1)],
        "linestyle": LINE_STYLES[number % len(LINE_STYLES)],
        "linewidth": 1.2,
    }


def _of_arm(row: Row, number: int) -> tuple[str, dict[str, object]]:
    colour, _ = arm_look(row.arm)
    if row.arm == SHORTCUT:
        style = SHORTCUT_STYLES[number % len(SHORTCUT_STYLES)]
        return f"shortcut baseline: {row.learner}", {
            "color": colour,
            "linestyle": style,
            "linewidth": 1.1,
        }
    style = LINE_STYLES[number % len(LINE_STYLES)]
    return row.arm, {"color": colour, "linestyle": style, "linewidth": 1.8}


def _dress(figure: Figure, axes: Axes, title: str, measure: str) -> None:
    kind, across, up = KINDS[measure]
    axes.set_title(f"{title}: {kind}", fontsize=8.5)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(0, 1.01)
    axes.set_aspect("equal")
    axes.grid(color="#E5E5E5", linewidth=0.6)
    axes.set_axisbelow(True)
    # Below the panel and the name of its axis: inside it would lie on the curves of weak learners.
    below = ScaledTranslation(0, -0.48, figure.dpi_scale_trans)
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.5, 0), bbox_transform=axes.transAxes + below,
        borderpad=0, borderaxespad=0, fontsize=LETTERS,
    )  # fmt: skip
