from types import SimpleNamespace

import lightning.pytorch as lightning
import pytest
import torch
from torch import nn

from flannel.data.sources.mask_pairs import write_phantoms
from flannel.runs.callbacks import SeedEachEpoch
from flannel.runs.checkpoints import CheckpointError
from segmentation.fc_densenet import FCDenseNet
from segmentation.training.augmentation import Augmentation
from segmentation.training.data import LungBatch, LungDataModule
from segmentation.training.task import LungSegmenter, MeanJaccard, SegmenterError


def masks(*rows: str) -> torch.Tensor:
    return torch.tensor([[[c == "#" for c in row]] for row in rows])


def test_mean_jaccard_is_over_images_not_over_batches():
    metric = MeanJaccard()
    metric.update(masks("#...", "#...", "#..."), masks("#...", "#...", "#..."))
    metric.update(masks("...."), masks("#..."))
    assert metric.compute().item() == pytest.approx(3 / 4)


class Constant(nn.Module):
    """Predicts "lungs" with the same logit everywhere."""

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, radiographs: torch.Tensor) -> torch.Tensor:
        batch, _, height, width = radiographs.shape
        return self.bias[None, :, None, None].expand(batch, -1, height, width)


@pytest.mark.filterwarnings("ignore:You are trying to `self.log")
def test_class_weights_weigh_the_loss():
    """A weighted mean: three background pixels of weight 0.5, one lung pixel of weight 1."""
    target = torch.tensor([[[0, 0, 0, 1]]])
    batch = LungBatch(torch.zeros(1, 1, 1, 4), target)
    segmenter = LungSegmenter(Constant(), class_weights=[0.5, 1.0])
    segmenter.network.bias.data = torch.tensor([0.0, 1.0])
    background, lungs = -torch.tensor([0.0, 1.0]).log_softmax(dim=0)
    expected = (3 * 0.5 * background + lungs) / (3 * 0.5 + 1)
    assert segmenter.training_step(batch, 0).item() == pytest.approx(expected.item())


def test_networks_of_another_shape_are_refused():
    with pytest.raises(SegmenterError, match=r"Constant gave .*\(1, 4, 8, 8\).*classes to 2"):
        LungSegmenter(Constant(4))(torch.zeros(1, 1, 8, 8))
    with pytest.raises(SegmenterError, match="3 values"):
        LungSegmenter(Constant(), class_weights=[1.0, 1.0, 1.0])
    with pytest.raises(SegmenterError, match="loss is dice"):
        LungSegmenter(Constant(), loss="dice", class_weights=[1.0, 1.0])
    with pytest.raises(SegmenterError, match="'hinge'"):
        LungSegmenter(Constant(), loss="hinge")


def test_learning_rate_is_divided_by_ten_when_the_loss_stalls():
    segmenter = LungSegmenter(Constant(), learning_rate=1e-3, patience=2)
    configured = segmenter.configure_optimizers()
    schedule = configured["lr_scheduler"]["scheduler"]
    rates = []
    for loss in (1.0, 1.0, 1.0, 1.0, 1.0):
        schedule.step(loss)
        rates.append(configured["optimizer"].param_groups[0]["lr"])
    assert rates == pytest.approx([1e-3, 1e-3, 1e-3, 1e-4, 1e-4])
    assert configured["lr_scheduler"]["monitor"] == "val/loss"


def test_learning_rate_is_divided_at_the_milestones_of_the_code():
    segmenter = LungSegmenter(Constant(), learning_rate=1e-4, schedule="steps")
    configured = segmenter.configure_optimizers()
    schedule = configured["lr_scheduler"]["scheduler"]
    rates = {}
    for epoch in range(95):
        rates[epoch] = configured["optimizer"].param_groups[0]["lr"]
        configured["optimizer"].step()
        schedule.step()
    assert [rates[e] for e in (69, 70, 80, 90)] == pytest.approx([1e-4, 1e-5, 1e-6, 1e-7])
    with pytest.raises(SegmenterError, match="'cosine'"):
        LungSegmenter(Constant(), schedule="cosine").configure_optimizers()


def test_one_cycle_rises_over_a_tenth_of_the_training_and_falls_to_nothing():
    segmenter = LungSegmenter(Constant(), learning_rate=1e-3, schedule="one_cycle")
    segmenter.trainer = SimpleNamespace(estimated_stepping_batches=101, max_epochs=1)
    configured = segmenter.configure_optimizers()
    optimiser, schedule = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    assert configured["lr_scheduler"]["interval"] == "step"
    rates = []
    for _ in range(101):
        rates.append(optimiser.param_groups[0]["lr"])
        assert optimiser.param_groups[0]["betas"] == (0.9, 0.999)
        optimiser.step()
        schedule.step() if len(rates) < 101 else None
    assert rates[0] == pytest.approx(1e-3 / 25)
    assert rates.index(max(rates)) in (9, 10)
    assert max(rates) == pytest.approx(1e-3, rel=1e-2)
    assert rates[-1] == pytest.approx(1e-3 / 25 / 1e4)


