import numpy as np

from flannel.data.radiograph import read_radiograph
from flannel.data.sources import find_pairs, jsrt, read_pair_mask, read_structure


def test_phantoms_in_the_real_layout_are_found(tmp_path, capsys):
    jsrt.write_phantoms(tmp_path, 3, seed=0)
    fold2 = tmp_path / "scr" / "fold2" / "masks"
    (fold2 / "left lung").rename(fold2 / "Left_Lung")  # as some public copies
    (tmp_path / "scr" / "fold1" / "masks" / "right lung" / "JPCNN003.gif").unlink()
    pairs = find_pairs(tmp_path)
    assert [(pair.stem, pair.convention) for pair in pairs] == [
        ("JPCNN001", "scr"),
        ("JPCNN002", "scr"),
    ]
    assert "JPCNN003.IMG does not have exactly one mask of each lung" in capsys.readouterr().err
    mask = read_pair_mask(pairs[0])
    assert mask.shape == (1024, 1024)
    grey = read_radiograph(pairs[0].image)[0, ::2, ::2]
    assert grey.shape == mask.shape
    assert grey[mask].mean() + 0.1 < grey[~mask].mean()  # lungs are dark
    left = read_structure(pairs[0], "left lung")
    assert np.nonzero(left)[1].mean() > 512  # the patient's left is on the right
    assert (tmp_path / "scr" / "fold1" / "masks" / "left clavicle" / "JPCNN001.gif").is_file()
