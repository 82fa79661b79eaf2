import numpy as np
import pytest
from matplotlib.patches import Rectangle

from flannel.data.diagnosis import FLANNEL
from flannel.data.store import Store
from flannel.galleries import (
    CLASS_COLOURS,
    Patches,
    mask_flags,
    masks_examples,
    segmentation_triptych,
    votes,
    write_galleries,
)
from flannel.study import read_comparison

COVID, VIRAL, BACTERIAL, NORMAL = FLANNEL
TRUTH = (COVID, COVID, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, NORMAL)


@pytest.fixture
def store(study_files):
    study_files.pictures()
    return Store(study_files.folder / "store")


def test_galleries_show_the_first_test_radiograph_of_each_diagnosis(study_files, store):
    study_files.run("base/patched/vgg19_bn/fold0", TRUTH)
    study_files.patches("base/patched/vgg19_bn/fold0")
    folder = study_files.folder / "figures"
    written = write_galleries(read_comparison(study_files.folder), folder)
    assert set(written) == {"segmentation", "masks", "votes"}
    assert all(path.stat().st_size > 10_000 for path in written.values())
    assert all(path.with_suffix(".pdf").is_file() for path in written.values())


def test_without_a_store_there_are_no_galleries(study_files):
    study_files.run("base/patched/vgg19_bn/fold0", TRUTH)
    comparison = read_comparison(study_files.folder)
    assert write_galleries(comparison, study_files.folder / "figures") == {}


def test_votes_count_patches_and_keep_windows_inside(store):
    logits = np.zeros((1, 4, 4), np.float16)
    logits[0, [0, 1, 2, 3], [0, 0, 0, 3]] = 1
    centres = np.array([[[0, 0], [32, 32], [63, 63], [5, 60]]], np.int16)
    patches = Patches("a run", ["test-0"], centres, logits, size_px=16)
    radiograph, shares = votes(store, patches, {"test-0": COVID}, FLANNEL).axes
    assert [bar.get_width() for bar in shares.patches] == [0.75, 0, 0, 0.25]
    boxes = [patch for patch in radiograph.patches if isinstance(patch, Rectangle)]
    # x, y of the upper left corner: column and row of the centre minus 8, moved into 0..48.
    assert [box.get_xy() for box in boxes] == [(0, 0), (24, 24), (48, 48), (48, 0)]
    assert radiograph.lines[3].get_color() == CLASS_COLOURS[3]


def test_masked_radiograph_is_black_outside_the_lungs(store):
    _, mask, masked = segmentation_triptych(store, "test-0").axes
    lungs = mask.images[0].get_array() > 0
    assert np.array_equal(lungs, store.lung_mask("test-0"))
    assert np.all(masked.images[0].get_array()[~lungs] == 0)


def test_masks_examples_draw_an_outline(store):
    axes = masks_examples(store, {"test-0": "flagged"}).axes[0]
    assert axes.get_title() == "flagged"
    assert len(axes.collections) == 2


def test_only_flagged_masks_are_listed(study_files, store):
    assert mask_flags(study_files.folder).to_dict("records") == [
        {"image_id": "test-0", "flag": "one lung <only>"}
    ]
    assert mask_flags(study_files.folder / "elsewhere").empty
