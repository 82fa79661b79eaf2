from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flannel.data.greyscale import (
    content_box,
    equalisation_table,
    resize,
    to_eight_bits,
    to_square,
)

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


def test_content_box_by_hand():
    assert content_box(30, 90, 60, "stretch") == (0, 0, 60, 60)
    assert content_box(30, 90, 60, "letterbox") == (20, 0, 20, 60)
    assert content_box(90, 30, 60, "letterbox") == (0, 20, 60, 20)
    assert content_box(1, 900, 60, "letterbox") == (29, 0, 1, 60)
    with pytest.raises(ValueError, match="resize is 'crop'"):
        content_box(30, 90, 60, "crop")


@given(height=st.integers(32, 400), width=st.integers(32, 400), side=st.integers(32, 200))
def test_a_letterbox_keeps_the_aspect_in_the_middle(height, width, side):
    box = content_box(height, width, side, "letterbox")
    assert max(box.height, box.width) == side
    scale = side / max(height, width)
    assert abs(box.height - height * scale) <= 0.5
    assert abs(box.width - width * scale) <= 0.5
    for first, length in ((box.top, box.height), (box.left, box.width)):
        assert 0 <= side - length - 2 * first <= 1


@given(height=st.integers(32, 90), width=st.integers(32, 90), side=st.integers(32, 80))
def test_bands_beside_a_letterbox_are_never_lung(height, width, side):
    everywhere = np.full((height, width), 255, np.uint8)
    box = content_box(height, width, side, "letterbox")
    square = to_square(everywhere, side, "letterbox")
    inside = np.zeros((side, side), bool)
    inside[box.top : box.top + box.height, box.left : box.left + box.width] = True
    np.testing.assert_array_equal(square, 255 * inside)


def test_a_square_radiograph_is_the_same_in_both_ways():
    image = np.random.default_rng(1).integers(0, 256, (50, 50), np.uint8)
    stretched = to_square(image, 40, "stretch")
    np.testing.assert_array_equal(stretched, resize(image, 40, 40))
    np.testing.assert_array_equal(to_square(image, 40, "letterbox"), stretched)
