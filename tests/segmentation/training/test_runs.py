"""Trainings through the real command line, on phantoms."""

import json
import multiprocessing
import signal
import sys
import time
from contextlib import redirect_stderr, redirect_stdout

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

from flannel.data.sources.jsrt import write_phantoms as write_jsrt_phantoms
from flannel.data.sources.mask_pairs import write_phantoms
from segmentation.__main__ import main

pytestmark = pytest.mark.filterwarnings(
    "ignore:The .*dataloader.* does not have many workers",
    "ignore:The number of training batches",
    "ignore:.*isinstance.treespec, LeafSpec",
)

SMALL = {
    "class_path": "segmentation.fc_densenet.FCDenseNet",
    "init_args": {
        "in_channels": 1, "classes": 2, "down": [1, 1], "bottleneck": 1, "up": [1, 1],
        "growth": 4, "first": 8,
    },
}  # fmt: skip


def recipe(folder, **changes):
    """Writes a recipe for a small network; `data` and `model` are merged, the rest replaces."""
    config = {
        "name": "small",
        "model": {"network": SMALL, "learning_rate": 3e-3, **changes.pop("model", {})},
        "data": {"size_px": 32, "batch_size": 2, **changes.pop("data", {})},
        "trainer": {"max_epochs": 2, "accelerator": "cpu"},
        **changes,
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(config))
    return ["fit", f"--config={folder / 'recipe.yaml'}", f"--study={folder / 'study'}"]


@pytest.mark.slow
def test_a_run_leaves_measures_a_card_and_a_picture(tmp_path, capsys):
    write_phantoms(tmp_path / "pairs", 9, seed=1, size=96)
    (tmp_path / "pairs" / "convention.txt").write_text("v7\n")
    for mask in (tmp_path / "pairs" / "masks" / "left_lung").iterdir():
        alpha = np.asarray(Image.open(mask).convert("L"))
        Image.fromarray(np.dstack([np.full_like(alpha, 255), alpha])).save(mask)
    words = recipe(tmp_path, data={"folder": str(tmp_path / "pairs"), "licence": "CC0 <b>"})
    assert main(words) == 0
    run = tmp_path / "study" / "segmentation" / "small"
    measures = json.loads((run / "metrics.json").read_text())
    rows = pd.read_csv(run / "measures.csv")
    for split in ("val", "test"):
        part = rows[rows["split"] == split]
        assert measures[f"{split}/radiographs"] == len(part)
        for name in ("jaccard", "jaccard_native", "dice", "hausdorff95"):
            assert measures[f"{split}/{name}"] == pytest.approx(part[name].mean(), abs=1e-5)
    assert measures["convention"] == "v7"
    card = (run / "MODEL_CARD.md").read_text()
    assert f"| test | {measures['test/radiographs']} | {measures['test/jaccard']:.4f} (" in card
    counts = [measures[f"{split}/radiographs"] for split in ("train", "val", "test")]
    assert sum(counts) == 9
    assert "| pairs | {} | {} | {} |".format(*counts) in card
    assert "`v7`. The whole lungs" in card
    assert "Licence of the data: CC0 <b>" in card
    assert "(alpha channel) of the file: 9 masks.\n\n## Measured" in card
    picture = np.asarray(Image.open(run / "validation.png"))
    assert picture.ndim == 3
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50
    assert "test Jaccard index" in capsys.readouterr().out


@pytest.mark.slow
def test_wandb_gets_the_picture_offline_or_when_asked(tmp_path):
    write_phantoms(tmp_path / "pairs", 6, seed=1, size=64)
    words = recipe(tmp_path, data={"folder": str(tmp_path / "pairs")})
    for study, options in (
        ("default", []),
        ("without", ["--log_images=false", "--selection=last"]),
    ):
        folder = tmp_path / study
        assert main([*words[:2], f"--study={folder}", "--wandb=offline", *options]) == 0
        pictures = list(folder.glob("wandb/offline-run-*/files/media/images/val/overlays*.png"))
        assert bool(pictures) == (study == "default")
        assert (folder / "segmentation" / "small" / "validation.png").is_file()


