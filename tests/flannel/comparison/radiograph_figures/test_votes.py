import numpy as np
from matplotlib.patches import Rectangle

from flannel.comparison.radiograph_figures.votes import votes
from flannel.data.diagnosis import FLANNEL, coloured
from flannel.study.patches import Patches

COVID = FLANNEL[0]


def test_votes_count_patches_and_keep_windows_inside(store):
    logits = np.zeros((1, 4, 4), np.float16)
    logits[0, [0, 1, 2, 3], [0, 0, 0, 3]] = 1
    centres = np.array([[[0, 0], [32, 32], [63, 63], [5, 60]]], np.int16)
    windows_px, weights = np.full((1, 4), 16), np.array([[1, 1, 0, 2]], np.float32)
    patches = Patches(("test-0",), centres, windows_px, weights, logits, "uniform", False)
    radiograph, shares = votes(store, "a run", patches, {"test-0": COVID}, coloured(FLANNEL)).axes
    assert [bar.get_width() for bar in shares.patches] == [0.5, 0, 0, 0.5]  # by weight
    boxes = [patch for patch in radiograph.patches if isinstance(patch, Rectangle)]
    # x, y of the upper left corner: column and row of the centre minus 8, moved into 0..48.
    assert [box.get_xy() for box in boxes] == [(0, 0), (24, 24), (48, 48), (48, 0)]
    assert radiograph.lines[3].get_color() == "#009E73"
