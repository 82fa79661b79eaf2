from pathlib import Path

import pytest

from segmentation.checkpoint import MaskError
from segmentation.masks.radiograph_files import RadiographFile, radiographs_of


@pytest.fixture
def place(tmp_path):
    """Makes an empty file below the temporary folder."""

    def make(name: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return path

    return make


def test_folders_with_sub_folders_and_single_files(tmp_path, place):
    names = ("in/a.png", "in/ward/a.JPG", "in/ward/b.dcm", "in/.old/c.png", "in/note.txt", "d.bin")
    paths = [place(name) for name in names]
    found = radiographs_of([tmp_path / "in", paths[5]], tmp_path / "masks")
    assert found.faults == ()
    assert found.passed_over == (
        f"{tmp_path / 'in'}: 1 hidden: .old",
        f"{tmp_path / 'in'}: 1 not images: note.txt",
    )
    assert list(found.files) == [
        RadiographFile("a", paths[0]),
        RadiographFile("ward/a", paths[1]),
        RadiographFile("ward/b", paths[2]),
        RadiographFile("d", paths[5]),
    ]


def test_masks_of_an_earlier_run_are_not_taken_for_radiographs(tmp_path, place):
    place("a.png")
    place("masks/a.png")
    place("masks/overlays/a.jpg")
    found = radiographs_of([tmp_path], tmp_path / "masks")
    assert [one.image_id for one in found.files] == ["a"]
    with pytest.raises(MaskError, match="could not be distinguished from them"):
        radiographs_of([tmp_path], tmp_path)


def test_what_cannot_be_segmented_is_one_sentence(tmp_path, place):
    out = tmp_path / "out"
    with pytest.raises(MaskError, match="none does not exist"):
        radiographs_of([tmp_path / "none"], out)
    (tmp_path / "in").mkdir()
    with pytest.raises(MaskError, match="holds no radiograph"):
        radiographs_of([tmp_path / "in"], out)
    place("in/flagged.png")
    with pytest.raises(MaskError, match="name of the contact sheet"):
        radiographs_of([tmp_path / "in"], out)


def test_names_that_no_mask_can_have_stop_no_other_radiograph(tmp_path, place):
    for name in ("flagged.png", "a.png", "a.jpg", "good.png", "ward/flagged.png"):
        place(f"in/{name}")
    places = [tmp_path / "in", tmp_path / "absent", tmp_path / "in" / "good.png"]
    found = radiographs_of(places, tmp_path / "out")
    assert [one.image_id for one in found.files] == ["good", "ward/flagged"]
    shared, sheet, absent = sorted(found.faults, key=lambda fault: "share" not in fault)
    assert "a.jpg" in shared
    assert "a.png share a name but for the suffix" in shared
    assert "absent does not exist" in sheet + absent
    assert "would get the mask flagged.png" in sheet + absent


def test_long_and_strange_names_are_bounded_and_stay_apart(tmp_path, place):
    names = ("n" * 250, "n" * 249 + "m", "é" * 125, "IM:1", "IM_1", "1.2.840.1", "1.2.840.2", "aux")
    for name in names:
        path = place(f"in/{name}")
        path.write_bytes(b"\x89PNG\r\n\x1a\n")
    found = radiographs_of([tmp_path / "in"], tmp_path / "out")
    image_ids = {one.path.name: one.image_id for one in found.files}
    assert set(image_ids) == set(names)
    assert len(set(image_ids.values())) == len(names)
    assert all(len(name.encode()) <= 200 for name in image_ids.values())
    assert image_ids["1.2.840.1"] == "1.2.840.1"
    assert image_ids["IM_1"] == "IM_1"
    assert ":" not in image_ids["IM:1"]
    assert image_ids["aux"].startswith("_aux-")
