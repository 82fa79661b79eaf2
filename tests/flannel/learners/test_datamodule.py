"""Batches: what the networks see of a radiograph, fold by fold."""

import contextlib
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flannel.data.manifest import ManifestError, load_manifest, save_manifest
from flannel.data.mask import write_mask
from flannel.data.store import Store, fill_lung_masks
from flannel.errors import OptionError
from flannel.learners.datamodule import CohortError, RadiographDataModule, view_options_of
from flannel.learners.views import PatchView, WholeView, normalise


def module(study, **options):
    chosen = {"size_px": 32, "resize_px": 40, "window_px": 24, "batch_size": 4, "flip": 0.0}
    data = RadiographDataModule(study, **{**chosen, **options})
    data.setup("fit")
    return data


def first(loader):
    return next(iter(loader))


def test_a_fold_s_splits_reach_the_loaders(phantom_study):
    data = module(phantom_study, fold=2)
    table = data.table.set_index("image_id")["split"]
    for loader, split in (
        (data.train_dataloader(), "train"),
        (data.val_dataloader(), "val"),
        (data.test_dataloader(), "test"),
    ):
        found = [image_id for batch in loader for image_id in batch.image_ids]
        assert sorted(found) == sorted(table.index[table == split])
    predicted = [i for batch in data.predict_dataloader() for i in batch.image_ids]
    assert sorted(predicted) == sorted(table.index)
    assert sum(data.class_counts().values()) == (table == "train").sum()


def test_images_that_a_fold_leaves_out_are_not_loaded(phantom_study):
    table = load_manifest(phantom_study / "manifest.csv")
    fold = (table["source"] == "kcx").astype(int)
    rows = table.assign(split="train", fold=fold.astype("Int64"))
    rows.loc[rows.index % 4 == 0, "split"] = "val"
    joined = [rows.index[rows["source"] == source][0] for source in ("ccx", "kcx")]
    rows.loc[joined, "group"] = "joined"
    save_manifest(rows, phantom_study / "manifest.csv")
    data = module(phantom_study, fold=1)
    out = set(table["image_id"]) - set(data.table["image_id"])
    assert out == {table["image_id"][joined[0]]}
    assert set(data.table["source"][data.table["split"] == "test"]) == {"kcx"}


def test_a_fold_that_does_not_exist_is_named(phantom_study):
    with pytest.raises(ManifestError, match="7"):
        module(phantom_study, fold=7)


def test_the_global_arm_sees_the_middle_of_the_resized_radiograph(phantom_study):
    data = module(phantom_study, size_px=64, resize_px=64)
    batch = first(data.val_dataloader())
    assert batch.pixels.dtype == torch.uint8
    assert batch.pixels.shape == (4, 1, 1, 64, 64)
    stored = Store(phantom_study / "store").radiograph(batch.image_ids[0])
    np.testing.assert_array_equal(batch.pixels[0, 0, 0].numpy(), stored)
    assert (batch.places.centres == -1).all()
    assert batch.places.coverage.isnan().all()


def test_the_masked_arm_sees_nothing_but_the_lungs(phantom_study):
    data = module(phantom_study, arm="masked", size_px=64, resize_px=64)
    batch = first(data.val_dataloader())
    mask = Store(phantom_study / "store").lung_mask(batch.image_ids[0])
    pixels = batch.pixels[0, 0, 0].numpy()
    assert pixels[~mask].max() == 0
    assert pixels[mask].mean() > 0


def test_equalised_levels_pass_through_the_radiograph_s_table(phantom_study):
    data = module(phantom_study, size_px=64, resize_px=64, greyscale="equalised")
    batch = first(data.val_dataloader())
    store = Store(phantom_study / "store")
    image_id = batch.image_ids[1]
    expected = store.equalisation(image_id)[store.radiograph(image_id)]
    np.testing.assert_array_equal(batch.pixels[1, 0, 0].numpy(), expected)


