import json
import pickle

import numpy as np
import pytest
import torch

from flannel.data.greyscale import Box, content_box, equalisation_table, resize
from flannel.data.store import Store, StoreError, build_store, fill_lung_masks
from patching.sampling import sample_centres

BOX = Box(9, 9, 4, 4)
SIZE = 36  # not a multiple of 8, so that the packed masks have spare bits


@pytest.fixture
def masked(study):
    """A store of which `a` has a lung mask."""
    study.mask("a")
    build_store(study.manifest("abc"), study.store, SIZE)
    fill_lung_masks(study.store, study.masks, study.manifest("abc"))
    return Store(study.store)


def test_radiographs_and_tables(study):
    build_store(study.manifest("cab"), study.store, SIZE, workers=2)
    store = Store(study.store)
    assert (store.image_ids, store.size_px, store.resize) == (("a", "b", "c"), SIZE, "stretch")
    assert len(store) == 3
    levels = study.pixels("b")
    np.testing.assert_array_equal(store.radiograph("b"), resize(levels, SIZE, SIZE))
    exact = equalisation_table(np.bincount(levels.ravel(), minlength=256), "display")
    assert np.abs(store.equalisation("b").astype(float) - exact).max() <= 0.5
    assert store.equalisation("b").dtype == np.uint8
    with pytest.raises(ValueError, match="read-only"):
        store.radiograph("a")[0, 0] = 1


@pytest.mark.parametrize("lowest", [0, 1, 30])
def test_equalisation_leaves_black_black(study, lowest):
    levels = np.random.default_rng(3).integers(lowest, 256, (40, 40), np.uint8)
    study.draw("a", levels=levels)
    build_store(study.manifest("a"), study.store, SIZE)
    assert Store(study.store).equalisation("a")[0] == 0


def test_what_is_not_there_is_a_sentence(masked):
    with pytest.raises(StoreError, match="x is not in the store"):
        masked.radiograph("x")
    for read in (
        masked.lung_mask,
        masked.lung_area,
        lambda name: masked.part(name, BOX, masked=True),
    ):
        with pytest.raises(StoreError, match="b has no lung mask"):
            read("b")


def test_lung_pixels_are_those_of_the_mask_in_order(masked):
    places = np.argwhere(masked.lung_mask("a"))
    assert masked.lung_area("a") == len(places)
    np.testing.assert_array_equal(masked.lung_pixels("a", np.arange(len(places))), places)
    for number in (-1, len(places)):
        with pytest.raises(IndexError, match=f"a has {len(places)} lung pixels"):
            masked.lung_pixels("a", np.array([number]))


def test_a_number_below_the_lung_area_is_a_uniform_centre(masked):
    mask = torch.from_numpy(masked.lung_mask("a"))
    centres = sample_centres(mask, 20, torch.Generator().manual_seed(5))
    numbers = torch.randint(
        masked.lung_area("a"), (20,), generator=torch.Generator().manual_seed(5)
    )
    np.testing.assert_array_equal(masked.lung_pixels("a", numbers.numpy()), centres.numpy())


def test_a_part_is_what_is_cut_from_the_whole(masked):
    whole, mask = masked.radiograph("a"), masked.lung_mask("a")
    equalised = masked.equalisation("a")[whole]
    generator = np.random.default_rng(1)
    for _ in range(100):
        corner = generator.integers(0, SIZE, 2)
        extent = generator.integers(1, SIZE + 1 - corner)
        box = Box(*corner.tolist(), *extent.tolist())
        cut = tuple(slice(at, at + by) for at, by in zip(corner, extent, strict=True))
        for source, *options in (
            (whole, False, False),
            (whole * mask, True, False),
            (equalised, False, True),
            (equalised * mask, True, True),
        ):
            part = masked.part("a", box, *options)
            assert part.dtype == np.uint8
            assert part.flags.writeable
            np.testing.assert_array_equal(part, source[cut])


@pytest.mark.parametrize("box", [(0, 33, 4, 4), (-1, 3, 4, 4), (3, 3, 4, SIZE), (0, 0, 0, 4)])
def test_a_part_outside_is_a_sentence(masked, box):
    with pytest.raises(ValueError, match=r"Box\(top=.* does not lie in the store's 36 x 36"):
        masked.part("a", Box(*box))


