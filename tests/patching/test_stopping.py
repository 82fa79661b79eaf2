"""When the count may stop: against all possible outcomes, and against simulated counts."""

from itertools import product
from math import comb

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from patching.stopping import decided, patches_needed
from patching.vote import mean_vote, vote


def voting_for(*classes, among=3):
    """Logits of one image whose patches vote for these classes, as (1, patches, classes)."""
    return 9 * torch.nn.functional.one_hot(torch.tensor([classes]), among).float()


@settings(max_examples=30)
@given(
    votes=st.lists(st.integers(0, 2), min_size=1, max_size=5),
    to_come=st.integers(0, 3),
)
def test_certain_is_what_no_outcome_changes(votes, to_come):
    """By trying every outcome, with any of the classes that draw level as the winner."""
    majorities = set()
    for rest in product(range(3), repeat=to_come):
        shares = mean_vote(voting_for(*votes, *rest))[0]
        majorities |= set((shares == shares.max()).nonzero().flatten().tolist())
    certain = decided(voting_for(*votes), len(votes) + to_come)
    assert certain.tolist() == [len(majorities) == 1 or to_come == 0]


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), coarse=st.booleans(), error=st.sampled_from([0.0, 1e-200]))
def test_a_share_that_is_decided_never_changes(seed, coarse, error):
    """Ties within patches and between classes are among the counts, where outputs are coarse."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(40, 8, 3, generator=generator) + torch.tensor([1.0, 0.0, 0.0])
    logits = logits.round() if coarse else logits
    final = vote(logits).argmax(dim=1)
    for seen in range(1, 9):
        over = decided(logits[:, :seen], 8, error=error)
        assert torch.equal(vote(logits[:, :seen]).argmax(dim=1)[over], final[over])
    assert over.all()


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), rule=st.sampled_from(["mean_softmax", "mean_sigmoid"]))
def test_soft_and_weighted_votes_that_are_decided_never_change(seed, rule):
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(6, 12, 3, generator=generator) + torch.tensor([4.0, 0.0, 0.0])
    weights = torch.rand(6, 12, generator=generator) + 0.1
    final = vote(logits, rule, weights).argmax(dim=1)
    for seen in range(1, 13):
        over = decided(logits[:, :seen], 12, rule, weights=weights)
        early = vote(logits[:, :seen], rule, weights[:, :seen]).argmax(dim=1)
        assert torch.equal(early[over], final[over])
    assert over.all()


def test_the_lead_must_exceed_the_patches_to_come():
    assert not decided(voting_for(0, 0, 0), patches=6)  # another class could draw level
    assert decided(voting_for(0, 0, 0, 0), patches=7)
    undecided = torch.zeros(1, 1, 3)  # a patch with equal outputs
    assert not decided(torch.cat([voting_for(1, 1, 1), undecided], dim=1), patches=6)


def test_a_risk_is_the_ratio_of_prior_to_posterior_by_hand():
    """Eight of eight votes, K = 20, two classes: not won at most by 9 to 10 or 10 to 10.

    The likeliest way to have seen its 8 alone is C(10, 8) / C(20, 8).
    """
    likelihood = max(comb(10, 8) / comb(20, 8), comb(9, 8) / comb(19, 8))
    error = 9 * likelihood  # (classes - 1) (s + t + 1) times the likelihood
    votes = voting_for(*[0] * 8, among=2)
    assert decided(votes, 20, error=error * 1.001)
    assert not decided(votes, 20, error=error * 0.999)


def test_hardly_any_risk_is_none():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(200, 9, 4, generator=generator) + torch.tensor([1.5, 0.0, 0.0, 0.0])
    assert torch.equal(patches_needed(logits, error=1e-300), patches_needed(logits))


@pytest.mark.parametrize("error", [0.05, 0.2])
def test_the_error_holds_at_a_close_count_in_random_order(error):
    """40 patches vote 21 to 19, the hardest case, looked at after each: 400 random orders."""
    votes = torch.tensor([0] * 21 + [1] * 19)
    generator = torch.Generator().manual_seed(1)
    orders = torch.stack([torch.randperm(40, generator=generator) for _ in range(400)])
    logits = 9 * torch.nn.functional.one_hot(votes[orders], 2).float()
    needed = patches_needed(logits, error=error, every=1)
    early = torch.stack(
        [vote(one[None, :n]).argmax() for one, n in zip(logits, needed, strict=True)]
    )
    assert (early != 0).float().mean() <= error
    assert (needed < 40).any()


def test_agreeing_patches_are_enough_early_and_rounds_are_whole():
    logits = voting_for(*[2] * 100, among=4)
    assert patches_needed(logits, every=1).tolist() == [51]  # 51 to at most 49
    assert patches_needed(logits).tolist() == [52]
    certain, sure, bold = (patches_needed(logits, error=e).item() for e in (0.0, 0.01, 0.1))
    assert bold < sure < 20 < certain


def test_what_cannot_be_counted_is_a_sentence():
    logits = voting_for(0, 1, 2)
    with pytest.raises(ValueError, match="3 patches were evaluated of 2"):
        decided(logits, 2)
    with pytest.raises(ValueError, match=r"error is 1.5"):
        decided(logits, 3, error=1.5)
    with pytest.raises(ValueError, match="rule mean_softmax: they cannot be counted"):
        decided(logits, 3, "mean_softmax", 0.1)
    with pytest.raises(ValueError, match="votes are weighted"):
        decided(logits, 3, error=0.1, weights=torch.ones(1, 3))
