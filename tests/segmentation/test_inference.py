"""The form for prediction against the network that it was made from."""

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import nn

from segmentation import inference
from segmentation.fc_densenet import FCDenseNet, FCDenseNet103
from segmentation.inference import for_inference


def noise(batch: int, height: int, width: int) -> torch.Tensor:
    return 255 * torch.rand(batch, 1, height, width)


def seasoned(network: nn.Module) -> nn.Module:
    """Returns BatchNorm statistics of the inputs that the tests use, instead of 0 and 1."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(noise(2, 64, 64))
    return network.eval()


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    sizes = {"down": (2, 3), "bottleneck": 2, "up": (3, 2), "growth": 4, "first": 6}
    return seasoned(FCDenseNet(1, 2, dropout=0.0, **sizes))


def logits(network: nn.Module, radiographs: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return network(radiographs)


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The root mean square error, in units of the spread of what is expected."""
    return float((found - expected).pow(2).mean().sqrt() / expected.std())


@pytest.mark.parametrize("size", [(4, 4), (5, 7), (64, 96), (33, 47), (71, 50)])
@pytest.mark.parametrize("rows_bytes", [2**10, 2**22])
def test_equals_the_network_at_any_size_and_in_any_pieces(network, size, rows_bytes, monkeypatch):
    monkeypatch.setattr(inference, "ROWS_BYTES", rows_bytes)
    monkeypatch.setattr(inference, "IMAGES_BYTES", 16 * rows_bytes)
    radiographs = noise(3, *size)
    found = for_inference(network, torch.float32)(radiographs)
    torch.testing.assert_close(found, logits(network, radiographs), rtol=1e-4, atol=1e-5)


def test_equals_the_network_in_float64_to_the_last_digits(network):
    double = for_inference(network, torch.float64)
    radiographs = noise(2, 40, 56).double()
    expected = logits(network.double(), radiographs)
    network.float()
    torch.testing.assert_close(double(radiographs), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_half_precision_moves_logits_little_and_masks_less():
    """Rounding to 8 or 11 bits, through 103 layers."""
    torch.manual_seed(0)
    network = seasoned(FCDenseNet103(dropout=0.0))
    radiographs = noise(1, 64, 64)
    expected = logits(network, radiographs)
    for dtype, tolerance, agreeing in (
        (torch.bfloat16, 0.02, 0.995),
        (torch.float16, 0.0025, 0.999),
    ):
        found = for_inference(network, dtype)(radiographs)
        assert error(found, expected) < tolerance
        assert (found.argmax(dim=1) == expected.argmax(dim=1)).float().mean() > agreeing


@pytest.mark.slow
def test_another_network_keeps_its_numbers_or_rounds_about_as_autocast():
    torch.manual_seed(0)
    network = seasoned(smp.Unet("resnet18", encoder_weights=None, in_channels=1, classes=2))
    radiographs = noise(1, 64, 64)
    expected = logits(network, radiographs)
    with torch.autocast("cpu", torch.bfloat16):
        autocast = logits(network, radiographs).float()
    found = for_inference(network, torch.bfloat16)(radiographs)
    assert error(found, expected) < 1.5 * error(autocast, expected)
    assert error(for_inference(network, torch.float32)(radiographs), expected) < 1e-4


def test_calls_do_not_disturb_each_other(network):
    """The buffers are kept, but what comes out of them is not written to again."""
    fast = for_inference(network, torch.float32)
    first, second, smaller = noise(2, 32, 32), noise(2, 32, 32), noise(1, 16, 20)
    found = fast(first)
    before = found.clone()
    fast(second)
    fast(smaller)
    assert torch.equal(found, before)
    assert torch.equal(fast(first), before)


def test_leaves_the_network_alone(network):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    for_inference(network, torch.bfloat16)(noise(1, 32, 32))
    assert network.training
    network.eval()
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)
    assert next(network.parameters()).dtype == torch.float32


def test_statistics_are_not_rounded(network):
    fast = for_inference(network, torch.bfloat16)
    ours = [m for m in fast.modules() if isinstance(m, nn.BatchNorm2d)]
    theirs = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0)


def test_too_small_is_one_sentence(network):
    with pytest.raises(ValueError, match=r"3 x 40 pixels.*at least 4"):
        for_inference(network, torch.float32)(noise(1, 3, 40))
