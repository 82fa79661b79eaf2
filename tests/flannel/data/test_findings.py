import os
from collections import Counter
from pathlib import Path

import pytest

from flannel.data.diagnosis import FLANNEL, LABEL_SETS, LabelError
from flannel.data.findings import (
    KNOWN_FINDINGS,
    MAPPINGS,
    SourceError,
    as_written,
    mapping_named,
    read_mapping,
)
from flannel.data.sources import ccx

REAL = Path(os.environ.get("FLANNEL_REAL_DATA", Path(__file__).parents[4] / "shared" / "data"))
COVID, VIRAL, BACTERIAL, NORMAL = FLANNEL


def test_flannels_mapping_of_ccx_is_the_strings_of_both_programs():
    """Those that begin with Pneumonia/ and the older ones; other sets write other strings."""
    of_ccx = {
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
    read = MAPPINGS["flannel"].diagnoses
    assert {finding: read[finding] for finding in of_ccx} == of_ccx
    paths = {finding for finding in read if finding.startswith("Pneumonia/")}
    assert paths == {finding for finding in of_ccx if finding.startswith("Pneumonia/")}


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
    taken = set().union(*(mapping.diagnoses for mapping in MAPPINGS.values()))
    for finding in KNOWN_FINDINGS - taken:
        assert all(mapping.left_out[finding] for mapping in MAPPINGS.values())


def test_a_mapping_of_a_user_is_read_in_its_order(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(
        "Finding,Diagnosis,colour,comment\nnodule, Tumour ,#123456,x\nmass,Tumour\n\n"
        "ok,Healthy,,\ntodo,,\n",
        encoding="utf-8-sig",
    )
    mapping = read_mapping(path)
    assert mapping.diagnoses == {"nodule": "Tumour", "mass": "Tumour", "ok": "Healthy"}
    assert mapping.left_out == {"todo": "left out by the mapping"}
    assert mapping.colours == {"Tumour": "#123456", "Healthy": "#D55E00"}
    assert mapping.label_set == ("Tumour", "Healthy")
    assert mapping_named(str(path)) == mapping
    assert mapping_named("folders") is None
    with pytest.raises(SourceError, match=r"'mine' is unknown\. Choose flannel, wide, .*; fold"):
        mapping_named("mine")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"has the columns \(none\) and 0 rows; expected finding and diagnosis"),
        ("finding,label\na,b\n", "has the columns finding, label and 1 rows"),
        ("finding,diagnosis\na,X\na,Y\n", "'a' as X and as Y; a finding has one meaning"),
        ("finding,diagnosis\na,X\na,\n", "'a' as X and as left out"),
        ("finding,diagnosis\na,X/Y\nb,Z\n", "'X/Y' cannot be the name of a diagnosis; expected l"),
        ("finding,diagnosis\na,X\nb,x\n", "'X' and 'x' differ in the case of letters alone"),
        ("finding,diagnosis,colour\na,X,red\n", "colour of X is 'red'; expected one such as #D5"),
    ],
)
def test_a_mapping_that_cannot_be_used_is_a_sentence(tmp_path, text, message):
    path = tmp_path / "mine.csv"
    path.write_text(text)
    with pytest.raises(SourceError, match=message):
        read_mapping(path)
    with pytest.raises(SourceError, match="is no label mapping: "):
        read_mapping(tmp_path / "absent.csv")


def test_findings_as_they_are_written_end_with_what_is_healthy():
    mapping = as_written(["normal", "tuberculosis", "", "Asthma", "normal"])
    assert mapping.label_set == ("Asthma", "tuberculosis", "normal")
    assert mapping.diagnoses == {name: name for name in mapping.label_set}
    with pytest.raises(LabelError, match="'Normal' and 'normal' differ in the case"):
        as_written(["normal", "Normal"])


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no radiographs in {REAL}")
def test_every_finding_of_the_real_metadata_is_in_the_table():
    folder = REAL / "radiographs" / "classification" / "covid-chestxray-dataset"
    rows = ccx.rows(folder)
    assert not [row.finding for row in rows if row.finding not in KNOWN_FINDINGS]
    assert Counter(row.finding for row in rows)["COVID-19"] == 67
