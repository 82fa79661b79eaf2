"""A small study on disk, with predictions that are known by hand."""

import json
import re
import shutil
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

from flannel.comparison.measurements import measure_comparison
from flannel.comparison.related import RelatedStudy, Twin
from flannel.comparison.results import read_comparison
from flannel.data.diagnosis import FLANNEL
from flannel.data.folds import assign_folds, splits_of_fold
from flannel.data.manifest import COLUMNS, load_manifest, save_manifest
from flannel.data.store import build_store, fill_lung_masks
from flannel.files import sha256_of
from flannel.study.patches import Patches, save_patches
from flannel.study.predictions import probability_columns, save_predictions
from segmentation.checkpoint import load_segmenter
from segmentation.fc_densenet import FCDenseNet
from segmentation.masks.pipeline import MaskOptions
from segmentation.masks.predict import predict_masks
from segmentation.masks.radiograph_files import radiographs_of_study
from segmentation.preprocessing import prepare

COVID, VIRAL, BACTERIAL, NORMAL = FLANNEL
TRUTH = (COVID, COVID, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, NORMAL)
PARTS = {"split": "s1", "store": "t1", "masks": "m1", "code": "0.1", "config": "c1"}
SIZE_PX = 64


class StudyFiles:
    """Writes the files that the stages would leave; test images are `test-0` and so on."""

    def __init__(self, folder):
        self.folder = folder

    def run(self, place, predicted, truth=TRUTH, parts=None, finished=True, weights=None):
        """Writes a run with eight test rows, and others that must never count as such.

        Two training rows are wrong on purpose, and the first of four validation rows.
        """
        folder = self.folder / place
        everything = [
            *(("test", *pair) for pair in zip(truth, predicted, strict=True)),
            *(("train", true, guess) for true, guess in ((COVID, NORMAL), (NORMAL, COVID))),
            *(("val", true, true if true != COVID else NORMAL) for true in FLANNEL),
        ]
        table = pd.DataFrame(
            [
                {
                    "image_id": f"{split}-{i}",
                    "patient_id": f"patient-{i}",
                    "group": f"patient-{i}",
                    "split": split,
                    "diagnosis": true,
                    **{f"p_{name}": 0.7 if name == guess else 0.1 for name in FLANNEL},
                    "patches": 0,
                    "coverage": "",
                    **{f"w_{name}": value for name, value in (weights or {}).items()},
                }
                for i, (split, true, guess) in enumerate(everything)
            ]
        )
        save_predictions(table, folder / "predictions.csv")
        self.json(f"{place}/fingerprint.json", {"finished": finished, "parts": parts or PARTS})
        self.json(f"{place}/cost.json", {"seconds": 90.0, "device": "cpu"})
        return folder

    def measured(self, learners=None, plan=None):
        """Reads and measures the study."""
        return measure_comparison(read_comparison(self.folder, learners, plan))

    def json(self, place, content):
        path = self.folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))

    def pictures(self, finding=""):
        """Writes manifest, store and masks for the eight test images; the first is flagged."""
        (self.folder / "raw").mkdir(parents=True)
        (self.folder / "masks").mkdir()
        inside = np.zeros((48, 64), bool)
        inside[10:40, 12:28] = inside[10:40, 36:52] = True
        rows = []
        for i, diagnosis in enumerate(TRUTH):
            path = self.folder / "raw" / f"{i}.png"
            levels = np.where(inside, 40 + 5 * i, 180).astype(np.uint8)
            Image.fromarray(levels).save(path)
            Image.fromarray(inside.astype(np.uint8) * 255).save(
                self.folder / "masks" / f"test-{i}.png"
            )
            row = dict.fromkeys(COLUMNS, "")
            row |= {
                "image_id": f"test-{i}",
                "path": str(path),
                "source": "made-up",
                "patient_id": f"patient-{i}",
                "group": f"patient-{i}",
                "diagnosis": diagnosis,
                "finding": finding,
                "width": 64,
                "height": 48,
                "sha256": sha256_of(path),
                "split": "test",
                "fold": pd.NA,
            }
            rows.append(row)
        manifest = pd.DataFrame(rows).astype({"fold": "Int64"})
        save_manifest(manifest, self.folder / "manifest.csv")
        build_store(manifest, self.folder / "store", size_px=SIZE_PX, workers=1)
        fill_lung_masks(self.folder / "store", self.folder / "masks", manifest)
        flags = ["one lung <only>", *[""] * 7]
        pd.DataFrame({"image_id": manifest["image_id"], "flag": flags}).to_csv(
            self.folder / "masks" / "masks.csv", index=False
        )

    def patches(self, place, count=6):
        """Writes patches whose votes all go to the true diagnosis, but for the first one."""
        centres = np.full((len(TRUTH), count, 2), 30, np.int16)
        centres[:, :, 1] = np.linspace(2, SIZE_PX - 2, count)
        logits = np.zeros((len(TRUTH), count, len(FLANNEL)), np.float16)
        for i, name in enumerate(TRUTH):
            logits[i, 1:, FLANNEL.index(name)] = 3
            logits[i, 0, (FLANNEL.index(name) + 1) % len(FLANNEL)] = 3
        shape = logits.shape[:2]
        save_patches(
            Patches(
                image_id=tuple(f"test-{i}" for i in range(len(TRUTH))),
                centres=centres,
                windows_px=np.full(shape, 16, np.int16),
                weights=np.ones(shape, np.float32),
                logits=logits,
                strategy="uniform",
                lung_box=False,
            ),
            self.folder / place / "patches.npz",
        )


