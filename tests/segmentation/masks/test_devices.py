"""Several processes make each mask once; on a CPU they share its cores."""

from collections import Counter
from dataclasses import replace

import pytest
import torch

from flannel.data.mask import read_mask
from segmentation.checkpoint import MaskError, load_segmenter
from segmentation.masks.devices import all_devices, on_devices
from segmentation.masks.folder import load_mask_rows
from segmentation.masks.pipeline import PLAIN
from segmentation.masks.predict import predict_masks
from segmentation.masks.radiograph_files import RadiographFile, radiographs_of


@pytest.fixture
def segmenter(tmp_path, write_run):
    write_run(tmp_path / "run")
    return load_segmenter(tmp_path / "run" / "best.ckpt")


@pytest.mark.slow
def test_two_processes_make_every_mask_once(phantoms, tmp_path, segmenter, monkeypatch):
    found = radiographs_of([phantoms / "lung_masks" / "images"], tmp_path / "two").files
    files = [*found, RadiographFile("lost", tmp_path / "lost.png")]

    def counted(*arguments):
        for one in on_devices(*arguments):
            made[one if isinstance(one, str) else one.row.image_id] += 1
            yield one

    monkeypatch.setattr("segmentation.masks.predict.on_devices", counted)
    for devices, name in ((1, "one"), (2, "two")):
        made = Counter()
        report = predict_masks(files, segmenter, tmp_path / name, batch_size=2, devices=devices)
        assert (report.made, len(report.faults)) == (8, 1)
        assert len(made) == len(files) == 9
        assert set(made.values()) == {1}
    one, two = (load_mask_rows(tmp_path / name / "masks.csv") for name in ("one", "two"))
    assert one == two
    for image_id in one:
        masks = [read_mask(tmp_path / name / f"{image_id}.png") for name in ("one", "two")]
        assert (masks[0] == masks[1]).all()


@pytest.mark.slow
def test_what_goes_wrong_in_a_process_ends_the_prediction(phantoms, tmp_path, segmenter):
    files = radiographs_of([phantoms / "lung_masks" / "images"], tmp_path / "out").files
    (tmp_path / "run" / "config.yaml").write_text("data: {size_px: 48}")
    with pytest.raises(MaskError, match="names no network"):
        predict_masks(files, segmenter, tmp_path / "out", devices=2)


@pytest.mark.slow
def test_weights_that_were_replaced_make_no_masks(phantoms, tmp_path, segmenter):
    files = radiographs_of([phantoms / "lung_masks" / "images"], tmp_path / "out").files
    checkpoint = torch.load(segmenter.checkpoint, weights_only=True)
    for value in checkpoint["state_dict"].values():
        value += 1
    torch.save(checkpoint, segmenter.checkpoint)
    with pytest.raises(MaskError, match=r"best.ckpt was replaced while masks were made"):
        predict_masks(files, segmenter, tmp_path / "out", devices=2)


def test_devices_that_there_are_not(tmp_path, segmenter, monkeypatch):
    with pytest.raises(MaskError, match="0 devices are asked for"):
        next(on_devices([], segmenter, tmp_path, PLAIN, 4, devices=0))
    files = [RadiographFile("a", tmp_path / "a.png"), RadiographFile("b", tmp_path / "b.png")]
    with pytest.raises(MaskError, match="works on one device only"):
        next(on_devices(files, replace(segmenter, checkpoint=None), tmp_path, PLAIN, 4, devices=2))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert all_devices() == 2
    with pytest.raises(MaskError, match="3 devices are asked for; this machine shows 2"):
        next(on_devices(files, segmenter, tmp_path, PLAIN, 4, devices=3))
