import json
import pickle
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from flannel.data import store as store_module
from flannel.data.files import sha256_of
from flannel.data.greyscale import equalisation_table, resize
from flannel.data.radiograph import write_mask
from flannel.data.store import Store, StoreError, build_store, fill_lung_masks

SIZE = 36  # not a multiple of 8, so that the packed masks have spare bits


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def manifest_of(folder, names):
    rows = []
    for name in names:
        path = folder / f"{name}.png"
        height, width = pixels(path).shape
        rows.append((name, str(path), sha256_of(path), width, height))
    return pd.DataFrame(rows, columns=["image_id", "path", "sha256", "width", "height"])


def draw(folder, name, seed):
    levels = np.random.default_rng(seed).integers(30, 200, (48, 64), np.uint8)
    Image.fromarray(levels).save(folder / f"{name}.png")
    return levels


@pytest.fixture
def study(tmp_path):
    for seed, name in enumerate("abc"):
        draw(tmp_path, name, seed)
    (tmp_path / "masks").mkdir()
    return tmp_path


def test_radiographs_and_tables(study):
    store = build_store(manifest_of(study, "cab"), study / "store", SIZE, workers=2)
    assert (store.image_ids, store.size_px, len(store)) == (("a", "b", "c"), SIZE, 3)
    levels = pixels(study / "b.png")
    np.testing.assert_array_equal(store.radiograph("b"), resize(levels, SIZE, SIZE))
    exact = equalisation_table(np.bincount(levels.ravel(), minlength=256), "display")
    assert np.abs(store.equalisation("b").astype(float) - exact).max() <= 0.5
    assert store.equalisation("b").dtype == np.uint8
    with pytest.raises(ValueError, match="read-only"):
        store.radiograph("a")[0, 0] = 1


def test_deep_levels_use_their_full_range_of_bits(tmp_path):
    deep = np.full((40, 40), 65535, np.uint16)
    deep[:20] = 32896  # 128 * 257
    Image.fromarray(deep).save(tmp_path / "a.png")
    store = build_store(manifest_of(tmp_path, "a"), tmp_path / "store", 40)
    assert set(np.unique(store.radiograph("a"))) == {128, 255}


def test_masks_survive_packing(study):
    table = manifest_of(study, "abc")
    build_store(table, study / "store", SIZE)
    mask = np.zeros((48, 64), bool)
    mask[8:40, 16:32] = True
    write_mask(mask, study / "masks" / "a.png")
    report = fill_lung_masks(study / "store", study / "masks", table)
    assert (report.filled, report.unchanged, report.missing) == (1, 0, ("b", "c"))
    store = Store(study / "store")
    assert store.has_mask("a")
    assert not store.has_mask("b")
    expected = resize(mask.astype(np.uint8) * 255, SIZE, SIZE) > 127
    np.testing.assert_array_equal(store.lung_mask("a"), expected)
    assert store.lung_mask("a").dtype == bool
    with pytest.raises(StoreError, match="b has no lung mask"):
        store.lung_mask("b")
    with pytest.raises(StoreError, match="x is not in the store"):
        store.radiograph("x")


def test_masks_are_refilled_only_when_they_change(study):
    table = manifest_of(study, "abc")
    build_store(table, study / "store", SIZE)
    for name in "ab":
        write_mask(np.ones((48, 64), bool), study / "masks" / f"{name}.png")
    fill_lung_masks(study / "store", study / "masks", table)
    before = Store(study / "store").fingerprint()
    report = fill_lung_masks(study / "store", study / "masks", table)
    assert (report.filled, report.unchanged) == (0, 2)
    assert Store(study / "store").fingerprint() == before
    write_mask(np.zeros((48, 64), bool), study / "masks" / "a.png")
    (study / "masks" / "b.png").unlink()
    report = fill_lung_masks(study / "store", study / "masks", table)
    assert (report.filled, report.unchanged) == (1, 0)
    store = Store(study / "store")
    with pytest.raises(StoreError, match=r"a has no lung mask in .*, or an empty one"):
        store.lung_mask("a")
    assert not store.has_mask("a")
    assert not store.has_mask("b")
    assert store.fingerprint()["store"] == before["store"]
    assert store.fingerprint()["masks"] != before["masks"]


