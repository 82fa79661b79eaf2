import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from flannel.data.manifest import (
    COLUMNS,
    ManifestError,
    build_manifest,
    load_manifest,
    save_manifest,
)
from flannel.data.phantom import write_phantom
from flannel.files import sha256_of

REAL = Path(os.environ.get("FLANNEL_REAL_DATA", Path(__file__).parents[4] / "shared" / "data"))
CLASSIFICATION = REAL / "radiographs" / "classification"
HEADER = "PatientID,offset,Finding,view,modality,filename,license,\n"


def picture(path, seed, size=(40, 50)):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, size, np.uint8)
    Image.fromarray(noise).save(path, format="png")
    return path


@pytest.fixture
def raw(tmp_path):
    """Both sources, with every kind of row that stays or goes."""
    ccx = tmp_path / "raw" / "covid-chestxray-dataset"
    lines = [
        "1,0,COVID-19,PA,X-ray,a 1.png,CC BY,x",
        "1,3,Pneumonia/Viral/COVID-19,ap supine,X-ray,b.png,,",
        "2,,COVID-19,L,X-ray,c.png,,",
        "2,,COVID-19,Axial,CT,d.png,,",
        "3,,Pneumonia/Bacterial/Klebsiella,AP,X-ray,e.png,,",
        "4,,Pneumocystis,PA,X-ray,f.png,,",
        "5,,No Finding,PA,X-ray,missing.png,,",
        "5,,No Finding,PA,X-ray,empty.png,,",
    ]
    for seed, name in enumerate(("a 1.png", "b.png", "e.png", "f.png")):
        picture(ccx / "images" / name, seed)
    (ccx / "images" / "empty.png").touch()
    (ccx / "metadata.csv").write_text(HEADER + "\n".join(lines) + "\n")
    kcx = tmp_path / "raw" / "chest_xray"
    picture(kcx / "train" / "PNEUMONIA" / "person7_virus_12.jpeg", 10)
    picture(kcx / "train" / "PNEUMONIA" / "person7_bacteria_30.jpeg", 11)
    picture(kcx / "test" / "PNEUMONIA" / "person9_bacteria_40.jpeg", 12)
    picture(kcx / "train" / "NORMAL" / "IM-0115-0001.jpeg", 13)
    picture(kcx / "test" / "NORMAL" / "NORMAL2-IM-0115-0001.jpeg", 14)
    return tmp_path / "raw"


def test_rows_stay_or_go_for_the_right_reason(raw):
    table, report = build_manifest(raw)
    assert tuple(table.columns) == COLUMNS
    assert report.counts == {
        ("ccx", "COVID-19"): 2,
        ("ccx", "Bacterial pneumonia"): 1,
        ("kcx", "Viral pneumonia"): 1,
        ("kcx", "Bacterial pneumonia"): 2,
        ("kcx", "Normal"): 2,
    }
    klebsiella = "finding Pneumonia/Bacterial/Klebsiella: not in the label mapping"
    assert report.left_out == {
        ("ccx", "view L"): 1, ("ccx", "modality CT"): 1, ("ccx", klebsiella): 1
    }  # fmt: skip
    assert len(report.bad_files) == 2
    assert any("missing.png does not exist" in sentence for sentence in report.bad_files)
    assert any("empty.png is empty" in sentence for sentence in report.bad_files)
    assert "8 radiographs in the manifest" in str(report)
    assert "empty.png" in str(report)


def test_one_row_by_hand(raw):
    table, _ = build_manifest(raw)
    path = raw / "covid-chestxray-dataset" / "images" / "a 1.png"
    row = table[table["path"] == str(path.resolve())].iloc[0]
    sha256 = sha256_of(path)
    assert row["image_id"] == f"ccx-a_1-{sha256[:8]}"
    assert (row["width"], row["height"], row["sha256"]) == (50, 40, sha256)
    assert (row["patient_id"], row["group"], row["licence"]) == ("1", "ccx-1", "CC BY")
    assert (row["diagnosis"], row["view"], row["age"], row["split"]) == ("COVID-19", "PA", "", "")


