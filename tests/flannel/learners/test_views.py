"""Views cut from parts of the stored radiographs, against the plain way: prepare the whole, cut."""

import itertools
from typing import get_args

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as pictures

from flannel.data.store import Store
from flannel.learners.views import PatchView, ViewSampling, WholeArm, WholeView, box_with_margin
from flannel.study.contents import WHOLE_ARMS
from patching.coverage import area_weights, coverage
from patching.sampling import crop_patches, sample_centres

WINDOW_PX = 24


@pytest.fixture(scope="module")
def store(_phantom_study):
    return Store(_phantom_study / "store")


def draw(training, patches=5, seed=3):
    return ViewSampling(torch.Generator().manual_seed(seed), training, patches)


def prepared(store, image_id, masked, greyscale):
    """The whole radiograph, with everything done to every pixel."""
    levels = np.array(store.radiograph(image_id))
    if greyscale == "equalised":
        levels = store.equalisation(image_id)[levels]
    return torch.from_numpy(levels * store.lung_mask(image_id) if masked else levels)[None]


def plain_patches(store, image_id, view, drawn):
    lungs = torch.from_numpy(store.lung_mask(image_id))
    centres = sample_centres(lungs, drawn.patches, drawn.generator, view.centres)
    image = prepared(store, image_id, view.masked, view.greyscale)
    patches = crop_patches(image, centres, WINDOW_PX, view.border)
    if view.size_px != WINDOW_PX:
        patches = pictures.resize(patches, [view.size_px, view.size_px], antialias=True)
    return patches, centres, coverage(lungs, centres, WINDOW_PX)[-1].float()


@pytest.mark.parametrize("lung_box", [False, True])
def test_views_are_counted_as_they_are_cut(store, lung_box):
    patches = PatchView((WINDOW_PX,), 16, "uniform", "inside", True, lung_box=lung_box)
    for view, count in ((patches, 5 + lung_box), (WholeView(32, 32), 1)):
        pixels, places = view.views(store, store.image_ids[0], draw(False))
        assert view.count(5) == count == len(pixels) == len(places.centres)
        assert view.patched == (view is patches)


@pytest.mark.parametrize("centres", ["uniform", "relaxed", "independent"])
@pytest.mark.parametrize("border", ["inside", "padded", "stretched"])
def test_patches_equal_those_of_the_whole_radiograph(store, centres, border):
    options = itertools.product((True, False), ("plain", "equalised"), (WINDOW_PX, 32), (1, 5))
    for number, (masked, greyscale, size_px, k) in enumerate(options):
        image_id = store.image_ids[number]
        view = PatchView((WINDOW_PX,), size_px, centres, border, masked, greyscale)
        for training in (True, False):
            pixels, places = view.views(store, image_id, draw(training, k))
            expected = plain_patches(store, image_id, view, draw(training, k))
            assert pixels.dtype == torch.uint8
            assert pixels.shape == (k, 1, size_px, size_px)
            assert torch.equal(pixels, expected[0])
            assert torch.equal(places.centres, expected[1])
            assert places.windows_px.tolist() == [WINDOW_PX] * k
            assert places.weights.tolist() == [1] * k
            assert places.coverage.isnan() if training else places.coverage == expected[2]


def prepared_for(store, image_id, arm, greyscale):
    whole = prepared(store, image_id, arm == "masked", greyscale)
    lungs = torch.from_numpy(store.lung_mask(image_id))
    if arm == "background":
        return whole * ~lungs
    if arm == "cropped":
        rows, columns = (lungs.any(dim=along).nonzero()[:, 0].tolist() for along in (1, 0))
        return whole[:, rows[0] - 3 : rows[-1] + 4, columns[0] - 3 : columns[-1] + 4]
    return whole


@pytest.mark.parametrize("arm", WHOLE_ARMS)
@pytest.mark.parametrize("greyscale", ["plain", "equalised"])
def test_a_whole_view_is_the_prepared_radiograph_resized_and_cropped(store, arm, greyscale):
    view = WholeView(resize_px=40, size_px=32, arm=arm, greyscale=greyscale, crop_margin_px=3)
    image_id = store.image_ids[4]
    whole = prepared_for(store, image_id, arm, greyscale)
    resized = pictures.resize(
        whole, [40, 40], interpolation=pictures.InterpolationMode.BICUBIC, antialias=True
    )
    pixels, places = view.views(store, image_id, draw(False))
    assert torch.equal(pixels[0], resized[:, 4:36, 4:36])
    assert places.centres.tolist() == [[-1, -1]]
    assert places.windows_px.tolist() == [0]
    assert places.weights.tolist() == [1]
    assert places.coverage.isnan()
    top, left = draw(True).integers(9, 2)
    pixels, _ = view.views(store, image_id, draw(True))
    assert torch.equal(pixels[0], resized[:, top : top + 32, left : left + 32])


