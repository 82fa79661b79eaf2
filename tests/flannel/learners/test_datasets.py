"""The images of an epoch, their order and their views."""

import tracemalloc

import numpy as np
import pytest
import torch
from torchvision.transforms.v2.functional import rotate

from flannel.data.diagnosis import FLANNEL
from flannel.data.manifest import load_manifest
from flannel.learners.augmentation import Augmentation
from flannel.learners.datasets import EpochSampler, RadiographDataset, SampleKey, collate
from flannel.learners.views import PatchView, WholeView


def test_samplers_share_an_epoch_without_overlap_and_evenly():
    parts = [EpochSampler([0] * 11, 3, "shuffled", rank=r, ranks=2) for r in range(2)]
    rows = [[key.row for key in part] for part in parts]
    assert [len(part) for part in rows] == [5, 5] == [len(part) for part in parts]
    assert len(set(rows[0] + rows[1])) == 10
    parts[0].set_epoch(1)
    assert [key.row for key in parts[0]] != rows[0]
    assert {key.epoch for key in parts[0]} == {1}


def test_prediction_samplers_leave_no_row_out_and_repeat_none():
    parts = [EpochSampler([0] * 13, 3, "listed", rank=r, ranks=2, even=False) for r in range(2)]
    rows = [key.row for part in parts for key in part]
    assert sorted(rows) == list(range(13))
    assert [len(part) for part in parts] == [7, 6]


def rows(sampler, epoch=0):
    sampler.set_epoch(epoch)
    return [key.row for key in sampler]


def test_a_fixed_order_is_shuffled_once_and_the_same_in_every_epoch():
    sampler = EpochSampler([0] * 20, 3, "fixed")
    assert rows(sampler, 0) == rows(sampler, 7)
    assert sorted(rows(sampler)) == list(range(20)) != rows(sampler)
    assert [key.epoch for key in sampler] == [0] * 20


def test_balanced_draws_make_all_classes_equally_frequent():
    targets = np.repeat([0, 1, 2, 3], [60, 300, 570, 330])
    sampler = EpochSampler(targets, 3, "balanced")
    drawn = np.concatenate([targets[rows(sampler, epoch)] for epoch in range(10)])
    frequency = np.bincount(drawn) / len(drawn)
    # 12,600 draws: the standard deviation of a frequency of 1/4 is 0.0039
    np.testing.assert_allclose(frequency, 0.25, atol=4 * 0.0039)
    within = np.bincount(rows(sampler), minlength=len(targets))[:60]
    assert within.max() > 1  # with replacement
    assert len(sampler) == len(targets)


def test_balanced_draws_derive_from_seed_and_epoch_and_are_parted_over_ranks():
    targets = [0] * 3 + [1] * 17
    whole = rows(EpochSampler(targets, 3, "balanced"), 5)
    assert whole == rows(EpochSampler(targets, 3, "balanced"), 5)
    assert whole != rows(EpochSampler(targets, 3, "balanced"), 6)
    assert whole != rows(EpochSampler(targets, 4, "balanced"), 5)
    parts = [rows(EpochSampler(targets, 3, "balanced", rank=r, ranks=2), 5) for r in range(2)]
    assert [row for pair in zip(*parts, strict=True) for row in pair] == whole


def test_an_image_that_comes_twice_in_an_epoch_is_told_apart():
    keys = list(EpochSampler([0] + [1] * 30, 3, "balanced"))
    turns = [key.turn for key in keys if key.row == 0]
    assert turns == list(range(len(turns)))
    assert len(turns) > 5


def test_an_unknown_order_is_refused():
    with pytest.raises(ValueError, match="order is 'sorted'"):
        list(EpochSampler([0, 1], 3, "sorted"))


def dataset(study, view, **options):
    chosen = {"patches": 1, "training": True, "anew": True, "seed": 1}
    fixed = {"normalisation": "imagenet", "diagnoses": FLANNEL}
    table = load_manifest(study / "manifest.csv")
    return RadiographDataset(table, study / "store", view, **{**chosen, **fixed, **options})


def test_random_crops_stay_inside_and_differ(phantom_study):
    images = dataset(phantom_study, WholeView(resize_px=40, size_px=32))
    crops = [images[SampleKey(epoch, 0)].pixels for epoch in range(6)]
    assert len({crop.numpy().tobytes() for crop in crops}) > 1
    assert PatchView((24,), 24, "uniform", "inside", True).masked


