import numpy as np

from flannel.comparison.radiograph_figures.masks import (
    mask_flags,
    masks_examples,
    segmentation_triptych,
)


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
