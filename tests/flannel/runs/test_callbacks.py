"""Early stopping as the patched code counts its patience; BatchNorm that stays frozen."""

from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.trainer.states import TrainerFn
from torch import nn

from flannel.runs.callbacks import RefreshBatchNorm, SteadyEarlyStopping


def epochs_until_stop(scores, **options):
    """Judges one score an epoch, and counts the epochs until the end."""
    stopping = SteadyEarlyStopping(monitor="val/macro_f1", mode="max", **options)
    strategy = SimpleNamespace(reduce_boolean_decision=lambda decision, all: decision)
    trainer = SimpleNamespace(
        state=SimpleNamespace(fn=TrainerFn.FITTING), sanity_checking=False, should_stop=False,
        fast_dev_run=False, strategy=strategy, val_check_interval=1.0, check_val_every_n_epoch=1,
        current_epoch=0, world_size=1, global_rank=0, loggers=[],
    )  # fmt: skip
    stopping.setup(trainer, None, "fit")
    for number, score in enumerate(scores, start=1):
        trainer.callback_metrics = {"val/macro_f1": torch.tensor(score)}
        stopping.on_validation_end(trainer, None)
        stopping.on_train_epoch_end(trainer, None)
        if trainer.should_stop:
            return number, float(stopping.best_score)
    return None, float(stopping.best_score)


def by_the_patched_code(scores, patience):
    """Counts as the patched code: only where the score is 0.05 or more below the best."""
    best, count = 0.0, 0
    for number, score in enumerate(scores, start=1):
        count = 0 if score > best - 0.05 else count + 1
        best = max(best, score)
        if count == patience:
            return number
    return None


def test_a_slow_decline_ends_where_the_patched_code_ends_it():
    decline = [0.8 - 0.03 * step for step in range(12)]
    assert by_the_patched_code(decline, patience=3) == 5
    assert epochs_until_stop(decline, patience=3, min_delta=-0.05) == (5, pytest.approx(0.8))


@pytest.mark.parametrize("seed", range(5))
def test_random_scores_end_where_the_patched_code_ends_them(seed):
    scores = torch.rand(60, generator=torch.Generator().manual_seed(seed)).mul(0.3).tolist()
    expected = by_the_patched_code(scores, patience=4)
    assert epochs_until_stop(scores, patience=4, min_delta=-0.05)[0] == expected


def test_without_tolerance_it_is_lightning_s():
    assert epochs_until_stop([0.5, 0.6, 0.6, 0.59, 0.61], patience=2, min_delta=0.0)[0] == 4


class TwoNorms(LightningModule):
    """A frozen BatchNorm and one that learns."""

    def __init__(self):
        super().__init__()
        self.frozen, self.learns = nn.BatchNorm1d(2).requires_grad_(False), nn.BatchNorm1d(2)
        self.eval()

    def refresh(self, batch):
        self.learns(self.frozen(batch))


def test_refreshing_leaves_the_statistics_of_what_is_frozen():
    module, batch = TwoNorms(), torch.tensor([[1.0, 2.0], [3.0, 8.0]])
    trainer = SimpleNamespace(
        sanity_checking=False,
        train_dataloader=[batch, batch],
        precision_plugin=SimpleNamespace(forward_context=torch.no_grad),
        strategy=SimpleNamespace(batch_to_device=lambda same: same),
    )
    RefreshBatchNorm(2).on_validation_start(trainer, module)
    assert module.frozen.running_mean.tolist() == [0, 0]
    torch.testing.assert_close(
        module.learns.running_mean, torch.tensor([2.0, 5.0]), rtol=1e-4, atol=0
    )
