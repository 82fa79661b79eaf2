import pytest

from flannel.data.diagnosis import FLANNEL
from flannel.data.findings import MAPPINGS
from flannel.data.outputs import mark_as_output
from flannel.data.radiograph import read_levels
from flannel.data.sources import SOURCES, folder_per_class, kcx
from flannel.data.sources import write_phantom_sources as write_both

COUNTS = {"COVID-19": 1, "Normal": 4}


def touched(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_every_other_source_comes_before_it():
    others = {source.NAME for source in folder_per_class.NAMED_SETS}
    assert others == set(SOURCES) - {folder_per_class.NAME}


def test_rows_of_the_phantom_twin(tmp_path):
    folder_per_class.write_phantoms(tmp_path / "mine", COUNTS, seed=0, size=64)
    rows = folder_per_class.rows(tmp_path / "mine")
    assert folder_per_class.is_here(tmp_path / "mine")
    assert [(row.path.name, row.finding, row.patient_id, row.group) for row in rows][:2] == [
        ("phantom-0-00000.png", "COVID-19", "phantom-0-00000",
         "folder_per_class-mine-phantom-0-00000"),
        ("phantom-1-00000.png", "Normal", "phantom-1-00000",
         "folder_per_class-mine-phantom-1-00000"),
    ]  # fmt: skip
    assert {(row.source, row.view, row.split, row.fold) for row in rows} == {
        ("folder_per_class", "AP or PA", "", None)
    }
    assert read_levels(rows[0].path).bits == 8


def test_a_split_above_the_classes_is_kept(tmp_path):
    folder_per_class.write_phantoms(tmp_path, COUNTS, seed=0, size=64, split=True)
    rows = folder_per_class.rows(tmp_path)
    assert [(row.path.stem, row.finding, row.split, row.fold) for row in rows] == [
        ("phantom-1-00003", "Normal", "test", None),
        ("phantom-0-00000", "COVID-19", "development", None),
        ("phantom-1-00000", "Normal", "development", None),
        ("phantom-1-00001", "Normal", "development", None),
        ("phantom-1-00002", "Normal", "development", 0),
    ]


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("training", "validation", "testing"),
        ("Train", "Valid", "Test"),
        ("train_set", "val-data", "Test Images"),
        ("TRAIN", "VAL", "TESTING"),
    ],
)
def test_splits_are_known_by_their_usual_names(tmp_path, train, val, test):
    for part in (train, val, test):
        touched(tmp_path, f"{part}/covid/{part}.png", f"{part}/normal/{part}.png")
    splits = {(row.path.stem, row.split, row.fold) for row in folder_per_class.rows(tmp_path)}
    assert splits == {
        (train, "development", None),
        (val, "development", 0),
        (test, "test", None),
    }
    assert folder_per_class.is_here(tmp_path)
    assert not any(folder_per_class.is_here(tmp_path / part) for part in (train, val, test))


def test_masks_and_predictions_of_ours_are_no_class(tmp_path):
    touched(tmp_path, "covid/a.png", "normal/b.png", "masks/a.png", "masks/.lock")
    mark_as_output(tmp_path / "masks")
    assert [row.finding for row in folder_per_class.rows(tmp_path)] == ["covid", "normal"]


def test_classes_of_other_names_are_listed(tmp_path):
    touched(tmp_path, "covid/a.png", "Oedema/b.png", "asthma/c.png", ".cache/d.png", "notes/e.txt")
    rows = folder_per_class.rows(tmp_path)
    assert [row.finding for row in rows] == ["Oedema", "asthma", "covid"]


def test_any_classes_are_a_set_where_any_names_are_allowed(tmp_path):
    touched(tmp_path / "mine", "tuberculosis/a.png", "healthy/b.png")
    assert not folder_per_class.is_here(tmp_path / "mine")
    assert folder_per_class.is_here(tmp_path / "mine", classes={"healthy", "other"})
    assert folder_per_class.is_here(tmp_path / "mine", classes=None)
    touched(tmp_path / "pairs", "images/a.png", "masks/a.png")
    assert not folder_per_class.is_here(tmp_path / "pairs", classes=None)


def test_the_same_name_in_two_folders_is_one_group(tmp_path):
    touched(tmp_path / "set", "train/covid/a.png", "test/covid/a.png", "test/normal/b.png")
    groups = {row.path.parent.name + row.split: row.group for row in folder_per_class.rows(
        tmp_path / "set")}  # fmt: skip
    assert groups["coviddevelopment"] == groups["covidtest"] == "folder_per_class-set-a"
    assert groups["normaltest"] == "folder_per_class-set-b"


@pytest.mark.parametrize(
    "names",
    [
        ("covid/a.png",),  # one class is no classification
        ("images/a.png", "masks/a.png"),  # no name of a finding
        ("COVID-19/images/a.png", "Normal/images/a.png"),  # nothing in the class folders
    ],
)
def test_other_folders_are_not_sorted_by_class(tmp_path, names):
    touched(tmp_path, *names)
    assert not folder_per_class.is_here(tmp_path)


def test_known_sets_are_read_by_their_own_module_only(tmp_path):
    write_both(tmp_path, images=8, masks=1, seed=0, size=64)
    places = [tmp_path, *(path for path in tmp_path.rglob("*") if path.is_dir())]
    assert not any(folder_per_class.is_here(place) for place in places)
    assert kcx.is_here(tmp_path / "chest_xray")


def phantoms(name, folder):
    """Writes the phantom twin of a source in a folder."""
    if name == "jsrt":
        SOURCES[name].write_phantoms(folder, 1, 1, seed=0)
    elif name == "covid_qu_ex":
        SOURCES[name].write_phantoms(folder, 3, seed=0)
    elif name == "darkcovidnet":
        counts = {"COVID-19": 1, "Normal": 1, "Bacterial pneumonia": 1}
        SOURCES[name].write_phantoms(folder, counts, seed=0, size=64)
    elif name == "radiography":
        SOURCES[name].write_phantoms(folder, dict.fromkeys(FLANNEL, 1), seed=0)
    else:
        counts = {"Normal": 1} if name == "kcx" else {"COVID-19": 1, "Normal": 1}
        SOURCES[name].write_phantoms(folder, counts, seed=0, size=64)


@pytest.mark.slow
@pytest.mark.parametrize("name", SOURCES)
def test_every_twin_is_told_from_all_other_sources(tmp_path, name):
    phantoms(name, tmp_path / name)
    places = [tmp_path / name, *(path for path in (tmp_path / name).iterdir() if path.is_dir())]
    assert [other for other in SOURCES if SOURCES[other].is_here(places[0])] == [name]
    for place in places:
        assert {other for other in SOURCES if SOURCES[other].is_here(place)} <= {name}
    assert {row.source for row in SOURCES[name].rows(places[0])} == {name}
    mapped = {row.finding for row in SOURCES[name].rows(places[0])}
    assert mapped & set(MAPPINGS["flannel"].diagnoses)
