"""The images of an epoch, their order and their views."""

from flannel.data.manifest import load_manifest
from flannel.datasets import EpochSampler, RadiographDataset
from flannel.views import PatchView, WholeView


def test_samplers_share_an_epoch_without_overlap_and_evenly():
    parts = [EpochSampler(11, seed=3, shuffle=True, rank=r, ranks=2) for r in range(2)]
    rows = [[key.row for key in part] for part in parts]
    assert [len(part) for part in rows] == [5, 5] == [len(part) for part in parts]
    assert len(set(rows[0] + rows[1])) == 10
    parts[0].set_epoch(1)
    assert [key.row for key in parts[0]] != rows[0]
    assert {key.epoch for key in parts[0]} == {1}


def test_prediction_samplers_leave_no_row_out_and_repeat_none():
    parts = [EpochSampler(13, 3, shuffle=False, rank=r, ranks=2, even=False) for r in range(2)]
    rows = [key.row for part in parts for key in part]
    assert sorted(rows) == list(range(13))
    assert [len(part) for part in parts] == [7, 6]


def test_random_crops_stay_inside_and_differ(phantom_study):
    table = load_manifest(phantom_study / "manifest.csv")
    dataset = RadiographDataset(
        table,
        phantom_study / "store",
        WholeView(resize_px=40, size_px=32, masked=False),
        patches=1,
        training=True,
        seed=1,
        flip=0.0,
        rotation_degrees=0,
    )
    crops = [dataset[(key)].pixels for key in EpochSampler(1, 1, False)] + [
        dataset[key._replace(epoch=epoch)].pixels
        for epoch in range(1, 6)
        for key in EpochSampler(1, 1, False)
    ]
    assert len({crop.numpy().tobytes() for crop in crops}) > 1
    assert PatchView((24,), 24, "uniform", "inside", True).masked