@pytest.mark.slow
def test_the_code_of_the_paper_is_an_option_away(tmp_path):
    """Heart, left and right lung, half the weight on background, fixed steps, the 80 % split."""
    write_jsrt_phantoms(tmp_path / "jsrt", 10, seed=1)
    network = {**SMALL, "init_args": {**SMALL["init_args"], "classes": 4}}
    words = recipe(
        tmp_path,
        model={
            "network": network, "class_weights": [0.5, 1, 1, 1], "weight_decay": 1e-6,
            "schedule": "steps", "milestones": [1],
        },
        selection="val/jaccard_structures",
        data={
            "folder": str(tmp_path / "jsrt"), "structures": "heart_left_right", "split": "paper",
        },
    )  # fmt: skip
    assert main(words) == 0
    run = tmp_path / "study" / "segmentation" / "small"
    measures = json.loads((run / "metrics.json").read_text())
    assert measures["train/radiographs"] == 8
    assert (measures["val/radiographs"], measures["test/radiographs"]) == (1, 2)
    assert measures["convention"] == "scr"
    for name in ("jaccard_heart", "jaccard_left_lung", "jaccard_right_lung"):
        assert 0 <= measures[f"test/{name}"] <= 1
    curves = pd.read_csv(run / "curves.csv")
    assert curves["learning_rate"].tolist() == pytest.approx([3e-3, 3e-4])
    each = [f"val/jaccard_{name}" for name in ("heart", "left_lung", "right_lung")]
    assert curves["val/jaccard_structures"].tolist() == pytest.approx(
        curves[each].mean(axis=1).tolist(), abs=1e-6
    )


def test_recipes_of_the_paper_stand_beside_each_other(experiments):
    text = yaml.safe_load((experiments / "segmentation" / "fc_densenet103.yaml").read_text())
    code = yaml.safe_load((experiments / "segmentation" / "fc_densenet103_code.yaml").read_text())
    assert text["model"]["learning_rate"] == code["model"]["learning_rate"] == 1e-4
    assert text["data"]["batch_size"] == code["data"]["batch_size"] == 2
    assert code["model"]["class_weights"] == [0.5, 1, 1, 1]
    assert code["model"]["milestones"] == [70, 80, 90]
    assert code["data"]["structures"] == "heart_left_right"
    assert code["selection"] == "val/jaccard_structures"


def start(words, output):
    """Trains in a process of its own, which may be killed; what it says goes to a file."""

    def work():
        torch.set_num_threads(1)  # a forked process could not use others
        with output.open("w", buffering=1) as out, redirect_stdout(out), redirect_stderr(out):
            code = main(words)
        sys.exit(code)

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    return process


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")
def test_a_killed_training_goes_on_to_the_same_weights(tmp_path):
    """SIGKILL after an epoch, then the same command; against a run that nobody disturbed."""
    write_phantoms(tmp_path / "pairs", 12, seed=1, size=96)
    words = recipe(
        tmp_path,
        data={"folder": str(tmp_path / "pairs"), "augmentation": {"flip": True, "zoom": 0.1}},
        trainer={"max_epochs": 12, "accelerator": "cpu"},
    )
    whole = start([*words[:2], f"--study={tmp_path / 'whole'}"], tmp_path / "whole.txt")
    whole.join()
    assert whole.exitcode == 0, (tmp_path / "whole.txt").read_text()

    first, second = tmp_path / "first.txt", tmp_path / "second.txt"
    killed = start(words, first)
    last = tmp_path / "study" / "segmentation" / "small" / "last.ckpt"
    while not (last.is_file() and "\nepoch 2/" in first.read_text()):
        assert killed.is_alive(), first.read_text()
        time.sleep(0.001)
    killed.kill()
    killed.join()
    assert last.is_file()
    again = start(words, second)
    again.join()
    printed = second.read_text()
    assert again.exitcode == 0, printed
    assert "continuing" in printed
    assert "epoch 12/12" in printed
    assert not last.is_file()
    weights = [
        torch.load(tmp_path / name / "segmentation/small/best.ckpt", weights_only=True)
        for name in ("whole", "study")
    ]
    for name, value in weights[0]["state_dict"].items():
        assert torch.equal(value, weights[1]["state_dict"][name]), name
    curves = [
        pd.read_csv(tmp_path / name / "segmentation/small/curves.csv").drop(columns="seconds")
        for name in ("whole", "study")
    ]
    pd.testing.assert_frame_equal(*curves)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")
