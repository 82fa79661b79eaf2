import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from segmentation.masks.cleaning import clean, clean_probability, count_parts, mask_at_size


def drawn(*rows: str) -> np.ndarray:
    return np.array([[c == "#" for c in row] for row in rows])


RAGGED = drawn(
    "###...####",
    "#.#...#..#",
    "###...####",
    "..........",
    ".##.......",
)
CLEANED = drawn(
    "###...####",
    "###...####",
    "###...####",
    "..........",
    "..........",
)


def test_clean_keeps_the_two_largest_parts_and_fills_holes():
    assert np.array_equal(clean(RAGGED), CLEANED)
    assert np.array_equal(clean(CLEANED), CLEANED)
    assert np.array_equal(clean(RAGGED, parts=1), CLEANED & (np.arange(10) > 4))
    assert count_parts(RAGGED) == 3


@settings(deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))), st.integers(1, 3))
def test_parts_and_holes_are_those_of_plain_labels(mask, parts):
    """By SciPy's labels: the largest parts, the first of equals; holes are reached by no edge."""
    labels, found = ndimage.label(mask, np.ones((3, 3)))
    assert count_parts(mask) == found
    areas = [int((labels == number).sum()) for number in range(1, found + 1)]
    kept = np.zeros_like(mask)
    for number in sorted(range(found), key=lambda n: -areas[n])[:parts]:
        kept |= labels == number + 1
    assert np.array_equal(clean(mask, parts), ndimage.binary_fill_holes(kept))


def test_clean_leaves_bays_and_empty_masks_alone():
    bay = drawn("#.#", "#.#", "###")
    assert np.array_equal(clean(bay), bay)
    empty = np.zeros((3, 3), dtype=bool)
    assert np.array_equal(clean(empty), empty)


def test_clean_probability_changes_only_what_clean_changes():
    probability = np.where(RAGGED, 0.9, 0.3).astype(np.float32)
    cleaned = clean_probability(probability)
    assert np.array_equal(cleaned > 0.5, CLEANED)
    assert (cleaned[1, 1], cleaned[4, 1], cleaned[0, 0]) == (1, 0, np.float32(0.9))
    assert (cleaned[3] == np.float32(0.3)).all()


@settings(max_examples=50, deadline=None)
@given(arrays(np.float32, (7, 9), elements=st.sampled_from([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])))
def test_cleaning_before_enlarging_moves_no_outline_of_the_parts_that_stay(probability):
    """Without holes, the enlarged mask is the uncleaned one less the parts that were removed."""
    cleaned = clean_probability(probability)
    filled = (cleaned == 1) & (probability <= 0.5)
    probability = np.where(filled, np.float32(1), probability)
    before, _ = mask_at_size(probability, 70, 90)
    after, _ = mask_at_size(clean_probability(probability), 70, 90)
    assert not (after & ~before).any()
    # What is gone are whole parts: none of it touches what stays.
    assert not (ndimage.binary_dilation(after, np.ones((3, 3))) & before & ~after).any()


def test_masks_are_cut_smoothly_at_the_radiographs_size():
    """Between a 0 and a 1 the bilinear half lies in the middle."""
    mask, probability = mask_at_size(np.array([[0.0, 1.0]], dtype=np.float32), 3, 8)
    assert mask.tolist() == [[False] * 4 + [True] * 4] * 3
    assert probability[0].tolist() == pytest.approx(
        [0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1], abs=1e-6
    )
