"""From raw files to the numbers of the study's own tables, through the real command lines."""

import json
import re
import shutil
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image, ImageOps

from flannel.__main__ import main
from flannel.data.diagnosis import FLANNEL
from flannel.data.manifest import load_manifest
from flannel.data.store import Store
from flannel.ensemble import baselines
from flannel.files import read_json
from flannel.learners.grad_cam import GradCam
from flannel.prediction import picture as opinion
from flannel.prediction.answer_cache import AnswerCache
from flannel.prediction.app import create_app, opinion_on
from flannel.prediction.doubts import COPY
from flannel.prediction.predict import PredictError, PredictOptions, predict_files
from flannel.prediction.predictors import Panel, ReadyLearner
from flannel.prediction.trained import NOTICE, TrainedError
from flannel.prediction.trained_study import trained_of_study
from flannel.runs.run import RunFinishedError
from flannel.study.contents import form_name
from flannel.study.predictions import load_predictions, probability_columns
from segmentation import shipped
from segmentation.__main__ import main as segment
from segmentation.checkpoint import MaskError
from segmentation.masks.pipeline import PLAIN, MaskOptions, save_options

pytestmark = pytest.mark.slow


@pytest.fixture
def study(trained_study):
    return trained_study


SUFFIXES = (".csv", ".json", ".png")
BASELINES = {
    "best_learner": "BestLearner", "mean": "Mean", "majority": "MajorityVote",
    "logistic": "Logistic",
}  # fmt: skip


def test_mask_options_are_read_beside_the_masks_or_searched(trained_study, tmp_path):
    study = Path(shutil.copytree(trained_study, tmp_path / "study"))
    assert read_json(study / "masks" / "made_with.json") == {
        "clean_up": True, "flip": True, "precision": "32-true",
    }  # fmt: skip
    (study / "masks" / "made_with.json").unlink()  # as earlier versions left it
    assert trained_of_study(study).masks == MaskOptions(flip=True)
    save_options(MaskOptions(flip=False), study / "masks")
    changed = trained_of_study(study)
    assert changed.masks == PLAIN
    assert "made by another segmenter" in changed.notes[0]
    (study / "masks" / "made_with.json").write_text('{"mirrored": true}')
    with pytest.raises(MaskError, match="does not hold the options of masks"):
        trained_of_study(study)


def test_masks_by_the_segmenter_of_the_package_are_recognised(trained_study, tmp_path):
    """Whether the study has trained a segmenter of its own or not."""
    study = Path(shutil.copytree(trained_study, tmp_path / "study"))
    words = ["predict", f"--study={study}", "--redo=true"]
    assert segment([*words, f"--segmenter={shipped.WEIGHTS}", "--flip=true"]) == 0
    trained = trained_of_study(study)
    assert (trained.segmenter.sha256, trained.masks) == (shipped.SHA256, MaskOptions(flip=True))
    shutil.rmtree(study / "segmentation")
    assert segment(words) == 0
    trained = trained_of_study(study)
    assert (trained.segmenter.sha256, trained.masks, trained.notes) == (shipped.SHA256, PLAIN, ())


def test_the_studys_own_tables_are_reproduced_from_the_raw_files(trained_study, tmp_path):
    study = Path(shutil.copytree(trained_study, tmp_path / "study"))
    for name, method in BASELINES.items():
        learners = "--data.learners=[global/small, patched/small]"
        words = [
            f"--name={name}",
            f"--method.class_path=flannel.ensemble.baselines.{method}",
            learners,
        ]
        assert baselines.main([*words, "--data.arm=fused", f"--study={study}"]) == 0
    manifest = load_manifest(study / "manifest.csv")
    panel = Panel(trained_of_study(study, forms=None))
    assert panel.trained.masks == MaskOptions(flip=True)
    assert panel.trained.notes == ()
    raw = tmp_path / "raw"
    raw.mkdir()
    for path in manifest["path"]:
        shutil.copy(path, raw)
    (raw / "notes.txt").write_text("no radiograph")
    options = PredictOptions(redraws=20, pictures=False, doubtful=True)
    report = predict_files(panel, [raw], tmp_path / "out", options)
    assert (report.answered, report.faults) == (40, ())
    table = pd.read_csv(tmp_path / "out" / "predictions.csv")
    columns = probability_columns(FLANNEL)
    for arm, folder in (
        ("global", study / "base" / "global" / "small"),
        ("patched", study / "base" / "patched" / "small"),
        ("fused", study / "ensemble" / "fused"),
        *(("fused", study / "ensemble" / "fused" / name) for name in BASELINES),
    ):
        expected = load_predictions(folder / "fold0" / "predictions.csv", FLANNEL)
        learner = {"fused": "FLANNEL"}.get(folder.name, form_name(folder.name))
        found = table[(table["arm"] == arm) & (table["learner"] == learner)]
        found = found.reset_index(drop=True)
        assert found["image_id"].tolist() == expected["image_id"].tolist()
        assert found["split"].tolist() == expected["split"].tolist()
        np.testing.assert_allclose(found[columns], expected[columns], atol=1e-6)
    patched = table[table["arm"] == "patched"]
    expected = load_predictions(
        study / "base" / "patched" / "small" / "fold0" / "predictions.csv", FLANNEL
    )
    np.testing.assert_allclose(patched["coverage"], expected["coverage"], atol=1e-6)
    assert set(patched["patches"]) == {6}
    for arm in ("patched", "fused"):  # redraws spread around what was drawn
        rows = table[(table["arm"] == arm) & table["learner"].isin(["small", "FLANNEL"])]
        for name in columns:
            low, high = (rows[name.replace("p_", part, 1)] for part in ("low_", "high_"))
            assert (low <= rows[name] + 0.35).all()
            assert (low <= high).all()
    assert table[table["arm"] == "global"]["low_COVID-19"].isna().all()
    assert not (tmp_path / "out" / "work").exists()
    with pytest.raises(RunFinishedError, match="nothing to do"):
        predict_files(panel, [raw], tmp_path / "out", options)
    with pytest.raises(PredictError, match="another radiographs"):
        predict_files(panel, [raw / Path(manifest["path"][0]).name], tmp_path / "out", options)


