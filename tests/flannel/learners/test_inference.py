"""Networks made for prediction give what the trained ones give, and leave those alone."""

import threading
import warnings

import pytest
import torch
import torchvision
from lightning.pytorch import Trainer
from torch import nn

from flannel.data.diagnosis import FLANNEL
from flannel.learners import inference
from flannel.learners.datamodule import RadiographDataModule
from flannel.learners.inference import (
    fold_batch_norms,
    for_inference,
    inference_dtype,
    logits_in_parts,
)
from flannel.learners.learner import BaseLearner
from flannel.learners.views import normalise
from flannel.networks import ImageNetNetwork
from patching.vote import vote


def lived_in(network):
    """Returns BatchNorms the statistics and factors that training would leave."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.running_mean, -0.3, 0.3),
                (module.running_var, 0.5, 1.5),
                (module.weight.data, 0.7, 1.3),
                (module.bias.data, -0.3, 0.3),
            ):
                tensor.uniform_(low, high, generator=generator)
    return network.eval()


def norms(network):
    return [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]


def small_densenet():
    return torchvision.models.DenseNet(
        growth_rate=4, block_config=(2, 2), num_init_features=8, num_classes=4
    )


def small_resnext():
    bottleneck = torchvision.models.resnet.Bottleneck
    return torchvision.models.ResNet(bottleneck, [1, 1, 1, 1], 4, groups=2, width_per_group=8)


def small_vgg():
    layers = torchvision.models.vgg.make_layers([8, "M", 8, "M"], batch_norm=True)
    return nn.Sequential(layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))


@pytest.mark.parametrize(
    ("build", "kept"),
    [
        (small_densenet, 2 + 2 + 1 + 1),  # the first norm of each layer, transition, last
        (small_resnext, 0),
        (small_vgg, 0),
    ],
)
def test_folded_networks_give_the_same_logits(build, kept):
    torch.manual_seed(0)
    network = lived_in(build()).double()
    images = torch.rand(3, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        expected = network(images)
        before = len(norms(network))
        fold_batch_norms(network)
        assert len(norms(network)) == kept < before
        torch.testing.assert_close(network(images), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "kept"),
    [("densenet161", 78 + 3 + 1), ("inception_v3", 0), ("resnet152", 0), ("vgg19_bn", 0)],
)
def test_the_papers_networks_are_folded_as_far_as_their_order_allows(architecture, kept):
    with torch.device("meta"):
        network = ImageNetNetwork(architecture, weights="random").eval()
        fold_batch_norms(network)
    assert len(norms(network)) == kept


class Shared(nn.Module):
    """One convolution read twice, and one run twice: neither may be folded."""

    def __init__(self):
        super().__init__()
        self.read_twice, self.run_twice = (nn.Conv2d(3, 3, 1) for _ in range(2))
        self.norm, self.other = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, images):
        seen = self.read_twice(images)
        seen = seen + self.norm(seen)
        return self.other(self.run_twice(self.run_twice(seen))).mean((2, 3))


class Untraceable(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))

    def forward(self, images):
        if images.mean() > 0:
            images = -images
        return self.layers(images).mean((2, 3))


@pytest.mark.parametrize("build", [Shared, Untraceable])
def test_what_cannot_be_folded_stays(build):
    torch.manual_seed(0)
    network = lived_in(build())
    count = len(norms(network))
    images = torch.rand(2, 3, 8, 8)
    ours = for_inference(network, torch.float32)
    assert len(norms(ours)) == count
    torch.testing.assert_close(ours(images), network(images), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("build", [small_densenet, small_resnext])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05), (torch.float16, 0.005)]
)
def test_the_copy_agrees_and_the_network_is_left_alone(build, dtype, tolerance):
    torch.manual_seed(0)
    network = lived_in(build()).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    ours = for_inference(network, dtype)
    assert network.training
    assert all(p.requires_grad for p in network.parameters())
    pixels = torch.randint(256, (2, 5, 1, 32, 32), dtype=torch.uint8)
    found = logits_in_parts(ours, pixels, "imagenet", 4)
    assert found.dtype == torch.float32
    with torch.no_grad():
        expected = network.eval()(normalise(pixels.flatten(0, 1), "imagenet"))
    torch.testing.assert_close(
        found.flatten(0, 1), expected, rtol=tolerance, atol=tolerance * expected.abs().max().item()
    )
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_norms_that_stay_keep_their_statistics_unrounded():
    network = lived_in(small_densenet())
    ours = for_inference(network, torch.bfloat16)
    kept = dict(network.named_modules())
    for name, module in ours.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean.dtype == torch.float32
            assert torch.equal(module.running_mean, kept[name].running_mean)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_dense_net_on_a_few_images_at_once_gives_what_it_gives_on_all(dtype, monkeypatch):
    torch.manual_seed(0)
    network = lived_in(small_densenet())
    ours = for_inference(network, dtype)
    assert [name for name, _ in ours.named_modules()] == [n for n, _ in network.named_modules()]
    images = torch.rand(19, 3, 32, 32).to(dtype, memory_format=torch.channels_last)
    with torch.inference_mode():
        parts = ours(images)
        monkeypatch.setattr(inference, "IMAGES_IN_CACHE", 100)
        torch.testing.assert_close(parts, ours(images), rtol=0, atol=1e-6)


@pytest.mark.parametrize("views_at_once", [1, 4, 7, 100])
def test_the_views_of_several_images_share_forward_passes(views_at_once):
    seen = []

    class Mean(nn.Module):
        def __init__(self):
            super().__init__()
            self.factor = nn.Parameter(torch.ones(()))

        def forward(self, images):
            seen.append(len(images))
            return images.mean((2, 3)) * self.factor, "auxiliary"

    pixels = torch.arange(10, dtype=torch.uint8).view(2, 5, 1, 1, 1).expand(2, 5, 1, 2, 2)
    logits = logits_in_parts(Mean(), pixels, "levels", views_at_once)
    expected = torch.arange(10.0).view(2, 5, 1).expand(2, 5, 3)
    torch.testing.assert_close(logits, expected)
    assert sum(seen) == 10
    assert max(seen) == min(views_at_once, 10)


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_on_a_cpu_each_thread_sends_its_views_through_all_layers(three_threads):
    seen = []

    class Recorded(nn.Linear):
        def forward(self, images):
            modes = (torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu"))
            seen.append((threading.get_ident(), torch.get_num_threads(), len(images), *modes))
            barrier.wait(timeout=20)  # all three at once
            return super().forward(images.mean((2, 3)))

    barrier = threading.Barrier(3)
    network = Recorded(3, 4).eval()
    pixels = torch.randint(256, (2, 9, 1, 4, 4), dtype=torch.uint8)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        found = logits_in_parts(network, pixels, "levels", 9)
    assert len({thread for thread, *_ in seen} - {threading.get_ident()}) == 3
    assert {tuple(rest) for _, *rest in seen} == {(1, 3, True, True)}  # nine views at once
    assert torch.get_num_threads() == 3
    barrier = threading.Barrier(1)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected = [network(normalise(image, "levels")) for image in pixels]
    torch.testing.assert_close(found, torch.stack(expected).float())


def test_a_network_in_training_is_not_shared_out(three_threads):
    network = nn.Sequential(nn.BatchNorm2d(3, momentum=None), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    pixels = torch.randint(256, (2, 9, 1, 4, 4), dtype=torch.uint8)
    with torch.no_grad():
        logits_in_parts(network.train(), pixels, "levels", 18)
    assert int(network[0].num_batches_tracked) == 1


def test_mixed_precision_is_rounded_once_and_others_stay():
    network = nn.Linear(2, 2)
    assert inference_dtype("bf16-mixed", network) == torch.bfloat16
    assert inference_dtype("16-mixed", network) == torch.float16
    assert inference_dtype("32-true", network) == torch.float32
    assert inference_dtype("64-true", network.double()) == torch.float64


@pytest.mark.parametrize(("precision", "tolerance"), [("32-true", 1e-5), ("bf16-mixed", 0.05)])
def test_a_learner_predicts_by_the_copy_what_its_network_says(phantom_study, precision, tolerance):
    torch.manual_seed(0)
    network = lived_in(small_densenet())
    data = RadiographDataModule(
        phantom_study, arm="patched", size_px=32, window_px=32, predict_patches=5
    )
    data.setup("predict")
    data.table = data.table[:6]
    learner = BaseLearner(network, FLANNEL, views_at_once=7)
    names = set(learner.state_dict())
    trainer = Trainer(
        accelerator="cpu",
        precision=precision,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's, of workers and of what it deprecates itself
        (opinion,) = trainer.predict(learner, datamodule=data)
    (batch,) = data.predict_dataloader()
    assert opinion.image_ids == batch.image_ids
    with torch.no_grad():
        expected = network(normalise(batch.pixels.flatten(0, 1), "imagenet")).unflatten(0, (6, 5))
    scale = expected.abs().max().item()
    torch.testing.assert_close(opinion.logits, expected, rtol=tolerance, atol=tolerance * scale)
    assert torch.equal(opinion.confidences, vote(opinion.logits, "share"))
    assert set(learner.state_dict()) == names
