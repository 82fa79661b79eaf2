"""Stopped counts against the votes that all patches gave."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from flannel.analysis.patch_study import PatchRun
from flannel.analysis.stopping import stopping_page, study_stopping
from flannel.data.diagnosis import FLANNEL
from flannel.study.contents import StudyRun
from flannel.study.patches import Patches

IMAGES, PATCHES = 40, 40


def made_up(tmp_path, right):
    """A run whose patches vote for the true diagnosis with a probability, else for the next."""
    generator = np.random.default_rng(1)
    true = np.arange(IMAGES) % 4
    chosen = (true[:, None] + (generator.random((IMAGES, PATCHES)) >= right)) % 4
    patches = Patches(
        image_id=tuple(f"image-{i:02d}" for i in range(IMAGES)),
        centres=np.zeros((IMAGES, PATCHES, 2), np.int16),
        windows_px=np.full((IMAGES, PATCHES), 224, np.int16),
        weights=np.ones((IMAGES, PATCHES), np.float32),
        logits=20 * np.eye(4, dtype=np.float16)[chosen],
        strategy="uniform",
        lung_box=False,
    )
    truth = pd.DataFrame({"diagnosis": np.array(FLANNEL)[true], "split": "test"}, patches.image_id)
    run = StudyRun("base", "patched", "small", 0, tmp_path, True, {})
    return PatchRun(run, patches, truth, FLANNEL)


def test_agreeing_patches_need_the_fewest_and_cost_nothing(tmp_path):
    table = study_stopping([made_up(tmp_path, right=1.0)], repeats=2)
    share = table[table["rule"] == "share"].set_index("error")
    # More than 20 of 40 decide, looked at after every 4.
    assert share["asked"][0.0] == 24
    assert share["spared"][0.0] == pytest.approx(1 - 24 / 40)
    assert share["asked"].is_monotonic_decreasing
    assert (table[["agreement", "f1"]] == 1).all(axis=None)
    assert table["difference"].max() < 1e-12


@pytest.mark.slow
def test_certainty_changes_no_majority_and_a_risk_at_most_its_share(tmp_path):
    table = study_stopping([made_up(tmp_path, right=0.55)], repeats=20)
    certain = table[table["error"] == 0]
    assert (certain["agreement"] == 1).all()
    np.testing.assert_array_equal(certain["f1"], certain["f1_all"])
    risky = table[table["error"] > 0]
    assert (1 - risky["agreement"] <= risky["error"]).all()
    assert (risky["difference"] > 0).all()


def test_only_test_images_count_and_the_page_has_a_row_per_rule_and_risk(tmp_path):
    one = made_up(tmp_path, right=1.0)
    elsewhere = one.truth.assign(split="val")
    assert study_stopping([replace(one, truth=elsewhere)], repeats=2).empty
    table = study_stopping([one], repeats=2)
    page = stopping_page(table)
    assert "| share | 0 | 40 | 24.0 | 40% | 100.00% | 0.000 | 1.000 | 1.000 |" in page
    assert page.count("\n| ") == 2 + len(table)
