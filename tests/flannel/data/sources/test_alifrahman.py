import pytest

from flannel.data.findings import MAPPINGS
from flannel.data.radiograph import read_levels
from flannel.data.sources import alifrahman


@pytest.mark.parametrize("inside", ["", "dataset"])
def test_rows_of_the_phantom_twin(tmp_path, inside):
    alifrahman.write_phantoms(tmp_path, {"COVID-19": 2, "Normal": 1}, seed=0, size=64)
    assert alifrahman.is_here(tmp_path / inside)
    rows = alifrahman.rows(tmp_path / inside)
    assert [(row.path.name, row.patient_id, row.group, row.finding) for row in rows] == [
        ("covid-1.jpeg", "covid-1", "alifrahman-covid-1", "covid"),
        ("covid-2.jpeg", "covid-2", "alifrahman-covid-2", "covid"),
        ("normal-1.jpeg", "normal-1", "alifrahman-normal-1", "normal"),
    ]
    assert {(row.source, row.view, row.split) for row in rows} == {("alifrahman", "AP or PA", "")}
    pairs = MAPPINGS["covid_normal"].diagnoses
    assert [pairs[row.finding] for row in rows] == ["COVID-19", "COVID-19", "Normal"]
    assert read_levels(rows[0].path).bits == 8


def test_the_name_above_is_part_of_the_layout(tmp_path):
    for kind in ("covid", "normal"):
        (tmp_path / "mine" / kind).mkdir(parents=True)
    assert not alifrahman.is_here(tmp_path / "mine")
    with pytest.raises(KeyError):
        alifrahman.write_phantoms(tmp_path, {"Viral pneumonia": 1}, seed=0)
