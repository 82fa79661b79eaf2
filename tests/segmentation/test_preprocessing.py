"""Preparation against the numbers of the original program (tests/golden/README.md)."""

from pathlib import Path

import numpy as np
import pytest

from segmentation.preprocessing import equalise, prepare, prepare_target

GOLDEN = Path(__file__).parents[1] / "golden" / "preprocessing_dev.npz"


@pytest.mark.parametrize(("name", "polarity"), [("8bit", "display"), ("12bit_jsrt", "jsrt")])
def test_equals_the_original_program(name, polarity):
    golden = np.load(GOLDEN, allow_pickle=False)
    ours = equalise(golden[f"input_{name}"], polarity)
    assert ours.dtype == np.float32
    assert np.abs(ours - golden[f"output_{name}"]).max() < 0.001


def test_gamma_by_hand():
    """Levels 0, 1, 2, 3 once each: equalised 0, 85, 170, 255; without gamma they stay so."""
    levels = np.array([[0, 1], [2, 3]], dtype=np.uint8)
    assert np.allclose(equalise(levels, gamma=1.0), [[0, 85], [170, 255]])
    brighter = 255 * np.sqrt(np.array([[0, 1], [2, 3]]) / 3)
    assert np.allclose(equalise(levels), brighter, atol=1e-3)


def test_prepared_radiograph_has_the_networks_size_and_range():
    levels = np.zeros((50, 70), dtype=np.uint8)
    levels[:, 35:] = np.arange(50, dtype=np.uint8)[:, None] + 200
    prepared = prepare(levels, size_px=32)
    assert prepared.shape == (1, 32, 32)
    assert prepared.dtype == np.float32
    assert prepared.min() == 0
    assert prepared.max() <= 255
    assert prepare(levels, size_px=32, clip=False).min() < 0


def test_unknown_polarity_is_refused():
    with pytest.raises(ValueError, match="bright"):
        prepare(np.eye(40, dtype=np.uint8), "bright")


def test_mask_keeps_its_shape_when_it_shrinks():
    mask = np.zeros((64, 128), dtype=bool)
    mask[16:48, 32:96] = True
    small = prepare_target([mask], 32)
    expected = np.zeros((32, 32), dtype=np.uint8)
    expected[8:24, 8:24] = 1
    assert np.array_equal(small, expected)


def test_of_two_masks_the_first_wins_a_tie():
    """Of 2 x 2 pixels: both masks, the second alone, neither, the first alone."""
    first, second = np.array([[1, 0], [0, 1]], bool), np.array([[1, 1], [0, 0]], bool)
    assert prepare_target([first, second], 2).tolist() == [[1, 2], [0, 1]]
