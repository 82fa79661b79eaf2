"""Masks for a study's radiographs, from a network whose answer is known."""

import errno
import multiprocessing
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image
from torch import nn

from flannel.data.manifest import load_manifest
from flannel.data.mask import read_mask
from flannel.data.radiograph import read_levels
from flannel.errors import RunError
from segmentation.checkpoint import MaskError, Segmenter
from segmentation.fc_densenet import FCDenseNet
from segmentation.inference import class_probabilities
from segmentation.masks import pipeline
from segmentation.masks.folder import JOURNAL, load_biomarkers, load_mask_rows
from segmentation.masks.pipeline import MaskOptions
from segmentation.masks.predict import predict_masks
from segmentation.masks.radiograph_files import RadiographFile, radiographs_of, radiographs_of_study
from segmentation.structures import classes_of


@pytest.fixture
def pairs(phantoms, tmp_path):
    """A folder of eight phantom radiographs."""
    return shutil.copytree(phantoms / "lung_masks" / "images", tmp_path / "in")


def test_each_radiograph_gets_a_mask_at_its_own_size(study, two_bars, monkeypatch):
    radiographs, batches = radiographs_of_study(study), []

    def noted(network, grey, *others):
        batches.append(len(grey))
        return class_probabilities(network, grey, *others)

    monkeypatch.setattr(pipeline, "class_probabilities", noted)
    report = predict_masks(radiographs, two_bars(), study / "masks", batch_size=7)
    assert (report.made, report.kept, report.faults, report.flagged) == (40, 0, [], {})
    assert batches == [7, 7, 7, 7, 7, 5]
    rows = load_mask_rows(study / "masks" / "masks.csv")
    measures = load_biomarkers(study / "masks" / "biomarkers.csv")
    for row in load_manifest(study / "manifest.csv").itertuples():
        mask = read_mask(study / "masks" / f"{row.image_id}.png")
        assert mask.shape == (row.height, row.width)
        assert mask[row.height // 10 : -row.height // 10, row.width // 4].all()
        assert not mask[[0, -1]].any()
        assert not mask[:, row.width // 2].any()
        seen, measured = rows[row.image_id].quality, measures[row.image_id]
        assert seen.area_share == pytest.approx(mask.mean(), abs=1e-6)
        assert (seen.parts, seen.removed_share) == (2, 0)
        # softmax of 0 and 3 inside the bars, by hand 1 / (1 + e^-3)
        assert seen.mean_confidence == pytest.approx(0.952574, abs=1e-6)
        assert measured.lung_area_px == mask.sum()
        grey = read_levels(Path(row.path)).levels[mask] / 255
        assert measured.mean_intensity == pytest.approx(grey.mean(), abs=1e-5)
        assert measured.cardiothoracic_ratio is None


def test_a_prediction_goes_on_where_it_stopped(study, two_bars):
    radiographs = radiographs_of_study(study)[:14]
    predict_masks(radiographs[:10], two_bars(), study / "masks")
    (study / "masks" / f"{radiographs[3].image_id}.png").unlink()
    report = predict_masks(radiographs, two_bars(), study / "masks")
    assert (report.made, report.kept) == (5, 9)
    assert predict_masks(radiographs, two_bars(), study / "masks").made == 0
    for options in (MaskOptions(clean_up=False), MaskOptions(flip=True)):
        assert predict_masks(radiographs, two_bars(), study / "masks", options=options).made == 14
    assert predict_masks(radiographs, two_bars("w2"), study / "masks").made == 14
    assert predict_masks(radiographs, two_bars("w2"), study / "masks", redo=True).made == 14
    (study / "masks" / "biomarkers.csv").unlink()
    assert predict_masks(radiographs, two_bars("w2"), study / "masks").made == 14


def test_a_radiograph_of_a_folder_that_changed_is_segmented_again(pairs, tmp_path, two_bars):
    out = tmp_path / "masks"
    assert predict_masks(radiographs_of([pairs], out).files, two_bars(), out).made == 8
    changed = pairs / "phantom-00003.png"
    Image.fromarray(np.arange(3000, dtype=np.uint16).astype(np.uint8).reshape(60, 50)).save(changed)
    report = predict_masks(radiographs_of([pairs], out).files, two_bars(), out)
    assert (report.made, report.kept) == (1, 7)
    assert read_mask(out / "phantom-00003.png").shape == (60, 50)


def test_one_corrupt_file_is_one_line(pairs, tmp_path, two_bars):
    whole = (pairs / "phantom-00002.png").read_bytes()
    (pairs / "phantom-00002.png").write_bytes(whole[: len(whole) // 2])
    (pairs / "more").mkdir()
    for number in range(4):
        shutil.copy(pairs / "phantom-00000.png", pairs / "more" / f"{number}.png")
    out = tmp_path / "masks"
    report = predict_masks(radiographs_of([pairs], out).files, two_bars(), out, batch_size=5)
    assert (report.made, len(report.faults)) == (11, 1)
    assert str(report).count("phantom-00002.png") == 1
    assert "is damaged or truncated" in str(report)
    assert (out / "more" / "3.png").is_file()
    assert not (out / "phantom-00002.png").exists()
    only = RadiographFile("a", pairs / "phantom-00002.png")
    with pytest.raises(MaskError, match="No radiograph could be segmented"):
        predict_masks([only], two_bars(), tmp_path / "elsewhere")


def test_a_name_that_no_disk_takes_stops_no_other_mask(pairs, tmp_path, two_bars):
    out = tmp_path / "masks"
    files = [RadiographFile("x" * 300, pairs / "phantom-00000.png")]
    report = predict_masks([*files, *radiographs_of([pairs], out).files], two_bars(), out)
    assert report.made == 8
    (fault,) = report.faults
    assert fault.endswith("no disk takes this name for a mask. Rename the radiograph.")


class Blob(nn.Module):
    """Finds lungs in the dark third on the left of every picture, and nothing on the right."""

    def forward(self, radiographs: torch.Tensor) -> torch.Tensor:
        batch, _, height, width = radiographs.shape
        lungs = torch.where(torch.arange(width) < width // 3, 3.0, -3.0)
        lungs = lungs.expand(batch, height, width)
        return torch.stack([torch.zeros_like(lungs), lungs], dim=1)


def test_flagged_masks_are_listed_and_shown(pairs, tmp_path, two_bars):
    radiographs = radiographs_of([pairs], tmp_path / "masks").files
    report = predict_masks(
        radiographs, Segmenter(Blob(), 36, "w"), tmp_path / "masks", overlays=True
    )
    assert report.flagged == {f"phantom-{n:05d}": "one lung" for n in range(8)}
    assert "8 masks are flagged" in str(report)
    assert "  phantom-00007: one lung" in str(report)
    with Image.open(tmp_path / "masks" / "flagged.png") as sheet:
        assert sheet.width > sheet.height
    assert report.overlays == 8
    with Image.open(tmp_path / "masks" / "overlays" / "phantom-00000.jpg") as picture:
        assert max(picture.size) <= 512
    report = predict_masks(radiographs, two_bars(), tmp_path / "masks")
    assert "No mask is flagged" in str(report)
    assert not (tmp_path / "masks" / "flagged.png").exists()


class Chest(nn.Module):
    """Heart in the columns 12 to 23 of 36, right lung in 3 to 11, left lung in 24 to 32."""

    def forward(self, radiographs: torch.Tensor) -> torch.Tensor:
        batch, _, height, width = radiographs.shape
        column = torch.arange(width) * 36 // width
        edges = [(12, 23), (24, 32), (3, 11)]
        planes = [torch.full((width,), 5.0)]
        planes += [10.0 * ((column >= first) & (column <= last)) for first, last in edges]
        return torch.stack([plane.expand(batch, height, width) for plane in planes], dim=1)


def test_a_segmenter_that_knows_the_heart_gives_the_cardiothoracic_ratio(pairs, tmp_path):
    """Heart 12 columns wide, chest from column 3 to 32: 12 / 30 = 0.4."""
    segmenter = Segmenter(Chest(), 36, "w", classes_of("heart_left_right"))
    radiographs = radiographs_of([pairs], tmp_path / "masks").files
    predict_masks(radiographs, segmenter, tmp_path / "masks")
    for one in load_biomarkers(tmp_path / "masks" / "biomarkers.csv").values():
        assert one.cardiothoracic_ratio == pytest.approx(0.4, abs=0.02)
        assert one.lung_area_share == pytest.approx(18 / 36, abs=0.03)


def test_precision_changes_nothing_but_the_last_digits(study, two_bars):
    radiographs = radiographs_of_study(study)[:2]
    network = FCDenseNet(1, 2, (1,), 1, (1,), growth=4).eval()
    for precision in ("32-true", "bf16-mixed"):
        segmenter = Segmenter(network, 32, "w")
        options = MaskOptions(precision=precision)
        predict_masks(radiographs, segmenter, study / precision, options=options)
    for radiograph in radiographs:
        name = f"{radiograph.image_id}.png"
        first, second = (read_mask(study / p / name) for p in ("32-true", "bf16-mixed"))
        assert np.mean(first != second) < 0.1


def test_two_predictions_at_once_are_refused(study, two_bars):
    (study / "masks").mkdir(exist_ok=True)
    with (
        FileLock(study / "masks" / ".lock"),  # as another process would hold it
        pytest.raises(RunError, match="Another process"),
    ):
        predict_masks(radiographs_of_study(study), two_bars(), study / "masks")


def test_a_full_disk_is_a_sentence_and_leaves_no_half_mask(pairs, tmp_path, two_bars, monkeypatch):
    out, write_mask = tmp_path / "masks", pipeline.write_mask

    def until_full(mask, path):
        if path.stem == "phantom-00004":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_mask(mask, path)

    monkeypatch.setattr(pipeline, "write_mask", until_full)
    with pytest.raises(MaskError, match=r"cannot be written \(No space left on device\)"):
        predict_masks(radiographs_of([pairs], out).files, two_bars(), out, batch_size=2)
    monkeypatch.undo()
    assert not (out / "phantom-00004.png").exists()
    noted = load_mask_rows(out / "masks.csv")
    assert set(noted) <= {path.stem for path in out.glob("*.png")}
    report = predict_masks(radiographs_of([pairs], out).files, two_bars(), out, batch_size=2)
    assert (report.kept, report.made) == (len(noted), 8 - len(noted))


def test_a_full_disk_at_the_tables_is_the_same_sentence(pairs, tmp_path, two_bars, monkeypatch):
    def full(rows, path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("segmentation.masks.folder.save_biomarkers", full)
    with pytest.raises(MaskError, match="No space left on device"):
        predict_masks(radiographs_of([pairs], tmp_path / "m").files, two_bars(), tmp_path / "m")


class Slow(nn.Module):
    def forward(self, radiographs: torch.Tensor) -> torch.Tensor:
        time.sleep(0.1)
        return torch.cat([-radiographs, radiographs - 128], dim=1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")
def test_a_prediction_killed_at_any_moment_goes_on(pairs, tmp_path):
    out, images = tmp_path / "masks", 24
    for number in range(8, images):
        shutil.copy(pairs / "phantom-00000.png", pairs / f"phantom-{number:05d}.png")

    def predict():
        slow = Segmenter(Slow(), 36, "w")
        return predict_masks(radiographs_of([pairs], out).files, slow, out, batch_size=1)

    made = 0
    for more in (1, 5):
        process = multiprocessing.get_context("fork").Process(target=predict)
        process.start()
        while len(list(out.glob("phantom-*.png"))) < made + more:
            time.sleep(0.005)
            assert process.is_alive()
        process.kill()
        process.join()
        made = len(list(out.glob("phantom-*.png")))
    before = {path: path.stat().st_mtime_ns for path in out.glob("phantom-*.png")}
    noted = len((out / JOURNAL).read_text().splitlines())
    ended = predict()
    assert ended.made < images
    rows = load_mask_rows(out / "masks.csv")
    assert len(rows) == len(load_biomarkers(out / "biomarkers.csv")) == images
    untouched = sum(path.stat().st_mtime_ns == before.get(path) for path in before)
    assert noted <= untouched <= made
    assert made - untouched <= 2 * 4  # at most a window of four batches is lost by each kill
    assert not [path.name for path in out.glob(".[0-9]*")]
    assert all(read_mask(out / f"{image_id}.png").ndim == 2 for image_id in rows)