def test_the_arms_that_see_one_view_are_those_of_the_tables():
    assert get_args(WholeArm) == WHOLE_ARMS


def test_lungs_and_background_are_the_radiograph(store):
    for image_id in store.image_ids[:3]:
        pixels = {
            arm: WholeView(store.size_px, store.size_px, arm).views(store, image_id, draw(False))[0]
            for arm in ("global", "masked", "background")
        }
        assert torch.equal(pixels["masked"] + pixels["background"], pixels["global"])
        lungs = torch.from_numpy(store.lung_mask(image_id))
        assert pixels["background"][0, 0][lungs].eq(0).all()


def test_a_box_ends_where_the_picture_does():
    mask = np.zeros((20, 20), bool)
    mask[2:12, 5:9] = mask[6:15, 11:19] = True
    assert box_with_margin(mask, 0) == (2, 5, 13, 14)
    assert box_with_margin(mask, 3) == (0, 2, 18, 18)


def test_the_store_s_own_pixels_are_never_changed(store):
    before = [store.radiograph(image_id).copy() for image_id in store.image_ids[:3]]
    for image_id in store.image_ids[:3]:
        for arm in WHOLE_ARMS:
            pixels, _ = WholeView(64, 64, arm).views(store, image_id, draw(False))
            pixels.zero_()
        for masked in (True, False):
            view = PatchView((64,), 64, "uniform", "inside", masked)
            pixels, _ = view.views(store, image_id, draw(False, 1))
            pixels.zero_()
    for image_id, levels in zip(store.image_ids, before, strict=False):
        np.testing.assert_array_equal(store.radiograph(image_id), levels)


def test_scales_take_turns_and_the_lung_box_comes_last(store):
    image_id = store.image_ids[1]
    mask = torch.from_numpy(store.lung_mask(image_id))
    image = prepared(store, image_id, True, "plain")
    view = PatchView((24, 48), 24, "uniform", "inside", True, lung_box=True)
    pixels, places = view.views(store, image_id, draw(False, 3))
    plain = PatchView((24,), 24, "uniform", "inside", True)
    assert torch.equal(places.centres[:3], plain.views(store, image_id, draw(False, 3))[1].centres)
    rows, columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
    side = int(max(rows[-1] - rows[0], columns[-1] - columns[0])) + 1
    assert places.windows_px.tolist() == [24, 48, 24, side]
    assert places.weights.tolist() == [1, 1, 1, 1]
    for view_at, window in enumerate(places.windows_px.tolist()):
        patch = crop_patches(image, places.centres[[view_at]], window)
        expected = pictures.resize(patch, [24, 24], antialias=True) if window != 24 else patch
        assert torch.equal(pixels[[view_at]], expected)
    # The box holds all of the lungs, and is not counted as coverage.
    box = crop_patches(mask[None], places.centres[[3]], side)
    assert box.sum() == mask.sum()
    sides = places.windows_px[:3]
    assert places.coverage == coverage(mask, places.centres[:3], sides)[-1].float()


def test_in_training_a_single_patch_may_have_any_scale(store):
    view = PatchView((24, 48), 24, "uniform", "inside", True)
    sides = [
        int(view.views(store, store.image_ids[0], draw(True, 1, seed=seed))[1].windows_px)
        for seed in range(20)
    ]
    assert set(sides) == {24, 48}


def test_patches_weigh_as_much_as_the_lung_they_speak_for(store):
    image_id = store.image_ids[2]
    view = PatchView((24,), 24, "uniform", "inside", True, weights="area", lung_box=True)
    _, places = view.views(store, image_id, draw(False, 6))
    mask = torch.from_numpy(store.lung_mask(image_id))
    assert torch.equal(places.weights[:6], area_weights(mask, places.centres[:6]))
    assert places.weights[6] == 1
    assert places.weights.mean().item() == pytest.approx(1, abs=1e-6)
    _, training = view.views(store, image_id, draw(True, 6))
    assert training.weights.tolist() == [1] * 7
