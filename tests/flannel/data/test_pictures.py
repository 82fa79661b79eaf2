import numpy as np
import pytest

from flannel.data.pictures import (
    SKY,
    VERMILION,
    colour_of,
    contact_sheet,
    draw_patch_boxes,
    overlay_mask,
)

GREY = np.full((40, 60), 100, np.uint8)


def test_a_colour_is_read_as_three_levels():
    assert colour_of("#D55E00") == VERMILION == (213, 94, 0)


def test_overlay_fills_lightly_outlines_fully_and_leaves_the_rest():
    mask = np.zeros((40, 60), bool)
    mask[10:30, 20:40] = True
    picture = overlay_mask(GREY, mask, SKY)
    assert picture[0, 0].tolist() == [100, 100, 100]
    assert picture[10, 25].tolist() == picture[20, 39].tolist() == list(SKY)
    # By hand: 82 parts grey 100 and 18 parts colour (86, 180, 233) of 100.
    assert picture[20, 30].tolist() == [97, 114, 124]
    assert (GREY == 100).all()
    with pytest.raises(ValueError, match="expected one"):
        overlay_mask(GREY, mask[:10])


def test_a_mask_up_to_the_border_keeps_its_outline():
    picture = overlay_mask(GREY, np.ones((40, 60), bool))
    assert (picture[0] == SKY).all()
    assert (picture[:, -1] == SKY).all()


def test_boxes_lie_where_the_patches_were_cut():
    centres = np.array([[20, 30], [0, 59]])
    picture = draw_patch_boxes(GREY, centres, 10, [SKY, VERMILION])
    box = np.argwhere((picture == SKY).all(axis=2))
    assert box.min(axis=0).tolist() == [15, 25]
    assert box.max(axis=0).tolist() == [24, 34]
    moved = np.argwhere((picture == VERMILION).all(axis=2))
    assert moved.min(axis=0).tolist() == [0, 50]
    assert moved.max(axis=0).tolist() == [9, 59]
    with pytest.raises(ValueError, match="shorter"):
        draw_patch_boxes(GREY, centres, 10, [SKY])


def test_contact_sheet_has_a_cell_for_each_picture():
    small = np.zeros((20, 30), np.uint8)
    sheet = contact_sheet([GREY, small, GREY], ["a", "b", "a very long caption indeed"], 2)
    assert sheet.shape == (2 * (40 + 20 + 6) + 6, 2 * (60 + 6) + 6, 3)
    assert (sheet[6:46, 6:66] == 100).all()
    assert (sheet[16:36, 87:117] == 0).all()  # 72 + (60 - 30) / 2, 6 + (40 - 20) / 2
    assert (sheet[6:16, 72:132] == 255).all()
    assert (sheet[46:66, 6:66] < 128).any()  # the caption
    assert (sheet[112:132, 66:] == 255).all()  # a long one stays in its cell
    with pytest.raises(ValueError, match="0 pictures"):
        contact_sheet([], [], 2)
    with pytest.raises(ValueError, match="argument 2"):
        contact_sheet([GREY], [], 2)


def test_a_caption_that_the_font_lacks_is_escaped():
    wide = np.full((40, 200), 100, np.uint8)
    sheets = [contact_sheet([wide], [name], 1) for name in ("胸片-ä", r"\u80f8\u7247-ä", "肺炎-ä")]
    np.testing.assert_array_equal(sheets[0], sheets[1])
    assert (sheets[0] != sheets[2]).any()


def test_only_pictures_are_drawn_on():
    with pytest.raises(ValueError, match="float64"):
        overlay_mask(np.zeros((4, 4)), np.zeros((4, 4), bool))
