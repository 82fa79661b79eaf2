"""The twin of every source is found as that source, with the diagnoses that it has."""

import pytest

from flannel.data.findings import SourceError
from flannel.data.manifest import build_manifest
from flannel.data.sources.twins import TWINS, write_twins

EXPECTED = {
    "ccx": ("flannel", 4),
    "kcx": ("flannel", 3),
    "covid_qu_ex": ("covid_qu_ex", 3),
    "darkcovidnet": ("darkcovidnet", 3),
    "alifrahman": ("covid_normal", 2),
    "radiography": ("darkcovidnet", 3),
}


def test_every_twin_is_expected():
    assert set(TWINS) == set(EXPECTED)


@pytest.mark.slow
@pytest.mark.parametrize("source", EXPECTED)
def test_a_twin_is_its_source_with_as_many_radiographs_of_each_diagnosis(source, tmp_path):
    mapping, diagnoses = EXPECTED[source]
    write_twins(tmp_path, {source: 2 * diagnoses}, seed=1, size_px=64)
    table, _ = build_manifest(tmp_path, mapping=mapping)
    assert set(table["source"]) == {source}
    assert table["diagnosis"].value_counts().tolist() == [2] * diagnoses


def test_twins_of_several_sets_lie_beside_each_other(tmp_path):
    write_twins(tmp_path, {"darkcovidnet": 4, "alifrahman": 3}, seed=1, size_px=64)
    table, _ = build_manifest(tmp_path, mapping="darkcovidnet")
    assert table["source"].value_counts().to_dict() == {"darkcovidnet": 4, "alifrahman": 3}
    with pytest.raises(SourceError, match="no phantom twin of padchest; choose of ccx, kcx"):
        write_twins(tmp_path, {"padchest": 3}, seed=1, size_px=64)
