"""COVID-Net: blocks, widths and sums of the description that is followed."""

import pytest
import torch
from torch import nn

from flannel.learners.inference import for_inference
from flannel.networks import CovidNet, WeightsError
from flannel.networks.covid_net import Block


def test_its_parameters_counted_by_hand():
    def block(channels, out):
        narrow, wide = channels // 2, 3 * channels // 4
        weights = channels * narrow + narrow * wide + 9 * wide + wide * narrow + narrow * out
        return weights + 2 * (narrow + wide + wide + narrow + out)  # and BatchNorm's

    expected = 3 * 49 * 56 + 2 * 56
    channels = 56
    for blocks, width in ((3, 56), (4, 112), (6, 216), (3, 424)):
        expected += channels * width + 2 * width  # the 1 x 1 convolution beside the stage
        expected += block(channels, width) + (blocks - 1) * block(width, width)
        channels = width
    expected += (424 * 49 + 1) * 1024 + 1025 * 256 + 257 * 4
    with torch.device("meta"):
        network = CovidNet(4)
    assert sum(p.numel() for p in network.parameters()) == expected == 22_972_396
    assert sum(isinstance(module, Block) for module in network.modules()) == 16


def test_stages_halve_the_map_and_every_block_gets_the_sum_of_all_before_it():
    torch.manual_seed(0)
    network = CovidNet(4, dense=(8,)).eval()
    inputs, projected = [], []
    for stage in network.stages:
        stage.beside.register_forward_hook(lambda _, __, out: projected.append(out))
        for block in (stage.first, *stage.others):
            block.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
            block.register_forward_hook(lambda _, __, out: projected.append(out))
    with torch.inference_mode():
        assert network(torch.rand(1, 3, 64, 64)).shape == (1, 4)
    sides = [tuple(out.shape[1:3]) for out in projected]
    assert sides == [(56, 16)] * 4 + [(112, 8)] * 5 + [(216, 4)] * 7 + [(424, 2)] * 4
    torch.testing.assert_close(inputs[2], projected[0] + projected[1] + projected[2])
    torch.testing.assert_close(inputs[3], nn.functional.max_pool2d(sum(projected[:4]), 2))


def test_every_batch_norm_is_folded_for_prediction():
    folded = for_inference(CovidNet(4, dense=(8,)), torch.float32)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())


def test_its_own_weights_can_be_loaded_and_no_others(tmp_path):
    torch.manual_seed(0)
    source = CovidNet(4, dense=(8,))
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    network = CovidNet(4, str(tmp_path / "weights.pth"), dense=(8,))
    torch.testing.assert_close(network.head[-1].weight, source.head[-1].weight)
    with pytest.raises(WeightsError, match=r"holds no weights of this COVID-Net"):
        CovidNet(3, str(tmp_path / "weights.pth"), dense=(8,))
    with pytest.raises(WeightsError, match="weights is 'imagenet'; COVID-Net has 'random' ones"):
        CovidNet(4, "imagenet", dense=(8,))
