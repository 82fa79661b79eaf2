"""Masks for a study's radiographs, from a network whose answer is known."""

import numpy as np
import pytest

from flannel.data.manifest import load_manifest
from flannel.data.radiograph import read_mask
from flannel.runs import Run, RunError
from segmentation.checkpoint import Segmenter
from segmentation.fc_densenet import FCDenseNet
from segmentation.masks import MaskError, load_mask_rows
from segmentation.predict import predict_masks, radiographs_of_folder, radiographs_of_study


def test_each_radiograph_gets_a_mask_at_its_own_size(study, two_bars):
    radiographs = radiographs_of_study(study)
    segmenter = two_bars()
    report = predict_masks(radiographs, segmenter, study / "masks", batch_size=7)
    assert (report.made, report.kept, report.faults, report.flagged) == (40, 0, [], {})
    assert segmenter.network.batches == [7, 7, 7, 7, 7, 5]
    rows = load_mask_rows(study / "masks" / "masks.csv")
    for row in load_manifest(study / "manifest.csv").itertuples():
        mask = read_mask(study / "masks" / f"{row.image_id}.png")
        assert mask.shape == (row.height, row.width)
        assert mask[:, row.width // 4].all()
        assert not mask[:, row.width // 2].any()
        assert rows[row.image_id].quality.area_share == pytest.approx(mask.mean(), abs=1e-6)
        assert rows[row.image_id].quality.parts == 2


def test_a_killed_prediction_goes_on_where_it_stopped(study, two_bars):
    radiographs = radiographs_of_study(study)
    predict_masks(radiographs[:10], two_bars(), study / "masks")
    (study / "masks" / f"{radiographs[3].image_id}.png").unlink()
    report = predict_masks(radiographs, two_bars(), study / "masks")
    assert (report.made, report.kept) == (31, 9)
    assert predict_masks(radiographs, two_bars(), study / "masks").made == 0
    assert predict_masks(radiographs, two_bars(), study / "masks", clean_up=False).made == 40
    assert predict_masks(radiographs, two_bars("w2"), study / "masks").made == 40
    assert predict_masks(radiographs, two_bars("w2"), study / "masks", redo=True).made == 40


def test_unreadable_radiographs_are_listed_and_the_others_go_through(study, two_bars):
    radiographs = radiographs_of_study(study)
    radiographs[0].path.rename(radiographs[0].path.with_suffix(".gone"))
    try:
        report = predict_masks(radiographs[:5], two_bars(), study / "masks", batch_size=2)
        assert report.made == 4
        assert len(report.faults) == 1
        assert str(radiographs[0].path) in str(report)
        with pytest.raises(MaskError, match="No radiograph could be segmented"):
            predict_masks(radiographs[:1], two_bars(), study / "elsewhere")
    finally:
        radiographs[0].path.with_suffix(".gone").rename(radiographs[0].path)


def test_precision_changes_nothing_but_the_last_digits(study, two_bars):
    radiographs = radiographs_of_study(study)[:2]
    network = FCDenseNet(1, 2, (1,), 1, (1,), growth=4).eval()
    for precision in ("32-true", "bf16-mixed"):
        segmenter = Segmenter(network, 32, "w")
        predict_masks(radiographs, segmenter, study / precision, precision=precision)
    for radiograph in radiographs:
        name = f"{radiograph.image_id}.png"
        first, second = (read_mask(study / p / name) for p in ("32-true", "bf16-mixed"))
        assert np.mean(first != second) < 0.1
    with pytest.raises(MaskError, match="'8-bit'"):
        predict_masks(radiographs, two_bars(), study / "masks", precision="8-bit")


def test_two_predictions_at_once_are_refused(study, two_bars):
    lock = Run(study / "masks", {}).lock()
    with pytest.raises(RunError, match="Another process"):
        predict_masks(radiographs_of_study(study), two_bars(), study / "masks")
    lock.release()


def test_folders_of_radiographs(phantoms, tmp_path):
    found = radiographs_of_folder(phantoms / "lung_masks" / "images")
    assert [one.image_id for one in found] == [f"phantom-{n:05d}" for n in range(8)]
    with pytest.raises(MaskError, match="is not a folder"):
        radiographs_of_folder(tmp_path / "none")
    with pytest.raises(MaskError, match="holds no radiograph"):
        radiographs_of_folder(tmp_path)
    (tmp_path / "a.png").touch()
    (tmp_path / "a.jpg").touch()
    with pytest.raises(MaskError, match=r"a\.jpg.*a\.png"):
        radiographs_of_folder(tmp_path)
