from flannel.costs import Cost
from flannel.tables.cost import cost_table


def test_a_run_is_compared_with_one_of_the_global_arm_on_the_same_device():
    table = cost_table(
        [
            Cost("segmentation", "", 1, 10.0, 9.0, 1.0, "cpu"),
            Cost("base", "global", 2, 6.0, 4.0, 2.0, "cpu"),
            Cost("base", "patched", 1, 9.0, 0.0, 0.0, "cpu"),
            Cost("base", "masked", 1, 9.0, 0.0, 0.0, "V100"),
        ]
    )
    assert [line.cells[2:] for line in table.lines] == [
        ("1", "10.0", "9.0", "1.0", "10.0", "–", "cpu"),
        ("2", "6.0", "4.0", "2.0", "3.0", "1", "cpu"),
        ("1", "9.0", "–", "–", "9.0", "3", "cpu"),
        ("1", "9.0", "–", "–", "9.0", "–", "V100"),
    ]
    assert table.numbers["minutes_per_run"].tolist() == [10, 3, 9, 9]
    assert cost_table([]) is None
