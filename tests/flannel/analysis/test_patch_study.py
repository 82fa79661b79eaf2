"""Subsets of kept patches, against counts by hand and runs of the size that they stand for."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from flannel.analysis.patch_report import write_patch_study
from flannel.analysis.patch_study import (
    SPREAD,
    PatchRun,
    chosen_k,
    covered_by,
    patch_runs,
    study_patches,
)
from flannel.data.diagnosis import FLANNEL
from flannel.data.store import Store
from flannel.study.contents import StudyError, StudyRun
from flannel.study.patches import Patches, load_patches, save_patches
from patching.coverage import coverage
from patching.vote import vote

IMAGES = 24


def made_up(tmp_path, right=0.6, k=100, sides=(224,), seed=1):
    """A run whose patches vote for the true diagnosis with a probability, each for itself."""
    generator = np.random.default_rng(seed)
    true = np.arange(IMAGES) % 4
    guessed = generator.integers(4, size=(IMAGES, k))
    chosen = np.where(generator.random((IMAGES, k)) < right, true[:, None], guessed)
    logits = 4 * np.eye(4, dtype=np.float16)[chosen]
    patches = Patches(
        image_id=tuple(f"image-{i:02d}" for i in range(IMAGES)),
        centres=generator.integers(20, 44, (IMAGES, k, 2)).astype(np.int16),
        windows_px=np.tile(np.resize(sides, k), (IMAGES, 1)).astype(np.int16),
        weights=np.ones((IMAGES, k), np.float32),
        logits=logits,
        strategy="uniform",
        lung_box=False,
    )
    split = np.where(np.arange(IMAGES) < IMAGES // 2, "val", "test")
    truth = pd.DataFrame({"diagnosis": np.array(FLANNEL)[true], "split": split}, patches.image_id)
    run = StudyRun("base", "patched", "small", 0, tmp_path, True, {})
    return PatchRun(run, patches, truth, FLANNEL)


def values(table, measure, **where):
    for column, value in where.items():
        table = table[table[column] == value]
    return table[table["measure"] == measure].set_index("k")["value"]


def test_the_spread_is_that_of_independent_patches(tmp_path):
    """Votes are a draw from the run's own shares p: their deviation is sqrt(p (1 - p) / K)."""
    one = made_up(tmp_path)
    table = study_patches([one], None, repeats=100)
    spread = values(table, SPREAD, split="test", rule="share")
    shares = vote(torch.from_numpy(one.patches.logits[IMAGES // 2 :].astype(np.float32)))
    expected = (shares * (1 - shares)).mean().sqrt().item()
    for k in (1, 10, 100):
        assert spread[k] == pytest.approx(expected / k**0.5, rel=0.1)


def test_the_more_patches_that_are_mostly_right_the_better_f1(tmp_path):
    sure = study_patches([made_up(tmp_path, right=1.0)], None, repeats=3)
    for name in (*FLANNEL, "macro"):
        assert (values(sure, f"F1 {name}") == 1).all()
    assert (values(sure, SPREAD, rule="share") == 0).all()
    unsure = study_patches([made_up(tmp_path)], None, repeats=20)
    macro = values(unsure, "F1 macro", rule="share", split="test")
    # One patch is right for 0.6 + 0.4 / 4 = 0.7 of the images; a hundred nearly always.
    assert macro[1] == pytest.approx(0.7, abs=0.08)
    assert macro[100] > 0.97
    assert macro[[1, 5, 10, 20]].is_monotonic_increasing


def test_every_rule_is_there_and_the_same_call_gives_the_same_numbers(tmp_path):
    one = made_up(tmp_path, k=12)
    table = study_patches([one], None, repeats=2)
    assert set(table["rule"]) == {"share", "mean_softmax", "mean_sigmoid"}
    assert set(table["k"]) == {1, 2, 5, 10, 12}
    pd.testing.assert_frame_equal(table, study_patches([one], None, repeats=2))


def test_sizes_are_studied_together_and_apart(tmp_path):
    one = made_up(tmp_path, k=20, sides=(224, 448))
    table = study_patches([one], None, repeats=2)
    assert table.groupby("window_px")["k"].max().to_dict() == {"224+448": 20, "224": 10, "448": 10}


def test_the_lung_box_is_left_out(study_files):
    folder = study_files.run("base/patched/small/fold0", FLANNEL * 2)
    study_files.patches("base/patched/small/fold0", count=6)
    kept = load_patches(folder / "patches.npz")
    save_patches(replace(kept, lung_box=True), folder / "patches.npz")
    (one,) = patch_runs(study_files.folder)
    np.testing.assert_array_equal(one.patches.logits, kept.logits[:, :5])
    assert one.truth["diagnosis"].tolist() == [name for name in FLANNEL for _ in range(2)]


def test_coverage_is_the_mean_over_images(study_files):
    study_files.run("base/patched/small/fold0", FLANNEL * 2)
    study_files.pictures()
    study_files.patches("base/patched/small/fold0", count=1)
    (one,) = patch_runs(study_files.folder)
    store = Store(study_files.folder / "store")
    table = study_patches([one], store, repeats=2)
    expected = np.mean(
        [
            coverage(
                torch.from_numpy(store.lung_mask(image_id)),
                torch.from_numpy(centres.astype(np.int64)),
                16,
            )[-1]
            for image_id, centres in zip(one.patches.image_id, one.patches.centres, strict=True)
        ]
    )
    assert values(table, covered_by(1)).to_dict() == {1: pytest.approx(expected)}
    assert values(table, covered_by(3)).to_dict() == {1: 0.0}


def test_k_is_chosen_on_validation_and_reported_on_test():
    def rows(split, f1):
        return pd.DataFrame(
            {
                "k": [1, 10, 100],
                "value": f1,
                "deviation": [0.1, 0.04, 0.02],
                "split": split,
                "learner": "small",
                "fold": 0,
                "window_px": "224",
                "rule": "share",
                "measure": "F1 macro",
            }
        )

    table = pd.concat([rows("val", [0.5, 0.69, 0.7]), rows("test", [0.9, 0.6, 0.65])])
    (row,) = chosen_k(table).to_dict("records")
    assert (row["k"], row["f1"], row["deviation"]) == (10, 0.6, 0.04)
    assert (row["most"], row["f1_most"], row["deviation_most"]) == (100, 0.65, 0.02)


@pytest.mark.slow
def test_the_files_of_the_study_of_patches(study_files):
    study_files.run("base/patched/small/fold0", FLANNEL * 2)
    study_files.patches("base/patched/small/fold0")
    folder = study_files.folder / "comparison"
    written = write_patch_study(study_files.folder, repeats=2)
    assert written == [
        folder / "patches.csv", folder / "stopping.csv", folder / "patches.md",
        folder / "figures" / "patches_k.png",
    ]  # fmt: skip
    assert (folder / "figures" / "patches_k.pdf").is_file()
    table = pd.read_csv(folder / "patches.csv", dtype={"rule": str}, keep_default_na=False)
    assert set(table["measure"]) == {SPREAD, "F1 macro", *(f"F1 {name}" for name in FLANNEL)}


def test_what_cannot_be_studied_is_a_sentence(study_files):
    study_files.run("base/global/small/fold0", FLANNEL * 2)
    with pytest.raises(StudyError, match=r"no finished run with patches.npz"):
        patch_runs(study_files.folder)
    with pytest.raises(ValueError, match="repeats is 1"):
        write_patch_study(study_files.folder, repeats=1)