def test_a_terminated_training_says_so_and_its_weights_are_used_by_nothing(tmp_path, capsys):
    write_phantoms(tmp_path / "pairs", 12, seed=1, size=64)
    words = recipe(
        tmp_path,
        data={"folder": str(tmp_path / "pairs")},
        trainer={"max_epochs": 1000, "accelerator": "cpu"},
    )
    run = tmp_path / "study" / "segmentation" / "small"
    training = start(words, tmp_path / "printed.txt")
    while not (run / "last.ckpt").is_file():
        assert training.is_alive(), (tmp_path / "printed.txt").read_text()
        time.sleep(0.001)
    training.terminate()  # often while the checkpoint's file is closed
    training.join()
    printed = (tmp_path / "printed.txt").read_text()
    assert training.exitcode == 128 + signal.SIGTERM
    assert printed.splitlines()[-1] == (
        f"Stopped by SIGTERM. The same command goes on after the last epoch in {run / 'last.ckpt'}."
    )
    assert not json.loads((run / "fingerprint.json").read_text())["finished"]
    predict = ["predict", str(tmp_path / "pairs"), f"--out={tmp_path / 'masks'}"]
    for place in (f"--segmenter={run / 'best.ckpt'}", f"--study={tmp_path / 'study'}"):
        assert main([*predict, place]) == 1
        assert "finished" in capsys.readouterr().err
    assert main(["test", *words[1:]]) == 1
    assert "small is not finished. Let fit finish it" in capsys.readouterr().err
    assert not (tmp_path / "masks").exists()


@pytest.mark.slow
def test_a_trained_segmenter_is_measured_with_its_weights(tmp_path, capsys):
    write_phantoms(tmp_path / "pairs", 12, seed=1, size=64)
    words = recipe(tmp_path, data={"folder": str(tmp_path / "pairs")})
    assert main(["validate", *words[1:]]) == 1
    assert "a network that has learnt nothing is not measured" in capsys.readouterr().err
    assert main(words) == 0
    run = tmp_path / "study" / "segmentation" / "small"
    picture = (run / "validation.png").stat().st_mtime_ns
    capsys.readouterr()
    assert main(["validate", *words[1:]]) == 0
    printed = capsys.readouterr().out
    (row,) = (line for line in printed.splitlines() if "val/jaccard " in line)
    reached = pd.read_csv(run / "curves.csv")["val/jaccard"].max()
    assert float(row.split()[-2]) == pytest.approx(reached, abs=1e-4)
    assert (run / "validation.png").stat().st_mtime_ns == picture
    (tmp_path / "pickled.ckpt").write_bytes(b"\x80\x04K\x01.")
    assert main(["test", *words[1:], f"--ckpt_path={tmp_path / 'pickled.ckpt'}"]) == 1
    assert "nothing in it was run" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_begins_from_another_s_weights_and_knows_them_by_their_hash(tmp_path, capsys):
    write_phantoms(tmp_path / "pairs", 6, seed=1, size=64)
    words = recipe(tmp_path, data={"folder": str(tmp_path / "pairs")})
    assert main(words) == 0
    first = tmp_path / "study" / "segmentation" / "small" / "best.ckpt"
    weights = tmp_path / "first.ckpt"
    weights.write_bytes(first.read_bytes())
    tuned = [
        *words, "--name=tuned", "--trainer.max_epochs=1", "--model.schedule=one_cycle",
        "--model.learning_rate=1e-9", f"--model.begin_from={weights}",
    ]  # fmt: skip
    assert main(tuned) == 0
    states = [
        torch.load(path, weights_only=True)["state_dict"]
        for path in (first, tmp_path / "study" / "segmentation" / "tuned" / "best.ckpt")
    ]
    for name, value in states[0].items():
        if name.endswith(("weight", "bias")):
            torch.testing.assert_close(value, states[1][name], atol=1e-6, rtol=0)
    capsys.readouterr()
    assert main(tuned) == 0
    assert "skipped" in capsys.readouterr().out
    moved = weights.rename(tmp_path / "moved.ckpt")
    assert main([*tuned[:-1], f"--model.begin_from={moved}"]) == 0
    torch.save({"state_dict": states[1]}, moved)
    assert main([*tuned[:-1], f"--model.begin_from={moved}"]) == 1
    assert "was finished with another begin_from" in capsys.readouterr().err
    moved.unlink()
    assert main([*tuned[:-1], f"--model.begin_from={moved}"]) == 1
    assert "moved.ckpt is missing" in capsys.readouterr().err
