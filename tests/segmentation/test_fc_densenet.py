"""The network against the numbers of the original programs (tests/golden/README.md)."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from segmentation.fc_densenet import FCDenseNet, FCDenseNet103, TransitionUp
from segmentation.inference import for_inference

GOLDEN = Path(__file__).parents[1] / "golden" / "fc_densenet103_dev.npz"


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def fill_by_shape(network: nn.Module) -> None:
    for p in network.parameters():
        i = torch.arange(p.numel(), dtype=torch.float64).reshape(p.shape)
        if p.dim() >= 2:
            values = torch.sin(0.7 * i + 0.1) * (2 / p[0].numel()) ** 0.5
        else:
            values = 0.5 + 0.1 * torch.cos(0.3 * i)
        p.data.copy_(values)


@pytest.fixture(scope="module")
def network() -> FCDenseNet103:
    return FCDenseNet103(in_channels=1, classes=4).eval()


def test_equals_the_original_network():
    golden = np.load(GOLDEN, allow_pickle=False)
    network = FCDenseNet103(in_channels=1, classes=4).double().eval()
    fill_by_shape(network)
    with torch.no_grad():
        logits = network(torch.from_numpy(golden["input"]))
    ours = logits.log_softmax(dim=1).numpy().astype(np.float32)
    assert np.abs(ours - golden["log_probabilities"]).max() < 1e-6


@pytest.mark.parametrize(
    ("channels", "classes", "parameters"),
    [(1, 4, 9_319_428), (1, 3, 9_319_171), (1, 2, 9_318_914), (3, 11, 9_322_091)],
)
def test_parameters_in_all(channels, classes, parameters):
    assert count(FCDenseNet103(channels, classes)) == parameters


def test_parameters_of_each_stage(network):
    """The counts were taken from the original module, stage by stage."""
    assert count(network.first) == 480
    assert [count(block) for block in network.down_blocks] == [
        42_112, 105_200, 245_392, 549_120, 967_296,
    ]  # fmt: skip
    assert [count(down) for down in network.downsamplings] == [
        12_880, 37_440, 93_328, 216_688, 432_304,
    ]  # fmt: skip
    assert count(network.bottleneck) == 1_682_160
    assert [count(up) for up in network.upsamplings] == [
        518_640, 331_968, 230_560, 113_008, 57_680,
    ]  # fmt: skip
    assert [count(block) for block in network.up_blocks] == [
        1_724_160, 1_063_040, 523_376, 245_360, 126_208,
    ]  # fmt: skip
    assert count(network.classifier) == 1_028
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    assert len(convolutions) == 103


def test_smaller_sibling_by_arguments_alone():
    """FC-DenseNet57 of the original authors, 3 channels, 12 classes: 1,376,988 parameters."""
    sibling = FCDenseNet(3, 12, down=(4,) * 5, bottleneck=4, up=(4,) * 5, growth=12)
    assert count(sibling) == 1_376_988


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (64, 35)])
def test_any_size_from_32_pixels(network, size):
    with torch.no_grad():
        assert network(torch.zeros(1, 1, *size)).shape == (1, 4, *size)


def test_too_small_is_one_sentence(network):
    with pytest.raises(ValueError, match=r"31 x 40 pixels.*at least 32"):
        network(torch.zeros(1, 1, 31, 40))


def test_upsampled_features_are_cropped_at_the_centre():
    """5 pixels become 11; a skip of 10 drops the last row and column, one of 9 both edges."""
    up = TransitionUp(1)
    new = torch.randn(1, 1, 5, 5)
    with torch.no_grad():
        whole = up.transposed(new)
        cropped = up(new, torch.zeros(1, 2, 10, 9))
        torch.testing.assert_close(cropped, whole[:, :, 0:10, 1:10])


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_upsampling_by_parity_equals_the_transposed_convolution(layout):
    up = TransitionUp(3).double().to(memory_format=layout)
    new = torch.randn(2, 3, 4, 7, dtype=torch.float64).to(memory_format=layout)
    new.requires_grad_()
    weights = torch.randn(2, 3, 9, 15, dtype=torch.float64)

    def gradients(upsampled: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad((weights * upsampled).sum(), [new, *up.parameters()])

    ours, theirs = up(new, weights), up.transposed(new)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradients(ours), gradients(theirs))


def test_he_uniform_bound_and_biases():
    network = FCDenseNet(1, 2, down=(1,), bottleneck=1, up=(1,), initialisation="he_uniform")
    transposed = network.upsamplings[0].transposed  # 16 channels in, 3 x 3
    bound = (6 / (16 * 9)) ** 0.5
    assert 0.9 * bound < transposed.weight.abs().max() <= bound
    assert torch.count_nonzero(transposed.bias) == 0


def test_dropout_kinds_differ_in_what_they_drop():
    for kind, whole_channels in (("channel", True), ("element", False)):
        torch.manual_seed(0)
        network = FCDenseNet(1, 2, down=(1,), bottleneck=1, up=(1,), dropout=0.5, dropout_kind=kind)
        features = network.down_blocks[0](torch.randn(1, 48, 16, 16))
        zeros = (features == 0).float().mean(dim=(2, 3))
        assert bool(((zeros == 0) | (zeros == 1)).all()) is whole_channels


def test_unknown_choices_are_refused():
    with pytest.raises(ValueError, match="dropout_kind is 'row'"):
        FCDenseNet103(dropout_kind="row")
    with pytest.raises(ValueError, match="initialisation is 'zeros'"):
        FCDenseNet103(initialisation="zeros")
    with pytest.raises(ValueError, match="down has 1 blocks and up has 2"):
        FCDenseNet(1, 2, down=(1,), up=(1, 1))


def small(**options) -> FCDenseNet:
    torch.manual_seed(0)
    sizes = {"down": (2, 3), "bottleneck": 2, "up": (3, 2), "growth": 4, "first": 6}
    return FCDenseNet(1, 2, **sizes, **options).double()


def plainly(network: FCDenseNet, radiographs: torch.Tensor) -> torch.Tensor:
    """The network by its formula: whole layers, everything concatenated anew for each."""

    def new_of(block: nn.Module, stack: torch.Tensor) -> torch.Tensor:
        features = [stack]
        for layer in block.layers:
            features.append(layer(torch.cat(features, dim=1)))
        return torch.cat(features[1:], dim=1)

    stack, skips = network.first(radiographs), []
    for block, down in zip(network.down_blocks, network.downsamplings, strict=True):
        skips.append(torch.cat([stack, new_of(block, stack)], dim=1))
        stack = down.pool(down.mix(skips[-1]))
    new = new_of(network.bottleneck, stack)
    for up, block in zip(network.upsamplings, network.up_blocks, strict=True):
        skip = skips.pop()
        upsampled = up.transposed(new)[:, :, : skip.shape[2], : skip.shape[3]]
        stack = torch.cat([upsampled, skip], dim=1)
        new = new_of(block, stack)
    return network.classifier(torch.cat([stack, new], dim=1))


def gradients(network: FCDenseNet, forward: Callable[[torch.Tensor], torch.Tensor]):
    """Of a training step with dropout, which updates BatchNorm's statistics too."""
    generator = torch.Generator().manual_seed(1)
    radiographs = 255 * torch.rand(2, 1, 45, 38, dtype=torch.float64, generator=generator)
    target = torch.randint(2, (2, 45, 38), generator=generator)
    torch.manual_seed(2)  # of the dropout
    nn.functional.cross_entropy(forward(radiographs), target).backward()
    return {name: p.grad for name, p in network.named_parameters()}


