"""Views cut from parts of the stored radiographs, against the plain way: prepare the whole, cut."""

import itertools

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as pictures

from flannel.data.store import Store
from flannel.views import Draw, PatchView, WholeView
from patching.coverage import coverage
from patching.sampling import crop_patches, sample_centres

WINDOW_PX = 24


@pytest.fixture(scope="module")
def store(_phantom_study):
    return Store(_phantom_study / "store")


def draw(training, patches=5, flip=0.5, rotation_degrees=5, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return Draw(generator, training, patches, flip, rotation_degrees)


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
    patches = crop_patches(image, centres, view.window_px, view.border)
    if view.size_px != view.window_px:
        patches = pictures.resize(patches, [view.size_px, view.size_px], antialias=True)
    return drawn.augment(patches), centres, coverage(lungs, centres, view.window_px)


@pytest.mark.parametrize("centres", ["uniform", "spread", "independent"])
@pytest.mark.parametrize("border", ["inside", "padded", "stretched"])
def test_patches_equal_those_of_the_whole_radiograph(store, centres, border):
    options = itertools.product((True, False), ("plain", "equalised"), (WINDOW_PX, 32), (1, 5))
    for number, (masked, greyscale, size_px, k) in enumerate(options):
        image_id = store.image_ids[number]
        view = PatchView(WINDOW_PX, size_px, centres, border, masked, greyscale)
        for training in (True, False):
            pixels, found, seen = view.views(store, image_id, draw(training, k))
            expected = plain_patches(store, image_id, view, draw(training, k))
            assert pixels.dtype == torch.uint8
            assert pixels.shape == (k, 1, size_px, size_px)
            assert torch.equal(pixels, expected[0])
            assert torch.equal(found, expected[1])
            assert np.isnan(seen) if training else seen == expected[2]


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("greyscale", ["plain", "equalised"])
def test_a_whole_view_is_the_prepared_radiograph_resized_and_cropped(store, masked, greyscale):
    view = WholeView(resize_px=40, size_px=32, masked=masked, greyscale=greyscale)
    image_id = store.image_ids[4]
    whole = prepared(store, image_id, masked, greyscale)
    resized = pictures.resize(
        whole, [40, 40], interpolation=pictures.InterpolationMode.BICUBIC, antialias=True
    )
    pixels, centres, seen = view.views(store, image_id, draw(False))
    assert torch.equal(pixels[0], resized[:, 4:36, 4:36])
    assert centres.tolist() == [[-1, -1]]
    assert np.isnan(seen)
    top, left = draw(True).integers(9, 2)
    pixels, _, _ = view.views(store, image_id, draw(True, flip=0.0, rotation_degrees=0))
    assert torch.equal(pixels[0], resized[:, top : top + 32, left : left + 32])


def test_the_store_s_own_pixels_are_never_changed(store):
    before = [store.radiograph(image_id).copy() for image_id in store.image_ids[:3]]
    for image_id in store.image_ids[:3]:
        for masked in (True, False):
            view = PatchView(64, 64, "uniform", "inside", masked)
            pixels, _, _ = view.views(store, image_id, draw(False, 1))
            pixels.zero_()
    for image_id, levels in zip(store.image_ids, before, strict=False):
        np.testing.assert_array_equal(store.radiograph(image_id), levels)
