"""What a network is made of, counted by hand."""

import torch
from torch import nn

from flannel.learners.network_summary import summarise_network, write_network


class TwoLayers(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4))
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(4, 2)
        self.unused = nn.Linear(1, 1)

    def forward(self, images):
        return self.head(self.dropout(self.features(images).mean(dim=(2, 3))))


def test_layers_shapes_and_parameters_are_those_of_the_network():
    network = TwoLayers()
    network.features.requires_grad_(False)
    table = summarise_network(network, 8).set_index("name")
    assert table["output"].to_dict() == {
        "features": "4 x 8 x 8", "features.0": "4 x 8 x 8", "features.1": "4 x 8 x 8",
        "dropout": "4", "head": "2", "unused": "", "": "2",
    }  # fmt: skip
    convolution, norm, head, unused = 3 * 4 * 9 + 4, 2 * 4, 4 * 2 + 2, 2
    assert table["parameters"].to_dict() == {
        "features": convolution + norm, "features.0": convolution, "features.1": norm,
        "dropout": 0, "head": head, "unused": unused,
        "": convolution + norm + head + unused,
    }  # fmt: skip
    assert table["trainable"][""] == head + unused
    assert table["layers"].tolist() == [2, 1, 1, 1, 1, 1, 5]
    assert table.loc["features.1", ["type", "depth"]].tolist() == ["BatchNorm2d", 1]


def test_looking_changes_neither_the_network_nor_the_generator(tmp_path):
    network = TwoLayers()
    network.features.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    drawn = torch.random.get_rng_state()
    write_network(network, 8, tmp_path / "network.csv")
    assert torch.equal(torch.random.get_rng_state(), drawn)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert [m.training for m in (network, network.features, network.features[0])] == [
        True, False, False,
    ]  # fmt: skip
    assert not any(module._forward_hooks for module in network.modules())