def test_strict_and_cautious_identities_of_the_kaggle_set(raw):
    table, _ = build_manifest(raw, sources=["kcx"])
    known = {
        Path(row.path).stem: (row.patient_id, row.group, row.split) for row in table.itertuples()
    }
    assert known == {
        "person7_virus_12": ("virus-7", "kcx-person7", "development"),
        "person7_bacteria_30": ("bacteria-7", "kcx-person7", "development"),
        "person9_bacteria_40": ("bacteria-9", "kcx-person9", "test"),
        "IM-0115-0001": ("IM-115", "kcx-IM-115", "development"),
        "NORMAL2-IM-0115-0001": ("NORMAL2-IM-115", "kcx-NORMAL2-IM-115", "test"),
    }


def test_wide_mapping_takes_all_bacteria_and_leaves_fungi(raw):
    table, report = build_manifest(raw, mapping="wide")
    assert ("Pneumonia/Bacterial/Klebsiella" in set(table["finding"])) is True
    assert report.left_out["ccx", "finding Pneumocystis: fungal"] == 1


def test_identical_files_stay_and_their_groups_are_joined(raw):
    kcx = raw / "chest_xray"
    same = kcx / "train" / "PNEUMONIA" / "person7_virus_12.jpeg"
    shutil.copy(same, kcx / "train" / "PNEUMONIA" / "person8_virus_13.jpeg")
    shutil.copy(same, kcx / "test" / "PNEUMONIA" / "person7_virus_12.jpeg")
    table, report = build_manifest(raw, sources=["kcx"])
    groups = {Path(row.path).stem: row.group for row in table.itertuples()}
    assert groups["person8_virus_13"] == groups["person7_virus_12"] == "kcx-person7"
    assert report.left_out == {("kcx", "listed or copied twice under one name"): 1}


def test_files_with_the_same_stem_are_both_kept(raw):
    folder = raw / "chest_xray"
    picture(folder / "test" / "PNEUMONIA" / "person7_virus_12.jpeg", 99)
    table, _ = build_manifest(raw, sources=["kcx"])
    assert table["image_id"].str.startswith("kcx-person7_virus_12-").sum() == 2
    assert table["image_id"].is_unique


def test_strict_refuses_bad_files_together(raw):
    with pytest.raises(ManifestError, match=r"(?s)2 files .*missing.png.*empty.png"):
        build_manifest(raw, strict=True)


@pytest.mark.parametrize("inside", ["", "covid-chestxray-dataset", "chest_xray"])
def test_sources_are_found_in_the_folder_or_one_below(raw, inside):
    table, _ = build_manifest(raw / inside)
    assert len(table) == {"": 8, "covid-chestxray-dataset": 3, "chest_xray": 5}[inside]


def test_wrong_folders_and_names_are_sentences(raw, tmp_path):
    with pytest.raises(ManifestError, match="not a folder"):
        build_manifest(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ManifestError, match="No known data set"):
        build_manifest(tmp_path / "empty")
    with pytest.raises(ManifestError, match="No source 'kcx'"):
        build_manifest(raw / "covid-chestxray-dataset", sources=["kcx"])
    with pytest.raises(ManifestError, match="'abc' is unknown; choose ccx or kcx"):
        build_manifest(raw, sources=["abc"])
    with pytest.raises(ManifestError, match="Label mapping 'x'"):
        build_manifest(raw, mapping="x")
    metadata = raw / "covid-chestxray-dataset" / "metadata.csv"
    metadata.write_text(metadata.read_text().replace("Finding", "result"))
    with pytest.raises(ManifestError, match="lacks the column finding; it has patientid"):
        build_manifest(raw)
    metadata.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ManifestError, match="not a CSV table"):
        build_manifest(raw)


def test_saved_is_loaded_again(raw, tmp_path):
    table, _ = build_manifest(raw)
    table.loc[:3, "fold"] = 2
    save_manifest(table, tmp_path / "manifest.csv")
    again = load_manifest(tmp_path / "manifest.csv")
    pd.testing.assert_frame_equal(again, table)
    assert str(again["fold"].dtype) == "Int64"


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("width", "wide", "'wide' as width of the image"),
        ("fold", "1.5", "'1.5' as fold of the image"),
        ("split", "trial", "'trial' as split"),
        ("path", "", "no path in line 2"),
    ],
)
def test_broken_values_are_named(raw, tmp_path, column, value, message):
    save_manifest(build_manifest(raw)[0], tmp_path / "manifest.csv")
    table = pd.read_csv(tmp_path / "manifest.csv", dtype=str, keep_default_na=False)
    table.loc[0, column] = value
    table.to_csv(tmp_path / "manifest.csv", index=False)
    with pytest.raises(ManifestError, match=message):
        load_manifest(tmp_path / "manifest.csv")


