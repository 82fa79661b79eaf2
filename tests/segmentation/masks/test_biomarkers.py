import numpy as np
import pytest

from flannel.data.radiograph import StoredLevels
from segmentation.masks.biomarkers import Biomarkers, cardiothoracic_ratio, measure, sampled

MASK = np.zeros((40, 50), dtype=bool)
MASK[10:30, 5:15] = True
MASK[10:30, 35:45] = True


def test_area_and_intensity_by_hand():
    """Half of the lungs at grey 51 = 0.2 of 255, half at 153 = 0.6: mean 0.4, deviation 0.2."""
    levels = np.full((40, 50), 255, np.uint8)
    levels[:, :25][MASK[:, :25]] = 51
    levels[:, 25:][MASK[:, 25:]] = 153
    seen = measure(MASK, sampled(StoredLevels(levels, 8, "display")), cardiothoracic=0.45)
    assert seen == Biomarkers(400, 0.2, pytest.approx(0.4), pytest.approx(0.2), 0.45)


def test_jsrt_levels_are_turned_so_that_lungs_are_dark():
    levels = np.full((40, 50), 3276, np.uint16)  # 0.8 of 4095
    seen = measure(MASK, StoredLevels(levels, 12, "jsrt"))
    assert (seen.mean_intensity, seen.sd_intensity) == (pytest.approx(0.2), pytest.approx(0))
    assert seen.cardiothoracic_ratio is None


def test_an_empty_mask_has_an_area_only():
    levels = np.zeros((40, 50), np.uint8)
    empty = np.zeros((40, 50), dtype=bool)
    assert measure(empty, StoredLevels(levels, 8, "display")) == Biomarkers(0, 0, None, None)


def test_large_radiographs_are_sampled_on_a_grid():
    """1500 x 1500 is more than a million: every second row and column, 750 x 750."""
    generator = np.random.default_rng(1)
    levels = generator.integers(0, 256, (1500, 1500)).astype(np.uint8)
    mask = np.zeros((1500, 1500), dtype=bool)
    mask[200:1200, 300:1300] = True
    sample = sampled(StoredLevels(levels, 8, "display"))
    assert sample.levels.shape == (750, 750)
    seen = measure(mask, sample)
    assert seen.lung_area_px == 1_000_000
    inside = levels[mask] / 255
    assert seen.mean_intensity == pytest.approx(inside.mean(), abs=0.002)
    assert seen.sd_intensity == pytest.approx(inside.std(), abs=0.002)


def test_cardiothoracic_ratio_by_hand():
    """A heart from column 18 to 37, wide above and far left below; a chest from 5 to 44."""
    heart = np.zeros((40, 50), dtype=bool)
    heart[15:25, 20:38] = True
    heart[24:28, 18:22] = True
    assert cardiothoracic_ratio(heart, MASK) == pytest.approx(20 / 40)
    tilted = MASK.copy()
    tilted[5:10, 45:50] = True  # beyond the chest's widest row, in a row without the other lung
    assert cardiothoracic_ratio(heart, tilted) == pytest.approx(20 / 40)
    assert cardiothoracic_ratio(heart & False, MASK) is None
    assert cardiothoracic_ratio(heart, MASK & False) is None
