import numpy as np

from flannel.costs import Cost
from flannel.figures.cost import cost_bars


def test_bars_are_minutes_per_run():
    figure = cost_bars(
        [
            Cost("segmentation", "", 1, 10.0, 9.0, 1.0, np.nan, "cpu"),
            Cost("base", "global", 2, 6.0, 0.0, 0.0, 1.0, "cpu"),
        ]
    )
    (axes,) = figure.axes
    assert [bar.get_width() for bar in axes.patches] == [9, 0, 1, 0, 0, 3]
    assert [text.get_text() for text in axes.texts] == [" 10.0, 1 run", " 3.0, 2 runs"]
    assert cost_bars([]) is None
