"""Files of weights, and the networks that they are compared with before memory is taken."""

import json

import pytest
import torch
from torch import nn

from flannel.bundle.weights import (
    check_answer,
    check_network,
    declared_shapes,
    read_weights,
    save_weights,
)
from flannel.files import sha256_of
from flannel.prediction.trained import NETWORKS
from flannel.runs.checkpoints import CheckpointError, build_module


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights" / "own.safetensors"


def written(path, header, numbers=b""):
    """Writes a file of weights by hand: the length of the header, the header, the numbers."""
    text = json.dumps(header).encode()
    path.parent.mkdir()
    path.write_bytes(len(text).to_bytes(8, "little") + text + numbers)


def test_weights_come_back_and_can_be_handed_on(path):
    shared = torch.arange(6.0).reshape(2, 3)
    save_weights({"a": shared, "b": shared.T, "c": torch.tensor(7)}, path)
    assert declared_shapes(path) == {"a": (2, 3), "b": (3, 2), "c": ()}
    back = read_weights(path, sha256_of(path))
    assert torch.equal(back["b"], shared.T)
    assert back["c"].dtype == torch.int64
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("one", "numbers", "message"),
    [
        ({"dtype": "F32", "shape": [10**9], "data_offsets": [0, 4]}, b"1234", "holds no weights"),
        ({"dtype": "F32", "shape": [2**32, 2**32], "data_offsets": [0, 0]}, b"", "overflow"),
        ({"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}, b"12341234", "holds no weights"),
        ({"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}, b"1234", "the type F8_E4M3"),
        ({"dtype": "O", "shape": [4], "data_offsets": [0, 4]}, b"1234", "holds no weights"),
        ({}, b"", "holds no weights"),
    ],
)
def test_declarations_that_are_none(path, one, numbers, message):
    written(path, {"a": one}, numbers)
    with pytest.raises(CheckpointError, match=message):
        declared_shapes(path)


def test_a_network_is_as_large_as_its_weights(path):
    def build():
        return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))

    save_weights(build().state_dict(), path)
    skeleton = check_network(build, path, "small")
    assert next(skeleton.parameters()).device.type == "meta"
    assert not skeleton.training
    check_answer(skeleton, (1, 3), (1, 2), "small")
    with pytest.raises(CheckpointError, match=r"small answers \(1, 2\), where \(1, 4\)"):
        check_answer(skeleton, (1, 3), (1, 4), "small")
    with pytest.raises(CheckpointError, match="takes no input of the shape"):
        check_answer(skeleton, (1, 4), (1, 2), "small")
    with pytest.raises(CheckpointError, match=r"0.weight is 2 x 3, where the network has 2 x 4\."):
        check_network(lambda: nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2)), path, "small")
    with pytest.raises(CheckpointError, match=r"1.bias is 2, where the network has nothing"):
        check_network(lambda: nn.Sequential(nn.Linear(3, 2)), path, "small")
    with pytest.raises(CheckpointError, match=r"2.bias is nothing, where the network has 1"):
        check_network(lambda: build().append(nn.Linear(1, 1)), path, "small")


def test_what_a_network_keeps_beside_its_weights_is_bounded(path):
    class Keeps(nn.Linear):
        def __init__(self):
            super().__init__(3, 2)
            self.register_buffer("kept", torch.zeros(10**9), persistent=False)

    save_weights(nn.Linear(3, 2).state_dict(), path)
    with pytest.raises(CheckpointError, match="keeps 4,000,000,000 bytes beside its weights"):
        check_network(Keeps, path, "small")


def test_a_network_that_looks_at_numbers_while_it_is_built(path):
    """RegNet cannot be built of shapes alone."""

    def build(classes=4):
        arguments = {"architecture": "regnet_x_400mf", "classes": classes, "weights": "random"}
        named = {"class_path": "flannel.networks.ImageNetNetwork", "init_args": arguments}
        return build_module(named, NETWORKS)

    save_weights(build().state_dict(), path)
    check_answer(check_network(build, path, "RegNet"), (1, 3, 64, 64), (1, 4), "RegNet")
    with pytest.raises(CheckpointError, match=r"network.fc.bias is 4, where the network has 3\."):
        check_network(lambda: build(3), path, "RegNet")
