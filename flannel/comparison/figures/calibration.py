"""Reliability: how often a prediction of some confidence is right."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from flannel.comparison.figures.style import PAGE_INCHES, drawn_in_style, legend_once
from flannel.comparison.measurements import Measurements, Row
from flannel.metrics.calibration import Calibration, CalibrationScores

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
