import numpy as np
import pandas as pd
import pytest
from PIL import Image

from flannel.data import likeness
from flannel.data.likeness import joined_groups, joined_near_duplicates
from flannel.data.phantom import draw_phantom
from flannel.files import sha256_of


def scene(seed):
    return Image.fromarray(draw_phantom("Normal", np.random.default_rng(seed), (160, 192)).image)


def manifest(paths):
    return pd.DataFrame(
        {
            "path": [str(path) for path in paths],
            "sha256": [sha256_of(path) for path in paths],
            "group": [f"patient-{number}" for number in range(len(paths))],
        }
    )


@pytest.fixture
def table(tmp_path):
    """Two scenes, the first again at another size as a JPEG, and two of next to no contrast."""
    scene(0).save(tmp_path / "a.png")
    scene(1).save(tmp_path / "b.png")
    scene(0).resize((96, 80)).save(tmp_path / "c.jpg", quality=60)
    for name, width in (("d.png", 40), ("e.png", 50)):
        picture = Image.new("L", (width, 40), width)
        picture.paste(200, (width - 4, 0, width, 1))
        picture.save(tmp_path / name)
    return manifest([tmp_path / name for name in ("a.png", "b.png", "c.jpg", "d.png", "e.png")])


def test_the_same_picture_in_two_files_joins_groups(table):
    assert joined_near_duplicates(table) == [
        "patient-0", "patient-1", "patient-0", "patient-3", "patient-4",
    ]  # fmt: skip


def test_a_picture_is_hashed_once(table, tmp_path, monkeypatch):
    cache = tmp_path / "hashes.csv"
    first = joined_near_duplicates(table, cache)
    with monkeypatch.context() as patch:
        patch.setattr(likeness, "read_levels", lambda path: pytest.fail(f"{path} was decoded"))
        assert joined_near_duplicates(table, cache) == first
    cache.write_bytes(cache.read_bytes()[:-3])
    assert joined_near_duplicates(table, cache) == first


def test_a_file_that_cannot_be_decoded_joins_nothing(table, tmp_path):
    content = (tmp_path / "c.jpg").read_bytes()
    (tmp_path / "c.jpg").write_bytes(content[:200])
    assert joined_near_duplicates(table) == table["group"].tolist()


def test_groups_that_share_a_file_are_joined_in_chains():
    groups = ["d", "c", "c", "b", "a", "e"]
    files = ["1", "1", "2", "2", "3", "4"]  # d-c by 1, c-b by 2
    assert joined_groups(groups, files) == ["b", "b", "b", "b", "a", "e"]


def test_near_duplicates_join_groups_too():
    groups = ["d", "c", "c", "b", "a", "e"]
    files = ["1", "2", "3", "4", "5", "5"]  # a-e by 5; c-b near, d alone
    assert joined_groups(groups, files, [(2, 3, 0.9)]) == ["d", "b", "b", "b", "a", "a"]


def test_without_duplicates_nothing_changes():
    assert joined_groups(["b", "a", "b"], ["1", "2", "3"]) == ["b", "a", "b"]
