"""A frozen base with dense layers: what learns, what does not, and one output as two logits."""

import pytest
import torch
from torch import nn

from flannel.networks import FrozenNetwork


def counts(module):
    learnt = sum(p.numel() for p in module.parameters() if p.requires_grad)
    return learnt, sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("architecture", "features", "base"),
    [("resnet50", 2048, 23_508_032), ("mobilenet_v2", 1280, 2_223_872)],
)
def test_only_the_three_dense_layers_learn(architecture, features, base):
    with torch.device("meta"):
        network = FrozenNetwork(architecture, 2, "random")
    dense = [m for m in network.head if isinstance(m, nn.Linear)]
    shapes = [(m.in_features, m.out_features) for m in dense]
    assert shapes == [(features, 256), (256, 64), (64, 1)]
    head = (features + 1) * 256 + 257 * 64 + 65
    assert counts(network) == (head, head + base)
    assert counts(network.base) == (0, base)
    assert sum(isinstance(m, nn.Dropout) for m in network.head) == 3


def small(**options):
    torch.manual_seed(0)
    return FrozenNetwork("mobilenet_v3_small", weights="random", **options)


def test_the_base_stays_in_evaluation_mode_and_its_statistics_stay_too():
    network = small()
    before = {name: value.clone() for name, value in network.base.state_dict().items()}
    network.train()
    assert network.head.training
    assert not any(module.training for module in network.base.modules())
    network(torch.rand(4, 3, 32, 32)).sum().backward()
    assert all(p.grad is None for p in network.base.parameters())
    assert all(p.grad is not None for p in network.head.parameters())
    for name, value in network.base.state_dict().items():
        torch.testing.assert_close(value, before[name])
    thawed = small(learn_base=True).train()
    assert thawed.base.training
    assert all(p.requires_grad for p in thawed.parameters())


def test_one_output_is_given_as_two_logits_whose_softmax_is_its_sigmoid():
    network = small().eval()
    images = torch.rand(3, 3, 32, 32)
    z = network.head(network.base(images)).squeeze(1)
    logits = network(images)
    torch.testing.assert_close(logits.softmax(dim=1)[:, 1], z.sigmoid())
    target = torch.tensor([0, 1, 1])
    torch.testing.assert_close(
        nn.functional.cross_entropy(logits, target),
        nn.functional.binary_cross_entropy_with_logits(z, target.float()),
    )


def test_three_classes_have_an_output_each():
    network = small(classes=3, widths=[16], dropouts=[0.0, 0.2]).eval()
    assert [type(m).__name__ for m in network.head] == ["Linear", "ReLU", "Dropout", "Linear"]
    assert network(torch.rand(2, 3, 32, 32)).shape == (2, 3)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="dropouts has 1 entries for 3 dense layers"):
        small(dropouts=[0.5])
    with pytest.raises(ValueError, match="SqueezeNet does not end in linear layers"):
        FrozenNetwork("squeezenet1_0", weights="random")
