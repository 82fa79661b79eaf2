import csv

import pytest

from flannel.data.diagnosis import FLANNEL
from flannel.data.folds import assign_folds
from flannel.data.manifest import build_manifest
from flannel.data.sources import (
    alifrahman,
    ccx,
    covid_qu_ex,
    csv_table,
    darkcovidnet,
    find_pairs,
    folder_per_class,
    jsrt_radiographs,
    kcx,
    radiography,
    write_phantom_sources,
)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantom_sources(folder, images=42, masks=2, seed=1, size=64)
    return folder


def test_the_manifest_balances_the_diagnoses(sources):
    table, report = build_manifest(sources)
    assert table["diagnosis"].value_counts().to_dict() == {
        "COVID-19": 11,
        "Viral pneumonia": 11,
        "Bacterial pneumonia": 10,
        "Normal": 10,
    }
    assert report.counts["ccx", "COVID-19"] == 11
    assert report.counts["ccx", "Normal"] == report.counts["ccx", "Viral pneumonia"] == 1
    assert sum(report.left_out.values()) == 3
    assert not report.bad_files
    assert table["group"].nunique() < len(table)  # some patients have several images
    assert table.groupby("group")["diagnosis"].nunique().max() == 1
    assert set(assign_folds(table)["split"]) == {"test", "development"}
    assert len(find_pairs(sources / "lung_masks")) == 2


def test_size_does_not_tell_the_source(sources):
    table, _ = build_manifest(sources)
    sides = table.groupby("source")[["width", "height"]].mean()
    assert abs(sides.loc["ccx"] - sides.loc["kcx"]).max() < 5


def test_ccx_has_the_final_columns_and_mixed_suffixes(sources):
    folder = sources / "covid-chestxray-dataset"
    with (folder / "metadata.csv").open(newline="") as stream:
        header = next(csv.reader(stream))
    assert header == list(ccx.COLUMNS)
    assert (header[4], header[18], header[19], header[23]) == (
        "finding", "view", "modality", "filename"
    )  # fmt: skip
    suffixes = {path.suffix for path in (folder / "images").iterdir()}
    assert suffixes == {".png", ".jpg", ".jpeg"}


def test_kcx_has_the_real_folders_and_keeps_patients_apart(sources):
    rows = kcx.rows(sources)
    assert len(list((sources / "chest_xray").glob("*/*"))) == 6
    splits = {}
    for row in rows:
        splits.setdefault(row.group, set()).add(row.path.parts[-3])
    assert all(len(places) == 1 for places in splits.values())
    assert {place for places in splits.values() for place in places} == {"train", "val", "test"}
    with pytest.raises(ValueError, match="no 'COVID-19'"):
        kcx.write_phantoms(sources / "wrong", {"COVID-19": 1}, seed=0)


@pytest.mark.slow
def test_the_same_seed_writes_the_same_files(sources, tmp_path):
    write_phantom_sources(tmp_path, images=42, masks=0, seed=1, size=64)
    for path in sorted((tmp_path / "covid-chestxray-dataset" / "images").iterdir())[:3]:
        again = sources / "covid-chestxray-dataset" / "images" / path.name
        assert path.read_bytes() == again.read_bytes()


@pytest.mark.slow
def test_the_twins_of_all_sources_make_one_manifest(tmp_path):
    covid, viral, bacterial, normal = FLANNEL
    ccx.write_phantoms(tmp_path / "covid-chestxray-dataset", {covid: 1}, seed=0, size=64)
    kcx.write_phantoms(tmp_path / "chest_xray", {normal: 1}, seed=0, size=64)
    jsrt_radiographs.write_phantoms(tmp_path / "JSRT", normal=1, nodules=1, seed=0)
    covid_qu_ex.write_phantoms(tmp_path / "COVID-QU-Ex", 3, seed=0)
    each = dict.fromkeys(FLANNEL, 1)
    radiography.write_phantoms(tmp_path / "radiography", each, seed=0)
    alifrahman.write_phantoms(tmp_path / "alifrahman", {covid: 1, normal: 1}, seed=0, size=64)
    three = {covid: 1, normal: 1, bacterial: 1}
    darkcovidnet.write_phantoms(tmp_path / "COVID-19-master", three, seed=0, size=64)
    folder_per_class.write_phantoms(tmp_path / "mine", {covid: 1, viral: 1}, seed=0, size=64)
    csv_table.write_phantoms(tmp_path / "listed", {bacterial: 1}, seed=0, size=64)
    (tmp_path / "COVID-19-master" / "Dataset").mkdir()
    table, report = build_manifest(tmp_path)
    assert report.counts == {
        ("ccx", covid): 1,
        ("kcx", normal): 1,
        ("jsrt", normal): 1,
        ("covid_qu_ex", covid): 1, ("covid_qu_ex", normal): 1,
        ("radiography", covid): 1, ("radiography", viral): 1, ("radiography", normal): 1,
        ("alifrahman", covid): 1, ("alifrahman", normal): 1,
        ("darkcovidnet", covid): 1, ("darkcovidnet", normal): 1,
        ("folder_per_class", covid): 1, ("folder_per_class", viral): 1,
        ("table", bacterial): 1,
    }  # fmt: skip
    reasons = {source: reason for (source, reason) in report.left_out if source != "ccx"}
    assert reasons == {
        "jsrt": "finding lung nodule: neither pneumonia nor normal",
        "covid_qu_ex": "finding Non-COVID: viral or bacterial is not told",
        "radiography": "finding Lung_Opacity: opacity of any cause but COVID-19",
        "darkcovidnet": "finding Pneumonia: pneumonia of unnamed cause",
    }
    assert not report.bad_files
    assert table["group"].is_unique
    _, others = build_manifest(tmp_path, mapping="darkcovidnet")
    assert others.counts["darkcovidnet", "Pneumonia"] == 1
    assert others.counts["radiography", "Pneumonia"] == 1
    assert others.counts["covid_qu_ex", "Pneumonia"] == 1
