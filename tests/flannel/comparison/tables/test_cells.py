import numpy as np
import pytest

from flannel.comparison.tables.cells import difference_cell, p_cell, score_cell


def test_a_score_leaves_out_what_there_is_not():
    assert score_cell(0.92391) == "0.924"
    assert score_cell(0.92391, 0.0104) == "0.924 ± 0.010"
    assert score_cell(0.92391, 0.0104, (0.9, 0.95)) == "0.924 ± 0.010 [0.900, 0.950]"
    assert score_cell(0.9239, 0.01, digits=(4, 2)) == "0.9239 ± 0.01"
    assert score_cell(np.nan, 0.1, (0.1, 0.2)) == "–"


def test_a_difference_shows_its_sign():
    assert difference_cell(0.03, (-0.01, 0.07)) == "+0.030 [−0.010, 0.070]"
    assert difference_cell(-0.03, (-0.07, -0.01)) == "−0.030 [−0.070, −0.010]"
    assert difference_cell(-0.0001, (np.nan, np.nan)) == "0.000"
    assert difference_cell(np.nan, (0, 0)) == "–"


@pytest.mark.parametrize(("value", "text"), [(0.0004, "<0.001"), (0.05, "0.050"), (np.nan, "–")])
def test_p_values_have_three_places(value, text):
    assert p_cell(value) == text
