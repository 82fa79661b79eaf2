"""Many patches, one confidence per diagnosis."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from flannel.errors import OptionError

Rule = Literal["share", "mean_softmax", "mean_sigmoid"]


TIE_STEP = 1e-6
"""By which part of itself the confidence of the chosen of equal classes is raised."""


def vote(
    logits: Float[Tensor, "images patches classes"],
    rule: Rule = "share",
    weights: Float[Tensor, "images patches"] | None = None,
) -> Float[Tensor, "images classes"]:
    """Joins the outputs of an image's patches to one confidence per class, in [0, 1].

    Args:
        logits: Outputs of a classifier before softmax.
        rule: `share` is the text of paper 004, Section 2.2: each patch votes for its largest
            output, and the confidence of a class is its percentage of the votes. `mean_softmax`
            averages the patches' probabilities (the authors' final report). `mean_sigmoid`
            averages the sigmoid of each output: that is what the authors' code does, and its
            confidences do not sum to 1.
        weights: How much each patch counts beside the others of its image, 0 or more
            (`patching.coverage.area_weights`); all alike when None, as in the papers.

    Returns:
        Confidences in float32, or in float64 where the logits are. Where several classes have the
        largest share, that with the largest mean softmax has `TIE_STEP` of it more, so that
        every reader of the confidences names the same class. The papers do not mention ties.

    Raises:
        OptionError: If there is no patch, a weight is negative, an image's weights are all 0, or
            the rule is unknown.
    """
    confidences = mean_vote(logits, rule, weights)
    if rule != "share":
        return confidences
    return ties_broken(confidences, mean_vote(logits, "mean_softmax", weights))


def mean_vote(
    logits: Float[Tensor, "images patches classes"],
    rule: Rule = "share",
    weights: Float[Tensor, "images patches"] | None = None,
) -> Float[Tensor, "images classes"]:
    """Returns the confidences of `vote` before ties between classes are broken.

    Args:
        logits: As of `vote`.
        rule: As of `vote`.
        weights: As of `vote`.

    Raises:
        OptionError: As of `vote`.
    """
    each = votes_of_patches(logits, rule)
    if weights is None:
        return each.mean(dim=1)
    total = weights.sum(dim=1, keepdim=True)
    if bool((weights < 0).any() or (total <= 0).any()):
        raise OptionError(
            "The weights of an image's patches are negative or all 0: no vote counts."
        )
    return (weights[:, :, None].to(each.dtype) * each).sum(dim=1) / total.to(each.dtype)


def votes_of_patches(
    logits: Float[Tensor, "images patches classes"], rule: Rule = "share"
) -> Float[Tensor, "images patches classes"]:
    """Returns what each patch gives to each class, in [0, 1].

    Of equal outputs of one patch, which coarse arithmetic such as bfloat16 brings about, the one
    with the largest mean softmax of the image has the vote.

    Args:
        logits: As of `vote`.
        rule: As of `vote`.

    Raises:
        OptionError: If there is no patch, or the rule is unknown.
    """
    if logits.shape[1] == 0:
        raise OptionError("There is no patch to vote: every image needs at least 1.")
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    match rule:
        case "share":
            mean = logits.softmax(dim=2).mean(dim=1, keepdim=True)
            leading = logits == logits.amax(dim=2, keepdim=True)
            chosen = mean.where(leading, -1.0).argmax(dim=2)
            return F.one_hot(chosen, logits.shape[2]).to(logits.dtype)
        case "mean_softmax":
            return logits.softmax(dim=2)
        case "mean_sigmoid":
            return logits.sigmoid()
        case _:
            raise OptionError(f"rule is {rule!r}: expected share, mean_softmax or mean_sigmoid.")


def ties_broken(
    confidences: Float[Tensor, "*images classes"], by: Float[Tensor, "*images classes"]
) -> Float[Tensor, "*images classes"]:
    """Raises the chosen of several classes with the largest confidence by `TIE_STEP` of it.

    Args:
        confidences: Shares of votes.
        by: Of the tied classes the one with the largest of these is chosen, of equal ones again
            the first.
    """
    leading = confidences == confidences.amax(dim=-1, keepdim=True)
    chosen = by.where(leading, -1.0).argmax(dim=-1, keepdim=True)
    tied = leading.sum(dim=-1, keepdim=True) > 1
    step = TIE_STEP * confidences.gather(-1, chosen) * tied
    return confidences.scatter_add(-1, chosen, step)