def test_bad_masks_are_listed_and_the_good_ones_go_through(study):
    table = manifest_of(study, "abc")
    build_store(table, study / "store", SIZE)
    write_mask(np.ones((64, 48), bool), study / "masks" / "a.png")
    (study / "masks" / "b.png").touch()
    write_mask(np.ones((48, 64), bool), study / "masks" / "c.png")
    with pytest.raises(StoreError, match=r"(?s)2 lung masks .*a.png is 48 x 64.*b.png is empty"):
        fill_lung_masks(study / "store", study / "masks", table, strict=True)
    report = fill_lung_masks(study / "store", study / "masks", table)
    assert len(report.bad_files) == 2
    assert "expected the radiograph's own 64 x 48" in str(report)
    store = Store(study / "store")
    assert [store.has_mask(name) for name in "abc"] == [False, False, True]


def test_a_second_build_decodes_only_what_changed(study, monkeypatch):
    build_store(manifest_of(study, "abc"), study / "store", SIZE)
    write_mask(np.ones((48, 64), bool), study / "masks" / "a.png")
    fill_lung_masks(study / "store", study / "masks", manifest_of(study, "abc"))
    decoded = []
    prepared = store_module._prepared

    def watched(path, sha256, size_px):
        decoded.append(path.stem)
        return prepared(path, sha256, size_px)

    monkeypatch.setattr(store_module, "_prepared", watched)
    build_store(manifest_of(study, "abc"), study / "store", SIZE)
    assert decoded == []
    draw(study, "b", 77)
    draw(study, "d", 78)
    store = build_store(manifest_of(study, "abd"), study / "store", SIZE)
    assert sorted(decoded) == ["b", "d"]
    assert store.image_ids == ("a", "b", "d")
    assert [store.has_mask(name) for name in "abd"] == [True, False, False]
    assert store.lung_mask("a").all()
    fresh = build_store(manifest_of(study, "abd"), study / "fresh", SIZE)
    for name in "abd":
        np.testing.assert_array_equal(store.radiograph(name), fresh.radiograph(name))
    assert store.fingerprint()["store"] == fresh.fingerprint()["store"]


def test_another_size_is_another_store(study):
    first = build_store(manifest_of(study, "ab"), study / "store", SIZE).fingerprint()
    second = build_store(manifest_of(study, "ab"), study / "store", 40)
    assert second.size_px == 40
    assert second.fingerprint()["store"] != first["store"]


def test_unreadable_radiographs_are_listed_and_the_old_store_stays(study):
    build_store(manifest_of(study, "abc"), study / "store", SIZE)
    table = manifest_of(study, "abc")
    (study / "a.png").write_bytes(b"")
    draw(study, "b", 5)
    table["sha256"] = "0" * 64
    with pytest.raises(StoreError, match=r"(?s)3 radiographs .*a.png is empty.*b.png has changed"):
        build_store(table, study / "store", SIZE)
    assert Store(study / "store").image_ids == ("a", "b", "c")
    assert not [path.name for path in (study / "store").iterdir() if path.name.startswith(".")]


def test_an_unfinished_store_is_refused_and_rebuilt(study):
    table = manifest_of(study, "ab")
    build_store(table, study / "store", SIZE)
    (study / "store" / "store.json").unlink()
    with pytest.raises(StoreError, match="no finished store"):
        Store(study / "store")
    assert len(build_store(table, study / "store", SIZE)) == 2
    summary = json.loads((study / "store" / "store.json").read_text())
    assert summary == {"format": 1, "size_px": SIZE, "images": 2}


def test_a_full_disk_is_told_before(study, monkeypatch):
    usage = shutil.disk_usage(study)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(StoreError, match=r"has 0\.0 GB free"):
        build_store(manifest_of(study, "ab"), study / "store", SIZE)


def test_wrong_calls_are_sentences(study):
    table = manifest_of(study, "ab")
    with pytest.raises(StoreError, match="size_px is 8"):
        build_store(table, study / "store", 8)
    build_store(table, study / "store", SIZE)
    with pytest.raises(StoreError, match="not a folder"):
        fill_lung_masks(study / "store", study / "nowhere", table)
    with pytest.raises(StoreError, match="lacks 1 images of the store, first b"):
        fill_lung_masks(study / "store", study / "masks", table[:1])


def test_a_store_travels_to_another_process_by_its_folder(study):
    store = build_store(manifest_of(study, "ab"), study / "store", SIZE)
    sent = pickle.dumps(store)
    assert len(sent) < 1000
    again = pickle.loads(sent)
    np.testing.assert_array_equal(again.radiograph("a"), store.radiograph("a"))
