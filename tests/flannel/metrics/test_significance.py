"""Holm's correction by hand; differences are tested beside the intervals."""

import numpy as np
import pytest

from flannel.metrics.significance import holm


def test_holm_by_hand():
    # Sorted: .01 x 4, .02 x 3 = .06, .03 x 2 = .06, .5 x 1.
    assert holm(np.array([0.03, 0.01, 0.5, 0.02])) == pytest.approx([0.06, 0.04, 0.5, 0.06])


def test_holm_leaves_out_what_was_not_tested_and_ends_at_one():
    found = holm(np.array([np.nan, 0.6, 0.7]))
    assert np.isnan(found[0])
    assert found[1:].tolist() == [1, 1]
