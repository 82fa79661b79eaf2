import csv
import struct
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from flannel.__main__ import main
from flannel.data.diagnosis import FLANNEL
from flannel.data.folds import splits_of_fold
from flannel.data.manifest import ManifestError, build_manifest, load_manifest
from flannel.data.original_cohorts import import_run, one_image_per_key, read_lists
from flannel.data.provenance import load_provenance

LISTS = Path(__file__).parents[2] / "golden" / "original_lists.csv.gz"
FINDINGS = {
    "COVID-19": "Pneumonia/Viral/COVID-19",
    "pneumonia_virus": "Pneumonia/Viral/SARS",
    "pneumonia_bacteria": "Pneumonia/Bacterial/Streptococcus",
    "normal": "No Finding",
    "": "Pneumonia",
}
# Per fold, as counted in the authors' own files: COVID-19, viral, bacterial, normal.
TRAIN = {
    "original": (
        (298, 941, 1839, 1026), (309, 941, 1808, 1046), (291, 921, 1854, 1038),
        (309, 959, 1818, 1018), (309, 918, 1845, 1032),
    ),
    "patched": (
        (300, 963, 1782, 1059), (285, 980, 1826, 1013), (296, 977, 1808, 1023),
        (275, 980, 1810, 1039), (280, 956, 1818, 1050),
    ),
}  # fmt: skip
TEST = {"original": (100, 339, 531, 313), "patched": (120, 295, 561, 307)}
TWICE = ("1-s2.0-S1059131120301151-gr2-e.png", "1-s2.0-S1059131120301151-gr2-f.png")