def test_patches_are_windows_of_the_masked_radiograph_around_lung_pixels(phantom_study):
    data = module(phantom_study, arm="patched", size_px=24, predict_patches=6)
    batch = first(data.predict_dataloader())
    assert batch.pixels.shape == (4, 6, 1, 24, 24)
    assert ((batch.places.coverage > 0) & (batch.places.coverage <= 1)).all()
    store = Store(phantom_study / "store")
    for at, image_id in enumerate(batch.image_ids):
        mask = store.lung_mask(image_id)
        masked = store.radiograph(image_id) * mask
        for view, (row, column) in enumerate(batch.places.centres[at].tolist()):
            assert mask[row, column]
            top = min(max(row - 12, 0), 64 - 24)
            left = min(max(column - 12, 0), 64 - 24)
            window = masked[top : top + 24, left : left + 24]
            np.testing.assert_array_equal(batch.pixels[at, view, 0].numpy(), window)


def test_validation_patches_are_the_same_in_every_epoch_and_training_patches_new(phantom_study):
    data = module(
        phantom_study, arm="patched", window_px=[24, 40], size_px=24, val_patches=3, flip=0.5
    )
    loader = data.val_dataloader()
    before = list(loader)
    loader.sampler.set_epoch(1)
    for batch, same in zip(loader, before, strict=True):
        assert batch.image_ids == same.image_ids
        assert torch.equal(batch.pixels, same.pixels)
        assert all(map(torch.equal, batch.places, same.places))

    def centres_by_image(epoch):
        loader = data.train_dataloader()
        loader.sampler.set_epoch(epoch)
        return {
            image_id: batch.places.centres[at].tolist()
            for batch in loader
            for at, image_id in enumerate(batch.image_ids)
        }

    assert centres_by_image(0) == centres_by_image(0)
    assert centres_by_image(0) != centres_by_image(1)


def test_workers_change_nothing(phantom_study):
    options = {"flip": 0.5, "rotation_degrees": 5, "warp": 0.2, "lighting": 0.2}
    plain, worked = (
        first(module(phantom_study, **options, workers=workers).train_dataloader())
        for workers in (0, 1)
    )
    assert worked.image_ids == plain.image_ids
    assert torch.equal(worked.pixels, plain.pixels)
    assert all(map(torch.equal, worked.augmented_by[:3], plain.augmented_by[:3]))


def test_an_image_without_lungs_is_named_or_skipped(phantom_study):
    table = load_manifest(phantom_study / "manifest.csv")
    row = table.iloc[0]
    masks = phantom_study / "masks"
    write_mask(
        np.zeros((row["height"], row["width"]), dtype=bool), masks / f"{row['image_id']}.png"
    )
    fill_lung_masks(phantom_study / "store", masks, table)
    with pytest.raises(CohortError, match=f"1 images have no lung mask.*{row['image_id']}"):
        module(phantom_study, arm="patched")
    assert len(module(phantom_study, arm="patched", on_missing_mask="skip").table) == 39
    assert len(module(phantom_study, arm="global").table) == 40


@pytest.mark.parametrize("window_px", [0, [], [24, -1]])
def test_a_patch_without_pixels_is_refused(phantom_study, window_px):
    with pytest.raises(OptionError, match="at least 1 pixel"):
        module(phantom_study, arm="patched", window_px=window_px)


SIDES = st.integers(1, 512)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "arm": st.sampled_from(["global", "masked", "cropped", "background", "patched"]),
        "size_px": st.integers(1, 40),
        "resize_px": st.integers(40, 512),
        "crop_margin_px": st.integers(0, 90),
        "window_px": SIDES | st.lists(SIDES, min_size=1, max_size=3),
        "lung_box": st.booleans(),
        "batch_size": st.integers(1, 64),
        "predict_batch_size": st.none() | st.integers(1, 64),
        "predict_patches": st.integers(1, 200),
        "centres": st.sampled_from(["uniform", "spread", "independent"]),
        "normalisation": st.sampled_from(["imagenet", "half", "levels"]),
        "seed": st.integers(0, 9),
        "workers": st.integers(0, 4),
        "order": st.sampled_from(["shuffled", "fixed", "balanced"]),
    },
)


@given(drawn=OPTIONS)
def test_what_is_seen_depends_on_the_options_and_on_no_folder(drawn):
    options = {"size_px": 32, "resize_px": 40, **drawn}
    with tempfile.TemporaryDirectory() as elsewhere, contextlib.chdir(elsewhere):
        Path("manifest.json").write_text('{"name": "a page of the web"}', encoding="utf-8")
        seen = view_options_of(options)
    assert seen == RadiographDataModule(Path("nowhere"), **options).view_options
    arm = options.get("arm", "global")
    assert isinstance(seen.view, PatchView if arm == "patched" else WholeView)
    assert (seen.arm, seen.seed, seen.view.size_px) == (
        arm, options.get("seed", 1), options["size_px"],
    )  # fmt: skip
    assert seen.predict_batch_size == (
        options.get("predict_batch_size") or options.get("batch_size", 10)
    )


