import numpy as np
import pytest

from flannel.data.findings import SourceError
from flannel.data.mask import write_mask
from flannel.data.sources import find_pairs, pair_table, read_pair_mask, read_structure


@pytest.fixture
def folder(tmp_path):
    """Files to list: an image and masks of rows 0, 1 and so on of 40 x 40 pixels."""
    for row, name in enumerate(("image", "lungs", "left", "right", "heart")):
        mask = np.zeros((40, 40), bool)
        mask[row] = True
        write_mask(mask, tmp_path / f"{name}.png")
    return tmp_path


def table(folder, *lines):
    path = folder / "pairs.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def rows_of(mask):
    return np.flatnonzero(mask.all(axis=1)).tolist()


def test_phantoms_of_two_sources_come_with_patient_and_split(tmp_path):
    pair_table.write_phantoms(tmp_path / "pairs.csv", 10, seed=0, size=64)
    pairs = find_pairs(tmp_path / "pairs.csv")
    assert [pair.stem for pair in pairs] == [f"phantom-{n:05d}" for n in range(10)]
    assert [pair.origin for pair in pairs[:5]] == ["one", "one", "two", "two", "one"]
    assert [pair.split for pair in pairs] == ["train"] * 6 + ["val"] * 2 + ["test"] * 2
    assert [pair.patient for pair in pairs[:3]] == ["patient-0", "patient-0", "patient-1"]
    assert {pair.convention for pair in pairs} == {"scr"}
    assert pairs[2].image == tmp_path / "two" / "images" / "phantom-00002.png"
    assert read_pair_mask(pairs[2]).any()


def test_columns_are_found_by_name_and_sides_go_before_one_mask(folder):
    path = table(
        folder,
        " Image ,mask,LEFT_MASK,right_mask,heart_mask,patient,group,label",
        "image.png,lungs.png,left.png,right.png,heart.png,7,7a,Normal",
    )
    (pair,) = find_pairs(path)
    assert list(pair.masks) == ["left lung", "right lung", "heart"]
    assert (pair.patient, pair.origin, pair.split) == ("7a", "pairs", "")
    assert rows_of(read_pair_mask(pair)) == [2, 3]
    assert rows_of(read_structure(pair, "heart")) == [4]


def test_absolute_paths_and_one_mask_of_both_lungs(folder):
    path = table(folder, "image,mask", f"{folder}/image.png,lungs.png")
    (pair,) = find_pairs(path)
    assert pair.stem == "image"
    assert rows_of(read_pair_mask(pair)) == [1]


def test_missing_files_are_named_together_and_left_out(folder, capsys):
    path = table(
        folder,
        "image,mask",
        "image.png,lungs.png",
        "none.png,nothing.png",
        "left.png,",
        "right.png,no.png",
    )
    assert [pair.stem for pair in find_pairs(path)] == ["image"]
    printed = capsys.readouterr().err
    assert "3 images of" in printed
    assert f"Row 2: {folder}/none.png, {folder}/nothing.png missing" in printed
    assert "Row 3 names no mask" in printed
    assert f"Row 4: {folder}/no.png missing" in printed


def test_a_split_in_other_words_is_passed_over(folder, capsys):
    lines = ("image,mask,split", "image.png,lungs.png,train", "left.png,lungs.png,")
    assert [pair.split for pair in find_pairs(table(folder, *lines))] == ["train", ""]
    assert capsys.readouterr().err == ""
    lines = ("image,mask,split", "image.png,lungs.png,train", "left.png,lungs.png,rest")
    assert [pair.split for pair in find_pairs(table(folder, *lines))] == ["", ""]
    assert "the column split says rest; only train, val and test" in capsys.readouterr().err


def test_conventions_come_from_the_column_or_the_text_file(folder):
    lines = ("image,mask,convention", "image.png,lungs.png,v7", "left.png,lungs.png,")
    path = table(folder, *lines)
    assert [pair.convention for pair in find_pairs(path)] == ["v7", ""]
    (folder / "convention.txt").write_text("scr")
    assert [pair.convention for pair in find_pairs(path)] == ["v7", "scr"]
    path = table(folder, *lines, "right.png,lungs.png,own")
    with pytest.raises(SourceError, match=r"pairs\.csv names the convention 'own'; expected one"):
        find_pairs(path)


def test_a_stem_of_two_sources_gets_its_source(folder, capsys):
    (folder / "more").mkdir()
    (folder / "more" / "image.png").write_bytes((folder / "image.png").read_bytes())
    lines = (
        "image,mask,source",
        "image.png,lungs.png,a",
        "more/image.png,lungs.png,b",
        "left.png,lungs.png,a",
    )
    stems = [pair.stem for pair in find_pairs(table(folder, *lines))]
    assert stems == ["a/image", "b/image", "left"]
    path = table(folder, *lines, "more/image.png,lungs.png,a")
    assert [pair.stem for pair in find_pairs(path)] == ["b/image", "left"]
    assert "image.png is one of 2 named a/image; rename or remove one" in capsys.readouterr().err


def test_tables_that_cannot_be_used_are_one_sentence(folder):
    with pytest.raises(SourceError, match=r"has the columns image, left_mask; expected image, and"):
        find_pairs(table(folder, "image,left_mask", "image.png,left.png"))
    with pytest.raises(SourceError, match=r"has the columns \(none\); expected"):
        find_pairs(table(folder, ""))
    with pytest.raises(SourceError, match="no image that has a lung mask"):
        find_pairs(table(folder, "image,mask"))
    (folder / "pairs.csv").write_bytes(b"image,mask\n\xff\xfe.png,a.png\n")
    with pytest.raises(SourceError, match="not a CSV table in UTF-8"):
        find_pairs(folder / "pairs.csv")
    with pytest.raises(SourceError, match="not a folder and not a CSV file"):
        find_pairs(folder / "none.csv")