def test_begins_from_the_weights_of_another_run(tmp_path):
    first, second = Constant(), Constant()
    first.bias.data = torch.tensor([1.0, 2.0])
    saved = {f"network.{name}": value for name, value in first.state_dict().items()}
    torch.save({"state_dict": saved}, tmp_path / "best.ckpt")
    segmenter = LungSegmenter(second, begin_from=tmp_path / "best.ckpt")
    assert segmenter.network.bias.tolist() == [1.0, 2.0]
    assert segmenter.network.training
    assert "begin_from" not in segmenter.hparams
    with pytest.raises(CheckpointError, match="do not fit"):
        LungSegmenter(Constant(4), begin_from=tmp_path / "best.ckpt")
    with pytest.raises(CheckpointError, match="missing"):
        LungSegmenter(second, begin_from=tmp_path / "none.ckpt")


@pytest.mark.filterwarnings("ignore:You are trying to `self.log")
@pytest.mark.parametrize("loss", ["jaccard", "dice", "lovasz"])
def test_losses_by_hand(loss):
    """Lungs with probability p everywhere, and truly in one of four pixels."""
    segmenter = LungSegmenter(Constant(), loss=loss)
    segmenter.network.bias.data = torch.tensor([0.0, 1.0])
    batch = LungBatch(torch.zeros(1, 1, 1, 4), torch.tensor([[[0, 0, 0, 1]]]))
    p = torch.tensor(1.0).sigmoid().item()
    q = 1 - p
    background = {"jaccard": 1 - 3 * q / (3 + q), "dice": 1 - 6 * q / (3 + 4 * q), "lovasz": p}
    # Lovasz: errors p, p, p, q in falling order; the Jaccard loss grows by 1/2, 1/6, 1/12, 1/4.
    lungs = {
        "jaccard": 1 - p / (1 + 3 * p),
        "dice": 1 - 2 * p / (1 + 4 * p),
        "lovasz": 0.75 * p + 0.25 * q,
    }
    expected = (background[loss] + lungs[loss]) / 2
    assert segmenter.training_step(batch, 0).item() == pytest.approx(expected, abs=1e-5)


def test_refresh_moves_batch_norm_and_nothing_else():
    network = FCDenseNet(1, 2, down=(1,), bottleneck=1, up=(1,), growth=4, first=4)
    segmenter = LungSegmenter(network).train()
    before = {name: value.clone() for name, value in segmenter.state_dict().items()}
    with torch.no_grad():
        segmenter.refresh(LungBatch(255 * torch.rand(2, 1, 8, 8), torch.zeros(2, 8, 8).long()))
    changed = {
        name.rsplit(".", 1)[1]
        for name, value in segmenter.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert changed == {"running_mean", "running_var", "num_batches_tracked"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .*dataloader.* does not have many workers")
@pytest.mark.filterwarnings("ignore:The number of training batches")
@pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec")
def test_learns_phantoms_and_checkpoint_loads_safely(tmp_path):
    """A small sibling finds phantom lungs in a few seconds; a mask of chance reaches about 0.2."""
    write_phantoms(tmp_path / "pairs", 16, seed=1, size=96)
    data = LungDataModule(tmp_path, tmp_path / "pairs", size_px=32, batch_size=4)
    torch.manual_seed(0)
    network = FCDenseNet(1, 2, (2, 2), 2, (2, 2), growth=8, first=16, dropout=0.0)
    segmenter = LungSegmenter(network, learning_rate=3e-3)
    trainer = lightning.Trainer(
        max_epochs=25,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
    trainer.fit(segmenter, datamodule=data)
    assert trainer.callback_metrics["val/jaccard"] > 0.6
    trainer.save_checkpoint(tmp_path / "some.ckpt")
    kept = torch.load(tmp_path / "some.ckpt", weights_only=True)
    assert kept["hyper_parameters"]["learning_rate"] == 3e-3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .*dataloader.* does not have many workers")
@pytest.mark.filterwarnings("ignore:The number of training batches")
@pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec")
def test_an_interrupted_training_ends_in_the_same_weights(tmp_path):
    """Bitwise, with shuffling, mirroring and dropout, as each epoch derives its own randomness."""
    write_phantoms(tmp_path / "pairs", 9, seed=1, size=96)

    def train(epochs, checkpoint=None):
        data = LungDataModule(
            tmp_path, tmp_path / "pairs", size_px=32, augmentation=Augmentation(flip=True)
        )
        torch.manual_seed(0)
        network = FCDenseNet(1, 2, (1,), 1, (1,), growth=4, first=4, dropout=0.5)
        trainer = lightning.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            callbacks=[SeedEachEpoch(7)],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
        )
        segmenter = LungSegmenter(network, learning_rate=1e-2)
        trainer.fit(segmenter, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        trainer.save_checkpoint(tmp_path / f"{epochs}.ckpt")
        return segmenter.state_dict()

    whole = train(4)
    train(2)
    continued = train(4, tmp_path / "2.ckpt")
    assert all(torch.equal(whole[name], continued[name]) for name in whole)
