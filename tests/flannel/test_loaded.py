"""The same numbers from Python as from the commands, and nothing heavy before it is needed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import flannel
from flannel.__main__ import main
from flannel.data.manifest import load_manifest
from flannel.data.mask import read_mask
from flannel.errors import OptionError
from flannel.prediction.predict import PredictError
from segmentation.__main__ import main as lungs


def test_importing_flannel_imports_nothing_heavy():
    code = "import flannel, sys; print(*sys.modules); print(dir(flannel))"
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    modules, names = printed.splitlines()
    assert not {"torch", "numpy", "pandas", "PIL"} & set(modules.split())
    assert "'load'" in names
    assert "'lungs'" in names
    with pytest.raises(AttributeError, match="has no attribute 'lods'"):
        _ = flannel.lods


@pytest.fixture
def radiographs(trained_study):
    return list(load_manifest(trained_study / "manifest.csv")["path"][:2])


@pytest.mark.slow
def test_predictions_are_those_of_the_command(trained_study, radiographs, tmp_path):
    words = ["predict", *radiographs, f"--study={trained_study}", f"--out={tmp_path / 'out'}"]
    assert main([*words, "--pictures=false", "--doubtful=true"]) == 0
    study = flannel.load(trained_study)
    predictions = study.predict(radiographs, doubtful=True)
    written = pd.read_csv(tmp_path / "out" / "predictions.csv")
    pd.testing.assert_frame_equal(predictions.to_frame(), written, check_exact=True)
    assert len(predictions) == 2
    assert study.learners == ("global/small", "patched/small")
    for radiograph in predictions:
        names = ["global/small", "patched/small", "fused/FLANNEL"]
        assert list(radiograph.probabilities) == names
        fused = radiograph.probabilities["fused/FLANNEL"]
        assert tuple(fused) == study.diagnoses
        assert radiograph.diagnosis == max(fused, key=fused.get)
        row = written[(written["image_id"] == radiograph.name) & (written["arm"] == "fused")]
        assert [float(f"{value:.8g}") for value in fused.values()] == [
            row[f"p_{name}"].item() for name in study.diagnoses
        ]
        expected = read_mask(tmp_path / "out" / "masks" / f"{radiograph.name}.png")
        np.testing.assert_array_equal(radiograph.mask, expected)
        patches = radiograph.patches["patched/small"]
        assert len(patches) == 6
        votes = patches.filter(like="p_").to_numpy().argmax(axis=1)
        shares = np.bincount(votes, minlength=4) / 6
        np.testing.assert_allclose(
            list(radiograph.probabilities["patched/small"].values()), shares, atol=1e-6
        )
    assert predictions.picture(1, saliency=False).size[0] > 500


@pytest.mark.slow
def test_an_array_is_a_file_of_its_levels(trained_study, radiographs, tmp_path):
    levels = np.asarray(Image.open(radiographs[0]).convert("L"))
    Image.fromarray(levels).save(tmp_path / "array-0.png")
    study = flannel.load(trained_study, learners=["small"], arms=["global"])
    of_array, of_file = (
        study.predict(one, redraws=0, doubtful=True)[0]
        for one in (levels, tmp_path / "array-0.png")
    )
    assert of_array.name == of_file.name
    assert of_array.probabilities == of_file.probabilities
    np.testing.assert_array_equal(of_array.mask, of_file.mask)
    with pytest.raises(OptionError, match=r"shape \(4, 4, 3\) and type float64; expected grey"):
        study.predict(np.zeros((4, 4, 3)))
    with pytest.raises(OptionError, match="No radiograph is given"):
        study.predict([])
    with pytest.raises(PredictError, match="No radiograph can be read"):
        study.predict(str(tmp_path / "absent.png"))


@pytest.mark.slow
def test_masks_are_those_of_the_command(trained_study, radiographs, tmp_path):
    checkpoint = trained_study / "segmentation" / "small" / "best.ckpt"
    words = ["predict", *radiographs, f"--out={tmp_path / 'masks'}", f"--checkpoint={checkpoint}"]
    assert lungs(words) == 0
    masks = flannel.lungs.load(checkpoint).segment(radiographs)
    assert len(masks) == 2
    for mask in masks:
        expected = read_mask(tmp_path / "masks" / f"{mask.name}.png")
        np.testing.assert_array_equal(mask.mask, expected)
    levels = np.asarray(Image.open(radiographs[0]).convert("L"))
    assert flannel.lungs.load(checkpoint).segment(levels)[0].mask.shape == levels.shape
    assert flannel.lungs.load().segment(levels)[0].mask.shape == levels.shape  # the shipped one


@pytest.mark.slow
def test_the_notebook_runs(trained_study, radiographs, tmp_path, monkeypatch, capsys):
    words = [f"--study={trained_study}", f"--out={tmp_path / 'model.flannel'}", "--fold=0"]
    assert main(["bundle", *words]) == 0
    (tmp_path / "radiographs").mkdir()
    shutil.copy(radiographs[0], tmp_path / "radiographs")
    monkeypatch.chdir(tmp_path)
    place = Path(__file__).parents[2] / "docs" / "python.ipynb"
    cells = json.loads(place.read_text(encoding="utf-8"))["cells"]
    names: dict = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"{place.name} {cell['id']}", "exec"), names)
    assert "of the radiograph is lung" in capsys.readouterr().out
    assert len(names["predictions"]) == 1
