from pathlib import Path

import numpy as np
import pytest

from flannel.data.greyscale import equalisation_table, resize, to_eight_bits

GOLDEN = Path(__file__).parents[2] / "golden" / "preprocessing_dev.npz"


@pytest.mark.parametrize(("name", "polarity"), [("8bit", "display"), ("12bit_jsrt", "jsrt")])
def test_the_original_program_gives_the_same_grey_values(name, polarity):
    golden = np.load(GOLDEN)
    levels = golden[f"input_{name}"]
    table = equalisation_table(np.bincount(levels.ravel()), polarity)
    assert np.abs(table[levels] - golden[f"output_{name}"]).max() < 0.001


def test_table_by_hand():
    # Cumulative 0 2 3 6; the smallest level gives 0, then (3-2)/4 and (6-2)/4 of 255; gamma 1.
    table = equalisation_table(np.array([0, 2, 1, 3]), "display", gamma=1.0)
    np.testing.assert_allclose(table, [0, 0, 63.75, 255])


def test_gamma_lightens():
    table = equalisation_table(np.array([0, 2, 1, 3]), "display", gamma=0.5)
    np.testing.assert_allclose(table, [0, 0, 127.5, 255])


def test_jsrt_cuts_ten_pixels_more_and_masked_entries_stay_black():
    # Cumulative 4 10 20 40; the cut is 4 + 10 = 14, so levels 0 and 1 are masked.
    table = equalisation_table(np.array([4, 6, 10, 20]), "jsrt", gamma=1.0)
    np.testing.assert_allclose(table, [0, 0, 255, 0])


def test_one_level_only_is_black():
    assert not equalisation_table(np.array([0, 0, 9]), "display").any()


def test_wrong_arguments_are_sentences():
    with pytest.raises(ValueError, match="no pixel"):
        equalisation_table(np.zeros(4, int), "display")
    with pytest.raises(ValueError, match="gamma is 0"):
        equalisation_table(np.ones(4, int), "display", gamma=0.0)
    with pytest.raises(ValueError, match="Polarity 'x' is unknown"):
        equalisation_table(np.ones(4, int), "x")


def test_eight_bits_use_the_full_range():
    levels = np.array([[0, 2048, 4095]], np.uint16)
    np.testing.assert_array_equal(to_eight_bits(levels, 12, "display"), [[0, 128, 255]])
    np.testing.assert_array_equal(to_eight_bits(levels, 12, "jsrt"), [[255, 127, 0]])
    np.testing.assert_array_equal(to_eight_bits(np.uint8([[7]]), 8, "display"), [[7]])


def test_resize_keeps_constants_types_and_averages_when_it_shrinks():
    flat = np.full((40, 60), 9, np.uint8)
    np.testing.assert_array_equal(resize(flat, 20, 30), np.full((20, 30), 9))
    stripes = np.tile(np.float32([0, 100]), (64, 32))
    small = resize(stripes, 16, 16)
    assert small.dtype == np.float32
    np.testing.assert_allclose(small[4:-4, 4:-4], 50, atol=1)  # antialiased, not sampled
    with pytest.raises(ValueError, match="float64"):
        resize(np.zeros((4, 4)), 2, 2)
