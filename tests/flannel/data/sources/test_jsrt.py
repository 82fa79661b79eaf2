import numpy as np
import pytest
from PIL import Image

from flannel.data.radiograph import read_radiograph
from flannel.data.sources import find_pairs, jsrt, read_pair_mask, read_structure


@pytest.mark.slow
def test_phantoms_in_the_real_layout_are_found(tmp_path, capsys):
    jsrt.write_phantoms(tmp_path, 3, seed=0)
    fold1, fold2 = (tmp_path / "scr" / fold / "masks" for fold in ("fold1", "fold2"))
    (fold2 / "left lung").rename(fold2 / "Left_Lung")  # as some public copies
    (fold1 / "right lung" / "JPCNN003.gif").unlink()
    (fold2 / "heart" / "JPCNN002.gif").unlink()
    first, second = find_pairs(tmp_path)
    assert (first.stem, first.convention, first.origin) == ("JPCNN001", "scr", "jsrt_scr")
    assert list(first.masks) == [
        "left lung", "right lung", "heart", "left clavicle", "right clavicle"
    ]  # fmt: skip
    assert second.stem == "JPCNN002"
    assert "heart" not in second.masks
    assert "JPCNN003.IMG has no mask of the right lung" in capsys.readouterr().err
    mask = read_pair_mask(first)
    assert mask.shape == (1024, 1024)
    grey = read_radiograph(first.image)[0, ::2, ::2]
    assert grey.shape == mask.shape
    assert grey[mask].mean() + 0.1 < grey[~mask].mean()  # lungs are dark
    for structure in ("left lung", "left clavicle"):  # the patient's left is on the right
        assert np.nonzero(read_structure(first, structure))[1].mean() > 512
    for structure in ("right lung", "right clavicle"):
        assert np.nonzero(read_structure(first, structure))[1].mean() < 512
    assert not (read_structure(first, "heart") & mask).any()


def test_copies_as_png_and_masks_with_two_palette_indices(tmp_path):
    lung = np.zeros((64, 64), np.uint8)
    lung[20:40, 8:20] = 1
    Image.fromarray(np.full((128, 128), 90, np.uint8)).save(tmp_path / "JPCLN154.png")
    for structure, mask in (("left_lung", lung[:, ::-1]), ("right_lung", lung)):
        picture = Image.fromarray(mask).convert("P")
        picture.putpalette([0, 0, 0, 1, 1, 1])  # both nearly black; the indices are what counts
        (tmp_path / structure).mkdir()
        picture.save(tmp_path / structure / "JPCLN154.gif")
    (pair,) = find_pairs(tmp_path)
    np.testing.assert_array_equal(read_structure(pair, "right lung"), lung > 0)
    np.testing.assert_array_equal(read_pair_mask(pair), (lung | lung[:, ::-1]) > 0)


@pytest.mark.slow
def test_a_mask_in_both_folds_is_refused(tmp_path, capsys):
    jsrt.write_phantoms(tmp_path, 2, seed=0)
    masks = tmp_path / "scr" / "fold1" / "masks" / "heart" / "JPCNN001.gif"
    other = tmp_path / "scr" / "fold2" / "masks" / "heart" / "JPCNN001.gif"
    other.write_bytes(masks.read_bytes())
    assert [pair.stem for pair in find_pairs(tmp_path)] == ["JPCNN002"]
    assert f"{masks} and {other} share one stem" in capsys.readouterr().err
