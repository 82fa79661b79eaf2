"""DarkCovidNet layer by layer: parameters and sides of its authors' program."""

import pytest
import torch
from torch import nn

from flannel.learners.inference import for_inference
from flannel.networks import DarkCovidNet


@pytest.mark.parametrize(("classes", "count"), [(3, 1_167_586), (2, 1_164_434)])
def test_its_parameters_are_the_program_s(classes, count):
    with torch.device("meta"):
        network = DarkCovidNet(classes)
    assert sum(p.numel() for p in network.parameters()) == count


def test_its_maps_have_the_program_s_sides():
    """The sides behind each convolution and each pooling, as the program's summary lists them."""
    sides = []
    with torch.device("meta"):
        network = DarkCovidNet(3)
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.MaxPool2d):
                module.register_forward_hook(lambda _, __, out: sides.append(out.shape[-1]))
        assert network(torch.zeros(2, 3, 256, 256)).shape == (2, 3)
    expected = [
        *(256, 128, 128, 64),
        *(64, 66, 66, 33),
        *(33, 35, 35, 17),
        *(17, 19, 19, 9),
        *(9, 11, 11, 13, 13, 13),
    ]
    assert sides == expected
    assert network.head[-1].in_features == 507
    assert sum(isinstance(module, nn.Conv2d) for module in network.modules()) == 17


@pytest.mark.parametrize(("size_px", "features"), [(224, 432), (64, 3 * 7**2), (8, 3 * 6**2)])
def test_its_last_layer_is_made_for_other_sizes(size_px, features):
    network = DarkCovidNet(3, size_px)
    assert network.head[-1].in_features == features
    assert network(torch.rand(2, 3, size_px, size_px)).shape == (2, 3)


def test_images_of_another_side_are_refused():
    with pytest.raises(ValueError, match="images are 224 x 224 pixels; DarkCovidNet was made for"):
        DarkCovidNet(3)(torch.rand(1, 3, 224, 224))
    with pytest.raises(ValueError, match="size_px is 4; DarkCovidNet needs at least 8"):
        DarkCovidNet(3, 4)


def test_relu_comes_before_the_last_batch_norm_and_the_others_are_folded_for_prediction():
    torch.manual_seed(0)
    network = DarkCovidNet(3, 32)
    kinds = [type(module).__name__ for module in network.head]
    assert kinds == ["Conv2d", "ReLU", "BatchNorm2d", "Flatten", "Linear"]
    for _ in range(3):
        network(torch.rand(4, 3, 32, 32))  # statistics to fold
    folded = for_inference(network, torch.float32)
    norms = [m for m in folded.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 1  # the one behind ReLU
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(folded(images), network.eval()(images), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="was made for 32"):
        folded(torch.rand(1, 3, 40, 40))