def test_a_killed_prediction_asks_no_network_twice(study, tmp_path, monkeypatch, capsys):
    """Killed among the answers, then among the pictures; what comes out is the same to the byte."""
    files = [Path(path) for path in load_manifest(study / "manifest.csv")["path"][:3]]
    whole = trained_of_study(study)
    learners = [replace(one, data={**one.data, "predict_batch_size": 2}) for one in whole.learners]
    panel = Panel(replace(whole, learners=tuple(learners)))
    options = PredictOptions(redraws=5, doubtful=True)
    predict_files(panel, files, tmp_path / "at_once", options)

    done: Counter[tuple[str, ...]] = Counter()
    until = {"asked": 3, "drawn": 1}

    def counted(name, key, work):
        def wrapped(self, *arguments):
            if sum(count for (kind, *_), count in done.items() if kind == name) == until.get(name):
                until.pop(name)
                raise KeyboardInterrupt
            done.update((name, *one) for one in key(self, *arguments))
            return work(self, *arguments)

        return wrapped

    def asked(ready, image_ids, cut):
        return [(ready.learner.name, image_id) for image_id in image_ids]

    monkeypatch.setattr(ReadyLearner, "_answer", counted("asked", asked, ReadyLearner._answer))
    explained = counted("explained", lambda cam, *_: [(str(id(cam)),)], GradCam.map_of)
    monkeypatch.setattr(GradCam, "map_of", explained)
    drawn = counted("drawn", lambda one, *_: [(one.image_id,)], opinion.opinion_picture)
    monkeypatch.setattr(opinion, "opinion_picture", drawn)
    out = tmp_path / "out"
    for batches in (2, 4):  # the global learner's, then those of both
        with pytest.raises(KeyboardInterrupt):
            predict_files(panel, files, out, options)
        assert not (out / "predictions.csv").exists()
        assert len(list((out / "work" / "answers").glob("*/*.npz"))) == batches
    masks = {path: path.stat().st_mtime_ns for path in (out / "masks").glob("*-*.png")}
    assert len(masks) == 3
    predict_files(panel, files, out, options)
    assert "patched/small has predicted 3 of 3 already" in capsys.readouterr().err
    maps = [count for (kind, *_), count in done.items() if kind == "explained"]
    assert maps == [3, 3]
    once = [count for (kind, *_), count in done.items() if kind != "explained"]
    assert once == [1] * (6 + 3)  # answers and pictures
    assert {path: path.stat().st_mtime_ns for path in masks} == masks
    left = sorted(path.relative_to(out) for path in out.rglob("*") if path.suffix in SUFFIXES)
    assert len(left) > 8
    for name in left:
        assert (out / name).read_bytes() == (tmp_path / "at_once" / name).read_bytes()
    document = json.loads((out / "predictions.json").read_text())
    assert document["notice"] == NOTICE
    assert [len(one["verdicts"]) for one in document["radiographs"]] == [3, 3, 3]


