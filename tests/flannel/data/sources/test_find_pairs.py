import pytest

from flannel.data.findings import SourceError
from flannel.data.sources import covid_qu_ex, find_pairs, jsrt, mask_pairs, montgomery


def test_folders_that_fit_nothing_are_sentences(tmp_path):
    with pytest.raises(SourceError, match="not a folder and not a CSV file"):
        find_pairs(tmp_path / "none")
    with pytest.raises(SourceError, match=r"fits no known layout .* images/ .* JSRT .* CXR_png/"):
        find_pairs(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    with pytest.raises(SourceError, match="no image that has a lung mask"):
        find_pairs(tmp_path)


@pytest.mark.slow
def test_several_sets_in_sub_folders_are_named_by_them(tmp_path, capsys):
    for name in ("ours", "theirs"):
        mask_pairs.write_phantoms(tmp_path / name, 2, seed=0, size=64)
    (tmp_path / "theirs" / "convention.txt").write_text("scr")
    montgomery.write_phantoms(tmp_path / "mc", 1, seed=0, size=64)
    covid_qu_ex.write_phantoms(tmp_path / "qu", 1, seed=0)
    jsrt.write_phantoms(tmp_path / "japan", 1, seed=0)
    (tmp_path / "notes").mkdir()
    (tmp_path / ".cache").mkdir()
    assert [(pair.origin, pair.stem, pair.convention) for pair in find_pairs(tmp_path)] == [
        ("japan", "japan/JPCNN001", "scr"),
        ("mc", "mc/MCUCXR_0001_1", "montgomery"),
        ("ours", "ours/phantom-00000", ""),
        ("ours", "ours/phantom-00001", ""),
        ("qu", "qu/covid_1", "covid_qu_ex"),
        ("theirs", "theirs/phantom-00000", "scr"),
        ("theirs", "theirs/phantom-00001", "scr"),
    ]
    printed = capsys.readouterr().err
    assert ": notes fit no known layout" in printed
    assert ".cache" not in printed


def test_one_set_in_a_sub_folder_has_no_prefix(tmp_path):
    mask_pairs.write_phantoms(tmp_path / "ours", 1, seed=0, size=64)
    (pair,) = find_pairs(tmp_path)
    assert (pair.origin, pair.stem) == ("ours", "phantom-00000")


def test_listing_opens_no_image(tmp_path):
    """600 pairs of empty files in two layouts: opening one would fail."""
    for split in ("Train", "Val", "Test"):
        for part in ("images", "lung masks"):
            folder = tmp_path / "qu" / split / "Normal" / part
            folder.mkdir(parents=True)
            for number in range(100):
                (folder / f"Normal ({split}{number}).png").touch()
    for part in ("images", "masks"):
        folder = tmp_path / "ours" / part
        folder.mkdir(parents=True)
        for number in range(300):
            (folder / f"{number}.png").touch()
    pairs = find_pairs(tmp_path)
    assert len(pairs) == len({pair.stem for pair in pairs}) == 600
