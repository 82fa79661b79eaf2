"""Whom the ensemble trusts for what."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.layout_engine import ConstrainedLayoutEngine

from flannel.comparison.figures.style import (
    LETTERS,
    PAGE_INCHES,
    broken,
    drawn_in_style,
    name_ticks,
)
from flannel.comparison.results import Comparison
from flannel.study.contents import ENSEMBLE


def learner_weights(comparison: Comparison) -> Figure | None:
    """Draws whom the ensemble trusts for what: mean learner weight by true diagnosis, per arm.

    The weights are FLANNEL's tanh outputs in (-1, 1), averaged over test radiographs and folds.
    """
    tables = {}
    for arm in comparison.arms:
        results = comparison.of(arm, ENSEMBLE)
        weighted = [
            result.predictions.filter(regex="^w_").groupby(result.predictions["diagnosis"]).mean()
            for result in results
        ]
        weighted = [table for table in weighted if table.columns.size]
        if weighted:
            mean = pd.concat(weighted).groupby(level=0).mean()
            tables[arm] = mean.reindex(comparison.diagnoses).T
    if not tables:
        return None
    columns = min(2, len(tables))
    lines = -(-len(tables) // columns)
    most = max(len(table) for table in tables.values())
    with drawn_in_style():
        figure = Figure(
            figsize=(PAGE_INCHES if columns > 1 else 4.6, (0.3 * most + 1.3) * lines),
            layout=ConstrainedLayoutEngine(h_pad=0.1),  # a name of an axis above the next title
        )
        panels = figure.subplots(lines, columns, squeeze=False).ravel()
        for panel, (arm, table) in zip(panels, tables.items(), strict=False):
            picture = _weights(panel, table)
            panel.set_title(f"{ENSEMBLE}, {arm}")
        for panel in panels[len(tables) :]:
            panel.set_axis_off()
        figure.colorbar(picture, ax=panels, label="learner weight", shrink=0.9, aspect=40)
    return figure


def _weights(axes: Axes, table: pd.DataFrame) -> AxesImage:
    """Draws one arm's weights: a row per learner, a column per true diagnosis."""
    values = table.to_numpy(float)
    picture = axes.imshow(values, cmap="PuOr", vmin=-1, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        colour = "white" if abs(value) > 0.6 else "black"
        # Adding 0.0 turns a rounded -0.0 into 0.0.
        text = "–" if np.isnan(value) else f"{round(value, 2) + 0.0:.2f}".replace("-", "−")
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=LETTERS)
    learners = [str(name).removeprefix("w_") for name in table.index]
    name_ticks(axes, [broken(name) for name in table.columns], learners)
    axes.tick_params(axis="x", rotation=30)
    axes.set_xlabel("true diagnosis")
    return picture
