"""FLANNEL's forms against the original's numbers, by hand, and for any number of learners."""

import numpy as np
import pytest
import torch

from flannel.ensemble import NeuralWeightModule
from flannel.ensemble.combinations import LinearCombination, combined


def test_combined_scores_equal_the_original(golden):
    numbers = golden("ensemble_dev")
    module = NeuralWeightModule(learners=5, classes=4).double()
    with torch.no_grad():
        module.linear.weight.copy_(torch.tensor(numbers["weight"]))
        module.linear.bias.copy_(torch.tensor(numbers["bias"]))
    combined = module(torch.tensor(numbers["learner_probabilities"], dtype=torch.float64))
    np.testing.assert_allclose(combined.detach().numpy(), numbers["combined"], atol=1e-9, rtol=0)


def test_weights_by_hand_for_two_learners_and_two_classes():
    module = NeuralWeightModule(2, 2)
    with torch.no_grad():
        module.linear.weight.zero_()
        module.linear.weight[0, 1 * 4 + 2] = 1.0  # f[1] * f[2] speaks for learner 0
        module.linear.bias.copy_(torch.tensor([0.0, -0.5]))
    p = torch.tensor([[[0.3, 0.7], [0.6, 0.4]]])
    w0, w1 = np.tanh(0.7 * 0.6), np.tanh(-0.5)
    expected = [w0 * 0.3 + w1 * 0.6, w0 * 0.7 + w1 * 0.4]
    np.testing.assert_allclose(module(p).detach().numpy()[0], expected, rtol=1e-6)


@pytest.mark.parametrize("form", [NeuralWeightModule, LinearCombination])
def test_confidences_are_the_softmax_of_the_scores(form):
    module = form(3, 4).eval()
    probabilities = np.random.default_rng(1).dirichlet(np.ones(4), (6, 3)).astype(np.float32)
    confidences, weights = combined(module, probabilities)
    scores = module(torch.from_numpy(probabilities)).detach().numpy()
    expected = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(confidences, expected, rtol=1e-6)
    if form is LinearCombination:
        assert weights is None
    else:
        np.testing.assert_allclose(
            (weights[:, :, None] * probabilities).sum(axis=1), scores, rtol=1e-5, atol=1e-7
        )


@pytest.mark.parametrize("learners", [1, 3, 10])
def test_any_number_of_learners(learners):
    module = NeuralWeightModule(learners, 4)
    assert sum(p.numel() for p in module.parameters()) == (learners * 4) ** 2 * learners + learners
    assert module(torch.rand(7, learners, 4)).shape == (7, 4)


def test_five_learners_have_2005_parameters():
    assert sum(p.numel() for p in NeuralWeightModule(5, 4).parameters()) == 2005


def test_softmax_weights_are_positive_and_sum_to_one():
    weights = NeuralWeightModule(5, 4, weights="softmax").learner_weights(torch.rand(6, 5, 4))
    assert (weights > 0).all()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(6))


def test_softmax_weights_by_hand():
    module = NeuralWeightModule(2, 2, weights="softmax")
    with torch.no_grad():
        module.linear.weight.zero_()
        module.linear.bias.copy_(torch.tensor([0.0, np.log(3.0)]))  # weights 1/4 and 3/4
    scores = module(torch.tensor([[[0.3, 0.7], [0.6, 0.4]]])).detach().numpy()[0]
    np.testing.assert_allclose(
        scores, [0.25 * 0.3 + 0.75 * 0.6, 0.25 * 0.7 + 0.75 * 0.4], rtol=1e-6
    )


@pytest.mark.parametrize("learners", [1, 5, 10])
def test_one_linear_layer_from_all_outputs_to_the_scores(learners):
    module = LinearCombination(learners, 4)
    assert sum(p.numel() for p in module.parameters()) == (learners * 4 + 1) * 4
    probabilities = torch.rand(7, learners, 4)
    features = probabilities.reshape(7, -1)  # learner-major
    expected = features @ module.linear.weight.T + module.linear.bias
    torch.testing.assert_close(module(probabilities), expected)


@pytest.mark.parametrize("form", [NeuralWeightModule, LinearCombination])
def test_the_wrong_number_of_learners_is_named(form):
    with pytest.raises(ValueError, match="expected \\(batch, 5 learners, 4 classes\\)"):
        form(5, 4)(torch.rand(2, 4, 4))


def test_unknown_weights_are_named():
    with pytest.raises(ValueError, match="weights is 'sigmoid'; expected 'tanh' or 'softmax'"):
        NeuralWeightModule(5, 4, weights="sigmoid")
