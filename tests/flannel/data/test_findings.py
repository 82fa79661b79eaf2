import csv
import os
from collections import Counter
from pathlib import Path

import pytest

from flannel.data.diagnosis import FLANNEL, LABEL_SETS
from flannel.data.findings import (
    LABEL_TABLES,
    LABELS,
    MAPPINGS,
    SourceError,
    label_mappings,
    read_label_tables,
)
from flannel.data.sources import ccx

REAL = Path(os.environ.get("FLANNEL_REAL_DATA", Path(__file__).parents[4] / "shared" / "data"))
COVID, VIRAL, BACTERIAL, NORMAL = FLANNEL
HEADER = "finding,flannel,wide,covid_qu_ex,darkcovidnet,covid_normal,reason\n"


def test_flannels_mapping_of_ccx_is_the_strings_of_both_programs():
    listed = {row.finding: row.diagnoses["flannel"] for row in LABEL_TABLES["ccx"]}
    assert {finding: diagnosis for finding, diagnosis in listed.items() if diagnosis} == {
        "COVID-19": COVID,
        "SARS": VIRAL,
        "Pneumocystis": BACTERIAL,
        "Streptococcus": BACTERIAL,
        "No Finding": NORMAL,
        "Pneumonia/Viral/COVID-19": COVID,
        "Pneumonia/Viral/SARS": VIRAL,
        "Pneumonia/Fungal/Pneumocystis": BACTERIAL,
        "Pneumonia/Bacterial/Streptococcus": BACTERIAL,
    }


@pytest.mark.parametrize(
    ("finding", "flannel", "wide", "covid_qu_ex", "darkcovidnet", "covid_normal"),
    [
        ("COVID-19, ARDS", "", COVID, COVID, COVID, COVID),
        ("Pneumonia/Viral/Influenza/H1N1", "", VIRAL, "Non-COVID", "Pneumonia", ""),
        ("Pneumonia/Bacterial/Staphylococcus/MRSA", "", BACTERIAL, "Non-COVID", "Pneumonia", ""),
        ("Pneumonia/Fungal/Aspergillosis", "", "", "", "Pneumonia", ""),
        ("PNEUMONIA/virus", VIRAL, VIRAL, "Non-COVID", "Pneumonia", ""),
        ("Pneumonia", "", "", "", "Pneumonia", ""),
        ("Non-COVID", "", "", "Non-COVID", "Pneumonia", ""),
        ("No_findings", NORMAL, NORMAL, "Normal", "No findings", "Normal"),
        ("lung nodule", "", "", "", "", ""),
        ("Lung_Opacity", "", "", "", "", ""),
        ("todo", "", "", "", "", ""),
    ],
)
def test_what_a_finding_means(finding, flannel, wide, covid_qu_ex, darkcovidnet, covid_normal):
    read = [mapping.diagnoses.get(finding, "") for mapping in MAPPINGS.values()]
    assert list(MAPPINGS) == ["flannel", "wide", "covid_qu_ex", "darkcovidnet", "covid_normal"]
    assert read == [flannel, wide, covid_qu_ex, darkcovidnet, covid_normal]


def test_fungi_have_a_reason_only_where_they_are_left_out():
    assert MAPPINGS["wide"].left_out["Pneumocystis"] == "fungal"
    assert "Pneumocystis" not in MAPPINGS["flannel"].left_out
    assert "Klebsiella" not in MAPPINGS["flannel"].left_out  # only not in FLANNEL's list


def test_every_label_of_every_set_can_come_out_and_no_other():
    for name, mapping in MAPPINGS.items():
        assert mapping.label_set == LABEL_SETS[name]
        assert set(mapping.diagnoses.values()) == set(mapping.label_set)
        assert not set(mapping.diagnoses) & set(mapping.left_out)


def test_a_finding_that_no_mapping_takes_has_a_reason():
    rows = [row for table in LABEL_TABLES.values() for row in table]
    assert not [row for row in rows if not any(row.diagnoses.values()) and not row.reason]


def test_the_tables_are_as_written():
    for source, rows in LABEL_TABLES.items():
        with (LABELS / f"{source}.csv").open(newline="") as stream:
            lines = list(csv.reader(stream))
        assert ",".join(lines[0]) + "\n" == HEADER
        assert [line[0] for line in lines[1:]] == [row.finding for row in rows]
        assert len({row.finding for row in rows}) == len(rows)


def test_a_table_that_contradicts_another_or_its_label_set_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text(HEADER + "flu,,Viral pneumonia,Non-COVID,Pneumonia,,\n")
    tables = read_label_tables(tmp_path)
    assert label_mappings(tables.values())["wide"].diagnoses == {"flu": VIRAL}
    (tmp_path / "b.csv").write_text(HEADER + "flu,,,Non-COVID,Pneumonia,,mild\n")
    with pytest.raises(SourceError, match=r"b\.csv reads the finding 'flu' otherwise"):
        read_label_tables(tmp_path)
    (tmp_path / "b.csv").write_text(HEADER + "cold,Cold,,,,,\n")
    with pytest.raises(SourceError, match="'cold' as 'Cold' under flannel; expected COVID-19, V"):
        read_label_tables(tmp_path)
    (tmp_path / "b.csv").write_text("finding,flannel,wide,reason\ncold,,,mild\n")
    with pytest.raises(SourceError, match="lacks the column covid_qu_ex, darkcovidnet, covid_n"):
        read_label_tables(tmp_path)


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no radiographs in {REAL}")
def test_every_finding_of_the_real_metadata_is_in_the_table():
    folder = REAL / "radiographs" / "classification" / "covid-chestxray-dataset"
    rows = ccx.rows(folder)
    known = {row.finding for row in LABEL_TABLES["ccx"]}
    assert not [row.finding for row in rows if row.finding not in known]
    assert Counter(row.finding for row in rows)["COVID-19"] == 67
