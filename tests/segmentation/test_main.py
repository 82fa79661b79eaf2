"""The real command line, on phantoms."""

import json
import subprocess
import sys

import pandas as pd
import pytest
import torch

from flannel.data.mask import read_mask
from segmentation.__main__ import COMMANDS, main

IGNORED = (
    "ignore:The .*dataloader.* does not have many workers",
    "ignore:The number of training batches",
    "ignore:.*isinstance.treespec, LeafSpec",
)


def test_commands_are_listed_without_importing_torch():
    script = (
        "import sys; from segmentation.__main__ import main; "
        "main([]); assert 'torch' not in sys.modules; print(main(['draw']))"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert all(f"  {name}" in ran.stdout for name in COMMANDS)
    assert ran.stdout.strip().endswith("2")
    assert "there is no command 'draw'" in ran.stderr


def test_help_of_predict_is_quick(capsys):
    script = (
        "import sys; from segmentation.__main__ import main\n"
        "try: main(['predict', '--help'])\n"
        "except SystemExit: print('torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "--segmenter" in ran.stdout
    assert "Folders of radiographs" in ran.stdout
    assert ran.stdout.strip().endswith("False")


@pytest.mark.slow
@pytest.mark.filterwarnings(*IGNORED)
def test_a_recipe_trains_is_then_skipped_and_its_masks_are_predicted(
    experiments, phantoms, phantom_study, capsys
):
    """The smallest; tests/test_experiments.py tries all."""
    words = [
        "fit", "--config", str(experiments / "segmentation" / "unet_resnet18.yaml"),
        "--study", str(phantom_study), "--data.folder", str(phantoms / "lung_masks"),
        "--data.size_px", "64", "--data.batch_size", "4", "--trainer.max_epochs", "1",
        "--trainer.accelerator", "cpu",
    ]  # fmt: skip
    assert main(words) == 0
    run = phantom_study / "segmentation" / "unet_resnet18"
    measures = json.loads((run / "metrics.json").read_text())
    rows = pd.read_csv(run / "measures.csv")
    assert measures["test/radiographs"] == (rows["split"] == "test").sum() == 1
    mean = rows[rows["split"] == "val"]["jaccard"].mean()
    assert measures["val/jaccard"] == pytest.approx(mean, abs=1e-5)
    assert json.loads((run / "fingerprint.json").read_text())["finished"] is True
    kept = torch.load(run / "best.ckpt", weights_only=True)
    assert not (run / "last.ckpt").exists()
    assert any(key.startswith("network.") for key in kept["state_dict"])

    capsys.readouterr()
    assert main(words) == 0
    assert "skipped" in capsys.readouterr().out
    assert main([*words, "--model.learning_rate", "0.5"]) == 1
    assert "another config" in capsys.readouterr().err

    for path in (phantom_study / "masks").iterdir():
        path.unlink()
    assert main(["predict", "--study", str(phantom_study)]) == 0
    assert "40 masks made" in capsys.readouterr().out
    table = pd.read_csv(phantom_study / "masks" / "masks.csv")
    assert len(table) == 40
    mask = read_mask(phantom_study / "masks" / f"{table['image_id'][0]}.png")
    assert mask.ndim == 2


def test_masks_of_a_folder(phantoms, tmp_path, write_run, capsys, monkeypatch):
    write_run(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    images = str(phantoms / "lung_masks" / "images")
    checkpoint = ["--segmenter", str(tmp_path / "run" / "best.ckpt")]
    assert main(["predict", images, *checkpoint]) == 0
    assert "8 masks made" in capsys.readouterr().out
    assert len(list((tmp_path / "masks").glob("phantom-*.png"))) == 8
    one = f"{images}/phantom-00001.png"
    words = ["predict", one, "--out", "other", "--flip", "true", "--overlays", "true"]
    assert main([*words, *checkpoint]) == 0
    assert (tmp_path / "other" / "overlays" / "phantom-00001.jpg").is_file()


@pytest.mark.slow
def test_faults_end_in_one_sentence(tmp_path, experiments, capsys):
    assert main(["predict"]) == 1
    assert "Name a folder of radiographs, or the study" in capsys.readouterr().err
    assert main(["predict", str(tmp_path), "--out", str(tmp_path / "masks")]) == 1
    assert "holds no radiograph" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["predict", "--stud", str(tmp_path)])
    assert "--stud" in capsys.readouterr().err
    assert main(["predict", "--study", str(tmp_path)]) == 1
    assert "make it first" in capsys.readouterr().err
    recipe = str(experiments / "segmentation" / "fc_densenet103.yaml")
    missing = ["--study", str(tmp_path), "--data.folder", str(tmp_path / "none")]
    assert main(["fit", "--config", recipe, *missing]) == 1
    assert "is not a folder" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["fit", "--config", recipe, "--data.size", "64", *missing])
    assert "data.size" in capsys.readouterr().err
