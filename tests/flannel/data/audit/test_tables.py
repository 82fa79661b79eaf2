import pandas as pd
import pytest
from PIL import Image

from flannel.data.audit.tables import (
    CountRow,
    DetailRow,
    count_rows,
    detail_rows,
    file_kind,
    in_order,
    label_rows,
    people_rows,
    size_rows,
    view_family,
)

COVID, NORMAL = "COVID-19", "Normal"
COLUMNS = ["source", "patient_id", "diagnosis", "view", "split", "age", "sex", "width", "height"]


@pytest.fixture
def table(tmp_path) -> pd.DataFrame:
    rows = [
        ("ccx", "1", COVID, "AP Supine", "test", "70", "M", 30, 20),
        ("ccx", "1", COVID, "PA", "test", "71.5", "M", 50, 20),
        ("ccx", "2", NORMAL, "PA", "development", "sixty", "", 40, 20),
        ("kcx", "1", NORMAL, "AP", "development", "4", "F", 40, 90),
    ]
    table = pd.DataFrame(rows, columns=COLUMNS).assign(path=str(tmp_path / "no.png"))
    return table.assign(group=table["source"] + "-" + table["patient_id"])


def test_counts_stand_as_in_the_papers_table(table):
    assert count_rows(table) == [
        CountRow("Source", "ccx", 3, {COVID: 2, NORMAL: 1}),
        CountRow("Source", "kcx", 1, {NORMAL: 1}),
        CountRow("View", "AP", 2, {COVID: 1, NORMAL: 1}),
        CountRow("View", "PA", 2, {COVID: 1, NORMAL: 1}),
        CountRow("Split", "development", 2, {NORMAL: 2}),
        CountRow("Split", "test", 2, {COVID: 2}),
        CountRow("Total", "", 4, {COVID: 2, NORMAL: 2}),
    ]


def test_details_count_every_radiograph_once(table):
    rows = detail_rows(table)
    assert DetailRow("ccx", COVID, "AP Supine", {"test": 1}) in rows
    assert sum(sum(row.by_split.values()) for row in rows) == len(table)


@pytest.mark.parametrize(
    ("view", "family"),
    [
        ("AP", "AP"), ("ap semi erect", "AP"), ("PA", "PA"), ("AP or PA", "AP or PA"),
        ("", ""), ("PAEDIATRIC", "PAEDIATRIC"),
    ],
)  # fmt: skip
def test_views_fall_into_families(view, family):
    assert view_family(view) == family


def test_ages_that_are_no_numbers_are_unknown(table):
    rows = {(row.source, row.diagnosis): row for row in people_rows(table)}
    covid = rows["ccx", COVID]
    assert (covid.patients, covid.images, covid.age_known) == (1, 2, 2)
    assert (covid.age, covid.minors, covid.sexes) == ((70, 70.75, 71.5), 0, {"M": 2})
    assert (rows["ccx", NORMAL].age_known, rows["ccx", NORMAL].age) == (0, None)
    assert rows["kcx", NORMAL].minors == 1


def test_without_a_patient_each_group_counts_as_one(table):
    unnamed = table.assign(patient_id="", group=["a", "b", "c", "d"])
    assert {row.patients for row in people_rows(unnamed)} == {1, 2}
    assert people_rows(unnamed)[0].patients == 2


def test_sizes_are_summed_up_by_source(table):
    ccx, kcx = size_rows(table)
    assert (ccx.width, ccx.height, ccx.different_sizes) == ((30, 40, 50), (20, 20, 20), 3)
    assert kcx.kinds == {"file not there": 1}


@pytest.mark.parametrize(
    ("mode", "name", "kind"),
    [
        ("L", "a.png", "PNG, 8-bit grey"),
        ("I;16", "a.png", "PNG, 16-bit grey"),
        ("RGB", "a.jpg", "JPEG, 8-bit colour"),
    ],
)
def test_kinds_of_files_are_told_by_their_headers(tmp_path, mode, name, kind):
    Image.new(mode, (40, 40)).save(tmp_path / name)
    assert file_kind(tmp_path / name) == kind


def test_what_pillow_cannot_open_is_named_by_its_suffix(tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"no picture")
    assert file_kind(tmp_path / "a.dcm") == "DCM format, depth not known"


def test_every_finding_has_a_diagnosis_or_a_reason():
    findings = pd.Series(["SARS", "SARS", "made up", "SARS"])
    rows = label_rows(findings, pd.Series(["Viral pneumonia", "Viral pneumonia", "mine", "other"]))
    assert [(row.finding, row.images) for row in rows[:2]] == [("SARS", 3), ("made up", 1)]
    assert rows[0].diagnoses["flannel"] == "Viral pneumonia"
    assert rows[1].reasons["flannel"] == "not in this mapping"
    made = [row.diagnosis for row in rows if row.images]
    assert made == ["Viral pneumonia, other", "mine"]
    assert not any(row.diagnosis for row in rows if not row.images)
    for row in rows:
        assert all(bool(row.diagnoses[m]) != bool(row.reasons.get(m)) for m in row.diagnoses)


def test_diagnoses_stand_in_the_order_of_their_label_set():
    assert in_order(["Normal", "COVID-19", "Viral pneumonia"]) == [
        "COVID-19", "Viral pneumonia", "Normal",
    ]  # fmt: skip
    assert in_order(["Normal", "Non-COVID", "COVID-19"]) == ["COVID-19", "Non-COVID", "Normal"]
    assert in_order(["b", "a", "COVID-19"]) == ["COVID-19", "a", "b"]
