from pathlib import Path

import numpy as np
import pytest

from flannel.data.manifest import build_manifest, load_manifest, save_manifest
from flannel.data.mask import read_mask, write_mask
from flannel.data.sources import covid_qu_ex
from segmentation.checkpoint import MaskError
from segmentation.masks.folder import load_biomarkers, load_mask_rows
from segmentation.masks.predict import predict_masks
from segmentation.masks.radiograph_files import radiographs_of_study
from segmentation.masks.references import import_masks


def test_references_replace_predictions_and_are_left_alone(study, two_bars, tmp_path):
    radiographs = radiographs_of_study(study)
    predict_masks(radiographs, two_bars(), study / "masks")
    table = load_manifest(study / "manifest.csv")
    sizes = {row.image_id: (row.height, row.width) for row in table.itertuples()}
    names = {row.image_id: Path(row.path).stem for row in table.itertuples()}
    alone = [i for i in names if list(names.values()).count(names[i]) == 1]
    good, wrong_size = alone[0], alone[1]
    reference = np.zeros(sizes[good], dtype=bool)
    reference[10:60, 10:30] = True
    write_mask(reference, tmp_path / "drawn" / "set" / f"{names[good]}.png")
    write_mask(np.eye(50, dtype=bool), tmp_path / "drawn" / f"{names[wrong_size]}.png")

    report = import_masks(study, tmp_path / "drawn")
    assert (report.imported, len(report.faults), len(report.predicted)) == (1, 1, 39)
    assert "50 x 50 pixels" in report.faults[0]
    assert wrong_size in report.predicted
    assert np.array_equal(read_mask(study / "masks" / f"{good}.png"), reference)
    assert load_mask_rows(study / "masks" / "masks.csv")[good].origin == "reference"
    assert load_biomarkers(study / "masks" / "biomarkers.csv")[good].lung_area_px == 50 * 20

    assert import_masks(study, tmp_path / "drawn").kept == 1
    again = predict_masks(radiographs, two_bars("w2"), study / "masks")
    assert (again.made, again.references) == (39, 1)
    assert predict_masks(radiographs, two_bars("w2"), study / "masks", redo=True).references == 0


def test_a_reference_of_a_lost_radiograph_has_no_biomarkers(study, two_bars, tmp_path):
    radiographs = radiographs_of_study(study)
    predict_masks(radiographs, two_bars(), study / "masks")
    table = load_manifest(study / "manifest.csv")
    row = next(row for row in table.itertuples() if Path(row.path).stem.startswith("person"))
    reference = np.zeros((row.height, row.width), dtype=bool)
    reference[10:60, 10:30] = True
    write_mask(reference, tmp_path / "drawn" / f"{Path(row.path).stem}.png")
    table["path"] = table["path"].where(table["image_id"] != row.image_id, f"{row.path}.gone.png")
    table["path"] = [path.replace(".png.gone", ".gone") for path in table["path"]]
    save_manifest(table, study / "manifest.csv")
    gone = Path(load_manifest(study / "manifest.csv").set_index("image_id")["path"][row.image_id])
    write_mask(reference, tmp_path / "drawn" / f"{gone.stem}.png")
    report = import_masks(study, tmp_path / "drawn")
    assert report.imported == 1
    assert str(gone) in report.unmeasured[0]
    assert "cannot be read and have no biomarkers" in str(report)
    assert row.image_id not in load_biomarkers(study / "masks" / "biomarkers.csv")


def test_references_that_fit_nothing_are_one_sentence(study, tmp_path):
    with pytest.raises(MaskError, match="is not a folder"):
        import_masks(study, tmp_path / "none")
    with pytest.raises(MaskError, match="No file in"):
        import_masks(study, tmp_path)


def test_a_set_s_own_masks_go_to_its_radiographs_whatever_their_names(tmp_path):
    covid_qu_ex.write_phantoms(tmp_path / "set", count=15, seed=1, size=64)
    top = tmp_path / "set" / "Lung Segmentation Data" / "Lung Segmentation Data"
    first, again = top / "Train" / "Normal", top / "Val" / "Normal"
    for part in ("images", "lung masks"):  # one name in two splits is two radiographs
        (again / part / "Normal (4).png").rename(again / part / "Normal (1).png")
    table, _ = build_manifest(tmp_path / "set", mapping="covid_qu_ex")
    save_manifest(table, tmp_path / "study" / "manifest.csv")
    report = import_masks(tmp_path / "study", tmp_path / "set")
    assert (report.imported, report.faults, report.missing) == (15, [], [])
    paths = table.set_index("path")["image_id"]
    for place in (first, again):
        name = paths[str((place / "images" / "Normal (1).png").resolve())]
        found = read_mask(tmp_path / "study" / "masks" / f"{name}.png")
        assert np.array_equal(found, read_mask(place / "lung masks" / "Normal (1).png"))
    assert import_masks(tmp_path / "study", tmp_path / "set").kept == 15
