"""What is unlike the training radiographs, on made-up chests and on real photographs."""

import json

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from flannel.data.manifest import load_manifest
from flannel.data.store import Store, build_store
from flannel.files import sha256_of
from flannel.prediction.doubts import (
    INVERTED,
    NO_LUNGS,
    ON_ITS_SIDE,
    ONE_REGION,
    SIDE_PX,
    UNLIKE,
    UPSIDE_DOWN,
    Norms,
    doubts_of,
    measure_norms,
    norms_of,
    side_by_side,
    thumbnail,
)

TWO_LUNGS = np.zeros((20, 20), bool)
TWO_LUNGS[4:16, 2:8] = TWO_LUNGS[4:16, 12:18] = True


@pytest.fixture(scope="module")
def chests():
    """Thumbnails of dark lungs on a bright chest, which differ in width, height and light."""
    rng = np.random.default_rng(1)
    rows, columns = np.mgrid[0:SIDE_PX, 0:SIDE_PX] / SIDE_PX
    found = []
    for _ in range(60):
        apart, high, low = rng.normal((0.22, 0.4, 0.25), (0.02, 0.04, 0.02))
        lungs = sum(
            np.exp(-(((columns - side) / 0.12) ** 2) - ((rows - high) / low) ** 2)
            for side in (0.5 - apart, 0.5 + apart)
        )
        cells = (rows * 0.5 - lungs + rng.normal(0, 0.05, lungs.shape)).ravel()
        found.append((cells - cells.mean()) / cells.std())
    return np.array(found, np.float32)


@pytest.fixture(scope="module")
def norms(chests):
    return norms_of(chests, np.arange(60) % 2 == 0, [1.0] * 60)


def names(thumb, norms, mask=TWO_LUNGS):
    thumb = thumb.astype(np.float32)
    return list(doubts_of(thumb, -thumb, mask, norms))


def test_negatives_and_turns_are_told_and_chests_are_believed(chests, norms):
    squares = chests.reshape(-1, SIDE_PX, SIDE_PX)
    doubted = sum(bool(names(chest, norms)) for chest in chests)
    assert doubted <= 1
    for square in squares[:10]:
        assert names(-square.ravel(), norms) == [INVERTED]
        assert names(np.rot90(square, 2).ravel(), norms) == [UPSIDE_DOWN]
        assert names(square[::-1].ravel(), norms) == [UPSIDE_DOWN]
        for turns in (1, 3):
            assert names(np.rot90(square, turns).ravel(), norms) == [ON_ITS_SIDE]
    noise = np.random.default_rng(2).normal(size=(10, SIDE_PX**2))
    for cells in (noise - noise.mean(axis=1, keepdims=True)) / noise.std(axis=1, keepdims=True):
        assert names(cells, norms) == [UNLIKE]


def test_the_mask_counts_by_itself(chests, norms):
    assert names(chests[0], None, np.zeros((8, 8), bool)) == [NO_LUNGS]
    assert names(chests[0], None) == []
    one = np.zeros((20, 20), bool)
    one[4:16, 4:16] = True
    assert names(chests[0], norms, one) == [ONE_REGION]
    assert not ONE_REGION.grave
    assert names(chests[0], norms, None) == []


def test_two_small_doubts_make_a_grave_one():
    """Beside the one direction, the thumbnails' mean squares are 0.5, 0.95 and 1.5."""
    cells = SIDE_PX**2
    flat = np.zeros(cells, np.float32)
    norms = Norms(flat, np.eye(1, cells, dtype=np.float32), 1.0, 0.9, 0.5, 99)
    one = np.zeros((20, 20), bool)
    one[4:16, 4:16] = True
    for square, mask, expected in (
        (0.5, one, [ONE_REGION]),
        (0.95, TWO_LUNGS, []),
        (0.95, one, [UNLIKE, ONE_REGION]),
        (1.5, TWO_LUNGS, [UNLIKE]),
    ):
        thumb = np.full(cells, np.sqrt(square * cells / (cells - 1)))
        assert names(thumb, norms, mask) == expected


def test_rows_that_both_lungs_cross_are_counted():
    assert side_by_side(TWO_LUNGS) == 1
    joined = TWO_LUNGS.copy()
    joined[13:16, 2:18] = True
    assert side_by_side(joined) == pytest.approx(9 / 12)
    at_the_edge = np.zeros((4, 6), bool)
    at_the_edge[1, [0, 5]] = at_the_edge[2, 0] = True
    assert side_by_side(at_the_edge) == 0.5


def test_norms_are_the_same_after_a_file(norms, chests):
    again = Norms.from_json(json.loads(json.dumps(norms.to_json())))
    assert again.identity == norms.identity
    np.testing.assert_allclose(again.distances(chests), norms.distances(chests), rtol=1e-4)
    assert again.distances(chests).max() < again.distances(-chests).min()
    with pytest.raises(KeyError, match="directions"):
        Norms.from_json({"mean": [0.0]})


def test_distances_are_what_the_directions_leave():
    norms = Norms(np.zeros(4, np.float32), np.array([[1, 0, 0, 0]], np.float32), 1.0, 0.9, None, 9)
    found = norms.distances(np.array([[5, 0, 0, 0], [5, 2, 0, 2]], np.float32))
    np.testing.assert_allclose(found, [0, 2])


def test_a_study_of_phantoms_doubts_photographs(phantom_study, tmp_path):
    store = Store(phantom_study / "store")
    manifest = load_manifest(phantom_study / "manifest.csv")
    groups = dict(zip(manifest["image_id"], manifest["group"], strict=True))
    norms = measure_norms(store, groups)
    assert norms.radiographs == 40
    assert norms.side_by_side == 1
    assert measure_norms(store, dict(list(groups.items())[:23])) is None
    assert measure_norms(store, dict.fromkeys(groups, "one")) is None
    levels = thumbnail(store, manifest["image_id"][0])
    assert abs(levels.mean()) < 1e-6
    assert levels.std() == pytest.approx(1, abs=1e-5)
    rows = manifest.head(2).copy()
    for at, path in enumerate(rows["path"]):
        grey = np.asarray(Image.open(path).convert("L"))
        Image.fromarray(255 - grey).save(tmp_path / f"negative-{at}.png")
        path = tmp_path / f"negative-{at}.png"
        rows.loc[at, ["path", "sha256"]] = str(path), sha256_of(path)
    build_store(rows, tmp_path / "negatives", size_px=64)
    negatives = Store(tmp_path / "negatives")
    for image_id in rows["image_id"]:
        thumb, back = (thumbnail(negatives, image_id, negative) for negative in (False, True))
        asked = thumbnail(store, image_id)  # at the cut of dark levels the two may differ
        np.testing.assert_allclose(back, asked, atol=0.15)
        assert abs(-thumb - asked).max() > 0.5
        assert list(doubts_of(thumb, back, TWO_LUNGS, norms)) == [INVERTED]
    for at, photograph in enumerate(load_sample_images().images):
        path = tmp_path / f"{at}.png"
        Image.fromarray(photograph).convert("L").save(path)
        rows.loc[at, ["path", "sha256"]] = str(path), sha256_of(path)
    build_store(rows, tmp_path / "store", size_px=64)
    photographs = Store(tmp_path / "store")
    for image_id in rows["image_id"]:
        assert UNLIKE in names(thumbnail(photographs, image_id), norms)