@pytest.fixture
def study_files(tmp_path):
    return StudyFiles(tmp_path / "study")


@pytest.fixture
def other_plan():
    """Returns another paper's plan, by the arms of its learners."""

    def make(runs, **further):
        words = {"title": "Another study", "papers": "Paper 9", "mapping": "flannel"}
        return RelatedStudy(**words, runs=runs, reported="test", phantoms=Twin({}), **further)

    return make


class BaseStudy:
    """A study of 80 made-up images, 40 groups of two, with base predictions that one can know."""

    def __init__(self, folder, protocol="patient"):
        self.folder = folder
        count = 80
        table = pd.DataFrame({column: [""] * count for column in COLUMNS})
        table["image_id"] = table["path"] = [f"image-{i:03}" for i in range(count)]
        table["patient_id"] = table["group"] = [f"p{i // 2}" for i in range(count)]
        table["source"] = ["a" if i % 4 < 2 else "b" for i in range(count)]
        table["diagnosis"] = [FLANNEL[i // 4 % 4] for i in range(count)]
        table["width"] = table["height"] = 8
        table["fold"] = pd.array([pd.NA] * count, dtype="Int64")
        self.manifest = assign_folds(table, protocol, seed=1, folds=4)
        save_manifest(self.manifest, folder / "manifest.csv")

    def run(self, learner, expert, fold=0, **parts):
        """Writes a finished base run that is right about one diagnosis, and guesses otherwise."""
        rng = np.random.default_rng([expert, fold])
        table = self.manifest[["image_id", "patient_id", "group", "diagnosis"]].copy()
        table["split"] = splits_of_fold(self.manifest, fold)
        probabilities = rng.dirichlet(np.ones(4), size=len(table))
        knows = (table["diagnosis"] == FLANNEL[expert]).to_numpy()
        probabilities[knows] = 0.02
        probabilities[knows, expert] = 0.94
        table[probability_columns(FLANNEL)] = probabilities
        folder = self.folder / "base" / learner / f"fold{fold}"
        save_predictions(table, folder / "predictions.csv")
        held = {"split": f"s{fold}", "store": "t", "config": f"{learner}{fold}", "code": "1"}
        content = {"finished": True, "parts": {**held, **parts}}
        (folder / "fingerprint.json").write_text(json.dumps(content))
        return table

    def experts(self, folds=(0,), arm="global"):
        """Writes a learner for each diagnosis, and gives their names."""
        names = [f"{arm}/expert{expert}" for expert in range(4)]
        for expert, name in enumerate(names):
            for fold in folds:
                self.run(name, expert, fold)
        return names


@pytest.fixture
def base_study(tmp_path, request):
    """A study with base predictions; its split protocol may be given by indirect parameters."""
    return BaseStudy(tmp_path / "study", getattr(request, "param", "patient"))


@pytest.fixture
def drawn_once(monkeypatch):
    """Draws figures as PNG only: to lay them out again for the PDF takes as long."""
    from matplotlib.figure import Figure  # which other tests need not wait for

    draw = Figure.savefig

    def save(figure, path, **options):
        if str(path).endswith(".pdf"):
            path.write_bytes(b"%PDF-")
        else:
            draw(figure, path, **options)

    monkeypatch.setattr(Figure, "savefig", save)


DENSE = {"in_channels": 1, "classes": 2, "down": [1], "bottleneck": 1, "up": [1], "growth": 4}
SMALL = {
    "name": "small",
    "model": {
        "network": {"init_args": {"architecture": "mobilenet_v3_small", "weights": "random"}}
    },
    "data": {"size_px": 32, "resize_px": 40, "window_px": 24, "predict_patches": 6},
    "trainer": {"max_epochs": 1, "limit_train_batches": 1, "accelerator": "cpu"},
}
ENSEMBLE = ("--trainer.max_epochs=1", "--data.learners=[global/small, patched/small]")


@pytest.fixture(scope="session")
def trained_study(_phantom_study, experiments, tmp_path_factory):
    """A study with all stages trained, a little, whose masks its segmenter has made, mirrored."""
    from flannel.ensemble import ensemble  # Lightning, which other tests need not wait for
    from flannel.learners import learner

    place = tmp_path_factory.mktemp("trained")
    study = Path(shutil.copytree(_phantom_study, place / "study"))
    shutil.rmtree(study / "masks")
    manifest = load_manifest(study / "manifest.csv")
    _write_segmenter(study / "segmentation" / "small", manifest["path"][0])
    options = MaskOptions(flip=True)
    segmenter = load_segmenter(study / "segmentation" / "small" / "best.ckpt")
    predict_masks(radiographs_of_study(study), segmenter, study / "masks", options=options)
    fill_lung_masks(study / "store", study / "masks", manifest)
    small = place / "small.yaml"
    small.write_text(yaml.safe_dump(SMALL))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        for arm in ("global", "patched"):
            recipes = (experiments / "base" / arm / "_common.yaml", small)
            learner.main(["fit", *(f"--config={one}" for one in recipes), f"--study={study}"])
        recipes = (
            experiments / "ensemble" / name
            for name in ("_common.yaml", "forms/flannel.yaml", "fused.yaml")
        )
        words = [f"--config={one}" for one in recipes]
        ensemble.main(["fit", *words, f"--study={study}", *ENSEMBLE])
    return study


def _write_segmenter(folder, radiograph):
    """Writes a network with random weights that finds lungs in about half of a radiograph."""
    folder.mkdir(parents=True)
    torch.manual_seed(1)
    network = FCDenseNet(1, 2, (1,), 1, (1,), growth=4).eval()
    grey = np.asarray(Image.open(radiograph).convert("L"))
    with torch.no_grad():
        logits = network(torch.from_numpy(prepare(grey, "display", 48))[None])
        network.classifier.bias[1] -= (logits[:, 1] - logits[:, 0]).median()
    state = {f"network.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": state}, folder / "best.ckpt")
    specification = {"class_path": "segmentation.fc_densenet.FCDenseNet", "init_args": DENSE}
    config = {"model": {"network": specification}, "data": {"size_px": 48}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


LATEX_COMMANDS = {
    "begin", "end", "centering", "caption", "label", "toprule", "midrule", "bottomrule", "textbf",
    "textit", "pm", "times", "leq", "geq", "ldots", "to", "textbackslash", "textasciitilde",
    "textasciicircum",
}  # fmt: skip


def check_latex(text):
    """Reads a table strictly: what passes here, LaTeX with the package booktabs compiles."""
    assert text.isascii()
    assert set(re.findall(r"\\([a-z]+)", text.replace(r"\\", ""))) <= LATEX_COMMANDS
    bare = re.sub(r"\\([\\&%$#_{}])", lambda found: "\n" if found[1] == "\\" else "", text)
    assert not re.search(r"[%#_~^]", bare)
    assert all(line.count("$") % 2 == 0 for line in bare.splitlines())
    depth = np.cumsum([(mark == "{") - (mark == "}") for mark in bare])
    assert depth.min() == 0
    assert depth[-1] == 0
    assert re.findall(r"\\(begin|end)\{(\w+)\}", bare) == [
        ("begin", "table"), ("begin", "tabular"), ("end", "tabular"), ("end", "table"),
    ]  # fmt: skip
    (columns,) = re.findall(r"\\begin\{tabular\}\{([lr]+)\}", text)
    inside = text[text.index(r"\toprule") : text.index(r"\end{tabular}")].splitlines()
    rules = [line.removeprefix("\\") if line.endswith("rule") else "" for line in inside]
    assert (rules[0], rules[2], rules[-1]) == ("toprule", "midrule", "bottomrule")
    assert not any(one and two for one, two in pairwise(rules))
    for line, rule in zip(inside, rules, strict=True):
        if not rule:
            assert line.endswith(r" \\")
            assert not line.startswith(("[", "*"))
            assert len(re.findall(r"(?<!\\)&", line)) == len(columns) - 1


@pytest.fixture(scope="session")
def latex_is_sound():
    return check_latex


def read_offline_run(study):
    """Returns the records of the study's only offline run, once W&B has written it."""
    wandb = Path(sys.executable).parent / "wandb"
    (folder,) = (study / "wandb").glob("offline-run-*")
    until = time.monotonic() + 30
    while time.monotonic() < until:
        words = [str(wandb), "leet", "inspect", "--json", str(folder)]
        lines = subprocess.run(words, capture_output=True, check=True).stdout.splitlines()
        records = [json.loads(line) for line in lines]
        if any(record["type"] == "exit" for record in records):
            return records
        time.sleep(0.2)
    raise AssertionError(f"{folder} was not written to its end")


@pytest.fixture
def read_back():
    return read_offline_run
