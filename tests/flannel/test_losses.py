"""The focal loss against the original program's numbers, and against the formula by hand."""

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch

from flannel.losses import (
    ClassCountError,
    FocalLoss,
    SquaredError,
    balanced_weights,
    inverse_frequency,
)


def test_equals_the_original_loss_and_gradient(golden):
    numbers = golden("ensemble_dev")
    scores = torch.tensor(numbers["combined"], dtype=torch.float64, requires_grad=True)
    target = torch.tensor(numbers["target"]).long()
    loss = FocalLoss(10, numbers["alpha"].tolist())(scores, target)
    loss.backward()
    expected = float(numbers["focal_gamma10_alpha_sum"])
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    gradient = numbers["focal_gamma10_alpha_grad"]
    np.testing.assert_allclose(
        scores.grad.numpy(), gradient, rtol=1e-5, atol=1e-5 * np.abs(gradient).max()
    )


def test_equals_the_original_loss_without_weights(golden):
    numbers = golden("ensemble_dev")
    scores = torch.tensor(numbers["combined"], dtype=torch.float64)
    loss = FocalLoss(2)(scores, torch.tensor(numbers["target"]).long())
    assert float(loss) == pytest.approx(float(numbers["focal_gamma2_unweighted_sum"]), rel=1e-5)


def test_by_hand_for_one_image():
    scores = torch.tensor([[math.log(3.0), 0.0]])  # softmax: 0.75, 0.25
    loss = FocalLoss(2, [1.0, 4.0])
    assert float(loss(scores, torch.tensor([0]))) == pytest.approx(0.25**2 * -math.log(0.75))
    assert float(loss(scores, torch.tensor([1]))) == pytest.approx(4 * 0.75**2 * -math.log(0.25))


def test_gamma_0_is_cross_entropy_and_mean_is_the_sum_by_rows():
    scores, target = torch.randn(8, 4, dtype=torch.float64), torch.arange(8) % 4
    plain = torch.nn.functional.cross_entropy(scores, target, reduction="sum")
    assert float(FocalLoss(0)(scores, target)) == pytest.approx(float(plain))
    mean = FocalLoss(3, reduction="mean")(scores, target)
    assert float(mean) == pytest.approx(float(FocalLoss(3)(scores, target)) / 8)
    each = FocalLoss(3, [1, 2, 3, 4], reduction="none")(scores, target)
    assert each.shape == target.shape
    assert float(each.sum()) == pytest.approx(float(FocalLoss(3, [1, 2, 3, 4])(scores, target)))


@pytest.mark.parametrize("gamma", [0, 0.001, 0.25, 0.5, 1, 2, 3.5, 10])
@pytest.mark.parametrize("apart", [0, 1, 10, 30, 36.7, 37, 40, 700, 2000, -1, -30, -700, -2000])
def test_the_gradient_is_that_of_the_formula_from_p_0_to_1(gamma, apart):
    """In decimals of 60 digits: dL / ds_k = (1 - p)^(g - 1) (1 - p - g p log p) (p_k - [k = y])."""
    scores = torch.tensor([[float(apart), 0.0]], dtype=torch.float64, requires_grad=True)
    loss = FocalLoss(gamma)(scores, torch.tensor([0]))
    loss.backward()
    with localcontext() as context:
        context.prec = 60
        power = Decimal(gamma)
        odds = (-Decimal(apart)).exp()
        p, rest, log_p = 1 / (1 + odds), odds / (1 + odds), -(1 + odds).ln()
        focus = 1 if gamma == 0 else (power * rest.ln()).exp()
        slope = -focus * (1 - power * p * log_p / rest) * rest
        value = -focus * log_p
    scale = max(1.0, abs(apart))
    assert loss.item() == pytest.approx(float(value), rel=1e-6, abs=1e-12 * scale)
    # Near p = 1, 1 - p has few digits left; what is lost there is below 1e-15 ** gamma of nothing.
    assert scores.grad[0].tolist() == pytest.approx(
        [float(slope), -float(slope)], rel=1e-6, abs=1e-12 * scale
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("gamma", [0, 1e-6, 0.25, 0.5, 0.99, 1, 2, 3.5])
def test_no_score_gives_a_gradient_that_is_no_number(dtype, gamma):
    generator = torch.Generator().manual_seed(1)
    sizes = torch.logspace(-3, 3, 400, dtype=dtype)[:, None]
    scores = sizes * torch.randn(400, 4, generator=generator, dtype=dtype)
    scores.requires_grad_()
    FocalLoss(gamma, [3.4, 1.1, 0.5, 0.9])(scores, torch.arange(400) % 4).backward()
    assert scores.grad.isfinite().all()


@pytest.mark.parametrize("gamma", [0, 0.25, 0.5, 1, 2, 3.5])
def test_the_gradient_is_that_of_finite_differences(gamma):
    generator = torch.Generator().manual_seed(2)
    scores = 3 * torch.randn(12, 4, generator=generator, dtype=torch.float64)
    scores.requires_grad_()
    target = torch.arange(12) % 4
    assert torch.autograd.gradcheck(lambda one: FocalLoss(gamma)(one, target), scores)


def test_a_certain_error_stays_finite():
    loss = FocalLoss(10)(torch.tensor([[500.0, -500.0]], requires_grad=True), torch.tensor([1]))
    loss.backward()
    assert loss.item() == pytest.approx(1000.0)


def test_alpha_is_1000_over_the_count_as_in_the_original(golden):
    numbers = golden("ensemble_dev")
    counts = torch.tensor(numbers["class_counts"]).long()
    np.testing.assert_allclose(inverse_frequency(counts).numpy(), numbers["alpha"], rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [({"gamma": -1}, "gamma is -1"), ({"gamma": 1, "reduction": "max"}, "reduction is 'max'")],
)
def test_wrong_arguments_are_named(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        FocalLoss(**arguments)


def test_a_class_without_training_images_is_named():
    with pytest.raises(ClassCountError, match=r"\[3, 0, 1\]"):
        inverse_frequency(torch.tensor([3, 0, 1]))


def test_balanced_weights_are_inverse_frequencies_that_average_1_over_the_images():
    counts = torch.tensor([298, 941, 1839, 1026])  # fold cv1 of paper 004
    weights = balanced_weights(counts)
    torch.testing.assert_close(weights, 4104 / (4 * counts))
    torch.testing.assert_close(weights / weights[0], inverse_frequency(counts) * 298 / 1000)
    assert float((weights * counts).sum()) == pytest.approx(4104)


def test_squared_error_of_two_classes_is_that_of_one_sigmoid():
    z = torch.tensor([-1.5, 0.0, 2.0])
    logits = torch.stack([torch.zeros(3), z], dim=1)
    target = torch.tensor([0, 1, 1])
    each = SquaredError()(logits, target)
    torch.testing.assert_close(each, (z.sigmoid() - target) ** 2)
    assert float(each[1]) == 0.25


def test_squared_error_of_three_classes_is_averaged_over_them():
    logits = torch.tensor([[math.log(2.0), 0.0, 0.0]])  # softmax: 1/2, 1/4, 1/4
    each = SquaredError()(logits, torch.tensor([0]))
    assert float(each) == pytest.approx((0.5**2 + 2 * 0.25**2) / 3)