def test_broken_tables_are_sentences(raw, tmp_path):
    with pytest.raises(ManifestError, match="does not exist"):
        load_manifest(tmp_path / "none.csv")
    table, _ = build_manifest(raw)
    with pytest.raises(ManifestError, match="more than once"):
        save_manifest(pd.concat([table, table]), tmp_path / "m.csv")
    table.drop(columns=["view", "sex"]).to_csv(tmp_path / "m.csv", index=False)
    with pytest.raises(ManifestError, match="lacks the columns view, sex"):
        load_manifest(tmp_path / "m.csv")
    (tmp_path / "m.csv").write_text("")
    with pytest.raises(ManifestError, match="not a CSV table"):
        load_manifest(tmp_path / "m.csv")


@pytest.mark.skipif(not CLASSIFICATION.is_dir(), reason=f"no radiographs in {CLASSIFICATION}")
@pytest.mark.parametrize(("mapping", "count"), [("flannel", 246), ("wide", 254)])
def test_real_cohort(mapping, count):
    table, report = build_manifest(CLASSIFICATION, mapping=mapping)
    assert len(table) == count
    assert not report.bad_files


def test_every_file_of_the_folder_is_in_the_manifest_or_named(tmp_path):
    """Also those that no row is about: pictures below a class folder, other folders, texts."""
    for seed, name in enumerate(("COVID-19/a.png", "Normal/b.jfif", "Normal/deep/c.png", "x/d.e")):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        levels = np.random.default_rng(seed).integers(0, 255, (40, 40), np.uint8)
        Image.fromarray(levels).save(path, "JPEG" if name.endswith("jfif") else "PNG")
    (tmp_path / "Normal" / "e.webp").write_bytes(b"RIFF\0\0\0\0WEBPVP8 ")
    (tmp_path / "read me.txt").write_text("a text")
    (tmp_path / ".DS_Store").write_text("hidden")
    shutil.move(tmp_path / "x" / "d.e", tmp_path / "d.e")
    table, report = build_manifest(tmp_path)
    assert table["path"].map(lambda path: Path(path).name).tolist() == ["a.png", "b.jfif"]
    (fault,) = report.bad_files
    assert "e.webp is a WebP file: expected PNG, JPEG" in fault
    text = str(report)
    assert "2 images that their data set does not list: d.e, Normal/deep/c.png" in text
    assert "1 not images: read me.txt" in text
    assert "1 hidden: .DS_Store" in text


def test_folders_beside_the_data_sets_are_named(raw):
    shutil.rmtree(raw / "chest_xray")
    (raw / "notes").mkdir()
    assert "1 folders of no data set that is known: notes" in str(build_manifest(raw)[1])


@pytest.mark.parametrize("image_id", ["../../x", "/x", "a/b", "a\\b", ".x", "x" * 201, "a\nb"])
def test_an_image_id_that_is_no_file_name_is_refused(raw, tmp_path, image_id):
    table, _ = build_manifest(raw)
    save_manifest(table, tmp_path / "m.csv")
    written = pd.read_csv(tmp_path / "m.csv", dtype=str, keep_default_na=False)
    written.loc[0, "image_id"] = image_id
    written.to_csv(tmp_path / "m.csv", index=False)
    with pytest.raises(ManifestError, match="cannot be the name of its mask"):
        load_manifest(tmp_path / "m.csv")


