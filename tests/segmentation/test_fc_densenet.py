"""The network against the numbers of the original programs (tests/golden/README.md)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from segmentation.fc_densenet import FCDenseNet, FCDenseNet103, TransitionUp

GOLDEN = Path(__file__).parents[1] / "golden" / "fc_densenet103_dev.npz"


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def fill_by_shape(network: nn.Module) -> None:
    for p in network.parameters():
        i = torch.arange(p.numel(), dtype=torch.float64).reshape(p.shape)
        if p.dim() >= 2:
            values = torch.sin(0.7 * i + 0.1) * (2 / p[0].numel()) ** 0.5
        else:
            values = 0.5 + 0.1 * torch.cos(0.3 * i)
        p.data.copy_(values)


@pytest.fixture(scope="module")
def network() -> FCDenseNet103:
    return FCDenseNet103(in_channels=1, classes=4).eval()


def test_equals_the_original_network():
    golden = np.load(GOLDEN, allow_pickle=False)
    network = FCDenseNet103(in_channels=1, classes=4).double().eval()
    fill_by_shape(network)
    with torch.no_grad():
        logits = network(torch.from_numpy(golden["input"]))
    ours = logits.log_softmax(dim=1).numpy().astype(np.float32)
    assert np.abs(ours - golden["log_probabilities"]).max() < 1e-6


@pytest.mark.parametrize(
    ("channels", "classes", "parameters"),
    [(1, 4, 9_319_428), (1, 3, 9_319_171), (1, 2, 9_318_914), (3, 11, 9_322_091)],
)
def test_parameters_in_all(channels, classes, parameters):
    assert count(FCDenseNet103(channels, classes)) == parameters


def test_parameters_of_each_stage(network):
    """The counts were taken from the original module, stage by stage."""
    assert count(network.first) == 480
    assert [count(block) for block in network.down_blocks] == [
        42_112, 105_200, 245_392, 549_120, 967_296,
    ]  # fmt: skip
    assert [count(down) for down in network.downsamplings] == [
        12_880, 37_440, 93_328, 216_688, 432_304,
    ]  # fmt: skip
    assert count(network.bottleneck) == 1_682_160
    assert [count(up) for up in network.upsamplings] == [
        518_640, 331_968, 230_560, 113_008, 57_680,
    ]  # fmt: skip
    assert [count(block) for block in network.up_blocks] == [
        1_724_160, 1_063_040, 523_376, 245_360, 126_208,
    ]  # fmt: skip
    assert count(network.classifier) == 1_028
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    assert len(convolutions) == 103


def test_smaller_sibling_by_arguments_alone():
    """FC-DenseNet57 of the original authors, 3 channels, 12 classes: 1,376,988 parameters."""
    sibling = FCDenseNet(3, 12, down=(4,) * 5, bottleneck=4, up=(4,) * 5, growth=12)
    assert count(sibling) == 1_376_988


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (64, 35)])
def test_any_size_from_32_pixels(network, size):
    with torch.no_grad():
        assert network(torch.zeros(1, 1, *size)).shape == (1, 4, *size)


def test_too_small_is_one_sentence(network):
    with pytest.raises(ValueError, match=r"31 x 40 pixels.*at least 32"):
        network(torch.zeros(1, 1, 31, 40))


def test_upsampled_features_are_cropped_at_the_centre():
    """5 pixels become 11; a skip of 10 drops the last row and column, one of 9 both edges."""
    up = TransitionUp(1)
    new = torch.randn(1, 1, 5, 5)
    with torch.no_grad():
        whole = up.transposed(new)
        assert torch.equal(up(new, torch.zeros(1, 2, 10, 9)), whole[:, :, 0:10, 1:10])


def test_he_uniform_bound_and_biases():
    network = FCDenseNet(1, 2, down=(1,), bottleneck=1, up=(1,), initialisation="he_uniform")
    transposed = network.upsamplings[0].transposed  # 16 channels in, 3 x 3
    bound = (6 / (16 * 9)) ** 0.5
    assert 0.9 * bound < transposed.weight.abs().max() <= bound
    assert torch.count_nonzero(transposed.bias) == 0


def test_dropout_kinds_differ_in_what_they_drop():
    for kind, whole_channels in (("channel", True), ("element", False)):
        torch.manual_seed(0)
        network = FCDenseNet(1, 2, down=(1,), bottleneck=1, up=(1,), dropout=0.5, dropout_kind=kind)
        features = network.down_blocks[0](torch.randn(1, 48, 16, 16))
        zeros = (features == 0).float().mean(dim=(2, 3))
        assert bool(((zeros == 0) | (zeros == 1)).all()) is whole_channels


def test_unknown_choices_are_refused():
    with pytest.raises(ValueError, match="dropout_kind is 'row'"):
        FCDenseNet103(dropout_kind="row")
    with pytest.raises(ValueError, match="initialisation is 'zeros'"):
        FCDenseNet103(initialisation="zeros")
    with pytest.raises(ValueError, match="down has 1 blocks and up has 2"):
        FCDenseNet(1, 2, down=(1,), up=(1, 1))
