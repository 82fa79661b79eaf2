import errno
import os

import numpy as np
import pytest

from flannel.data.greyscale import resize
from flannel.data.store import Store, StoreError, build_store, fill_lung_masks

SIZE = 36  # not a multiple of 8, so that the packed masks have spare bits


@pytest.fixture
def manifest(study):
    manifest = study.manifest("abc")
    build_store(manifest, study.store, SIZE)
    return manifest


def test_masks_survive_packing(study, manifest):
    mask = np.zeros((48, 64), bool)
    mask[8:40, 16:32] = True
    study.mask("a", mask)
    report = fill_lung_masks(study.store, study.masks, manifest)
    assert (report.filled, report.unchanged, report.missing) == (1, 0, ("b", "c"))
    store = Store(study.store)
    assert store.has_mask("a")
    assert not store.has_mask("b")
    expected = resize(mask.astype(np.uint8) * 255, SIZE, SIZE) > 127
    np.testing.assert_array_equal(store.lung_mask("a"), expected)
    assert store.lung_mask("a").dtype == bool


def test_masks_are_refilled_only_when_they_change(study, manifest):
    for name in "ab":
        study.mask(name, np.ones((48, 64), bool))
    fill_lung_masks(study.store, study.masks, manifest)
    before = Store(study.store).fingerprint()
    report = fill_lung_masks(study.store, study.masks, manifest)
    assert (report.filled, report.unchanged) == (0, 2)
    assert Store(study.store).fingerprint() == before
    study.mask("a", np.zeros((48, 64), bool))
    (study.masks / "b.png").unlink()
    report = fill_lung_masks(study.store, study.masks, manifest)
    assert (report.filled, report.unchanged, report.missing) == (1, 0, ("b", "c"))
    store = Store(study.store)
    with pytest.raises(StoreError, match=r"a has no lung mask in .*, or an empty one"):
        store.lung_mask("a")
    with pytest.raises(StoreError, match=r"a has no lung mask in .*, or an empty one"):
        store.lung_area("a")
    assert not store.has_mask("a")
    assert not store.has_mask("b")
    assert store.fingerprint()["store"] == before["store"]
    assert store.fingerprint()["masks"] != before["masks"]


def test_bad_masks_are_listed_and_the_good_ones_go_through(study, manifest):
    study.mask("a", np.ones((64, 48), bool))
    (study.masks / "b.png").touch()
    study.mask("c", np.ones((48, 64), bool))
    report = fill_lung_masks(study.store, study.masks, manifest)
    assert len(report.bad_files) == 2
    assert "a.png is 48 x 64 pixels; expected the radiograph's own 64 x 48" in str(report)
    assert "b.png is empty" in str(report)
    store = Store(study.store)
    assert [store.has_mask(name) for name in "abc"] == [False, False, True]


def test_a_radiograph_that_could_not_be_read_needs_no_mask(study):
    manifest = study.manifest("abc")
    study.path("b").write_bytes(b"")
    build_store(manifest, study.store, SIZE)
    study.mask("c")
    report = fill_lung_masks(study.store, study.masks, manifest)
    assert (report.filled, report.missing) == (1, ("a",))
    np.testing.assert_array_equal(
        Store(study.store).lung_mask("c"),
        resize(study.mask("c").astype(np.uint8) * 255, SIZE, SIZE) > 127,
    )


def test_a_full_disk_leaves_the_masks_as_they_were(study, manifest, monkeypatch):
    study.mask("a", np.ones((48, 64), bool))
    fill_lung_masks(study.store, study.masks, manifest)
    before = Store(study.store).fingerprint()
    study.mask("b", np.ones((48, 64), bool))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        with pytest.raises(StoreError, match=r"could not be written .*No space left.* Make room"):
            fill_lung_masks(study.store, study.masks, manifest)
    assert Store(study.store).fingerprint() == before
    assert not [path for path in study.store.iterdir() if path.name.endswith("lung_masks.npy")][1:]
    assert fill_lung_masks(study.store, study.masks, manifest).filled == 1


def test_wrong_calls_are_sentences(study, manifest):
    with pytest.raises(StoreError, match="not a folder"):
        fill_lung_masks(study.store, study.folder / "nowhere", manifest)
    with pytest.raises(StoreError, match="no finished store"):
        fill_lung_masks(study.folder / "nowhere", study.masks, manifest)
    with pytest.raises(StoreError, match="lacks 2 images of the store, first b"):
        fill_lung_masks(study.store, study.masks, manifest[:1])
