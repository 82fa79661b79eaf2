from pathlib import Path

import pytest

from segmentation.masks import MaskError
from segmentation.radiograph_files import RadiographFile, radiographs_of


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
    assert found == [
        RadiographFile("a", paths[0]),
        RadiographFile("ward/a", paths[1]),
        RadiographFile("ward/b", paths[2]),
        RadiographFile("d", paths[5]),
    ]


def test_masks_of_an_earlier_run_are_not_taken_for_radiographs(tmp_path, place):
    place("a.png")
    place("masks/a.png")
    place("masks/overlays/a.jpg")
    assert [one.image_id for one in radiographs_of([tmp_path], tmp_path / "masks")] == ["a"]
    with pytest.raises(MaskError, match="could not be told from them"):
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
    place("in/a.png")
    place("in/a.jpg")
    with pytest.raises(MaskError, match=r"share a name.*a\.jpg.*a\.png"):
        radiographs_of([tmp_path / "in"], out)