def test_an_option_that_the_data_do_not_have_is_refused():
    with pytest.raises(TypeError, match="resize_pixels"):
        view_options_of({"resize_pixels": 40})


@pytest.mark.parametrize(
    "name", ["batch_size", "size_px", "train_patches", "val_patches", "predict_patches"]
)
def test_a_number_of_nothing_is_refused_by_name(name):
    for value in (0, -1):
        with pytest.raises(OptionError, match=f"{name} is {value}; expected at least 1"):
            view_options_of({name: value})


def test_a_crop_larger_than_the_radiograph_is_refused(phantom_study):
    with pytest.raises(OptionError, match="resize_px is 40 and size_px 64"):
        module(phantom_study, size_px=64)


@pytest.mark.parametrize(
    ("normalisation", "black", "white"),
    [
        ("half", [-1, -1, -1], [1, 1, 1]),
        ("levels", [0, 0, 0], [255, 255, 255]),
        ("imagenet", [-2.117904, -2.035714, -1.804444], [2.248908, 2.428571, 2.64]),
    ],
)
def test_normalisation(normalisation, black, white):
    pixels = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1)
    out = normalise(pixels, normalisation)
    assert out.shape == (2, 3, 1, 1)
    np.testing.assert_allclose(out[0].flatten().numpy(), black, rtol=1e-5)
    np.testing.assert_allclose(out[1].flatten().numpy(), white, rtol=1e-5)


def test_validation_patches_are_drawn_anew_when_asked_as_the_patched_code_does(phantom_study):
    data = module(phantom_study, arm="patched", size_px=24, val_patches=1, val_anew=True)
    loader = data.val_dataloader()
    before = first(loader)
    loader.sampler.set_epoch(1)
    assert not torch.equal(first(loader).places.centres, before.places.centres)
    predicted = data.predict_dataloader()
    before = first(predicted)
    predicted.sampler.set_epoch(1)
    assert torch.equal(first(predicted).places.centres, before.places.centres)


def test_balanced_training_leaves_validation_and_prediction_as_they_are(phantom_study):
    data = module(phantom_study, order="balanced", batch_size=5)
    train = [image_id for batch in data.train_dataloader() for image_id in batch.image_ids]
    assert len(set(train)) < len(train) == (data.table["split"] == "train").sum()
    assert set(train) <= set(data.table["image_id"][data.table["split"] == "train"])
    predicted = [i for batch in data.predict_dataloader() for i in batch.image_ids]
    assert sorted(predicted) == sorted(data.table["image_id"])


def test_micro_batches_are_parts_of_the_batch(phantom_study):
    data = module(phantom_study, batch_size=8, accumulate=4)
    assert [len(batch.target) for batch in data.train_dataloader()][:4] == [2, 2, 2, 2]
    with pytest.raises(CohortError, match="batch of 8 does not divide into 3 micro-batches"):
        module(phantom_study, batch_size=8, accumulate=3).train_dataloader()


@pytest.mark.parametrize(("batch_size", "accumulate"), [(10, 2), (10, 5), (14, 7), (7, 7)])
def test_the_shares_of_a_step_s_micro_batches_add_up_to_1(phantom_study, batch_size, accumulate):
    data = module(phantom_study, batch_size=batch_size, accumulate=accumulate)
    batches = [len(batch.target) for batch in data.train_dataloader()]
    assert sum(batches) % batch_size  # the last step is a short one
    shares = [data.share_of_step(at, images) for at, images in enumerate(batches)]
    for begin in range(0, len(shares), accumulate):
        assert sum(shares[begin : begin + accumulate]) == pytest.approx(1.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_normalisation_looks_up_what_the_formula_gives(dtype):
    pixels = torch.randint(256, (2, 3, 1, 8, 9), dtype=torch.uint8)
    mean, deviation = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
    expected = ((pixels / 255 - mean) / deviation).to(dtype)
    assert torch.equal(normalise(pixels, "imagenet", dtype), expected)
    laid_out = normalise(pixels[0], "imagenet", dtype)
    assert laid_out.is_contiguous(memory_format=torch.channels_last)