@pytest.mark.parametrize("kind", ["channel", "element"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_training_step_is_that_of_the_formula(kind, checkpointing):
    """With checkpointing too dropout draws once and BatchNorm counts a batch once."""
    plain, ours = (small(dropout_kind=kind, checkpointing=checkpointing) for _ in range(2))
    expected = gradients(plain, lambda radiographs: plainly(plain, radiographs))
    torch.testing.assert_close(gradients(ours, ours), expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(ours.state_dict(), plain.state_dict())
    counted = [v for name, v in ours.state_dict().items() if name.endswith("batches_tracked")]
    assert {int(batches) for batches in counted} == {1}


def test_a_training_step_in_float32_and_channels_last():
    plain, ours = small().float(), small().float().to(memory_format=torch.channels_last)
    expected = gradients(plain, lambda radiographs: plainly(plain, radiographs.float()))
    found = gradients(ours, lambda radiographs: ours(radiographs.float()))
    for name, gradient in expected.items():
        assert (found[name] - gradient).norm() <= 1e-3 * gradient.norm() + 1e-6, name


def test_checkpointing_keeps_less_for_the_backward_pass():
    """Counted in values that autograd saves, weights left out, each storage once."""

    def kept(network: FCDenseNet) -> int:
        weights = {p.data_ptr() for p in network.parameters()}
        saved: dict[int, int] = {}

        def note(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                saved[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            network(torch.zeros(1, 1, 64, 64, dtype=torch.float64))
        return sum(saved.values())

    assert kept(small(checkpointing=True)) < 0.5 * kept(small())


def test_batch_statistics_at_evaluation_are_those_of_the_batch():
    """As in training without dropout, whatever came before; running averages are not."""
    shape = {"down": (1, 1), "bottleneck": 1, "up": (1, 1), "growth": 4, "first": 4, "dropout": 0.0}
    torch.manual_seed(0)
    batch = FCDenseNet(1, 2, **shape, statistics="batch")
    running = FCDenseNet(1, 2, **shape)
    running.load_state_dict(batch.state_dict(), strict=False)
    radiographs = 255 * torch.rand(3, 1, 16, 16)
    with torch.no_grad():
        expected = batch.train()(radiographs)
        assert torch.equal(batch.eval()(radiographs), expected)
        assert not torch.allclose(running.eval()(radiographs), expected, atol=1e-3)
        assert not torch.allclose(batch(radiographs[:1]), expected[:1], atol=1e-3)
        fast = for_inference(batch, torch.float32)(radiographs)
    assert torch.allclose(fast, expected, atol=1e-4)
    with pytest.raises(ValueError, match="'moving'"):
        FCDenseNet(1, 2, statistics="moving")


def test_divisor_brings_grey_values_to_the_range_of_the_network():
    shape = {"down": (1,), "bottleneck": 1, "up": (1,), "growth": 4, "first": 4}
    torch.manual_seed(0)
    scaled = FCDenseNet(1, 2, **shape, divisor=255).eval()
    plain = FCDenseNet(1, 2, **shape).eval()
    plain.load_state_dict(scaled.state_dict())
    radiographs = 255 * torch.rand(2, 1, 16, 16)
    with torch.no_grad():
        expected = plain(radiographs / 255)
        assert torch.allclose(scaled(radiographs), expected, atol=1e-5)
        fast = for_inference(scaled, torch.float32)(radiographs)
    assert torch.allclose(fast, expected, atol=1e-4)
