import pytest
import torch
from torch import nn

from segmentation.checkpoint import MaskError
from segmentation.inference import class_probabilities, ready_network
from segmentation.structures import classes_of


class Brightness(nn.Module):
    """A logit for each class: its weight times the grey value, and 1 more in column 0."""

    def __init__(self, weights: list[float]) -> None:
        super().__init__()
        self.weights = torch.tensor(weights)[:, None, None]

    def forward(self, radiographs: torch.Tensor) -> torch.Tensor:
        logits = self.weights * radiographs
        column = torch.arange(radiographs.shape[-1]) == 0
        return logits + column


def test_probabilities_are_the_softmax_of_the_classes():
    grey = torch.tensor([[[[0.0, 1.0]]]])
    found = class_probabilities(Brightness([0.0, 1.0]), grey, classes_of("lungs"))
    # The column adds the same to both classes; by hand 1 / (1 + e^-1) = 0.731059.
    assert found[0, 1, 0].tolist() == pytest.approx([0.5, 0.731059], abs=1e-6)
    assert found.sum(dim=1).flatten().tolist() == pytest.approx([1, 1])


class LeftOfPicture(nn.Module):
    """Predicts right lung on the picture's left half, left lung on the right, heart in column 1."""

    def forward(self, radiographs: torch.Tensor) -> torch.Tensor:
        batch, _, height, width = radiographs.shape
        column = torch.arange(width).expand(batch, height, width)
        planes = [
            torch.zeros(batch, height, width),
            4.0 * (column == 1),
            2.0 * (column >= width // 2),
            3.0 * (column < width // 2),
        ]
        return torch.stack(planes, dim=1)


def test_mirrored_answers_are_turned_back_and_their_sides_exchanged():
    """By hand, four columns: each pixel is the mean of its own softmax and its mirror's."""
    classes = classes_of("heart_left_right")
    grey = torch.zeros(1, 1, 1, 4)
    plain = class_probabilities(LeftOfPicture(), grey, classes)[0, :, 0]
    found = class_probabilities(LeftOfPicture(), grey, classes, flip=True)[0, :, 0]
    logits = torch.tensor([[0, 0, 0, 3], [0, 4, 0, 3], [0, 0, 2, 0], [0, 0, 2, 0]])
    own = logits.float().softmax(dim=1)  # (columns, classes)
    assert torch.allclose(plain.T, own)
    background, heart, left, right = range(4)
    for column in range(4):
        mirror = own[3 - column]
        expected = (own[column] + mirror[[background, heart, right, left]]) / 2
        assert torch.allclose(found[:, column], expected)
    # Column 0 is right lung; so says its mirror image, which is called left there.
    assert found[:, 0].argmax() == right
    assert found[:, 3].argmax() == left


def test_flip_averaging_makes_the_answer_independent_of_mirroring():
    torch.manual_seed(1)
    network = nn.Conv2d(1, 3, 3, padding=1)
    grey = torch.rand(2, 1, 6, 8)
    classes = classes_of("left_right")
    found = class_probabilities(network, grey, classes, flip=True)
    mirrored = class_probabilities(network, grey.flip(-1), classes, flip=True)
    assert torch.allclose(found, mirrored.flip(-1)[:, [0, 2, 1]], atol=1e-6)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_half_precision_changes_only_the_last_digits(precision):
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
    grey = 255 * torch.rand(2, 1, 8, 8)
    expected = class_probabilities(network.eval(), grey, classes_of("lungs"))
    ready = ready_network(network, precision, torch.device("cpu"))
    found = class_probabilities(ready, grey, classes_of("lungs"))
    assert found.dtype == torch.float32
    assert torch.allclose(found, expected, atol=0.3)
    assert (found - expected).abs().mean() < 0.03


def test_a_network_of_other_classes_and_an_unknown_precision_are_one_sentence():
    grey = torch.zeros(1, 1, 2, 2)
    with pytest.raises(MaskError, match=r"has 2 outputs, but .* names 4 classes"):
        class_probabilities(Brightness([0.0, 1.0]), grey, classes_of("heart_left_right"))
    with pytest.raises(MaskError, match="'8-bit'"):
        ready_network(Brightness([0.0, 1.0]), "8-bit", torch.device("cpu"))
