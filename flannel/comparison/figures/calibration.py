"""Reliability of a prediction's confidence, and the net benefit of acting on probabilities."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from flannel.comparison.figures.style import (
    LINE_STYLES,
    PAGE_INCHES,
    arm_look,
    drawn_in_style,
    legend_once,
)
from flannel.comparison.measurements import Measurements, Row
from flannel.metrics.calibration import Calibration, CalibrationScores
from flannel.metrics.clinical import net_benefit
from flannel.study.predictions import probability_columns

THRESHOLDS = np.linspace(0.01, 0.6, 60)
"""Of a decision curve: beyond it, acting would need more certainty than a radiograph gives."""

MOMENTS = {
    "before": ("as predicted", "#8C8C8C", "o", "-"),
    "after": ("with temperature", "#000000", "s", "--"),
}


def reliability_curves(measurements: Measurements) -> Figure | None:
    """Draws a panel per ensemble (or, without one, per base learner), before and after.

    A point is a bin of confidence in the predicted diagnosis, over all folds; its size grows with
    its radiographs. Below the diagonal a learner is too sure of itself.

    Returns:
        None where no run kept validation rows.
    """
    base = [row for row in measurements.rows if row.stage == "base"]
    rows = [row for row in measurements.ensembles or base if row.calibrations]
    if not rows:
        return None
    columns = min(3, len(rows))
    lines = -(-len(rows) // columns)
    with drawn_in_style():
        side = PAGE_INCHES / 3
        figure = Figure(
            figsize=(max(side * columns, 4.0), (side + 0.3) * lines + 0.5), layout=_spaced()
        )
        panels = figure.subplots(lines, columns, squeeze=False).ravel()
        for axes, row in zip(panels, rows, strict=False):
            _panel(axes, row)
        for axes in panels[len(rows) :]:
            axes.set_axis_off()
        legend_once(figure, panels[: len(rows)].tolist())
        figure.draw_without_rendering()  # square panels need a second pass to find their place
    return figure


def _panel(axes: Axes, row: Row) -> None:
    axes.plot([0, 1], [0, 1], color="#0072B2", linewidth=0.8)
    errors = []
    for moment, (label, colour, marker, style) in MOMENTS.items():
        confidence, share, images = pooled_bins(
            {fold: _scores(calibration, moment) for fold, calibration in row.calibrations.items()}
        )
        axes.plot(confidence, share, color=colour, linestyle=style, linewidth=1.1, label=label)
        axes.scatter(
            confidence, share, s=12 + 110 * images / images.sum(), color=colour, marker=marker,
            edgecolor="white", linewidth=0.5, zorder=3,
        )  # fmt: skip
        errors.append(
            np.mean([_scores(calibration, moment).ece for calibration in row.calibrations.values()])
        )
    axes.set_title(f"{row.name}\nECE {errors[0]:.3f} → {errors[1]:.3f}")
    axes.set_xlabel("confidence")
    axes.set_ylabel("share that is right")
    axes.set_xlim(0, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "0.5", "", "1"])
    axes.set_aspect("equal")
    axes.grid(color="#E5E5E5", linewidth=0.6)
    axes.set_axisbelow(True)


def decision_curves(measurements: Measurements) -> Figure | None:
    """Draws the net benefit of acting on the first diagnosis, by threshold (decision curve).

    A line per ensemble (or, without one, per base learner), the mean over folds, beside those of
    acting on every radiograph and on none.

    Returns:
        None where no network was tested, or only on radiographs of the first diagnosis or of none.
    """
    covid = measurements.comparison.diagnoses[0]
    rows = measurements.ensembles or [row for row in measurements.rows if row.stage == "base"]
    tested = {len(set(table["diagnosis"] == covid)) for row in rows for table in row.tests.values()}
    if tested != {2}:
        return None
    with drawn_in_style():
        figure = Figure(figsize=(PAGE_INCHES * 0.7, 3.2), layout="constrained")
        axes = figure.subplots()
        share = np.mean([(t["diagnosis"] == covid).mean() for t in rows[0].tests.values()])
        everybody = share - (1 - share) * THRESHOLDS / (1 - THRESHOLDS)
        axes.plot(THRESHOLDS, everybody, color="#8C8C8C", linewidth=1.0, label="act on all")
        axes.axhline(0, color="#000000", linewidth=0.8, label="act on none")
        for place, row in enumerate(rows):
            axes.plot(
                THRESHOLDS,
                benefit_of(row, covid),
                color=arm_look(row.arm)[0],
                linestyle=LINE_STYLES[place % len(LINE_STYLES)],
                linewidth=1.3,
                label=row.name,
            )
        axes.set_xlabel(f"threshold on the probability of {covid}")
        axes.set_ylabel("net benefit")
        axes.set_ylim(-0.1 * share, 1.1 * share)
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
    return figure


def benefit_of(row: Row, diagnosis: str) -> np.ndarray:
    """Returns a row's net benefit at each of `THRESHOLDS`, the mean over its folds."""
    column = probability_columns([diagnosis])[0]
    return np.mean(
        [
            net_benefit(
                table[column].to_numpy(float),
                (table["diagnosis"] == diagnosis).to_numpy(),
                THRESHOLDS,
            )
            for table in row.tests.values()
        ],
        axis=0,
    )


def pooled_bins(
    folds: Mapping[int, CalibrationScores],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Joins the folds' bins: mean confidence, share that came true, radiographs; no empty ones."""
    bins = [scores.bins for scores in folds.values()]
    images = np.array([[part.images for part in fold] for fold in bins])
    sums = [
        np.nansum([[getattr(part, name) * part.images for part in fold] for fold in bins], axis=0)
        for name in ("confidence", "share")
    ]
    total = images.sum(axis=0)
    filled = total > 0
    return sums[0][filled] / total[filled], sums[1][filled] / total[filled], total[filled]


def _spaced() -> ConstrainedLayoutEngine:
    """Keeps a row's axis names apart from the next row's titles."""
    return ConstrainedLayoutEngine(h_pad=0.12)


def _scores(calibration: Calibration, moment: str) -> CalibrationScores:
    return calibration.before if moment == "before" else calibration.after
