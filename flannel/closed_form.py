"""The derivative of the ensemble's loss, written out for the forms of `flannel.combinations`.

Each form is one linear layer of features that training does not change, and a rule that makes
scores of its output: raw = W f + b, scores = rule(raw, p). A rule is given here with its pull-back,
which carries the derivative by the scores back to raw; the focal loss begins the chain, and
(d raw)^T f and the sum of d raw are the gradients of W and b.

A step of 20 rows has so little arithmetic that its calls are what it costs. This is NumPy, as one
of its calls takes a third of the time of PyTorch's; arrays and tensors share their memory.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

TINY = 1e-30  # keeps 1 - p from 0, whose powers below 0 are infinite

Raw = Float[np.ndarray, "batch outputs"]
Probabilities = Float[np.ndarray, "batch learners classes"]
Scores = Float[np.ndarray, "batch classes"]
PullBack = Callable[[Scores], Raw]
Rule = Callable[[Raw, Probabilities], tuple[Scores, PullBack]]


def weighed_by_tanh(raw: Raw, probabilities: Probabilities) -> tuple[Scores, PullBack]:
    """Sums the learners' probabilities, weighed by w = tanh(raw).

    Args:
        raw: The linear layer's output, one value a learner.
        probabilities: The learners' outputs.

    Returns:
        The scores, and d scores -> d raw, which is (1 - w^2) d w.
    """
    weights = np.tanh(raw)

    def pull_back(slopes: Scores) -> Raw:
        return (1 - weights * weights) * _of_weights(slopes, probabilities)

    return _weighed(weights, probabilities), pull_back


def weighed_by_softmax(raw: Raw, probabilities: Probabilities) -> tuple[Scores, PullBack]:
    """Sums the learners' probabilities, weighed by w = softmax(raw).

    Args:
        raw: The linear layer's output, one value a learner.
        probabilities: The learners' outputs.

    Returns:
        The scores, and d scores -> d raw, which is w (d w - sum of w d w over the learners).
    """
    weights = np.exp(raw - raw.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)

    def pull_back(slopes: Scores) -> Raw:
        shares = weights * _of_weights(slopes, probabilities)
        return shares - weights * shares.sum(axis=1, keepdims=True)

    return _weighed(weights, probabilities), pull_back


def as_they_are(raw: Raw, probabilities: Probabilities) -> tuple[Scores, PullBack]:
    """Takes the linear layer's output for the scores, and their derivative for its own."""
    return raw, lambda slopes: slopes


def _weighed(weights: Raw, probabilities: Probabilities) -> Scores:
    return (weights[:, None, :] @ probabilities)[:, 0]


def _of_weights(slopes: Scores, probabilities: Probabilities) -> Raw:
    return (probabilities @ slopes[:, :, None])[:, :, 0]


def focal_slopes(
    scores: Scores,
    truth: Scores,
    places: Int[np.ndarray, "batch 1"],
    scale: Float[np.ndarray, "batch 1"],
    gamma: float,
) -> tuple[Float[np.ndarray, "batch 1"], Scores]:
    """Gives log p of the true diagnoses, and the derivative of the focal loss by the scores.

    L = -alpha (1 - p)^gamma log p with p the softmax of the true diagnosis y has, for class k,
    dL / ds_k = alpha (1 - p)^(gamma - 1) (1 - p - gamma p log p) (p_k - [k = y]).

    Args:
        scores: Before the softmax.
        truth: 1 for the true diagnosis of each row, 0 for the others.
        places: Where the true diagnoses are in `scores.ravel()`.
        scale: What a row's loss is multiplied with: alpha, over the batch for a mean.
        gamma: Focusing parameter, 0 or more.
    """
    scores = scores - np.maximum.reduce(scores, axis=1, keepdims=True)
    each = np.exp(scores)
    total = np.add.reduce(each, axis=1, keepdims=True)
    log_p = scores.take(places) - np.log(total)
    p = np.exp(log_p)
    rest = np.maximum(1 - p, TINY)
    turn = scale * rest ** (gamma - 1) * (rest - gamma * p * log_p)
    return log_p, (each / total - truth) * turn
