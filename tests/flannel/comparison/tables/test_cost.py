import numpy as np

from flannel.comparison.costs import Cost
from flannel.comparison.tables.cost import cost_table


def test_minutes_stand_by_stage_and_arm():
    table = cost_table(
        [
            Cost("segmentation", "", 1, 10.0, 9.0, 1.0, np.nan, "cpu"),
            Cost("base", "global", 2, 6.0, 4.0, 2.0, 1.0, "cpu"),
            Cost("base", "patched", 1, 9.0, 0.02, 0.0, 3.04, "cpu"),
        ]
    )
    assert [line.cells[2:] for line in table.lines] == [
        ("1", "10.0", "9.0", "1.0", "10.0", "–", "cpu"),
        ("2", "6.0", "4.0", "2.0", "3.0", "1", "cpu"),
        ("1", "9.0", "< 0.1", "–", "9.0", "3", "cpu"),
    ]
    assert [line.opens for line in table.lines] == [False, True, False]
    assert table.numbers["minutes_per_run"].tolist() == [10, 3, 9]
    assert cost_table([]) is None