def chunk(kind, content):
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def stand_in(name):
    """A grey PNG of 32 x 32 pixels in which only a text differs: no two files are identical."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 32, 32, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(33 * 32)))
    text = chunk(b"tEXt", b"Title\0" + name.encode())
    return b"\x89PNG\r\n\x1a\n" + header + text + pixels + chunk(b"IEND", b"")


def write_cohort(folder, lists):
    """Stand-ins for all files of the lists, in the layouts of CCX and KCX."""
    files = lists.drop_duplicates(["source", "file"])
    places = [
        folder / ("covid-chestxray-dataset" if source == "CCX" else "") / file
        for source, file in zip(files["source"], files["file"], strict=True)
    ]
    for place in {place.parent for place in places}:
        place.mkdir(parents=True)
    for place in places:
        place.write_bytes(stand_in(place.name))
    ccx = files[files["source"] == "CCX"]
    with (folder / "covid-chestxray-dataset" / "metadata.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["patientid", "offset", "finding", "view", "modality", "filename"])
        for row in ccx.itertuples():
            # The first of the two files with both labels is taken for COVID-19, the other not.
            own = {TWICE[0]: "COVID-19", TWICE[1]: "normal"}.get(Path(row.file).name, row.labels)
            name = row.file.removeprefix("images/")
            writer.writerow([row.patientid, row.offset, FINDINGS[own], row.view, "X-ray", name])


@pytest.fixture(scope="module")
def lists():
    return read_lists(LISTS)


@pytest.fixture(scope="module")
def raw(lists, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    write_cohort(folder, lists)
    return folder


@pytest.fixture(scope="module")
def manifest(raw):
    table, report = build_manifest(raw)
    assert not report.bad_files
    return table


def by_class(diagnoses):
    return tuple(diagnoses.value_counts().reindex(list(FLANNEL)))


@pytest.mark.slow
@pytest.mark.parametrize("run", ["original", "patched"])
def test_the_rows_of_both_runs_come_out_exactly(manifest, lists, run):
    assert len(manifest) == 6411
    table, report = import_run(manifest, lists, run)
    assert len(table) == 6413
    assert table["image_id"].is_unique
    assert by_class(table["diagnosis"]) == (479, 1509, 2822, 1603)
    for fold in range(5):
        used = splits_of_fold(table, fold)
        assert used.value_counts().to_dict() == {"train": 4104, "val": 1026, "test": 1283}
        assert by_class(table["diagnosis"][used == "train"]) == TRAIN[run][fold]
        assert by_class(table["diagnosis"][used == "test"]) == TEST[run]
    assert (report.missing, report.unused) == ((), ())
    assert report.labelled_twice == tuple(f"ccx images/{name}" for name in TWICE)
    assert [sentence.partition(": ")[2] for sentence in report.relabelled] == [
        "Normal, source COVID-19", "COVID-19, source Normal",
    ]  # fmt: skip


@pytest.mark.slow
def test_patients_of_the_original_folds_cross_as_counted(manifest, lists):
    # Counted before with the strict identity: 482 of 1,283 test rows, 49 of 100 with COVID-19.
    table, _ = import_run(manifest, lists, "original")
    test = table["split"] == "test"
    patient = table["source"] + table["patient_id"]
    shared = test & patient.isin(set(patient[~test]))
    assert shared.sum() == 482
    assert by_class(table["diagnosis"][shared]) == (49, 76, 326, 31)


@pytest.mark.slow
def test_the_command_writes_folds_and_table_2(raw, tmp_path, capsys):
    words = ["manifest", f"--data={raw}", f"--study={tmp_path}", f"--lists={LISTS}"]
    assert main(words) == 1
    assert "say --protocol given" in capsys.readouterr().err
    assert main([*words, "--protocol=given"]) == 0
    printed = capsys.readouterr().out
    assert "6413 rows of the original run were found" in printed
    assert "2 files that the run labels twice" in printed
    assert len(load_manifest(tmp_path / "manifest.csv")) == 6413
    provenance = load_provenance(tmp_path / "manifest.csv")
    assert (provenance.choices.protocol, provenance.choices.run) == ("given", "original")
    counts = {"train": 4104, "val": 1026, "test": 1283}
    patients = {"train patients": 3052, "val patients": 934, "test patients": 1138}
    assert provenance.folds["4"] == counts | patients
    assert "| Total | 6,413 (6,410) |" in (tmp_path / "table_2.md").read_text()


@pytest.mark.slow
def test_one_image_per_key_gives_the_number_of_2020(manifest):
    table = one_image_per_key(manifest)
    kcx = table[table["source"] == "kcx"]
    assert kcx["diagnosis"].value_counts().to_dict() == {
        "Viral pneumonia": 1492, "Bacterial pneumonia": 2780, "Normal": 1117,
    }  # fmt: skip
    assert (table["source"] == "ccx").sum() == 555


# The frontal radiographs of March 2020 that the original's labels take, by finding and view.
MARCH_2020 = (
    ("COVID-19", "PA", 76), ("COVID-19", "AP Supine", 13), ("COVID-19", "AP", 11),
    ("SARS", "PA", 11), ("Streptococcus", "PA", 6), ("Pneumocystis", "PA", 1),
    ("No Finding", "PA", 1),
)  # fmt: skip
PASSED_OVER = (
    ("COVID-19", "L", "X-ray"), ("COVID-19", "Axial", "CT"), ("ARDS", "PA", "X-ray"),
    ("COVID-19, ARDS", "AP", "X-ray"), ("SARS", "L", "X-ray"),
)  # fmt: skip


@pytest.mark.slow
def test_the_cohort_of_2020_comes_out_of_that_months_metadata(manifest, tmp_path):
    folder = tmp_path / "covid-chestxray-dataset"
    (folder / "images").mkdir(parents=True)
    rows = [(finding, view, "X-ray") for finding, view, count in MARCH_2020 for _ in range(count)]
    with (folder / "metadata.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["Patientid", "offset", "finding", "view", "modality", "filename"])
        for number, row in enumerate([*rows, *PASSED_OVER]):
            name = f"{number}.png"
            writer.writerow([number, 0, *row, name])
            (folder / "images" / name).write_bytes(stand_in(name))
    ccx, report = build_manifest(tmp_path)
    assert not report.bad_files
    assert by_class(ccx["diagnosis"]) == (100, 11, 7, 1)
    together = pd.concat([ccx, manifest[manifest["source"] == "kcx"]], ignore_index=True)
    table = one_image_per_key(together)
    assert len(table) == 5508
    assert by_class(table["diagnosis"]) == (100, 1503, 2787, 1118)


def small_manifest(*rows):
    columns = ["image_id", "source", "path", "diagnosis"]
    table = pd.DataFrame(rows, columns=columns).assign(width=32, height=32, split="", fold=pd.NA)
    rest = ("patient_id", "group", "finding", "view", "age", "sex", "licence", "sha256")
    return table.assign(**dict.fromkeys(rest, ""))


SMALL = pd.DataFrame(
    [
        ("KCX", "chest_xray/train/NORMAL/a.jpeg", "3", "ttttt", "rvrrr"),
        ("KCX", "chest_xray/train/NORMAL/b.jpeg", "3", "rrrrv", "ttttt"),
        ("CCX", "images/c.png", "0", "vrrrr", "ttttt"),
        ("CCX", "images/d.png", "", "", ""),
    ],
    columns=["source", "file", "class_index", "original_run_folds", "patched_run_folds"],
)


def test_missing_and_unused_files_are_named():
    manifest = small_manifest(
        ("k1", "kcx", "/x/test/a.jpeg", "Normal"),
        ("k2", "kcx", "/x/chest_xray/train/NORMAL/a.jpeg", "Normal"),
        ("c1", "ccx", "/x/images/c.png", "Viral pneumonia"),
        ("c2", "ccx", "/x/images/d.png", "COVID-19"),
    )
    table, report = import_run(manifest, SMALL, "original")
    assert table["image_id"].tolist() == ["c1", "k2"]
    assert table["split"].tolist() == ["development", "test"]
    assert table["fold"].tolist() == [0, pd.NA]
    assert report.missing == ("kcx chest_xray/train/NORMAL/b.jpeg",)
    assert report.unused == ("c2", "k1")
    assert report.relabelled == ("c1: COVID-19, source Viral pneumonia",)
    assert "1 files of the run that are missing:\n  kcx chest_xray/train" in str(report)
    patched, _ = import_run(manifest, SMALL, "patched")
    assert patched[["image_id", "split"]].to_numpy().tolist() == [
        ["c1", "test"], ["k2", "development"],
    ]  # fmt: skip
    assert patched["fold"].tolist() == [pd.NA, 1]
    with pytest.raises(ManifestError, match=r"No file of the original run .*train/NORMAL/a.jpeg"):
        import_run(manifest[manifest["image_id"] == "c2"], SMALL, "original")


def test_broken_lists_are_sentences(tmp_path):
    path = tmp_path / "lists.csv"
    with pytest.raises(ManifestError, match="does not exist"):
        read_lists(path)
    SMALL.drop(columns="file").to_csv(path, index=False)
    with pytest.raises(ManifestError, match="lacks the columns file; it has source"):
        read_lists(path)
    for letters in ("rrrrr", "rrvr", "rvrvr", "ttttr", "rrrrrv"):
        SMALL.assign(original_run_folds=["ttttt", letters, "", ""]).to_csv(path, index=False)
        with pytest.raises(ManifestError, match=f"'{letters}' as original_run_folds"):
            read_lists(path)
    SMALL.assign(class_index="4").to_csv(path, index=False)
    with pytest.raises(ManifestError, match="'4' as class of chest_xray"):
        read_lists(path)
    (tmp_path / "lists.csv.gz").write_bytes(LISTS.read_bytes()[:5000])
    with pytest.raises(ManifestError, match="not a CSV table"):
        read_lists(tmp_path / "lists.csv.gz")


def test_keys_of_2020_by_hand():
    names = (
        "person7_virus_12", "person7_bacteria_12", "person7_virus_13", "IM-0115-0001",
        "NORMAL2-IM-0115-0001", "NORMAL2-IM-0115-0002", "other",
    )  # fmt: skip
    rows = [(f"kcx-{i}", "kcx", f"/x/{name}.jpeg", "") for i, name in enumerate(names)]
    rows.append(("ccx-9", "ccx", "/x/IM-0115-0001.jpeg", ""))
    table = small_manifest(*rows[::-1])
    kept = one_image_per_key(table)["image_id"]
    assert sorted(kept) == ["ccx-9", "kcx-0", "kcx-2", "kcx-3", "kcx-5", "kcx-6"]
    assert np.array_equal(kept, [row[0] for row in rows[::-1] if row[0] in set(kept)])
