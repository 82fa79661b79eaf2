"""An ensemble's way through an epoch: by whichever gradient, and by whichever step, the same."""

from functools import partial

import pytest
import torch
from torch import nn

from flannel import descent
from flannel.combinations import LinearCombination, NeuralWeightModule
from flannel.descent import by_autograd, in_closed_form, learn_epoch, straight_step
from flannel.losses import FocalLoss

FORMS = [NeuralWeightModule, partial(NeuralWeightModule, weights="softmax"), LinearCombination]


def rows(count=47, learners=3, dtype=torch.float64):
    generator = torch.Generator().manual_seed(5)
    scores = 2 * torch.randn(count, learners, 4, generator=generator, dtype=dtype)
    return scores.softmax(dim=2), torch.randint(0, 4, (count,), generator=generator)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize(("dtype", "off"), [(torch.float64, 1e-12), (torch.float32, 3e-6)])
@pytest.mark.parametrize(("gamma", "alpha"), [(10.0, (3.4, 1.1, 0.5, 0.9)), (0.0, None)])
def test_each_batch_has_the_gradients_of_autograd(
    form, reduction, dtype, off, gamma, alpha, monkeypatch
):
    monkeypatch.setattr(descent, "AT_ONCE", 2)
    torch.manual_seed(1)
    module = form(3, 4).to(dtype)
    loss = FocalLoss(gamma, alpha, reduction)
    walks = [
        [(log_p, *(one.grad.clone() for one in module.parameters())) for log_p in walk]
        for walk in (
            way(module, loss, *rows(dtype=dtype), 8) for way in (by_autograd, in_closed_form)
        )
    ]
    assert [len(log_p) for log_p, *_ in walks[1]] == [8, 8, 8, 8, 8, 7]
    for expected, found in zip(*walks, strict=True):
        scale = max(float(one.abs().max()) for one in expected[1:])
        torch.testing.assert_close(found[0], expected[0], atol=off, rtol=off)
        for one, other in zip(found[1:], expected[1:], strict=True):
            torch.testing.assert_close(one / scale, other / scale, atol=off, rtol=0)


class Counted:
    """Stands for Lightning's optimizer, whose steps the Trainer counts."""

    def __init__(self, optimizer):
        self.optimizer, self.steps = optimizer, 0

    def step(self):
        self.steps += 1
        self.optimizer.step()


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize(
    "form", [LinearCombination, lambda *_: nn.Sequential(nn.Flatten(), nn.Linear(12, 4))]
)
def test_an_epoch_gives_the_mean_loss_of_its_rows_and_is_one_step_of_the_trainer(form, reduction):
    probabilities, target = rows()
    module = form(3, 4).double()
    counted = Counted(torch.optim.SGD(module.parameters(), lr=0.0))
    found = learn_epoch(module, FocalLoss(2, None, reduction), probabilities, target, 8, counted)
    expected = FocalLoss(2, None, "none")(module(probabilities), target).mean()
    torch.testing.assert_close(found, expected.detach())
    assert counted.steps == 1


@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1, "betas": (0.8, 0.9), "eps": 1e-3}])
@pytest.mark.parametrize("maximize", [False, True])
def test_a_straight_step_is_the_optimizers_bit_for_bit(options, maximize):
    torch.manual_seed(3)
    first = nn.Linear(7, 5)
    second = nn.Linear(7, 5)
    second.load_state_dict(first.state_dict())
    optimizers = [
        torch.optim.Adam(
            [{"params": [one.weight], "lr": 0.1}, {"params": [one.bias]}],
            lr=0.01,
            fused=True,
            maximize=maximize,
            **options,
        )
        for one in (first, second)
    ]
    for one in (*first.parameters(), *second.parameters()):
        one.grad = torch.zeros_like(one)
    steps = [optimizer.step for optimizer in optimizers]
    for number in range(6):
        for one, other in zip(first.parameters(), second.parameters(), strict=True):
            one.grad.normal_()
            other.grad.copy_(one.grad)
        for step in steps:
            step()
        if not number:
            steps[1] = straight_step(optimizers[1])
            assert steps[1] != optimizers[1].step
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
        for name, value in optimizers[0].state[one].items():
            assert torch.equal(value, optimizers[1].state[other][name])


@pytest.mark.parametrize(
    "optimizer",
    [
        partial(torch.optim.SGD, lr=0.1),
        partial(torch.optim.AdamW, fused=True),
        torch.optim.Adam,
        partial(torch.optim.Adam, fused=True, amsgrad=True),
    ],
)
def test_any_other_optimizer_keeps_its_own_step(optimizer):
    made = optimizer(nn.Linear(2, 1).parameters())
    assert straight_step(made) == made.step
