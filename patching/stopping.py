"""When more patches of an image need no evaluation: their votes could hardly change the majority.

Paper 004 asks the same K patches of every image. Votes are counted one after another here, and the
count may end early, as in an election whose winner is known before the last ballot.
"""

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from flannel.errors import OptionError
from patching.vote import Rule, votes_of_patches

ROUND = 4
"""Patches of an image that are asked before its votes are looked at again."""


def decided(
    logits: Float[Tensor, "images seen classes"],
    patches: int,
    rule: Rule = "share",
    error: float = 0.0,
    weights: Float[Tensor, "images patches"] | None = None,
) -> Bool[Tensor, " images"]:
    """Returns for each image whether its majority is known before all its patches voted.

    With `error` 0 it is known for certain, up to float32's rounding where votes are no whole
    numbers. Whatever the remaining patches vote, the leading class keeps the largest confidence,
    and no other draws level: who wins a tie is known only at the end. For the same reason a patch
    with equal outputs counts as a remaining one.

    With more, a wrong majority is risked. If patches come in random order, the probability of ever
    stopping while the leader is another class than that of all patches is at most `error`. That is
    the sampling without replacement of Waudby-Smith and Ramdas (NeurIPS 2020), whose ratio of prior
    to posterior is a martingale. Here it is taken between the leader and each other class in turn,
    as PPR-1v1 of Jain et al. (AISTATS 2022) does for sampling with replacement.

    Args:
        logits: Outputs for the patches that were evaluated, before softmax.
        patches: How many there are in all, K.
        rule: How patches vote (`patching.vote.vote`).
        error: In [0, 1); above 0 votes must be whole ones, those of the rule "share".
        weights: How much each of all patches counts, those to come too; all alike when None.

    Raises:
        OptionError: If more patches were evaluated than there are, the error is not in [0, 1), or
            one above 0 meets votes that cannot be counted.
    """
    seen = logits.shape[1]
    if not 1 <= seen <= patches:
        raise OptionError(f"{seen} patches were evaluated of {patches}; expected 1 to {patches}.")
    if not 0 <= error < 1:
        raise OptionError(f"error is {error}; expected a probability, 0 or more and less than 1.")
    if error and (rule != "share" or weights is not None):
        raise OptionError(
            f"error is {error}, and votes are weighted or of the rule {rule}: they cannot be "
            "counted. Say an error of 0, or let equal patches vote by share."
        )
    if seen == patches:
        return torch.ones(len(logits), dtype=torch.bool, device=logits.device)
    each = votes_of_patches(logits, rule).double()
    voted = torch.ones_like(logits[:, :, 0], dtype=torch.bool)
    if rule == "share":
        voted = (logits == logits.amax(dim=2, keepdim=True)).sum(dim=2) == 1
    each = each * voted[:, :, None]
    if error:
        return _surely(each.sum(dim=1).long(), patches, error)
    if weights is None:
        weights = logits.new_ones(len(logits), patches)
    weights = weights.double()
    to_come = weights.sum(dim=1) - (weights[:, :seen] * voted).sum(dim=1)
    return _certainly((weights[:, :seen, None] * each).sum(dim=1), to_come)


def patches_needed(
    logits: Float[Tensor, "images patches classes"],
    rule: Rule = "share",
    error: float = 0.0,
    every: int = ROUND,
) -> Int64[Tensor, " images"]:
    """Counts how many patches of each image are asked when one stops as soon as it is `decided`.

    Args:
        logits: Outputs for all patches, in the order in which they are asked.
        rule: How patches vote.
        error: As of `decided`.
        every: Patches between two looks at the votes, at least 1.

    Raises:
        ValueError: As `decided`.
    """
    patches = logits.shape[1]
    needed = torch.full((len(logits),), patches)
    going = torch.arange(len(logits))
    for seen in range(every, patches, every):
        if not len(going):
            break
        over = decided(logits[going, :seen], patches, rule, error)
        needed[going[over]] = seen
        going = going[~over]
    return needed


def _certainly(
    sums: Float64[Tensor, "images classes"], to_come: Float64[Tensor, " images"]
) -> Bool[Tensor, " images"]:
    """Returns whether no other class can draw level."""
    leader = sums.argmax(dim=1, keepdim=True)
    lead = sums.gather(1, leader) - sums
    classes = torch.arange(sums.shape[1], device=sums.device)
    # A vote is in [0, 1]: all to the other class, none to the leader.
    return ((lead > to_come[:, None]) | (classes == leader)).all(dim=1)


def _surely(
    counts: Int64[Tensor, "images classes"], patches: int, error: float
) -> Bool[Tensor, " images"]:
    """Returns whether every final count with another majority is too unlikely to be believed.

    Only votes for two classes are looked at at a time: the leader's, s of them, and another's, t.
    Suppose that in the end they have S <= T. The uniform prior of S is 1 / (S + T + 1). Its ratio
    to the posterior is [1 / (s + t + 1)] / [C(S, s) C(T, t) / C(S + T, s + t)]. Where it exceeds
    (classes - 1) / error for all such S and T, this other class has no majority and no tie.
    """
    images, classes = counts.shape
    leader = counts.argmax(dim=1)
    votes = counts.gather(1, leader[:, None])  # (images, 1)
    to_come = patches - counts.sum(dim=1, keepdim=True)
    more = torch.arange(patches + 1, device=counts.device)
    sure = torch.ones(images, dtype=torch.bool, device=counts.device)
    for other in range(classes):
        others = counts[:, other, None]
        both = votes + others
        in_all = both + more.minimum(to_come)  # (images, any votes to come for either)
        theirs = (in_all + 1) // 2
        own = in_all - theirs  # the most that the leader may have and lose: the likeliest such S
        likelihood = (
            _log_choose(own, votes) + _log_choose(theirs, others) - _log_choose(in_all, both)
        ).amax(dim=1)
        bound = torch.log(error / ((classes - 1) * (both.squeeze(1) + 1).double()))
        sure &= (likelihood <= bound) | (leader == other)
    return sure


def _log_choose(
    n: Int64[Tensor, "images any"], k: Int64[Tensor, "images one"]
) -> Float64[Tensor, "images any"]:
    """Returns the logarithm of the binomial coefficient, minus infinity where k > n."""
    apart = n - k
    of_factorial = torch.lgamma(
        torch.arange(int(max(n.max(), k.max())) + 1, dtype=torch.float64) + 1
    )
    of_factorial = of_factorial.to(n.device)
    logarithm = of_factorial[n] - of_factorial[k] - of_factorial[apart.clamp(min=0)]
    return logarithm.where(apart >= 0, -torch.inf)