def test_lung_pixels_of_several_radiographs_in_turn(study):
    masks = {"a": np.eye(48, 64, dtype=bool), "b": np.tri(48, 64, dtype=bool)}
    for name, mask in masks.items():
        study.mask(name, mask)
    build_store(study.manifest("ab"), study.store, 64)  # masks of whole eight bytes a line
    fill_lung_masks(study.store, study.masks, study.manifest("ab"))
    store = Store(study.store)
    for name in "abba":
        places = np.argwhere(store.lung_mask(name))
        assert store.lung_area(name) == len(places)
        np.testing.assert_array_equal(store.lung_pixels(name, np.arange(len(places))), places)


def test_a_letterbox_carries_radiograph_mask_and_patches(study):
    # 40 x 160 pixels; in 40 x 40 they fill the lines 15 to 24, a pixel for 4 x 4 of them.
    levels = np.full((40, 160), 50, np.uint8)
    levels[20:24, 120:128] = 250  # a mark of two of the store's pixels
    study.draw("a", levels=levels)
    study.mask("a", np.arange(40)[:, None] + np.zeros(160) >= 4)  # all but the first four lines
    build_store(study.manifest("a"), study.store, 40, resize="letterbox")
    fill_lung_masks(study.store, study.masks, study.manifest("a"))
    store = Store(study.store)
    assert store.resize == "letterbox"
    assert content_box(40, 160, 40, "letterbox") == (15, 0, 10, 40)
    lung = np.zeros((40, 40), bool)
    lung[16:25] = True
    np.testing.assert_array_equal(store.lung_mask("a"), lung)
    assert np.flatnonzero(store.radiograph("a").any(axis=1)).tolist() == list(range(15, 25))
    mark = np.argwhere(store.radiograph("a") > 150).tolist()
    assert mark == [[20, 30], [20, 31]]  # (15 + 20 / 4, 120 / 4) and its neighbour
    numbers = np.arange(store.lung_area("a"))
    assert store.lung_pixels("a", numbers)[:, 0].min() == 16
    patch = store.part("a", Box(14, 24, 12, 12), masked=True)
    assert np.argwhere(patch > 150).tolist() == [[6, 6], [6, 7]]
    assert not patch[:2].any()  # the lines 14, beside the radiograph, and 15, beside the lung
    assert patch[2:11].all()
    # The table is that of the radiograph, whose darkest level is its most frequent; not of zeros.
    assert store.equalisation("a")[[0, 50, 250]].tolist() == [0, 0, 255]


def test_every_setting_is_in_the_fingerprint(study):
    prints = []
    for size, squaring in ((SIZE, "stretch"), (40, "stretch"), (SIZE, "letterbox")):
        folder = study.folder / f"{size}{squaring}"
        build_store(study.manifest("ab"), folder, size, resize=squaring)
        prints.append(Store(folder).fingerprint())
    for part in ("store", "masks"):
        assert len({one[part] for one in prints}) == 3


def test_a_summary_that_names_no_resize_is_a_stretched_store(study):
    build_store(study.manifest("ab"), study.store, SIZE)
    before = Store(study.store).fingerprint()
    (study.store / "store.json").write_text(json.dumps({"format": 1, "size_px": SIZE, "images": 2}))
    assert Store(study.store).resize == "stretch"
    assert Store(study.store).fingerprint() == before


def test_files_that_do_not_fit_each_other_are_refused(study):
    build_store(study.manifest("ab"), study.store, SIZE)
    with (study.store / "index.csv").open("a") as index:
        index.write("c,0,\n")
    with pytest.raises(StoreError, match=r"is \(2, 36, 36\); expected \(3, 36, 36\)"):
        Store(study.store)
    (study.store / "index.csv").write_text("image_id\n")
    with pytest.raises(StoreError, match="other columns than image_id, sha256, mask_sha256"):
        Store(study.store)
    (study.store / "store.json").write_text("{")
    with pytest.raises(StoreError, match="no finished store"):
        Store(study.store)


def test_a_store_travels_to_another_process_by_its_folder(study):
    build_store(study.manifest("ab"), study.store, SIZE)
    store = Store(study.store)
    sent = pickle.dumps(store)
    assert len(sent) < 1000
    again = pickle.loads(sent)
    np.testing.assert_array_equal(again.radiograph("a"), store.radiograph("a"))
