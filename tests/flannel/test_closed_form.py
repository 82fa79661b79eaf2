"""The derivative that is written out, against the one that PyTorch finds."""

from functools import partial

import numpy as np
import pytest
import torch

from flannel.closed_form import focal_slopes
from flannel.combinations import LinearCombination, NeuralWeightModule
from flannel.losses import FocalLoss

FORMS = [NeuralWeightModule, partial(NeuralWeightModule, weights="softmax"), LinearCombination]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("learners", [1, 5, 10])
def test_a_rule_gives_the_scores_of_forward_and_pulls_their_derivative_back(form, learners):
    torch.manual_seed(learners)
    module = form(learners, 4).double()
    probabilities = torch.rand(7, learners, 4, dtype=torch.float64)
    raw = module.linear(module.features(probabilities))
    raw.retain_grad()
    scores, pull_back = module.rule(raw.detach().numpy(), probabilities.numpy())
    torch.testing.assert_close(torch.from_numpy(scores), module(probabilities), atol=1e-12, rtol=0)

    slopes = torch.rand(7, 4, dtype=torch.float64)
    layer = module.linear
    layer.forward = lambda _: raw  # so that autograd ends at raw
    module(probabilities).backward(slopes)
    np.testing.assert_allclose(pull_back(slopes.numpy()), raw.grad, atol=1e-12, rtol=0)


@pytest.mark.parametrize("gamma", [0, 0.5, 1, 2, 10])
@pytest.mark.parametrize("alpha", [None, [3.4, 1.1, 0.5, 0.9]])
def test_the_slopes_of_the_focal_loss_are_those_of_autograd(gamma, alpha):
    generator = torch.Generator().manual_seed(2)
    scores = 3 * torch.randn(9, 4, generator=generator, dtype=torch.float64)
    scores.requires_grad_()
    target = torch.arange(9) % 4
    loss = FocalLoss(gamma, alpha)
    loss(scores, target).backward()
    log_p, slopes = focal_slopes(
        scores.detach().numpy(),
        np.eye(4)[target],
        (np.arange(9) * 4 + target.numpy())[:, None],
        np.array(alpha or [1.0] * 4, np.float32)[target][:, None],
        gamma,
    )
    np.testing.assert_allclose(log_p[:, 0], loss.log_p(scores, target).detach(), rtol=1e-12)
    np.testing.assert_allclose(slopes, scores.grad, atol=1e-12, rtol=1e-12)


def test_the_slope_of_cross_entropy_by_hand():
    log_p, slopes = focal_slopes(
        np.log([[3.0, 1.0]]), np.array([[1.0, 0.0]]), np.array([[0]]), np.array([[2.0]]), gamma=0
    )
    np.testing.assert_allclose(log_p, [[np.log(0.75)]])
    np.testing.assert_allclose(slopes, [[2 * (0.75 - 1), 2 * 0.25]])


@pytest.mark.parametrize("gamma", [0, 0.5, 10])
def test_rows_that_are_certain_have_finite_slopes(gamma):
    scores = np.array([[500, -500], [-500, 500]], np.float32)  # right, and wrong
    log_p, slopes = focal_slopes(
        scores, np.eye(2, dtype=np.float32)[[0, 0]], np.array([[0], [2]]), np.ones((2, 1)), gamma
    )
    np.testing.assert_allclose(log_p, [[0], [-1000]])
    np.testing.assert_allclose(slopes, [[0, 0], [-1, 1]], atol=1e-12)