def test_what_was_asked_otherwise_is_asked_anew(study, tmp_path, capsys):
    files = [Path(path) for path in load_manifest(study / "manifest.csv")["path"][:2]]
    trained = trained_of_study(study, arms=["global"])
    options = PredictOptions(pictures=False, doubtful=True)
    out = tmp_path / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flannel.prediction.predict.save_table", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            predict_files(Panel(trained), files, out, options)
    (kept,) = (out / "work" / "answers").glob("*/*.npz")
    store = Store(out / "work" / "store")
    (learner,) = trained.learners
    read = AnswerCache(out / "work" / "answers", Panel(trained), store)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Panel, "ready", lambda *_: 1 / 0)
        again = list(read.predict(learner, store.image_ids))
    assert [one.image_id for one in again] == list(store.image_ids)
    assert again[0].logits.shape == (1, 4)
    other = Panel(replace(trained, learners=(replace(learner, identity="retrained"),)))
    capsys.readouterr()
    predict_files(other, files, out, options)
    printed = capsys.readouterr().err
    assert (
        "an unfinished prediction with another trained: what depends on it is made again" in printed
    )
    assert "already" not in printed
    assert not kept.exists()


@pytest.mark.parametrize("arm", ["global", "patched", "fused"])
def test_weights_are_those_that_the_answers_are_named_by(study, tmp_path, arm):
    study = Path(shutil.copytree(study, tmp_path / "study"))
    trained = trained_of_study(study)
    part = next(one for one in (*trained.learners, *trained.ensembles) if one.arm == arm)
    stage = "ensemble" if arm == "fused" else "base"
    (path,) = (study / stage / arm).rglob("best.ckpt")
    checkpoint = torch.load(path, weights_only=True)
    for value in checkpoint["state_dict"].values():
        if value.is_floating_point():
            value += 0.01
    torch.save(checkpoint, path)
    with pytest.raises(TrainedError, match=r"best.ckpt has changed since it was opened"):
        part.build()
    other = trained_of_study(study)
    assert other.identity != trained.identity
    assert trained_of_study(study).identity == other.identity
    path.unlink()
    with pytest.raises(TrainedError, match="is missing"):
        part.build()


def test_the_command_answers_draws_and_tells_what_it_cannot_read(study, tmp_path, capsys):
    path = Path(load_manifest(study / "manifest.csv")["path"][0])
    bad = tmp_path / "scan.png"
    bad.write_bytes(b"%PDF-1.7 no picture")
    words = [str(path), str(bad), str(tmp_path / "absent"), f"--study={study}"]
    out = tmp_path / "out"
    assert main(["predict", *words, f"--out={out}", "--doubtful=true", "--patches=3"]) == 0
    printed = capsys.readouterr().out
    assert "1 of 1 radiographs answered" in printed
    assert "scan.png is not an image that can be read" in printed
    assert "absent does not exist" in printed
    assert NOTICE in printed
    table = pd.read_csv(out / "predictions.csv")
    assert table["learner"].tolist() == ["small", "small", "FLANNEL"]
    assert table["patches"].fillna(-1).tolist() == [0, 3, -1]
    (picture,) = (out / "pictures").iterdir()
    with Image.open(picture) as drawn:
        assert min(drawn.size) > 500
    sure = ["--pictures=false", "--doubtful=true", "--until_sure=0"]
    assert main(["predict", str(path), f"--study={study}", f"--out={tmp_path / 's'}", *sure]) == 0
    assert re.search(r"[46] of 6 patches were evaluated", capsys.readouterr().out)
    assert main(["predict", str(bad), f"--study={study}", f"--out={tmp_path / 'none'}"]) == 1
    assert "No radiograph can be read" in capsys.readouterr().err
    assert main(["predict", str(path), f"--study={study}", f"--out={tmp_path}"]) == 1
    assert "holds other files" in capsys.readouterr().err


