"""The network of 13 convolutions: what paper 002 says of it, and the choices where it is silent."""

import itertools

import pytest
import torch
from torch import nn

from flannel.networks import CNN13


def test_thirteen_convolutions_each_with_leaky_relu_and_dropout_before_the_dense_layer():
    network = CNN13(3)
    kinds = [type(m).__name__ for m in network.modules() if not list(m.children())]
    pairs = list(itertools.pairwise(kinds))
    assert kinds.count("Conv2d") == 13 == pairs.count(("Conv2d", "LeakyReLU"))
    assert kinds[-2:] == ["Dropout", "Linear"]
    assert kinds.count("MaxPool2d") == 5
    widths = [3, 16, 16, 32, 32, 64, 64, 64, *[128] * 6]
    convolutions = sum(9 * a * b + b for a, b in itertools.pairwise(widths))
    assert sum(p.numel() for p in network.parameters()) == convolutions + (128 * 49 + 1) * 3
    assert convolutions + (128 * 49 + 1) * 3 == 939_603


def test_at_224_px_the_pooling_to_the_head_changes_nothing_and_other_sizes_fit():
    with torch.device("meta"):
        assert CNN13().features(torch.zeros(1, 3, 224, 224)).shape == (1, 128, 7, 7)
    for side in (32, 48):
        assert CNN13(2)(torch.rand(2, 3, side, side)).shape == (2, 2)


def test_it_begins_with_keras_s_values_and_the_signal_survives_better_than_with_pytorch_s():
    torch.manual_seed(0)
    network = CNN13(3).eval()
    last = network.features[-3]
    bound = (6 / (9 * 128 + 9 * 128)) ** 0.5  # Glorot's uniform
    assert bound * 0.99 < last.weight.abs().max().item() <= bound
    assert all((m.bias == 0).all() for m in network.modules() if isinstance(m, nn.Conv2d))
    images = torch.randn(2, 3, 64, 64)

    def difference():
        first, second = network.features(images)
        return (first - second).std().item()

    with_keras = difference()
    for module in network.features:
        if isinstance(module, nn.Conv2d):
            module.reset_parameters()
    assert with_keras > 30 * difference()


def test_widths_are_counted():
    with pytest.raises(ValueError, match="widths has 2 entries; expected 5"):
        CNN13(3, widths=(8, 16))
