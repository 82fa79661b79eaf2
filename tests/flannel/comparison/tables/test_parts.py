import pandas as pd
import pytest

from flannel.comparison.tables.parts import parts_table, subgroups_table
from flannel.data.diagnosis import FLANNEL

COVID, VIRAL, BACTERIAL, NORMAL = FLANNEL
TRUTH = (COVID, COVID, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, NORMAL)
# F1 by hand: COVID-19 1/2, viral 4/5, bacterial 1, normal 2/3, macro 89/120.
TWO_WRONG = (COVID, VIRAL, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, COVID)


def test_each_source_and_view_is_measured_for_itself(study_files):
    study_files.pictures()
    study_files.run("ensemble/global/fold0", TWO_WRONG)
    manifest = study_files.folder / "manifest.csv"
    text = manifest.read_text()
    for number in (0, 1):  # both COVID-19 radiographs come from elsewhere
        text = text.replace(f"{number}.png,made-up", f"{number}.png,elsewhere")
    manifest.write_text(text)
    table = parts_table(study_files.measured())
    assert [line.cells[:6] for line in table.lines] == [
        ("source", "elsewhere", "2", "1", "global", "FLANNEL"),
        ("source", "made-up", "6", "3", "global", "FLANNEL"),
        ("view", "unknown", "8", "4", "global", "FLANNEL"),
    ]
    # One of two is right; F1 of one diagnosis alone is not shown.
    assert table.lines[0].cells[6:8] == ("only COVID-19", "–")
    assert table.lines[0].cells[8].startswith("0.500")
    assert table.lines[1].cells[7] == "–"


def test_without_a_manifest_there_are_no_parts(study_files):
    study_files.run("ensemble/global/fold0", TRUTH)
    assert parts_table(study_files.measured()) is None
    assert subgroups_table(study_files.measured()) is None


def with_people(study_files, ages, sexes):
    """Writes ages and sexes of the eight test radiographs, and measures the study."""
    study_files.pictures()
    study_files.run("ensemble/global/fold0", TWO_WRONG)
    path = study_files.folder / "manifest.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table["age"], table["sex"] = "", ""
    for number, (age, sex) in enumerate(zip(ages, sexes, strict=True)):
        table.loc[table["image_id"] == f"test-{number}", ["age", "sex"]] = age, sex
    table.to_csv(path, index=False)
    return study_files.measured()


def test_ages_and_sexes_are_measured_within_each_source(study_files):
    ages = ("70", "70", "17.9", "18", "64", "65", "", "x")
    table = subgroups_table(with_people(study_files, ages, ("F", "M") * 4))
    assert [line.cells[:4] for line in table.lines] == [
        ("age", "made-up, 18 to 64", "2", "2"),
        ("age", "made-up, 65 and over", "3", "2"),
        ("age", "made-up, age not stated", "2", "1"),
        ("age", "made-up, under 18", "1", "1"),
        ("sex", "made-up, female", "4", "4"),
        ("sex", "made-up, male", "4", "4"),
    ]
    assert [line.cells[6] for line in table.lines[2:4]] == ["only Normal", "only Viral pneumonia"]
    # Women: all four right. Men: COVID-19 for viral, COVID-19 for normal.
    assert table.lines[4].cells[8].startswith("1.000")
    accuracy = table.numbers.query("measure == 'accuracy' and which == 'made-up, male'")
    assert accuracy["mean"].item() == pytest.approx(0.5)


def test_what_is_known_of_nobody_is_no_subgroup(study_files):
    table = subgroups_table(with_people(study_files, [""] * 8, ("F", "M") * 4))
    assert {line.cells[0] for line in table.lines} == {"sex"}


def test_without_ages_and_sexes_there_are_no_subgroups(study_files):
    assert subgroups_table(with_people(study_files, [""] * 8, [""] * 8)) is None
