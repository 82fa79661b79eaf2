import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from PIL import Image
from torch import nn

from flannel.data.mask import write_mask
from flannel.data.sources.mask_pairs import write_phantoms
from segmentation.training.data import LungDataModule
from segmentation.training.evaluation import measure, summary
from segmentation.training.task import LungSegmenter


class Knows(nn.Module):
    """Predicts that the left half of the picture is lung, with certainty."""

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        self.classes = classes
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, radiographs: torch.Tensor) -> torch.Tensor:
        batch, _, height, width = radiographs.shape
        left = (torch.arange(width) < width // 2).float().expand(batch, height, width)
        logits = [40 * (1 - left), 40 * left] + [-40 * torch.ones_like(left)] * (self.classes - 2)
        return torch.stack(logits, dim=1) + self.weight


@pytest.fixture
def trainer() -> Trainer:
    return Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)


def test_measures_by_hand(tmp_path, trainer):
    """True lungs are the left quarter, the left half, and the half in the middle: 1/2, 1, 1/3."""
    for number, (start, end) in enumerate(((0, 20), (0, 40), (20, 60))):
        truth = np.zeros((120, 80), bool)
        truth[:, start:end] = True
        write_mask(truth, tmp_path / "masks" / f"p{number}.png")
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(np.arange(9600, dtype=np.uint8).reshape(120, 80)).save(
            tmp_path / "images" / f"p{number}.png"
        )
    data = LungDataModule(tmp_path, tmp_path, size_px=32, shares=(0.3, 0.3, 0.4))
    data.setup("fit")
    data.datasets["test"].positions = [0, 1, 2]
    table = measure(LungSegmenter(Knows()), data, "test", trainer)
    assert table["stem"].tolist() == ["p0", "p1", "p2"]
    assert table["jaccard"].tolist() == pytest.approx([0.5, 1, 1 / 3], abs=0.01)
    assert table["jaccard_native"].tolist() == pytest.approx([0.5, 1, 1 / 3], abs=0.02)
    assert table["dice"].tolist() == pytest.approx([2 / 3, 1, 1 / 2], abs=0.01)
    # Far edges lie a quarter, nothing and a quarter of the width apart; the diagonal is 1.414.
    diagonals = [0.25 / 2**0.5, 0, 0.25 / 2**0.5]
    assert table["hausdorff95"].tolist() == pytest.approx(diagonals, abs=0.02)
    summed = summary(table, "test")
    assert summed["test/jaccard"] == pytest.approx(11 / 18, abs=0.01)
    assert summed["test/jaccard_worst"] == pytest.approx(1 / 3, abs=0.01)
    assert summed["test/jaccard_low"] is None  # three patients are too few


def test_several_structures_are_measured_each(tmp_path, trainer):
    """The network finds no heart and no right lung; its "heart" is what Knows calls lungs."""
    write_phantoms(tmp_path, 3, seed=1, size=96)
    data = LungDataModule(tmp_path, tmp_path, structures="heart_left_right", size_px=32)
    data.setup("fit")
    model = LungSegmenter(Knows(4), structures="heart_left_right")
    table = measure(model, data, "test", trainer)
    assert (table["jaccard"] == 0).all()
    assert (table["jaccard_left_lung"] == 0).all()
    assert ((table["jaccard_heart"] > 0) & (table["jaccard_heart"] < 0.3)).all()
    assert "test/jaccard_right_lung" in summary(table, "test")
