import os
from pathlib import Path

import numpy as np
import pytest

from flannel.data.file_checks import RadiographError
from flannel.data.findings import SourceError
from flannel.data.mask import read_mask, write_mask
from flannel.data.radiograph import read_levels
from flannel.data.sources import CONVENTIONS, find_pairs, read_pair_mask, read_structure
from flannel.data.sources.mask_pairs import STRUCTURES, MaskPair, write_phantoms

REAL = Path(os.environ.get("FLANNEL_REAL_DATA", Path(__file__).parents[5] / "shared" / "data"))
V7 = REAL / "radiographs" / "seg_v7"


def block(rows):
    mask = np.zeros((40, 40), bool)
    mask[rows] = True
    return mask


def test_one_mask_each_whatever_the_suffix(tmp_path):
    write_mask(block(slice(0, 9)), tmp_path / "images" / "a.png")
    write_mask(block(slice(0, 5)), tmp_path / "masks" / "a.png")
    (tmp_path / "images" / "a.png").rename(tmp_path / "images" / "a.jpeg")
    (pair,) = find_pairs(tmp_path)
    mask = tmp_path / "masks" / "a.png"
    image = tmp_path / "images" / "a.jpeg"
    assert pair == MaskPair(image, {"lungs": (mask,)}, "a", origin=tmp_path.name)
    assert pair.files == (image, mask)
    np.testing.assert_array_equal(read_pair_mask(pair), block(slice(0, 5)))


def test_both_sides_are_united_and_the_heart_stays_apart(tmp_path):
    write_phantoms(tmp_path, 2, seed=0, size=96)
    pairs = find_pairs(tmp_path)
    assert [pair.stem for pair in pairs] == ["phantom-00000", "phantom-00001"]
    for pair in pairs:
        assert list(pair.masks) == ["left lung", "right lung", "heart"]
        assert len(pair.files) == 4
        left, right, heart = (read_structure(pair, name) for name in pair.masks)
        np.testing.assert_array_equal(read_pair_mask(pair), left | right)
        assert read_levels(pair.image).levels.shape == left.shape
        assert np.nonzero(left)[1].mean() > np.nonzero(right)[1].mean()  # the patient's left
        assert heart.any()
        assert not (heart & (left | right)).any()


def test_names_of_folders_may_have_spaces_and_a_heart_may_be_absent(tmp_path):
    for name in ("a", "b"):
        write_mask(block(slice(0, 9)), tmp_path / "images" / f"{name}.png")
        write_mask(block(slice(0, 2)), tmp_path / "masks" / "Left Lung" / f"{name}.png")
        write_mask(block(slice(3, 5)), tmp_path / "masks" / "right_lung" / f"{name}.png")
    write_mask(block(slice(6, 8)), tmp_path / "masks" / "heart" / "b.png")
    first, second = find_pairs(tmp_path)
    np.testing.assert_array_equal(read_pair_mask(first), block([0, 1, 3, 4]))
    np.testing.assert_array_equal(read_structure(second, "heart"), block([6, 7]))
    with pytest.raises(
        RadiographError, match=r"a\.png has no mask .* 'heart'; its set has left lung, right lung"
    ):
        read_structure(first, "heart")


def test_one_mask_of_both_lungs_and_a_folder_of_hearts(tmp_path):
    write_mask(block(slice(0, 9)), tmp_path / "images" / "a.png")
    write_mask(block(slice(0, 5)), tmp_path / "masks" / "a.png")
    write_mask(block(slice(6, 8)), tmp_path / "masks" / "heart" / "a.png")
    (pair,) = find_pairs(tmp_path)
    assert list(pair.masks) == ["lungs", "heart"]
    assert set(pair.masks) < set(STRUCTURES)
    np.testing.assert_array_equal(read_pair_mask(pair), block(slice(0, 5)))
    with pytest.raises(RadiographError, match="'left lung'; its set has lungs, heart"):
        read_structure(pair, "left lung")


def test_a_text_file_names_the_convention(tmp_path):
    write_phantoms(tmp_path, 1, seed=0, size=64)
    assert find_pairs(tmp_path)[0].convention == ""
    (tmp_path / "convention.txt").write_text("v7\n")
    assert find_pairs(tmp_path)[0].convention == "v7"
    (tmp_path / "convention.txt").write_text("mine")
    with pytest.raises(SourceError, match=r"'mine'; expected one of scr, v7, montgomery, covid"):
        find_pairs(tmp_path)
    assert all(sentence.endswith(".") for sentence in CONVENTIONS.values())


def test_images_without_a_mask_and_same_stems_are_named(tmp_path, capsys):
    write_phantoms(tmp_path, 3, seed=0, size=64)
    (tmp_path / "masks" / "left_lung" / "phantom-00000.png").unlink()
    double = tmp_path / "images" / "phantom-00001.jpg"
    double.write_bytes((tmp_path / "images" / "phantom-00001.png").read_bytes())
    assert [pair.stem for pair in find_pairs(tmp_path)] == ["phantom-00002"]
    printed = capsys.readouterr().err
    assert "2 images of" in printed
    assert "phantom-00000.png has no mask of the left lung" in printed
    assert "phantom-00001.jpg and " in printed
    assert "phantom-00001.png share one stem" in printed


def test_masks_of_two_sizes_are_not_united(tmp_path):
    write_mask(block(slice(0, 5)), tmp_path / "a.png")
    write_mask(block(slice(0, 5))[:32], tmp_path / "b.png")
    pair = MaskPair(tmp_path / "x.png", {"lungs": (tmp_path / "a.png", tmp_path / "b.png")}, "x")
    with pytest.raises(RadiographError, match=r"b\.png is 40 x 32 pixels; expected 40 x 40"):
        read_pair_mask(pair)


@pytest.mark.skipif(not V7.is_dir(), reason=f"no real radiographs in {V7}")
def test_real_masks_are_found_and_left_is_the_patients():
    pairs = find_pairs(V7)
    assert len(pairs) == 145
    for pair in pairs[::29]:
        left, right = (read_mask(pair.masks[side][0]) for side in ("left lung", "right lung"))
        assert np.nonzero(left)[1].mean() > np.nonzero(right)[1].mean()
