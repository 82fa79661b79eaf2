import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torchvision.models.resnet import BasicBlock

from flannel.learners.grad_cam import GradCam, SaliencyError, feature_maps, inside_lungs
from flannel.learners.inference import for_inference
from flannel.learners.views import WHOLE, PatchLocations, PatchView, WholeView, normalise
from flannel.networks import ImageNetNetwork
from patching.saliency import grad_cam, probabilistic_cam, stretched_to_one

WHOLE_VIEW = WholeView(resize_px=96, size_px=64)
PATCH_VIEW = PatchView((32,), 32, "uniform", "inside", masked=True)


def places_of(centres, side):
    count = len(centres)
    return PatchLocations(
        torch.tensor(centres), torch.full((count,), side), torch.ones(count), torch.tensor(1.0)
    )


def noise(views, side, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (views, 1, side, side), dtype=torch.uint8, generator=generator)


def small_resnet(seed):
    torch.manual_seed(seed)
    network = torchvision.models.ResNet(BasicBlock, [1, 1, 1, 1], num_classes=4).eval()
    network.fc.weight.data.mul_(20)  # so that the patches' probabilities differ
    return network


class Small(nn.Module):
    """Two channels of the view's own size, and logits that are their weighted means."""

    def __init__(self, weights):
        super().__init__()
        self.features = nn.Conv2d(3, 2, 1, bias=False)
        self.head = nn.Linear(2, len(weights), bias=False)
        with torch.no_grad():
            self.features.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])[:, :, None, None])
            self.head.weight.copy_(torch.tensor(weights))

    def forward(self, images):
        return self.head(self.features(images).mean(dim=(2, 3)))


@pytest.mark.parametrize(
    ("architecture", "size", "layer"),
    [
        pytest.param("densenet161", 224, "features", marks=pytest.mark.slow),
        pytest.param("inception_v3", 299, "Mixed_7c", marks=pytest.mark.slow),
        ("inception_v3", 96, "Mixed_6e"),  # the blocks behind it leave a single place
        ("resnet152", 32, "layer3"),
        ("vgg19_bn", 224, "features.51"),  # 14 x 14 places, before the last pooling
        ("vgg19_bn", 32, "features.51"),
        ("mobilenet_v3_small", 224, "features"),
        ("resnet18", 224, "layer4"),
    ],
)
def test_the_last_feature_map_of_the_learners_networks(architecture, size, layer):
    """On the meta device, where networks are built and run in no time, without numbers."""
    with torch.device("meta"):
        network = ImageNetNetwork(architecture, weights="random").eval()
    assert feature_maps(network, size)[-1] == f"network.{layer}"


def test_a_chain_of_layers_ends_before_its_single_place():
    chain = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 8, 7), nn.Flatten(),
        nn.Linear(8, 4),
    )  # fmt: skip
    assert feature_maps(chain, 16) == ["0", "1"]


@pytest.mark.parametrize(
    "head",
    [
        [nn.MaxPool2d(2)], [nn.Sequential(nn.ReLU(), nn.AvgPool2d(2)), nn.Dropout()],
        [nn.Sequential(nn.Sequential(nn.AdaptiveAvgPool2d(3)))],
    ],
)  # fmt: skip
def test_the_map_is_taken_before_the_pooling_however_layers_are_nested(head):
    features = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(4, 8, 3, padding=1), *head
    )
    network = nn.Sequential(features, nn.Flatten(), nn.LazyLinear(4)).eval()
    network(torch.zeros(1, 3, 16, 16))
    last = feature_maps(network, 16)[-1]
    shapes = []
    network.get_submodule(last).register_forward_hook(lambda *one: shapes.append(one[2].shape))
    network(torch.zeros(1, 3, 16, 16))
    assert shapes[0][1:] == (8, 8, 8)


def test_a_network_without_a_map_is_refused():
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 4))
    with pytest.raises(SaliencyError, match="Sequential has no feature map"):
        GradCam(flat, PATCH_VIEW, "half", 64)


def test_a_layer_that_gives_no_map_is_refused():
    with pytest.raises(SaliencyError, match=r"'head' gives no feature map .* are features"):
        GradCam(Small([[1.0, 0]]), PATCH_VIEW, "half", 64, layer="head")


def test_whole_radiograph_by_hand():
    """The map is that of the grey levels, on the middle 2/3 of the radiograph; class 1 is -that."""
    network = Small([[1.0, 0.0], [-1.0, 0.0]])
    cam = GradCam(network, WHOLE_VIEW, "levels", store_px=96)
    assert cam.layer == "features"
    pixels = noise(1, 64)
    levels = (pixels[0, 0].float() - pixels.min()) / (pixels.max() - pixels.min()).float()
    found = cam.map_of(pixels, WHOLE, diagnosis=0)
    assert found.shape == (96, 96)
    torch.testing.assert_close(found[16:80, 16:80], levels)
    assert found.sum().item() == pytest.approx(levels.sum().item(), rel=1e-5)
    assert cam.map_of(pixels, WHOLE, diagnosis=1).eq(0).all()


