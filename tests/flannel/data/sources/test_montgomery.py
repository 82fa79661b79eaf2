import numpy as np
import pytest

from flannel.data.mask import read_mask
from flannel.data.radiograph import read_levels
from flannel.data.sources import find_pairs, montgomery, read_pair_mask, read_structure


@pytest.mark.parametrize("inside", ["", "MontgomerySet"])
def test_phantoms_in_the_real_layout_are_found(tmp_path, inside, capsys):
    montgomery.write_phantoms(tmp_path, 4, seed=0, size=80)
    masks = tmp_path / "MontgomerySet" / "ManualMask"
    (masks / "rightMask" / "MCUCXR_0001_1.png").unlink()
    pairs = find_pairs(tmp_path / inside)
    assert [(pair.stem, pair.patient) for pair in pairs] == [
        ("MCUCXR_0002_1", "MCUCXR_0002"),
        ("MCUCXR_0003_1", "MCUCXR_0003"),
        ("MCUCXR_0004_0", "MCUCXR_0004"),
    ]
    assert {(pair.origin, pair.convention) for pair in pairs} == {("montgomery", "montgomery")}
    assert "MCUCXR_0001_1.png has no mask of the right lung" in capsys.readouterr().err
    assert read_pair_mask(pairs[0]).shape == read_levels(pairs[0].image).levels.shape


def test_left_is_the_patients_whatever_the_folders_say(tmp_path):
    montgomery.write_phantoms(tmp_path, 3, seed=1, size=80)
    masks = tmp_path / "MontgomerySet" / "ManualMask"
    name = "MCUCXR_0002_1.png"
    pictures_left = read_mask(masks / "leftMask" / name)
    assert np.nonzero(pictures_left)[1].mean() < pictures_left.shape[1] / 2
    (masks / "leftMask" / "MCUCXR_0001_1.png").write_bytes(b"")  # the first cannot be read
    np.testing.assert_array_equal(
        read_structure(find_pairs(tmp_path)[1], "right lung"), pictures_left
    )
    (masks / "leftMask").rename(masks / "other")
    (masks / "rightMask").rename(masks / "leftMask")
    (masks / "other").rename(masks / "rightMask")
    np.testing.assert_array_equal(
        read_structure(find_pairs(tmp_path)[1], "right lung"), pictures_left
    )
