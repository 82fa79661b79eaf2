import numpy as np
import pytest

from segmentation.masks.quality import FLAGS, quality


def lungs() -> np.ndarray:
    mask = np.zeros((40, 40), dtype=bool)
    mask[5:35, 4:16] = True
    mask[5:35, 24:36] = True
    return mask


def test_quality_by_hand():
    seen = quality(lungs(), mean_confidence=0.9)
    assert seen.area_share == pytest.approx(2 * 30 * 12 / 1600)
    assert (seen.parts, seen.balance, seen.touches_border, seen.flag) == (2, 0.5, False, "")
    assert (seen.mean_confidence, seen.removed_share) == (0.9, None)
    assert quality(lungs()).mean_confidence is None
    assert quality(lungs(), parts=7).parts == 7


def test_balance_and_border_by_hand():
    mask = lungs()
    mask[:, 32:] = False  # 30 x 12 pixels on the left, 30 x 8 on the right
    mask[0, 4:8] = True
    seen = quality(mask)
    assert seen.balance == pytest.approx(240 / (364 + 240))
    assert seen.touches_border
    assert seen.border_share == pytest.approx(4 / (4 * 40 - 4))


def test_every_flag_and_that_the_worst_is_told():
    empty = np.zeros((40, 40), dtype=bool)
    small, one, dotted, cut = empty.copy(), lungs(), lungs(), lungs()
    small[10:14, 10:14] = True
    one[:, 20:] = False
    dotted[0, 20] = True
    cut[:5, 4:36] = cut[35:, 4:16] = True  # 32 + 12 of 156 outermost pixels
    flags = [
        quality(empty, mean_confidence=0.5).flag,
        quality(small, mean_confidence=0.5).flag,
        quality(~empty).flag,
        quality(one).flag,
        quality(lungs(), mean_confidence=0.5, removed_share=0.11).flag,
        quality(dotted, mean_confidence=0.5).flag,
        quality(cut).flag,
        quality(dotted).flag,
    ]
    assert tuple(flags) == FLAGS
    assert quality(empty, mean_confidence=0.5).mean_confidence is None
    assert quality(dotted).touches_border
    assert quality(lungs(), mean_confidence=0.88, removed_share=0.1).flag == ""
