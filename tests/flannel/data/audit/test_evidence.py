import numpy as np
import pandas as pd
import pytest

from flannel.data.audit.evidence import (
    central_box,
    edge_statistics,
    gather_evidence,
    hidden,
    thumbnail,
    traces_of,
)
from flannel.data.greyscale import box_around
from flannel.data.store import Store


def test_edges_are_told_one_by_one():
    levels = np.full((100, 100), 100, np.uint8)
    levels[:2] = 255  # the top edge is 100 / 50 = 2 rows
    levels[-2:] = np.array([[0, 200] * 50] * 2)
    top, bottom, left, _ = edge_statistics(levels)[:16].reshape(4, 4)  # mean, sd, dark, bright
    assert top == pytest.approx([255, 0, 0, 1])
    assert bottom == pytest.approx([100, 100, 0.5, 0])
    # 2 columns: 4 pixels of 255, 2 of 0, 2 of 200, 192 of 100
    assert left[0] == pytest.approx((4 * 255 + 2 * 200 + 192 * 100) / 200)
    corners = edge_statistics(levels)[16:]  # 6 x 6: top left, top right, bottom left, right
    assert corners[:2] == pytest.approx([(2 * 255 + 4 * 100) / 6] * 2)


def test_a_thumbnail_holds_the_means_of_its_cells():
    levels = np.random.default_rng(1).integers(0, 256, (64, 64), np.uint8)
    means = levels.reshape(16, 4, 16, 4).mean(axis=(1, 3)).ravel()
    assert np.abs(thumbnail(levels) - means).max() <= 0.5


def test_the_box_and_nothing_else_is_hidden():
    levels, mask = np.full((40, 40), 9, np.uint8), np.zeros((40, 40), bool)
    mask[5, 10] = mask[20, 30] = True
    covered = hidden(levels, box_around(mask))
    assert not covered[5:21, 10:31].any()
    assert (covered == 9).sum() == 40 * 40 - 16 * 21
    assert (hidden(levels, box_around(np.zeros((40, 40), bool))) == 9).all()
    assert central_box(100) == (slice(5, 95), slice(8, 92))


def test_evidence_follows_the_rows_of_the_manifest(phantom_study):
    store = Store(phantom_study / "store")
    ids = store.image_ids[:3]
    table = pd.DataFrame({"image_id": ids, "width": [10, 20, 30], "height": [10, 10, 10]})
    found = gather_evidence(table, store)
    turned = gather_evidence(table[::-1], store)
    assert found.frame[:, :3].tolist() == [[10, 10, 1], [20, 10, 2], [30, 10, 3]]
    assert found.frame.shape == (3, 23)
    for name in (
        "frame", "thumbnail", "lungs_hidden", "centre_hidden", "lungs", "lung_box", "lung_shape",
        "histogram",
    ):  # fmt: skip
        assert np.array_equal(getattr(found, name), getattr(turned, name)[::-1])
    assert found.hashes == turned.hashes[::-1]
    assert found.histogram.sum(axis=1) == pytest.approx(1)
    counts = np.bincount(store.radiograph(ids[1]).ravel() // 4, minlength=64)
    assert found.histogram[1] == pytest.approx(counts / counts.sum())
    assert found.has_mask.all()
    share = store.lung_mask(ids[0]).mean()  # cells of the small mask average the large one
    assert found.lungs[0].mean() / 255 == pytest.approx(share, abs=0.01)
    down, across = np.nonzero(store.lung_mask(ids[0]))
    ends = [down.min(), down.max() + 1, across.min(), across.max() + 1]
    assert found.lung_box[0] == pytest.approx(np.array(ends) / store.lung_mask(ids[0]).shape[0])


def test_the_shape_of_a_mask_is_neither_its_place_nor_its_size():
    levels, shape = np.zeros((128, 128), np.uint8), np.tri(32, dtype=bool)
    traces = []
    for times, row, column in ((1, 5, 9), (2, 40, 60)):
        mask = np.zeros((128, 128), bool)
        large = shape.repeat(times, axis=0).repeat(times, axis=1)
        mask[row : row + 32 * times, column : column + 32 * times] = large
        traces.append(traces_of(levels, mask))
    first, second = traces
    assert np.array_equal(first.lung_shape, second.lung_shape)
    assert first.lung_box.tolist() == [5 / 128, 37 / 128, 9 / 128, 41 / 128]
    assert not np.array_equal(first.lungs, second.lungs)


@pytest.mark.parametrize("mask", [None, np.zeros((64, 64), bool)])
def test_without_a_lung_pixel_position_and_shape_are_zeros(mask):
    traces = traces_of(np.full((64, 64), 9, np.uint8), mask)
    assert not traces.lung_box.any()
    assert not traces.lung_shape.any()
    assert not traces.lungs.any()
