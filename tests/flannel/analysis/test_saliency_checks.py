import copy

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from flannel.analysis.saliency_checks import (
    STAGES,
    Example,
    check_maps,
    examples,
    leave_to_chance,
    rank_correlation,
)
from flannel.data.diagnosis import FLANNEL
from flannel.data.store import Store
from flannel.learners.grad_cam import GradCam
from flannel.learners.views import ViewSampling, WholeView
from flannel.study.predictions import probability_columns

COVID, VIRAL, BACTERIAL, NORMAL = FLANNEL
VIEW = WholeView(resize_px=48, size_px=32)


class TwoLayers(nn.Module):
    """Eight features of edges, BatchNorm, and a head."""

    def __init__(self):
        super().__init__()
        self.edges, self.norm = nn.Conv2d(3, 8, 5, stride=2), nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 4)

    def forward(self, images):
        return self.head(self.norm(self.edges(images)).relu().mean(dim=(2, 3)))


@pytest.fixture
def network():
    torch.manual_seed(1)
    network = TwoLayers().eval()
    network.norm.running_var.uniform_(0.5, 2)
    network.norm.running_mean.normal_()
    network.head.weight.data.abs_()  # so that every feature speaks for every diagnosis
    return network


def test_examples_are_the_first_of_each_diagnosis_in_turn():
    columns = probability_columns(FLANNEL)
    table = pd.DataFrame(
        [
            {"image_id": name, "split": split, "diagnosis": true, **dict.fromkeys(columns, 0.1)}
            for name, split, true in (
                ("d", "test", NORMAL), ("c", "test", COVID), ("b", "test", COVID),
                ("a", "train", COVID), ("e", "test", NORMAL), ("f", "test", VIRAL),
            )
        ]
    )  # fmt: skip
    table[f"p_{VIRAL}"] = 0.7
    assert [row.image_id for row in examples(table, FLANNEL, 4)] == ["b", "f", "d", "c"]
    assert len(examples(table, FLANNEL, 9)) == 5
    others = examples(table, FLANNEL, 2, usable=lambda image_id: image_id != "b")
    assert [row.image_id for row in others] == ["c", "f"]
    assert examples(table, FLANNEL, 1) == [Example("b", COVID, VIRAL)]


def test_ever_more_is_left_to_chance(network):
    before = copy.deepcopy(network.state_dict())
    changed = {}
    for stage in STAGES:
        leave_to_chance(network, stage, torch.Generator().manual_seed(2))
        after = network.state_dict()
        changed[stage] = {key for key in after if not after[key].equal(before[key])}
    # Of three layers the head is half; a shuffled bias of four may happen to stay.
    assert changed["head"] - {"head.bias"} == {"head.weight"}
    assert changed["upper half"] - {"head.bias"} == {"head.weight"}
    assert changed["all weights"] >= {"head.weight", "edges.weight", "norm.running_mean"}
    assert "norm.num_batches_tracked" not in changed["all weights"]


def test_chance_keeps_the_size_of_what_it_replaces(network):
    before = copy.deepcopy(network.state_dict())
    leave_to_chance(network, "all weights", torch.Generator().manual_seed(2))
    after = network.state_dict()
    assert after["norm.running_var"].sort()[0].equal(before["norm.running_var"].sort()[0])
    old, new = (float(state["edges.weight"].std()) for state in (before, after))
    assert new == pytest.approx(old, rel=0.15)


def test_rank_correlation_is_of_what_was_looked_at():
    one = torch.arange(16.0).view(4, 4)
    seen = torch.ones(4, 4, dtype=torch.bool)
    assert rank_correlation(one, one**3, seen) == pytest.approx(1)
    assert rank_correlation(one, -one, seen) == pytest.approx(-1)
    assert np.isnan(rank_correlation(one, torch.zeros(4, 4), seen))
    other = one.clone()
    other[0] = -100
    seen[0] = False
    assert rank_correlation(one, other, seen) == pytest.approx(1)


def test_maps_of_radiographs_are_checked(network, study_files):
    study_files.pictures()
    store = Store(study_files.folder / "store")
    draw = ViewSampling(torch.Generator(), training=False, patches=1)
    samples = [
        (Example(image_id, diagnosis, NORMAL), *VIEW.views(store, image_id, draw))
        for image_id, diagnosis in (("test-0", COVID), ("test-6", NORMAL))
    ]
    cam = GradCam(network, VIEW, "half", store.size_px)
    expected = cam.map_of(*samples[0][1:], diagnosis=3)
    assert expected.max() > 0.9
    first, second = check_maps(cam, store, samples, FLANNEL)
    assert (first.example, second.example) == (samples[0][0], samples[1][0])
    assert first.learned.equal(expected)
    lungs = torch.from_numpy(store.lung_mask("test-0"))
    assert first.inside == pytest.approx(float(expected[lungs].sum() / expected.sum()), rel=1e-5)
    # A crop of 32 of 48 pixels is the middle 43 of the store's 64.
    assert first.flat == pytest.approx(float(lungs[11:54, 11:54].sum() / 43**2), rel=1e-5)
    assert list(first.correlations) == list(first.by_chance) == list(STAGES)
    middle = expected[11:54, 11:54], first.by_chance["all weights"][11:54, 11:54]
    everywhere = torch.ones(43, 43, dtype=torch.bool)
    assert first.correlations["all weights"] == pytest.approx(rank_correlation(*middle, everywhere))
