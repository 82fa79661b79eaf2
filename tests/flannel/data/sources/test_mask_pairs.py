import numpy as np
import pytest

from flannel.data.findings import SourceError
from flannel.data.radiograph import RadiographError, read_levels, read_mask, write_mask
from flannel.data.sources import find_pairs, read_pair_mask
from flannel.data.sources.mask_pairs import MaskPair, write_phantoms


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


def test_both_sides_are_united(tmp_path):
    write_phantoms(tmp_path, 2, seed=0, size=96)
    pairs = find_pairs(tmp_path)
    assert [pair.stem for pair in pairs] == ["phantom-00000", "phantom-00001"]
    for pair in pairs:
        left, right = (read_mask(path) for path in pair.files[1:])
        np.testing.assert_array_equal(read_pair_mask(pair), left | right)
        assert read_levels(pair.image).levels.shape == left.shape


def test_images_without_a_mask_and_same_stems_are_named(tmp_path, capsys):
    write_phantoms(tmp_path, 3, seed=0, size=64)
    (tmp_path / "masks" / "left_lung" / "phantom-00000.png").unlink()
    double = tmp_path / "images" / "phantom-00001.jpg"
    double.write_bytes((tmp_path / "images" / "phantom-00001.png").read_bytes())
    assert [pair.stem for pair in find_pairs(tmp_path)] == ["phantom-00002"]
    said = capsys.readouterr().err
    assert "2 images of" in said
    assert "phantom-00000.png has no mask in" in said
    assert "phantom-00001.jpg, phantom-00001.png share one stem" in said


def test_masks_of_two_sizes_are_not_united(tmp_path):
    write_mask(block(slice(0, 5)), tmp_path / "a.png")
    write_mask(block(slice(0, 5))[:32], tmp_path / "b.png")
    pair = MaskPair(tmp_path / "x.png", {"lungs": (tmp_path / "a.png", tmp_path / "b.png")}, "x")
    with pytest.raises(RadiographError, match=r"b\.png is 40 x 32 pixels; expected 40 x 40"):
        read_pair_mask(pair)


def test_folders_that_fit_nothing_are_sentences(tmp_path):
    with pytest.raises(SourceError, match="not a folder"):
        find_pairs(tmp_path / "none")
    with pytest.raises(SourceError, match="fits no known layout"):
        find_pairs(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    with pytest.raises(SourceError, match="no image that has a lung mask"):
        find_pairs(tmp_path)
