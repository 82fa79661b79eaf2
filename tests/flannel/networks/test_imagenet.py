"""Networks with a new head: sizes from the original, and weights that are checked."""

import hashlib
from types import SimpleNamespace

import pytest
import torch
import torchvision

from flannel.networks import ImageNetNetwork, WeightsError, imagenet, replace_head


def parameters(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("architecture", "features", "count"),
    [  # parameter counts with a head of 4, measured on the original's networks
        ("densenet161", 2208, 26_480_836),
        ("inception_v3", 2048, 21_793_764),
        ("resnet152", 2048, 58_152_004),
        ("resnext101_32x8d", 2048, 86_750_532),
        ("vgg19_bn", 4096, 139_597_636),
    ],
)
def test_the_five_have_the_original_s_parameters(architecture, features, count):
    with torch.device("meta"):
        network = ImageNetNetwork(architecture, 4, "random")
    heads = [m for m in network.modules() if isinstance(m, torch.nn.Linear) and m.out_features == 4]
    assert [head.in_features for head in heads] == [features]
    assert parameters(network) == count


@pytest.mark.slow
def test_inception_keeps_its_auxiliary_head_when_asked():
    with torch.device("meta"):
        network = ImageNetNetwork("inception_v3", 4, "random", auxiliary=True)
    assert parameters(network) == 24_354_536


@pytest.mark.slow
def test_inception_gives_a_pair_in_training_and_logits_alone_otherwise():
    network = ImageNetNetwork("inception_v3", 4, "random", auxiliary=True)
    main, auxiliary = network.train()(torch.rand(2, 3, 299, 299))
    assert main.shape == auxiliary.shape == (2, 4)
    with torch.inference_mode():
        assert network.eval()(torch.rand(1, 3, 299, 299)).shape == (1, 4)


@pytest.mark.parametrize("architecture", ["mobilenet_v3_small", "squeezenet1_0"])
def test_the_last_linear_layer_becomes_the_head(architecture):
    if architecture == "squeezenet1_0":
        with pytest.raises(ValueError, match="SqueezeNet has no linear layer"):
            ImageNetNetwork(architecture, 4, "random")
    else:
        network = ImageNetNetwork(architecture, 3, "random").eval()
        assert network(torch.rand(2, 3, 64, 64)).shape == (2, 3)


def test_unknown_names_and_heads_are_refused():
    with pytest.raises(ValueError, match="no classification network 'resnet15'"):
        ImageNetNetwork("resnet15", 4, "random")
    with pytest.raises(ValueError, match="resnet18 has no auxiliary head"):
        ImageNetNetwork("resnet18", 4, "random", auxiliary=True)
    with pytest.raises(WeightsError, match="expected 'imagenet', 'random', or the path of"):
        ImageNetNetwork("resnet18", 4, "imagnet")


def test_weights_come_from_a_local_file(tmp_path):
    torch.manual_seed(0)
    source = torchvision.models.mobilenet_v3_small(weights=None)
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    network = ImageNetNetwork("mobilenet_v3_small", 4, str(tmp_path / "weights.pth"))
    torch.testing.assert_close(network.network.features[0][0].weight, source.features[0][0].weight)


def published(architecture, folder):
    """Writes a state dictionary under the name that torchvision would give it, hash and all."""
    torch.manual_seed(0)
    source = torchvision.models.get_model(architecture, weights=None)
    folder.mkdir()
    torch.save(source.state_dict(), folder / "new.pth")
    with (folder / "new.pth").open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    file = (folder / "new.pth").rename(folder / f"{architecture}-{digest[:8]}.pth")
    return file, source


@pytest.mark.parametrize("content", [b"", b"PK" + bytes(100), b"no weights", bytes(5000)])
def test_a_damaged_file_is_a_sentence(tmp_path, content):
    (tmp_path / "own.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=r"own.pth holds no weights by their names"):
        ImageNetNetwork("shufflenet_v2_x0_5", weights=str(tmp_path / "own.pth"))


def test_a_folder_gives_the_architecture_s_published_file(tmp_path, monkeypatch):
    file, source = published("mobilenet_v3_small", tmp_path / "weights")
    entry = SimpleNamespace(url=f"https://example.org/models/{file.name}")
    weights = SimpleNamespace(IMAGENET1K_V1=entry)
    monkeypatch.setattr(torchvision.models, "get_model_weights", lambda _: weights)
    network = ImageNetNetwork("mobilenet_v3_small", 4, str(file.parent))
    torch.testing.assert_close(network.network.features[0][0].weight, source.features[0][0].weight)
    file.write_bytes(b"something else")
    with pytest.raises(WeightsError, match=r"not the published file.*or name another file"):
        ImageNetNetwork("mobilenet_v3_small", 4, str(file.parent))
    file.unlink()
    with pytest.raises(WeightsError, match=rf"has no {file.name}, .* from https://example.org"):
        ImageNetNetwork("mobilenet_v3_small", 4, str(file.parent))


def test_a_cached_file_that_is_not_the_published_one_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    name = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url.rpartition("/")[2]
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / name).write_bytes(b"something else")
    with pytest.raises(WeightsError, match="is not the published file: its SHA-256 begins with"):
        ImageNetNetwork("resnet18", 4, "imagenet")


def test_offline_the_way_out_is_said(tmp_path, monkeypatch):
    def unreachable(*_args, **_options):
        raise OSError("no route")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", unreachable)
    with pytest.raises(WeightsError, match=r"Put resnet18-.*\.pth into .*checkpoints"):
        ImageNetNetwork("resnet18", 4, "imagenet")


def test_the_old_names_of_densenet_s_parameters_are_understood():
    old = "features.denseblock1.denselayer2.norm.1.weight"
    new = "features.denseblock1.denselayer2.norm1.weight"
    assert imagenet._today(old) == new
    with torch.device("meta"):
        names = torchvision.models.densenet121(weights=None).state_dict()
    assert all(imagenet._today(name) == name for name in names)
    assert new in names


def test_replace_head_leaves_the_rest_alone():
    network = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.ReLU(), torch.nn.Linear(5, 9))
    before = network[0].weight.clone()
    replace_head(network, 4)
    assert network[2].out_features == 4
    torch.testing.assert_close(network[0].weight, before)


@pytest.mark.parametrize(
    ("architecture", "classes", "count"),
    [
        ("resnet50", 3, 23_514_179),  # papers 000 and 001
        # torchvision documents 19,341,616 with a head of 1793 x 1000
        ("efficientnet_b4", 4, 19_341_616 - 1_793_000 + 1793 * 4),
    ],
)
def test_the_other_studies_imagenet_networks_have_the_known_parameters(
    architecture, classes, count
):
    with torch.device("meta"):
        network = ImageNetNetwork(architecture, classes, "random")
    assert parameters(network) == count
