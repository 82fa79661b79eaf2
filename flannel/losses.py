"""The losses: focal loss, squared error, and what a class weighs in a loss."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from flannel.errors import FlannelError, OptionError

Reduction = Literal["sum", "mean"]


class ClassCountError(FlannelError):
    """Raised when a class has no training image."""


class FocalLoss(nn.Module):
    """Focal loss over softmax probabilities, equation (2) of paper 004.

    L = sum over the batch of -alpha_y (1 - p_y)^gamma log(p_y), with p the softmax of the scores
    and y the true diagnosis. The softmax is inside, and the logarithm is of the softmax itself:
    the original adds 1e-9 to the probability instead, which differs by less than 1e-8 for
    probabilities above 0.1, and by more for smaller ones (1.5e-7 at 0.0066).

    Args:
        gamma: Focusing parameter; 0 is the weighted cross-entropy. The original uses 10.
        alpha: One weight per class, 1000 / count in the original; None weighs all alike.
        reduction: "sum" over the batch as the original does, "mean", or "none" for one loss a row.

    Raises:
        OptionError: If gamma is negative or the reduction unknown.
    """

    alpha: Tensor | None

    def __init__(
        self,
        gamma: float,
        alpha: Tensor | Sequence[float] | None = None,
        reduction: Reduction | Literal["none"] = "sum",
    ) -> None:
        super().__init__()
        if gamma < 0:
            raise OptionError(f"gamma is {gamma}; expected 0 or more.")
        if reduction not in ("sum", "mean", "none"):
            raise OptionError(f"reduction is {reduction!r}; expected 'sum', 'mean' or 'none'.")
        self.gamma = gamma
        self.reduction = reduction
        weights = None if alpha is None else torch.as_tensor(alpha, dtype=torch.float32)
        self.register_buffer("alpha", weights, persistent=False)

    def forward(
        self, scores: Float[Tensor, "batch classes"], target: Int[Tensor, " batch"]
    ) -> Float[Tensor, ""] | Float[Tensor, " batch"]:
        """Computes the loss of a batch, or of each of its rows.

        Args:
            scores: Combined scores before the softmax.
            target: Class indices, 0 to classes - 1.
        """
        log_p = scores.log_softmax(dim=1).gather(1, target[:, None]).squeeze(1)
        # Kept from 0, where a power below 1 has no finite derivative; the loss's own is 0 there.
        rest = (1 - log_p.exp()).clamp_min(torch.finfo(log_p.dtype).tiny)
        each = -(rest**self.gamma) * log_p
        if self.alpha is not None:
            each = self.alpha.to(each.dtype)[target] * each
        match self.reduction:
            case "sum":
                return each.sum()
            case "mean":
                return each.mean()
            case "none":
                return each


class SquaredError(nn.Module):
    """Squared error of softmax probabilities, averaged over the classes: Keras's loss of paper 003.

    Of two classes it is (p - y)^2: p is the probability of the second one, and y is 1 where that is
    the true one. So a network with a single sigmoid output is trained as the paper says
    (`flannel.networks.FrozenNetwork`). It gives one loss a view.
    """

    def forward(
        self, scores: Float[Tensor, "batch classes"], target: Int[Tensor, " batch"]
    ) -> Float[Tensor, " batch"]:
        """Computes the loss of each row.

        Args:
            scores: Before the softmax.
            target: Class indices, 0 to classes - 1.
        """
        truth = nn.functional.one_hot(target, scores.shape[1])
        return (scores.softmax(dim=1) - truth).square().mean(dim=1)


def inverse_frequency(counts: Int[Tensor, " classes"]) -> Float[Tensor, " classes"]:
    """Returns alpha as the original code does: 1000 / number of training images of each class.

    Paper 004 calls alpha the inverse class frequency; the factor 1000 is the code's.

    Raises:
        ClassCountError: If a class has no training image.
    """
    if bool((counts == 0).any()):
        raise ClassCountError(
            f"The training images per class are {counts.tolist()}: a class without any has no "
            "inverse frequency. Choose another fold, or weigh all classes alike."
        )
    return 1000.0 / counts.float()


def balanced_weights(counts: Int[Tensor, " classes"]) -> Float[Tensor, " classes"]:
    """Returns `inverse_frequency` at a scale at which the training images weigh 1 on average.

    A weight is N / (classes x count). The ensemble's 1000 / count is the same but for a factor,
    which would be one of the learning rate here, where no public code weighs a base learner's loss.

    Raises:
        ClassCountError: If a class has no training image.
    """
    weights = inverse_frequency(counts)
    return weights * (counts.sum() / (weights * counts).sum())
