import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from patching.vote import vote

LOGITS = torch.tensor([[[2.0, 0.0, 0.0], [0.0, 1.0, 0.5], [0.3, 0.9, 0.1], [0.0, 3.0, -1.0]]])


def test_share_is_the_percentage_of_votes():
    assert vote(LOGITS).tolist() == [[0.25, 0.75, 0.0]]


def test_of_equal_outputs_the_first_class_has_the_vote():
    tie = torch.tensor([[[0.0, 5.0, 5.0], [1.0, 1.0, 1.0]]])
    assert vote(tie).tolist() == [[0.5, 0.5, 0.0]]


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
    assert vote(LOGITS, weights=weights).tolist() == [[0.5, 0.5, 0.0]]
    for rule in ("mean_softmax", "mean_sigmoid"):
        values = LOGITS.softmax(dim=2) if rule == "mean_softmax" else LOGITS.sigmoid()
        expected = (2 * values[:, 0] + values[:, 1] + values[:, 3]) / 4
        torch.testing.assert_close(vote(LOGITS, rule, weights), expected)


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
