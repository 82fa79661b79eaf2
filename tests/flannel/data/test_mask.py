"""Masks in every channel that people keep them in."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from flannel.data.file_checks import RadiographError
from flannel.data.mask import is_alpha_mask, read_mask, write_mask
from flannel.data.radiograph import read_levels

MASK = np.zeros((40, 60), bool)
MASK[10:30, 8:24] = MASK[10:32, 36:52] = True
INSIDE = MASK.astype(np.uint8) * 255
RAMP = np.arange(2000).reshape(40, 50).astype(np.uint8)
WHITE, BLACK = np.full_like(INSIDE, 255), np.zeros_like(INSIDE)


def saved(path, *channels):
    Image.fromarray(np.dstack(channels) if len(channels) > 1 else channels[0]).save(path)
    return path


@pytest.mark.parametrize(
    ("channels", "alpha"),
    [
        ((WHITE, INSIDE), True),
        ((BLACK, INSIDE), True),
        ((WHITE, WHITE, WHITE, INSIDE), True),
        ((INSIDE, BLACK, BLACK, WHITE), False),
        ((BLACK, INSIDE, BLACK), False),
        ((INSIDE, INSIDE), False),
        ((INSIDE, WHITE), False),
        ((INSIDE, BLACK), False),  # all transparent: the colours are all there is
        ((INSIDE,), False),
    ],
)
def test_a_mask_may_lie_in_any_channel(tmp_path, channels, alpha):
    path = saved(tmp_path / "mask.png", *channels)
    np.testing.assert_array_equal(read_mask(path), MASK)
    assert is_alpha_mask(path) == alpha


def test_colours_and_transparency_that_disagree_are_a_sentence(tmp_path):
    path = saved(tmp_path / "mask.png", INSIDE, 255 - INSIDE)
    with pytest.raises(RadiographError, match="one mask by its colours and another by its transp"):
        read_mask(path)


@pytest.mark.parametrize("levels", [(0, 1, 2), (0, 127, 255), (0, 100, 200), (0, 1, 3)])
def test_labels_of_left_and_right_are_a_sentence(tmp_path, levels):
    labels = np.full(MASK.shape, levels[0], np.uint8)
    labels[:, :30][MASK[:, :30]] = levels[1]
    labels[:, 30:][MASK[:, 30:]] = levels[2]
    path = saved(tmp_path / "labels.png", labels)
    expected = rf"holds the labels {levels[0]}, {levels[1]}, {levels[2]}; expected .*left_lung/"
    with pytest.raises(RadiographError, match=expected):
        read_mask(path)


def test_a_small_label_is_not_lost(tmp_path):
    labels = np.zeros((100, 100), np.uint8)
    labels[40:60, 40:60], labels[0, 0] = 2, 1
    with pytest.raises(RadiographError, match="holds the labels 0, 1, 2"):
        read_mask(saved(tmp_path / "labels.png", labels))


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**24 - 1), st.integers(0, 2**24 - 1), st.booleans())
def test_a_mask_in_two_colours_is_what_is_brighter(tmp_path, inside, outside, opaque):
    """Colour by colour against the plain rule; equal ones leave it to the transparency."""
    colours = [np.array([c >> 16, c >> 8 & 255, c & 255], np.uint8) for c in (outside, inside)]
    picture = np.where(MASK[..., None], colours[1], colours[0])
    alpha = WHITE if opaque else INSIDE
    path = saved(tmp_path / "mask.png", picture, alpha)
    dark, bright = (int(colour.max()) for colour in colours)
    highest = max(dark, bright)
    between = min(dark, bright)
    parted = highest // 8 < between < highest - highest // 8
    if highest > 1 and parted:
        with pytest.raises(RadiographError, match="holds the labels"):
            read_mask(path)
        return
    threshold = 0 if highest <= 1 else highest // 2
    by_colour = np.where(MASK, bright > threshold, dark > threshold)
    if opaque or by_colour.all() != by_colour.any():
        expected = by_colour
        if not opaque and (by_colour != MASK).any():
            with pytest.raises(RadiographError, match="another by its transparency"):
                read_mask(path)
            return
    else:
        expected = MASK
    np.testing.assert_array_equal(read_mask(path), expected)


def test_masks_of_every_kind(tmp_path):
    mask = np.zeros((40, 50), bool)
    mask[10:30, 5:20] = True
    write_mask(mask, tmp_path / "a.png")
    assert set(np.unique(read_levels(tmp_path / "a.png").levels)) == {0, 255}
    saved(tmp_path / "ones.png", mask.astype(np.uint8))
    indexed = Image.fromarray(mask.astype(np.uint8), "L").convert("P")
    indexed.putpalette([0, 0, 0, 9, 9, 9])
    indexed.save(tmp_path / "index.gif")
    saved(tmp_path / "colour.png", mask * np.uint8(255), *[np.zeros((40, 50), np.uint8)] * 2)
    saved(tmp_path / "bits.png", mask)
    for path in sorted(tmp_path.iterdir()):
        np.testing.assert_array_equal(read_mask(path), mask, err_msg=path.name)
    saved(tmp_path / "none.png", np.zeros((40, 50), np.uint8))
    assert not read_mask(tmp_path / "none.png").any()


def test_a_smoothed_outline_is_a_mask_but_a_radiograph_is_not(tmp_path):
    mask = np.zeros((60, 60), np.uint8)
    mask[20:40, 20:40] = 255
    mask[19, 20:40] = 100
    np.testing.assert_array_equal(read_mask(saved(tmp_path / "a.png", mask)), mask == 255)
    with pytest.raises(RadiographError, match="Is it a radiograph"):
        read_mask(saved(tmp_path / "b.png", RAMP))