def test_each_time_that_an_image_comes_in_an_epoch_it_looks_different(phantom_study):
    images = dataset(phantom_study, PatchView((24,), 24, "uniform", "inside", True), patches=3)
    turns = [images[SampleKey(0, 0, turn)].places.centres for turn in (0, 1, 0)]
    assert torch.equal(turns[0], turns[2])
    assert not torch.equal(turns[0], turns[1])


def test_what_is_not_drawn_anew_is_the_same_in_every_epoch(phantom_study):
    view = PatchView((24,), 24, "uniform", "inside", True)
    for anew in (False, True):
        images = dataset(phantom_study, view, patches=3, training=False, anew=anew)
        same = torch.equal(
            images[SampleKey(0, 0)].places.centres, images[SampleKey(1, 0)].places.centres
        )
        assert same != anew


def test_training_pixels_are_the_radiograph_s_and_departures_travel_beside_them(phantom_study):
    view = WholeView(resize_px=32, size_px=32)
    plain = dataset(phantom_study, view)[SampleKey(0, 3)]
    assert plain.augmented_by is None
    augmented = dataset(phantom_study, view, augmentation=Augmentation(1.0, 5))
    found = [collate([augmented[SampleKey(epoch, 3)]]) for epoch in range(40)]
    turned = [rotate(plain.pixels.flip(-1), a).numpy().tobytes() for a in range(-5, 6)]
    seen = [batch.augmented_by.apply(batch.pixels)[0].numpy().tobytes() for batch in found]
    assert all(torch.equal(batch.pixels[0], plain.pixels) for batch in found)
    assert set(seen) <= set(turned)
    assert len(set(seen)) > 5
    assert set(np.unique(rotate(torch.full((1, 32, 32), 9, dtype=torch.uint8), 5))) == {0, 9}


def test_only_training_departs(phantom_study):
    view = PatchView((24,), 24, "uniform", "inside", True)
    images = dataset(phantom_study, view, training=False, augmentation=Augmentation(1.0, 5))
    assert images[SampleKey(0, 0)].augmented_by is None
    assert collate([images[SampleKey(0, row)] for row in range(3)]).augmented_by is None


def test_what_is_drawn_for_an_image_hangs_on_no_other_image_and_no_shared_generator(phantom_study):
    """On seed, epoch and image alone: neither on what came before nor on torch's own generator."""
    view = PatchView((24,), 24, "uniform", "inside", True)
    fastai = Augmentation(0.5, 10, 0.2, 0.1, 0.2, 0.75)
    images = dataset(phantom_study, view, augmentation=fastai)
    before = torch.get_rng_state()
    batch = collate([images[SampleKey(1, row)] for row in range(4)])
    torch.manual_seed(123)
    later = torch.get_rng_state()
    again = collate([images[SampleKey(1, row)] for row in (3, 1)])
    departed = again.augmented_by.apply(again.pixels)
    assert torch.equal(torch.get_rng_state(), later)
    torch.set_rng_state(before)
    whole = batch.augmented_by.apply(batch.pixels)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(departed, whole[[3, 1]])
    assert not torch.equal(
        images[SampleKey(2, 3)].augmented_by.source, again.augmented_by.source[0]
    )


def test_several_random_patches_of_an_image_in_training(phantom_study):
    images = dataset(phantom_study, PatchView((24,), 24, "uniform", "inside", True), patches=4)
    batch = images[SampleKey(0, 0)]
    assert batch.pixels.shape == (4, 1, 24, 24)
    assert len({tuple(centre) for centre in batch.places.centres.tolist()}) > 1


def test_memory_does_not_grow_with_the_images_seen(phantom_study):
    """Not even by a count for each line of a mask, which for 30 images would be 15 kB."""
    view = PatchView((24,), 24, "uniform", "inside", True)
    images = dataset(phantom_study, view, patches=8, training=False, anew=False)
    arrays = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)
    held = []
    tracemalloc.start()
    try:
        for rows in (range(10), range(10, 40)):
            for row in rows:
                images[SampleKey(0, row)]
            traces = tracemalloc.take_snapshot().filter_traces([arrays]).traces
            held.append(sum(trace.size for trace in traces))
    finally:
        tracemalloc.stop()
    assert 0 < held[1] < held[0] + 1_000
