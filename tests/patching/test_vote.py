import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from patching.vote import TIE_STEP, mean_vote, ties_broken, vote

LOGITS = torch.tensor([[[2.0, 0.0, 0.0], [0.0, 1.0, 0.5], [0.3, 0.9, 0.1], [0.0, 3.0, -1.0]]])


def test_share_is_the_percentage_of_votes():
    assert vote(LOGITS).tolist() == [[0.25, 0.75, 0.0]]


def test_of_equal_outputs_the_larger_mean_softmax_has_the_vote():
    """Class 2 has the third patch, so the ties of the others are its own, too."""
    ties = torch.tensor([[[0.0, 5.0, 5.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.1]]])
    assert vote(ties).tolist() == [[0.0, 0.0, 1.0]]
    nothing_else = torch.zeros(1, 2, 3)
    assert vote(nothing_else).tolist() == [[1.0, 0.0, 0.0]]


def test_of_equal_shares_the_larger_mean_softmax_is_ahead():
    """Two votes each: class 1 is surer of its own. The first class does not win by its place."""
    logits = torch.tensor([[[0.1, 0.0, 0.0], [0.0, 3.0, 0.0], [0.1, 0.0, 0.0], [0.0, 3.0, 0.0]]])
    assert mean_vote(logits).tolist() == [[0.5, 0.5, 0.0]]
    assert vote(logits)[0].tolist() == pytest.approx([0.5, 0.5 * (1 + TIE_STEP), 0.0], abs=3e-8)
    weights = torch.tensor([[1.0, 2.0, 2.0, 1.0]])
    assert vote(logits, weights=weights).argmax(dim=1).tolist() == [1]


def test_what_is_chosen_of_ties_survives_eight_digits():
    """As tables write confidences, for every share of a tie among up to nine classes."""
    for patches in range(2, 101):
        for classes in range(2, min(patches, 9) + 1):
            share = torch.full((1, classes), (patches // classes) / patches)
            by = torch.arange(classes).float()[None]
            written = [float(f"{value:.8g}") for value in ties_broken(share, by)[0].tolist()]
            assert written.index(max(written)) == classes - 1
            assert max(written) < (patches // classes + 1) / patches


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves_are_counted_exactly(dtype):
    """501 votes of 1000 are more than 499, which bfloat16 cannot tell apart."""
    votes = torch.tensor([0] * 499 + [1] * 501)
    logits = torch.nn.functional.one_hot(votes, 2)[None].to(dtype)
    assert vote(logits).dtype == torch.float32
    assert vote(logits).tolist() == [[pytest.approx(0.499), pytest.approx(0.501)]]


def test_means_equal_the_plain_formula():
    exponent = LOGITS.double().exp()
    softmax = (exponent / exponent.sum(dim=2, keepdim=True)).sum(dim=1) / 4
    sigmoid = (1 / (1 + (-LOGITS.double()).exp())).sum(dim=1) / 4
    assert torch.allclose(vote(LOGITS, "mean_softmax").double(), softmax, atol=1e-6)
    assert torch.allclose(vote(LOGITS, "mean_sigmoid").double(), sigmoid, atol=1e-6)


def test_mean_sigmoid_does_not_sum_to_one():
    """Outputs of 0 give one half to each of three classes, as in the authors' code."""
    assert vote(torch.zeros(1, 2, 3), "mean_sigmoid").tolist() == [[0.5, 0.5, 0.5]]


@given(
    images=st.integers(1, 3),
    patches=st.integers(1, 9),
    classes=st.integers(1, 5),
    seed=st.integers(0, 1_000),
    rule=st.sampled_from(["share", "mean_softmax"]),
)
def test_confidences_sum_to_one_whatever_the_order_of_patches(images, patches, classes, seed, rule):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(images, patches, classes, generator=generator)
    confidences = vote(logits, rule)
    assert torch.allclose(confidences.sum(dim=1), torch.ones(images), atol=1e-5)
    assert torch.allclose(vote(logits.flip(1), rule), confidences, atol=1e-6)


def test_votes_count_by_weight():
    """The first patch votes for class 0, the others for class 1."""
    weights = torch.tensor([[2.0, 1.0, 0.0, 1.0]])
    assert mean_vote(LOGITS, weights=weights).tolist() == [[0.5, 0.5, 0.0]]
    for rule in ("mean_softmax", "mean_sigmoid"):
        values = LOGITS.softmax(dim=2) if rule == "mean_softmax" else LOGITS.sigmoid()
        expected = (2 * values[:, 0] + values[:, 1] + values[:, 3]) / 4
        torch.testing.assert_close(vote(LOGITS, rule, weights), expected)


@given(
    patches=st.integers(1, 12),
    classes=st.integers(1, 5),
    seed=st.integers(0, 1_000),
    coarse=st.booleans(),
)
def test_share_equals_a_plain_count_with_ties_by_mean_softmax(patches, classes, seed, coarse):
    """Coarse outputs are whole numbers, so that patches tie within themselves, too."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(1, patches, classes, generator=generator)
    logits = logits.round() if coarse else logits
    softmax = logits.double().softmax(dim=2)[0].mean(dim=0).tolist()
    counts = [0] * classes
    for outputs in logits[0].tolist():
        largest = [c for c in range(classes) if outputs[c] == max(outputs)]
        counts[max(largest, key=lambda c: (round(softmax[c], 6), -c))] += 1
    leading = [c for c in range(classes) if counts[c] == max(counts)]
    confidences = vote(logits)[0]
    assert confidences.tolist() == pytest.approx([n / patches for n in counts], abs=1e-6)
    ranked = sorted((round(softmax[c], 6) for c in leading), reverse=True)
    if len(ranked) == 1 or ranked[0] > ranked[1]:
        assert int(confidences.argmax()) == max(leading, key=lambda c: softmax[c])


@pytest.mark.parametrize("rule", ["share", "mean_softmax", "mean_sigmoid"])
def test_equal_weights_change_nothing(rule):
    """Equal to the last bit, so that a tie between diagnoses stays one."""
    logits = torch.randn(5, 7, 4, generator=torch.Generator().manual_seed(3))
    plain, weighed = vote(logits, rule), vote(logits, rule, torch.ones(5, 7))
    assert torch.equal(plain, weighed) if rule == "share" else torch.allclose(plain, weighed)


def test_refusals():
    with pytest.raises(ValueError, match="no patch"):
        vote(torch.zeros(1, 0, 3))
    with pytest.raises(ValueError, match="'loudest'"):
        vote(LOGITS, "loudest")
    for weights in ([[0.0, 0.0, 0.0, 0.0]], [[1.0, -1.0, 1.0, 1.0]]):
        with pytest.raises(ValueError, match="negative or all 0"):
            vote(LOGITS, weights=torch.tensor(weights))
