from pathlib import Path

import pytest

from segmentation.checkpoint import MaskError
from segmentation.masks.biomarkers import Biomarkers
from segmentation.masks.folder import (
    MaskRow,
    from_journal_line,
    journal_line,
    load_biomarkers,
    load_mask_rows,
    save_biomarkers,
    save_mask_rows,
)
from segmentation.masks.quality import MaskQuality

GOOD = MaskQuality(0.25, 2, 0.5, True, 0.125, 0.0, 0.75, "")
EMPTY = MaskQuality(0.0, 0, 0.0, False, 0.0, None, None, "empty")
ROWS = {
    "b": MaskRow("b", "predicted", GOOD, "f00"),
    "a, quoted": MaskRow("a, quoted", "reference", EMPTY, "00012"),
}
MEASURES = {"b": Biomarkers(400, 0.25, 0.5, 0.125, 0.5), "a": Biomarkers(0, 0.0, None, None)}


def test_tables_come_back_as_they_were_saved(tmp_path):
    save_mask_rows(ROWS, tmp_path / "masks.csv")
    save_biomarkers(MEASURES, tmp_path / "biomarkers.csv")
    assert load_mask_rows(tmp_path / "masks.csv") == ROWS
    assert list(load_mask_rows(tmp_path / "masks.csv")) == ["a, quoted", "b"]
    assert load_biomarkers(tmp_path / "biomarkers.csv") == MEASURES
    assert load_mask_rows(tmp_path / "none.csv") == load_biomarkers(tmp_path / "none.csv") == {}


def test_a_table_of_an_earlier_version_is_read(tmp_path):
    (tmp_path / "masks.csv").write_text(
        "image_id,origin,area_share,parts,touches_border,mean_confidence,flag,made_from\n"
        "b,predicted,0.25,2,True,0.75,,f00\n"
    )
    row = load_mask_rows(tmp_path / "masks.csv")["b"]
    assert row.quality == MaskQuality(0.25, 2, None, True, None, None, 0.75, "")


@pytest.mark.parametrize(
    "text",
    [
        "image_id,origin\na,predicted\n",
        "",
        "image_id,origin,area_share,parts,touches_border,mean_confidence,flag,made_from\n"
        "a,guessed,0,0,False,,,f\n",
        "image_id,origin,area_share,parts,touches_border,mean_confidence,flag,made_from\na,pre",
    ],
)
def test_damaged_tables_are_one_sentence(tmp_path: Path, text):
    (tmp_path / "masks.csv").write_text(text)
    with pytest.raises(MaskError, match=r"masks.csv is no table with the columns image_id"):
        load_mask_rows(tmp_path / "masks.csv")


def test_a_torn_line_of_the_journal_is_nothing():
    line = journal_line(ROWS["b"], MEASURES["b"])
    assert line.endswith("\n")
    assert from_journal_line(line) == (ROWS["b"], MEASURES["b"])
    assert from_journal_line(journal_line(ROWS["b"], None)) == (ROWS["b"], None)
    assert all(from_journal_line(line[:length]) is None for length in range(len(line) - 1))