def test_no_cell_of_a_table_leaves_the_study_or_stops_the_others(tmp_path):
    sources = ("../../escaped/s", "/absolute", "a\\b", "..", "con", "s" * 300, "=cmd|x", "plain")
    for number in range(len(sources)):
        picture(tmp_path / f"{number}.png", number)
    rows = [f"{number}.png,Normal,{source}" for number, source in enumerate(sources)]
    rows += ["a\0b.png,Normal,plain", f"{'x' * 5000}.png,Normal,plain"]
    (tmp_path / "radiographs.csv").write_text("path,diagnosis,source\n" + "\n".join(rows) + "\n")
    table, report = build_manifest(tmp_path)
    assert sorted(table["source"]) == sorted(sources)
    for image_id in table["image_id"]:
        mask = (tmp_path / "masks" / f"{image_id}.png").resolve()
        assert mask.parent == tmp_path / "masks"
        mask.parent.mkdir(exist_ok=True)
        mask.touch()  # a name that this disk takes
    assert len(list((tmp_path / "masks").iterdir())) == len(sources)
    plain = table.loc[table["source"] == "plain", "image_id"].item()
    assert plain == f"plain-7-{sha256_of(tmp_path / '7.png')[:8]}"
    first, second = sorted(report.bad_files, key=len)
    assert r"a\x00b.png' is a name that no disk or table takes" in first
    assert second.endswith("cannot be read (File name too long).")


def drawn(folder, **classes):
    """Phantoms in folders by class, under names of any diagnosis."""
    for kind, (name, count) in enumerate(classes.items()):
        for number in range(count):
            generator = np.random.default_rng([kind, number])
            write_phantom(folder / name / f"{name}-{number}.png", "Normal", generator, (64, 64))
    return folder


def test_folders_are_the_diagnoses_where_they_are_wanted_so(tmp_path, capsys):
    folder = drawn(tmp_path / "data", healthy=3, tuberculosis=2)
    with pytest.raises(ManifestError, match="names of your own need the mapping 'folders'"):
        build_manifest(folder)
    table, report = build_manifest(folder, mapping="folders")
    assert table["diagnosis"].value_counts().to_dict() == {"healthy": 3, "tuberculosis": 2}
    assert report.colours == {"tuberculosis": "#D55E00", "healthy": "#009E73"}
    (folder / "tuberculosis").rename(folder / "covid")
    capsys.readouterr()
    table, report = build_manifest(folder)
    assert set(table["diagnosis"]) == {"COVID-19"}
    printed = capsys.readouterr().err
    assert "3 of 5 radiographs are left out, for the mapping flannel does not" in printed
    assert "does not read 'healthy' (3). To take these names as diagnoses" in printed
    (folder / "healthy").rename(folder / "a, b")
    with pytest.raises(ManifestError, match="'a, b' cannot be the name of a diagnosis"):
        build_manifest(folder, mapping="folders")


def test_a_mapping_of_ones_own_translates_folders_and_tables(tmp_path):
    folder = drawn(tmp_path / "data" / "set", tbc=2, Tb=1, ok=2, ct=1)
    rows = [f"{path.relative_to(folder)},{path.parent.name}\n" for path in folder.rglob("*.png")]
    mapping = tmp_path / "mine.csv"
    mapping.write_text("finding,diagnosis,reason\nok,Healthy\ntbc,TB\nTb,TB\nct,,no radiograph\n")
    expected = {"Healthy": 2, "TB": 3}
    for place in (folder, folder.parent):
        table, report = build_manifest(place, mapping=str(mapping))
        assert table["diagnosis"].value_counts().to_dict() == expected
        assert tuple(report.colours) == ("Healthy", "TB")
        assert report.left_out == {("folder_per_class", "finding ct: no radiograph"): 1}
    (folder / "radiographs.csv").write_text("path,diagnosis\n" + "".join(rows))
    table, report = build_manifest(folder, mapping=str(mapping))
    assert table["diagnosis"].value_counts().to_dict() == expected
    assert set(table["source"]) == {"table"}
    table, report = build_manifest(folder, mapping="folders")
    assert tuple(report.colours) == ("ct", "ok", "Tb", "tbc")


def test_a_class_without_a_usable_radiograph_is_no_diagnosis_of_folders(tmp_path):
    folder = drawn(tmp_path / "data", a=2, b=2)
    broken = folder / "c" / "d.png"
    broken.parent.mkdir()
    broken.write_bytes(b"\x89PNG\r\n\x1a\nno picture")
    _, report = build_manifest(folder, mapping="folders")
    assert tuple(report.colours) == ("a", "b")
    assert len(report.bad_files) == 1
