"""Many patches, one confidence per diagnosis."""

from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from flannel.errors import OptionError

Rule = Literal["share", "mean_softmax", "mean_sigmoid"]


def vote(
    logits: Float[Tensor, "images patches classes"],
    rule: Rule = "share",
    weights: Float[Tensor, "images patches"] | None = None,
) -> Float[Tensor, "images classes"]:
    """Joins the outputs of an image's patches to one confidence per class, in [0, 1].

    Args:
        logits: Outputs of a classifier before softmax.
        rule: `share` is the text of paper 004, Section 2.2: each patch votes for its largest
            output, and the confidence of a class is its percentage of the votes; of equal outputs
            the first class has the vote. `mean_softmax` averages the patches' probabilities (the
            authors' final report). `mean_sigmoid` averages the sigmoid of each output: that is
            what the authors' code does, and its confidences do not sum to 1.
        weights: How much each patch counts beside the others of its image, 0 or more
            (`patching.coverage.area_weights`); all alike when None, as in the papers.

    Raises:
        OptionError: If there is no patch, a weight is negative, an image's weights are all 0, or
            the rule is unknown.
    """
    if logits.shape[1] == 0:
        raise OptionError("There is no patch to vote: every image needs at least 1.")
    match rule:
        case "share":
            votes = F.one_hot(logits.argmax(dim=2), logits.shape[2]).to(logits.dtype)
        case "mean_softmax":
            votes = logits.softmax(dim=2)
        case "mean_sigmoid":
            votes = logits.sigmoid()
        case _:
            raise OptionError(f"rule is {rule!r}: expected share, mean_softmax or mean_sigmoid.")
    if weights is None:
        return votes.mean(dim=1)
    total = weights.sum(dim=1, keepdim=True)
    if bool((weights < 0).any() or (total <= 0).any()):
        raise OptionError(
            "The weights of an image's patches are negative or all 0: no vote counts."
        )
    return (weights[:, :, None].to(votes.dtype) * votes).sum(dim=1) / total.to(votes.dtype)
