"""The forms of FLANNEL: how the base learners' outputs become the scores of the ensemble."""

from typing import Literal, final

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from flannel.errors import OptionError


@final
class NeuralWeightModule(nn.Module):
    """Weighs N learners by the outer product of their concatenated outputs.

    Paper 004, Section 2.3 and Algorithm 1: f = [p_1, ..., p_N]; w = tanh(W vec(f f^T) + b), one
    weight per learner in (-1, 1), neither normalised nor kept positive; the combined scores are
    sum_i w_i p_i. With five learners and four classes it has 2,005 parameters, and since the
    scores are weighted sums of probabilities, no confidence can exceed e^5 / (e^5 + 3) = 0.980.

    The softmax that makes the scores probabilities is inside the loss, and there is no other one
    here: the p_i come as probabilities. (The original program reads logits and takes their softmax
    first; that of paper 004 takes the mean sigmoids of its patched learners as they are, which
    need not sum to one. Both are what happens here, by what the learners have written down.)

    Args:
        learners: Number of base learners, N.
        classes: Number of diagnoses.
        weights: "tanh" as the paper, or "softmax" (positive, summing to one: the original file's
            other form).
    """

    def __init__(
        self, learners: int, classes: int, weights: Literal["tanh", "softmax"] = "tanh"
    ) -> None:
        if weights not in ("tanh", "softmax"):
            raise OptionError(f"weights is {weights!r}; expected 'tanh' or 'softmax'.")
        super().__init__()
        self.learners, self.classes, self.weights = learners, classes, weights
        self.linear = nn.Linear((learners * classes) ** 2, learners)

    def learner_weights(
        self, probabilities: Float[Tensor, "batch learners classes"]
    ) -> Float[Tensor, "batch learners"]:
        """Returns the weight of each learner for each image.

        Raises:
            ValueError: If there are not as many learners and classes.
        """
        _check_shape(probabilities, self.learners, self.classes)
        outputs = probabilities.flatten(1)  # (batch, learners * classes), learner-major
        products = outputs[:, :, None] * outputs[:, None, :]
        raw = self.linear(products.flatten(1))
        return raw.tanh() if self.weights == "tanh" else raw.softmax(dim=1)

    def forward(
        self, probabilities: Float[Tensor, "batch learners classes"]
    ) -> Float[Tensor, "batch classes"]:
        """Returns the combined scores, before the softmax.

        Raises:
            ValueError: If there are not as many learners and classes.
        """
        weights = self.learner_weights(probabilities)
        return torch.bmm(weights[:, None, :], probabilities).squeeze(1)


@final
class LinearCombination(nn.Module):
    """One linear layer from all outputs to the scores: the original file's `ensembleMLP`.

    With five learners and four classes Linear(20, 4), 84 parameters, no weight per learner.

    Args:
        learners: Number of base learners.
        classes: Number of diagnoses.
    """

    def __init__(self, learners: int, classes: int) -> None:
        super().__init__()
        self.learners, self.classes = learners, classes
        self.linear = nn.Linear(learners * classes, classes)

    def forward(
        self, probabilities: Float[Tensor, "batch learners classes"]
    ) -> Float[Tensor, "batch classes"]:
        """Returns the scores, before the softmax.

        Raises:
            ValueError: If there are not as many learners and classes.
        """
        _check_shape(probabilities, self.learners, self.classes)
        scores: Tensor = self.linear(probabilities.flatten(1))
        return scores


@torch.inference_mode()
def combined(
    combination: nn.Module, probabilities: Float32[np.ndarray, "images learners classes"]
) -> tuple[Float32[np.ndarray, "images classes"], Float32[np.ndarray, "images learners"] | None]:
    """Returns the confidences of an ensemble, and the weight of each learner where it has any.

    Args:
        combination: One of the modules here, in evaluation mode.
        probabilities: What the learners predict, in the ensemble's order of them.
    """
    given = torch.from_numpy(probabilities).to(next(combination.parameters()).device)
    confidences = combination(given).softmax(dim=1).cpu().numpy()
    if not isinstance(combination, NeuralWeightModule):
        return confidences, None
    return confidences, combination.learner_weights(given).cpu().numpy()


def _check_shape(probabilities: Tensor, learners: int, classes: int) -> None:
    if probabilities.shape[1:] != (learners, classes):
        raise ValueError(
            f"probabilities has the shape {tuple(probabilities.shape)}; expected (batch, "
            f"{learners} learners, {classes} classes)."
        )
