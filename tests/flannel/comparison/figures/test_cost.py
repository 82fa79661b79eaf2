import numpy as np

from flannel.comparison.costs import Cost
from flannel.comparison.figures.cost import cost_bars


def test_bars_are_minutes_per_run():
    figure = cost_bars(
        [
            Cost("segmentation", "", 1, 10.0, 9.0, 1.0, np.nan, "cpu"),
            Cost("base", "global", 2, 6.0, 0.0, 0.0, 1.0, "cpu"),
            Cost("ensemble", "global", 1, 0.05, 0.05, 0.0, np.nan, "cpu"),
        ]
    )
    (axes,) = figure.axes
    assert [bar.get_width() for bar in axes.patches] == [9, 0, 0.05, 1, 0, 0, 0, 3, 0]
    labels = [text.get_text() for text in axes.texts]
    assert labels == [" 10.0 min, 1 run", " 3.0 min, 2 runs", " 3 s, 1 run"]
    assert cost_bars([]) is None
