import pytest

from flannel.data.findings import MAPPINGS
from flannel.data.mask import read_mask
from flannel.data.radiograph import read_levels
from flannel.data.sources import radiography

COUNTS = {"COVID-19": 2, "Viral pneumonia": 1, "Bacterial pneumonia": 1, "Normal": 1}
TOP = "COVID-19_Radiography_Dataset"


def listed(folder):
    return [(row.path.name, row.finding, row.group) for row in radiography.rows(folder)]


@pytest.mark.slow
@pytest.mark.parametrize("inside", ["", TOP])
def test_the_current_layout(tmp_path, inside):
    radiography.write_phantoms(tmp_path, COUNTS, seed=0)
    assert radiography.is_here(tmp_path / inside)
    assert listed(tmp_path / inside) == [
        ("COVID-1.png", "COVID", "radiography-COVID-1"),
        ("COVID-2.png", "COVID", "radiography-COVID-2"),
        ("Lung_Opacity-1.png", "Lung_Opacity", "radiography-Lung_Opacity-1"),
        ("Normal-1.png", "Normal", "radiography-Normal-1"),
        ("Viral Pneumonia-1.png", "Viral Pneumonia", "radiography-Viral Pneumonia-1"),
    ]
    row = radiography.rows(tmp_path)[0]
    assert (row.source, row.patient_id, row.view) == ("radiography", "COVID-1", "AP or PA")
    assert (row.split, row.licence, row.unfit) == ("", "", "")
    assert row.path == tmp_path / TOP / "COVID" / "images" / "COVID-1.png"
    assert read_levels(row.path).levels.shape == (299, 299)
    assert read_mask(tmp_path / TOP / "COVID" / "masks" / "COVID-1.png").shape == (256, 256)


def test_the_first_release(tmp_path):
    counts = {"COVID-19": 1, "Viral pneumonia": 2, "Normal": 1}
    radiography.write_phantoms(tmp_path, counts, seed=0, first_release=True)
    assert listed(tmp_path) == [
        ("COVID-19 (1).png", "COVID-19", "radiography-COVID-19 (1)"),
        ("NORMAL (1).png", "NORMAL", "radiography-NORMAL (1)"),
        ("Viral Pneumonia (1).png", "Viral Pneumonia", "radiography-Viral Pneumonia (1)"),
        ("Viral Pneumonia (2).png", "Viral Pneumonia", "radiography-Viral Pneumonia (2)"),
    ]
    with pytest.raises(ValueError, match="first release has no 'Bacterial pneumonia'"):
        radiography.write_phantoms(tmp_path, COUNTS, seed=0, first_release=True)


def test_the_second_release_is_flat_with_new_names(tmp_path):
    for kind in ("COVID", "Lung_Opacity", "Normal", "Viral Pneumonia"):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / f"{kind}-7.png").touch()
    assert [name for name, *_ in listed(tmp_path)] == [
        "COVID-7.png", "Lung_Opacity-7.png", "Normal-7.png", "Viral Pneumonia-7.png"
    ]  # fmt: skip


def test_every_class_has_a_meaning_or_a_reason():
    classes = {kind for layout in radiography.LAYOUTS for kind in layout}
    flannel = MAPPINGS["flannel"]
    assert {kind: flannel.diagnoses.get(kind, "") for kind in classes} == {
        "COVID": "COVID-19",
        "COVID-19": "COVID-19",
        "Viral Pneumonia": "Viral pneumonia",
        "Lung_Opacity": "",
        "Normal": "Normal",
        "NORMAL": "Normal",
    }
    assert flannel.left_out["Lung_Opacity"] == "opacity of any cause but COVID-19"


def test_other_folders_are_not_this_set(tmp_path):
    (tmp_path / "COVID").mkdir()
    (tmp_path / "Normal").mkdir()
    assert not radiography.is_here(tmp_path)
    assert radiography.rows(tmp_path) == []
