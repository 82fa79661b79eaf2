import shutil

import pytest

from flannel.data.diagnosis import COVID_QU_EX
from flannel.data.findings import MAPPINGS
from flannel.data.radiograph import read_levels
from flannel.data.sources import covid_qu_ex, find_pairs, read_pair_mask

DOUBLED = "Lung Segmentation Data"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("qu")
    covid_qu_ex.write_phantoms(folder, 15, seed=0)
    return folder


@pytest.mark.parametrize("inside", ["", DOUBLED, f"{DOUBLED}/{DOUBLED}"])
def test_the_given_split_is_kept_at_any_depth(folder, inside):
    pairs = find_pairs(folder / inside)
    assert [(pair.split, pair.stem) for pair in pairs] == [
        ("train", "covid_1"), ("train", "covid_2"), ("train", "covid_3"),
        ("train", "non_COVID (1)"), ("train", "non_COVID (2)"), ("train", "non_COVID (3)"),
        ("train", "Normal (1)"), ("train", "Normal (2)"), ("train", "Normal (3)"),
        ("val", "covid_4"), ("val", "non_COVID (4)"), ("val", "Normal (4)"),
        ("test", "covid_5"), ("test", "non_COVID (5)"), ("test", "Normal (5)"),
    ]  # fmt: skip
    assert {(pair.origin, pair.convention, pair.patient) for pair in pairs} == {
        ("covid_qu_ex", "covid_qu_ex", "")
    }
    last = pairs[-1]
    assert last.image.relative_to(folder / DOUBLED / DOUBLED).parts == (
        "Test", "Normal", "images", "Normal (5).png"
    )  # fmt: skip
    assert read_pair_mask(last).shape == read_levels(last.image).levels.shape == (256, 256)


def test_names_that_start_again_in_a_split_are_told_apart(folder, tmp_path, capsys):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    top = tmp_path / DOUBLED / DOUBLED
    for part in ("images", "lung masks"):
        place = top / "Val" / "COVID-19" / part
        (place / "covid_4.png").rename(place / "covid_1.png")
    (top / "Train" / "Normal" / "lung masks" / "Normal (2).png").unlink()
    stems = {pair.stem for pair in find_pairs(tmp_path)}
    assert len(stems) == 14
    assert {"train/covid_1", "val/covid_1", "covid_2"} < stems
    assert "Normal (2).png has no mask of the lungs" in capsys.readouterr().err


@pytest.mark.parametrize("inside", ["", DOUBLED, f"{DOUBLED}/{DOUBLED}"])
def test_rows_to_classify_have_the_class_and_the_given_split(folder, inside):
    rows = covid_qu_ex.rows(folder / inside)
    dev = "development"
    assert [(r.path.stem, r.finding, r.split, r.fold) for r in rows] == [
        ("covid_1", "COVID-19", dev, None), ("covid_2", "COVID-19", dev, None),
        ("covid_3", "COVID-19", dev, None), ("non_COVID (1)", "Non-COVID", dev, None),
        ("non_COVID (2)", "Non-COVID", dev, None), ("non_COVID (3)", "Non-COVID", dev, None),
        ("Normal (1)", "Normal", dev, None), ("Normal (2)", "Normal", dev, None),
        ("Normal (3)", "Normal", dev, None),
        ("covid_4", "COVID-19", dev, 0), ("non_COVID (4)", "Non-COVID", dev, 0),
        ("Normal (4)", "Normal", dev, 0),
        ("covid_5", "COVID-19", "test", None), ("non_COVID (5)", "Non-COVID", "test", None),
        ("Normal (5)", "Normal", "test", None),
    ]  # fmt: skip
    last = rows[-1]
    assert (last.patient_id, last.group) == ("Normal (5)", "covid_qu_ex-Normal (5)")
    assert (last.source, last.view, last.licence) == ("covid_qu_ex", "AP or PA", "")
    mask = last.path.parents[1] / "lung masks" / last.path.name
    assert mask.is_file()
    labels = {MAPPINGS["covid_qu_ex"].diagnoses[row.finding] for row in rows}
    assert labels == set(COVID_QU_EX)


def test_a_radiograph_without_a_mask_is_still_one_to_classify(tmp_path):
    covid_qu_ex.write_phantoms(tmp_path, 3, seed=0)
    top = tmp_path / DOUBLED / DOUBLED
    (top / "Train" / "COVID-19" / "lung masks" / "covid_1.png").unlink()
    assert len(covid_qu_ex.rows(tmp_path)) == 3