def test_the_command_names_copies_of_training_radiographs(study, bundle, tmp_path):
    table = load_manifest(study / "manifest.csv")
    used, tested = (table[table["split"] == split]["path"] for split in ("development", "test"))
    raw = tmp_path / "raw"
    raw.mkdir()
    for name, path, change in (
        ("saved", used.iloc[0], lambda picture: picture.resize((150, 130))),
        ("mirrored", used.iloc[1], ImageOps.mirror),
        ("cropped", used.iloc[2], lambda picture: ImageOps.crop(picture, picture.width // 40)),
        ("new", tested.iloc[0], lambda picture: picture),
    ):
        with Image.open(path) as picture:
            change(picture.convert("L")).save(raw / f"{name}.jpg", quality=85)
    shutil.copy(used.iloc[3], raw / "same.png")
    for place, split in ((study, {"train", "val"}), (bundle, {""})):
        out = tmp_path / f"of-{place.name}"
        words = [str(raw), f"--study={place}", f"--out={out}", "--arm=global"]
        assert main(["predict", *words, "--pictures=false", "--redraws=0"]) in (0, 1)
        rows = pd.read_csv(out / "predictions.csv", keep_default_na=False)
        named = {row["file"]: COPY.name in row["doubts"] for row in rows.to_dict("records")}
        expected = {"saved": True, "mirrored": True, "cropped": True, "new": False}
        assert {Path(file).stem: copy for file, copy in named.items()} == {
            **expected, "same": place is bundle,
        }  # fmt: skip
        same = rows[rows["file"].str.endswith("same.png")]
        assert set(same["split"]) <= split


def test_the_page_names_a_copy_of_a_training_radiograph(study, tmp_path):
    table = load_manifest(study / "manifest.csv")
    with Image.open(table[table["split"] == "development"]["path"].iloc[0]) as picture:
        ImageOps.mirror(picture.convert("L")).save(tmp_path / "mirrored.jpg")
    panel = Panel(trained_of_study(study, arms=["global"]))
    page = create_app(partial(opinion_on, panel), str(study), FLANNEL, 1)
    client = TestClient(page, base_url="http://127.0.0.1:8765")
    answer = client.post("/", files={"radiograph": (tmp_path / "mirrored.jpg").read_bytes()})
    assert answer.status_code == 200
    assert f"Doubt: {COPY.name}." in answer.text


def test_what_a_study_lacks_is_said(study, tmp_path):
    with pytest.raises(TrainedError, match="no finished base learner of fold 3"):
        trained_of_study(study, fold=3)
    with pytest.raises(TrainedError, match="in the arms masked; there are global/small"):
        trained_of_study(study, arms=["masked"])
    with pytest.raises(TrainedError, match=r"no finished mean in that fold; .* there is FLANNEL"):
        trained_of_study(study, forms=["FLANNEL", "mean"])
    fused = trained_of_study(study, arms=["fused"])
    assert [one.name for one in fused.learners] == ["global/small", "patched/small"]
    copy = Path(shutil.copytree(study, tmp_path / "study"))
    folds = copy / "base" / "global" / "small"
    shutil.copytree(folds / "fold0", folds / "fold1")
    several = trained_of_study(copy, arms=["global"])
    assert several.fold == 0
    assert "the folds 0, 1: fold 0 predicts" in several.notes[0]
    assert trained_of_study(copy, fold=1, arms=["global"]).notes == ()
    shutil.rmtree(folds / "fold1")
    shutil.rmtree(copy / "segmentation")
    with pytest.raises(
        TrainedError, match="holds no finished segmenter, which patched/small needs"
    ):
        trained_of_study(copy)
    alone = trained_of_study(copy, arms=["global"])
    assert (alone.segmenter, alone.ensembles) == (None, ())
    config = copy / "base" / "global" / "small" / "fold0" / "config.yaml"
    text = config.read_text()
    config.write_text(text.replace("flannel.networks.ImageNetNetwork", "os.system"))
    with pytest.raises(TrainedError, match=r"os\.system is not built"):
        trained_of_study(copy, arms=["global"]).learners[0].build()
    config.write_text(text.replace("resize_px: 40", "resize_pixels: 40"))
    with pytest.raises(TrainedError, match="are not those of this version"):
        _ = trained_of_study(copy, arms=["global"]).learners[0].view_options


def test_a_manifest_of_somebody_else_in_the_current_folder_is_not_read(
    study, tmp_path, monkeypatch
):
    file = Path(load_manifest(study / "manifest.csv")["path"][0]).resolve()
    study = study.resolve()
    words = ["predict", str(file), f"--study={study}", "--pictures=false", "--doubtful=true"]
    tables = []
    for name, content in (("empty", None), ("page", '{"name": "a page of the web"}')):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        if content:
            Path("manifest.json").write_text(content, encoding="utf-8")
        assert main([*words, "--redraws=0"]) == 0
        tables.append(Path("predictions/predictions.csv").read_bytes())
    assert tables[0] == tables[1]


@pytest.mark.parametrize(
    ("data", "spared"),
    [
        ({"predict_patches": 100}, True),
        ({"predict_patches": 41, "centres": "uniform"}, True),
        ({"predict_patches": 40}, False),
        ({"predict_patches": 101}, False),  # nobody measured more
        ({"predict_patches": 100, "centres": "relaxed"}, False),
    ],
)
def test_few_patches_stand_for_up_to_a_hundred_uniform_ones(study, data, spared):
    whole = trained_of_study(study)
    learners = [replace(one, data={**one.data, **data}) for one in whole.learners]
    asked = replace(whole, learners=tuple(learners)).with_few_patches()
    before, after = (
        dict(zip("gp", learners, strict=True)),
        dict(zip("gp", asked.learners, strict=True)),
    )
    assert after["g"] == before["g"]
    assert (after["p"] != before["p"]) == spared == bool(asked.notes)
    if spared:
        options = after["p"].view_options
        assert (options.patches["predict"], options.view.centres) == (40, "relaxed")
        assert after["p"].identity != before["p"].identity
    seconds = Panel(asked).seconds_an_image()
    assert 0 < seconds < 60
