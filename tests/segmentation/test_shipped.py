"""The weights that come with the package, themselves."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from flannel.data.sources.mask_pairs import write_phantoms
from flannel.files import sha256_of
from segmentation import shipped
from segmentation.__main__ import main
from segmentation.checkpoint import MaskError, find_checkpoint, load_segmenter
from segmentation.masks import quality
from segmentation.masks.folder import load_mask_rows
from segmentation.training.measures import jaccard

LARGEST_BYTES = 12_000_000


def test_the_file_is_the_pinned_one_and_small():
    assert sha256_of(shipped.WEIGHTS) == shipped.SHA256
    assert shipped.WEIGHTS.stat().st_size <= LARGEST_BYTES


def test_is_built_in_float32_ready_to_predict(tmp_path):
    segmenter = load_segmenter()
    assert segmenter.sha256 == shipped.SHA256
    assert segmenter.classes == ("background", "lungs")
    assert not segmenter.network.training
    assert {value.dtype for value in segmenter.network.parameters()} == {torch.float32}
    assert all(value.isfinite().all() for value in segmenter.network.parameters())
    assert segmenter.low_confidence == shipped.LOW_CONFIDENCE
    assert replace(segmenter, sha256="another").low_confidence == quality.LOW_CONFIDENCE
    assert find_checkpoint(tmp_path) == shipped.WEIGHTS


@pytest.fixture
def replaced(tmp_path, monkeypatch):
    """Puts a file of the given content in place of the weights."""

    def replace(content: bytes | None, pinned: bool = False) -> None:
        path = tmp_path / "weights.safetensors"
        if content is not None:
            path.write_bytes(content)
        monkeypatch.setattr(shipped, "WEIGHTS", path)
        if pinned:
            monkeypatch.setattr(shipped, "SHA256", sha256_of(path))

    return replace


def test_other_weights_are_refused(replaced):
    content = bytearray(shipped.WEIGHTS.read_bytes())
    content[-1] ^= 1
    replaced(bytes(content))
    with pytest.raises(MaskError, match=r"is not the file .* begins with .* Install the package"):
        load_segmenter(shipped.WEIGHTS)


def test_missing_weights_are_one_sentence(replaced, tmp_path, capsys):
    replaced(None)
    with pytest.raises(MaskError, match="is missing"):
        load_segmenter(shipped.WEIGHTS)
    Image.new("L", (64, 64)).save(tmp_path / "a.png")
    assert main(["predict", str(tmp_path / "a.png"), "--out", str(tmp_path / "masks")]) == 1
    assert "weights.safetensors is missing" in capsys.readouterr().err
    assert not (tmp_path / "masks").exists()


def test_weights_that_are_none_or_of_another_network_are_one_sentence(replaced):
    replaced(b"no weights", pinned=True)
    with pytest.raises(MaskError, match="holds no weights"):
        load_segmenter(shipped.WEIGHTS)
    replaced((8).to_bytes(8, "little") + b"{}      ", pinned=True)  # safetensors without a tensor
    with pytest.raises(MaskError, match="do not fit the network"):
        load_segmenter(shipped.WEIGHTS)


@pytest.mark.slow
def test_a_folder_gets_masks_with_no_further_word(tmp_path, capsys, monkeypatch):
    """Phantoms, which the network has never seen, and pictures that show no lungs."""
    write_phantoms(tmp_path, 3, seed=2, size=256)
    images = tmp_path / "images"
    noise = np.random.default_rng(0).integers(0, 256, (256, 320), dtype=np.uint8)
    Image.fromarray(noise).save(images / "noise.png")
    Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (256, 1))).save(images / "ramp.png")
    Image.new("L", (320, 256), 128).save(images / "blank.png")
    monkeypatch.chdir(tmp_path)
    assert main(["predict", "images", "--out", "predicted"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(shipped.NOTE)
    rows = load_mask_rows(tmp_path / "predicted" / "masks.csv")
    assert "blank.png" in printed.split("1 radiographs without a mask")[1]
    assert set(rows) == {"noise", "ramp", *(f"phantom-{place:05}" for place in range(3))}
    for name, row in rows.items():
        if not name.startswith("phantom"):
            assert row.quality.flag
            continue
        assert not row.quality.flag
        truth, mask = (
            np.logical_or.reduce([np.asarray(Image.open(path)) > 0 for path in paths])
            for paths in (
                [tmp_path / "masks" / side / f"{name}.png" for side in ("left_lung", "right_lung")],
                [tmp_path / "predicted" / f"{name}.png"],
            )
        )
        assert jaccard(mask, truth) > 0.75
