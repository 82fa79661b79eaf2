"""The file of patches: what goes in comes out, and earlier files still read."""

from dataclasses import replace

import numpy as np
import pytest

from flannel.study.patches import Patches, PatchesError, load_patches, save_patches


@pytest.fixture
def patches():
    generator = np.random.default_rng(1)
    return Patches(
        image_id=("a", "b"),
        centres=generator.integers(0, 1024, (2, 3, 2)).astype(np.int16),
        windows_px=np.array([[224, 448, 700], [224, 448, 690]], np.int16),
        weights=np.array([[0.5, 1.5, 1], [1, 1, 1]], np.float32),
        logits=generator.normal(size=(2, 3, 4)).astype(np.float16),
        strategy="blue_noise",
        lung_box=True,
    )


def test_what_goes_in_comes_out(patches, tmp_path):
    save_patches(patches, tmp_path / "patches.npz")
    found = load_patches(tmp_path / "patches.npz")
    assert (found.image_id, found.strategy, found.lung_box) == (("a", "b"), "blue_noise", True)
    for name in ("centres", "windows_px", "weights", "logits"):
        kept, expected = getattr(found, name), getattr(patches, name)
        assert kept.dtype == expected.dtype
        np.testing.assert_array_equal(kept, expected)


@pytest.mark.parametrize(
    ("largest", "dtype"), [(32_767, np.int16), (32_768, np.int32), (70_000, np.int32)]
)
def test_no_coordinate_is_wrapped(patches, tmp_path, largest, dtype):
    centres = patches.centres.astype(np.int64)
    centres[1, 2, 0] = largest
    windows_px = np.full((2, 3), largest)
    save_patches(replace(patches, centres=centres, windows_px=windows_px), tmp_path / "patches.npz")
    found = load_patches(tmp_path / "patches.npz")
    assert found.centres.dtype == found.windows_px.dtype == dtype
    assert found.centres.tolist() == centres.tolist()
    assert found.windows_px.tolist() == windows_px.tolist()


def test_earlier_files_have_one_side_and_equal_votes(patches, tmp_path):
    np.savez_compressed(
        tmp_path / "patches.npz",
        image_id=np.array(patches.image_id),
        centres=patches.centres,
        logits=patches.logits,
        size_px=np.array(224),
    )
    found = load_patches(tmp_path / "patches.npz")
    assert found.windows_px.tolist() == [[224] * 3] * 2
    assert found.weights.tolist() == [[1] * 3] * 2
    assert (found.strategy, found.lung_box) == ("", False)


def test_what_cannot_be_used_is_a_sentence(patches, tmp_path):
    path = tmp_path / "patches.npz"
    with pytest.raises(PatchesError, match="does not exist"):
        load_patches(path)
    path.write_bytes(b"PK no archive")
    with pytest.raises(PatchesError, match="no file of patches"):
        load_patches(path)
    np.savez(path, image_id=np.array(["a"]), centres=patches.centres)
    with pytest.raises(PatchesError, match=r"no file of patches.*logits"):
        load_patches(path)
    np.savez(
        path,
        image_id=np.array(["a"]),
        centres=patches.centres,
        logits=patches.logits,
        size_px=np.array(224),
    )
    with pytest.raises(PatchesError, match="1 radiographs, centres"):
        load_patches(path)