def test_the_map_of_a_cropped_radiograph_lies_where_it_was_cropped():
    """Of 48 x 80 pixels at (10, 6) the middle 2/3 were seen."""
    view = WholeView(resize_px=96, size_px=64, arm="cropped")
    cam = GradCam(Small([[1.0, 0.0], [-1.0, 0.0]]), view, "levels", store_px=96)
    places = WHOLE._replace(box=torch.tensor([10, 6, 48, 80]))
    seen = torch.zeros(96, 96, dtype=torch.bool)
    seen[10 + 8 : 10 + 40, 6 + 13 : 6 + 66] = True
    assert torch.equal(cam.seen(places), seen)
    found = cam.map_of(noise(1, 64) + 1, places, diagnosis=0)
    assert found[~seen].eq(0).all()
    assert found[seen].mean() > 0.2


def test_a_black_radiograph_has_an_empty_map():
    cam = GradCam(Small([[1.0, 0.0], [0.0, 1.0]]), WHOLE_VIEW, "levels", store_px=96)
    found = cam.map_of(torch.zeros(1, 1, 64, 64, dtype=torch.uint8), WHOLE, 0)
    assert found.eq(0).all()
    assert np.isnan(inside_lungs(found, torch.ones(96, 96, dtype=torch.bool)))


def split_cams(network, pixels, diagnosis):
    """Cams of a ResNet as one writes them by hand: run to layer4, then on from there."""
    images = normalise(pixels, "imagenet")
    head = nn.Sequential(network.avgpool, nn.Flatten(), network.fc)
    with torch.no_grad():
        body = list(network.children())[:-2]
        maps = nn.Sequential(*body)(images)
    maps.requires_grad_()
    logits = head(maps)
    (gradients,) = torch.autograd.grad(logits[:, diagnosis].sum(), maps)
    return grad_cam(maps.detach(), gradients), logits.detach()


def test_patches_of_a_resnet_against_the_formula():
    network = small_resnet(1)
    pixels, centres = noise(5, 64), [[10, 90], [40, 40], [50, 60], [99, 99], [60, 40]]
    view = PatchView((32,), 64, "uniform", "inside", masked=True)
    places = places_of(centres, 32)
    found = GradCam(network, view, "imagenet", 100, views_at_once=2).map_of(pixels, places, 2)
    cams, logits = split_cams(network, pixels, 2)
    expected = probabilistic_cam(
        stretched_to_one(cams, 64),
        logits.softmax(dim=1)[:, 2],
        places.centres,
        places.windows_px,
        (100, 100),
    )
    torch.testing.assert_close(found, expected)
    assert 0 < found.max() <= 1
    assert found[70:80, 0:20].eq(0).all()  # where no patch looked


def test_the_copy_for_prediction_has_the_same_maps():
    """Its BatchNorms are folded and its parameters need no gradient; the map is of `layer4` too."""
    network = small_resnet(2)
    pixels = noise(1, 64)

    def maps(one):
        cam = GradCam(one, WHOLE_VIEW, "half", 96)
        return torch.stack([cam.map_of(pixels, WHOLE, diagnosis) for diagnosis in range(4)])

    expected = maps(network)
    assert expected.amax(dim=(1, 2)).max() == 1
    found = maps(for_inference(network, torch.float32))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)
    rough = maps(for_inference(network, torch.bfloat16))
    assert (rough - expected).abs().mean() < 0.05
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_layer_that_is_changed_in_place_behind_it():
    """DenseNet takes the ReLU of its features in place: the map is the features behind it."""
    torch.manual_seed(3)
    network = torchvision.models.DenseNet(8, (2, 2), 16, num_classes=4).eval()
    cam = GradCam(network, WHOLE_VIEW, "half", 96)
    assert cam.layer == "features"
    pixels = noise(1, 64)
    with torch.no_grad():
        maps = network.features(normalise(pixels, "half")).relu()
    maps.requires_grad_()
    (gradients,) = torch.autograd.grad(network.classifier(maps.mean(dim=(2, 3)))[0, 3], maps)
    expected = stretched_to_one(grad_cam(maps.detach(), gradients), 64)[0]
    torch.testing.assert_close(cam.map_of(pixels, WHOLE, 3)[16:80, 16:80], expected)


def test_share_inside_the_lungs_by_hand():
    saliency = torch.tensor([[1.0, 2.0], [0.0, 5.0]])
    assert inside_lungs(saliency, torch.tensor([[True, False], [False, True]])) == 0.75
