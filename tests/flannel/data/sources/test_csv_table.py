import pytest

from flannel.data.findings import SourceError, SourceRow
from flannel.data.sources import csv_table


def written(folder, text, encoding="utf-8"):
    (folder / "radiographs.csv").write_text(text, encoding=encoding)
    return folder


def test_every_column(tmp_path):
    written(
        tmp_path,
        "Path,Finding,diagnosis,patient_id,group,view,source,split,age,sex,license,comment\n"
        "a/b.png,SARS,Normal,7,ccx-7,PA,mine,test,50,F,CC0,good\n"
        "/x/c.png,,COVID-19,7,,,,val,,,,\n",
        encoding="utf-8-sig",
    )
    first, second = csv_table.rows(tmp_path)
    assert first == SourceRow(
        "mine", tmp_path / "a" / "b.png", "7", "ccx-7", "SARS", "PA",
        age="50", sex="F", licence="CC0", split="test",
    )  # fmt: skip
    assert (second.path.as_posix(), second.finding, second.view) == ("/x/c.png", "COVID-19", "")
    assert (second.source, second.patient_id, second.group) == ("table", "7", "table-7")
    assert (second.split, second.fold) == ("development", 0)


def test_folds_are_taken_as_numbers(tmp_path):
    written(tmp_path, "path,diagnosis,split,fold\na.png,x,train,2\nb.png,y,,0\nc.png,y,test,\n")
    rows = csv_table.rows(tmp_path)
    assert [(row.split, row.fold) for row in rows] == [("development", 2), ("", 0), ("test", None)]


def test_the_fewest_columns(tmp_path, capsys):
    written(tmp_path, "path,diagnosis\na.png,Normal\n,Normal\nb.png\n")
    assert csv_table.is_here(tmp_path)
    assert csv_table.rows(tmp_path) == [
        SourceRow("table", tmp_path / "a.png", "a.png", "table-a.png", "Normal", "AP or PA"),
        SourceRow("table", tmp_path / "b.png", "b.png", "table-b.png", "", "AP or PA"),
    ]
    assert "no path in line 3; these rows are left out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"has the columns \(none\); expected path, and finding or diagnosis"),
        ("path,label\na,b\n", "has the columns path, label; expected"),
        ("path,finding,fold\na,b,1\nc,d,2.5\n", r"the fold '2\.5'; expected a whole number from"),
        ("path,finding,fold,split\na,b,1,test\n", "the fold '1'; .* nothing in rows of the split"),
        ("path,finding,split\na,b,Train\nc,d,holdout\n", "holds the split 'Train', 'holdout'; exp"),
    ],
)
def test_what_cannot_be_read_is_a_sentence(tmp_path, text, message):
    with pytest.raises(SourceError, match=message):
        csv_table.rows(written(tmp_path, text))
    (tmp_path / "radiographs.csv").write_bytes(b"path,finding\n\xff,b\n")
    with pytest.raises(SourceError, match="not a CSV table in UTF-8"):
        csv_table.rows(tmp_path)


def test_rows_of_the_phantom_twin(tmp_path):
    csv_table.write_phantoms(tmp_path, {"COVID-19": 3, "Normal": 1}, seed=0, size=64)
    rows = csv_table.rows(tmp_path)
    assert [(row.path.name, row.finding, row.group, row.view) for row in rows] == [
        ("phantom-0-00000.png", "COVID-19", "table-0-0", "PA"),
        ("phantom-0-00001.png", "COVID-19", "table-0-0", "PA"),
        ("phantom-0-00002.png", "COVID-19", "table-0-1", "PA"),
        ("phantom-1-00000.png", "Normal", "table-1-0", "PA"),
    ]
    assert all(row.path.is_file() for row in rows)
    header = (tmp_path / "radiographs.csv").read_text().splitlines()[0]
    assert header == "path,diagnosis,patient_id,view"
