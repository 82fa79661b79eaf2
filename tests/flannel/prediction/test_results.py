"""What is predicted for one radiograph from known logits, with known weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from flannel.data.diagnosis import FLANNEL
from flannel.data.store.layout import Settings
from flannel.ensemble import NeuralWeightModule
from flannel.learners.views import WHOLE, PatchLocations
from flannel.metrics.calibration import Temperature
from flannel.prediction.predictors import Answer, redrawn
from flannel.prediction.results import leading, predictions_for
from flannel.prediction.trained import (
    Trained,
    TrainedBaseline,
    TrainedEnsemble,
    TrainedError,
    TrainedLearner,
)

PATH = {
    "class_path": "flannel.ensemble.combinations.NeuralWeightModule",
    "init_args": {"weights": "tanh"},
}


def learner(arm, temperature=None):
    return TrainedLearner(
        arm=arm,
        learner="small",
        network={"class_path": "flannel.networks.ImageNetNetwork"},
        data={"arm": arm},
        vote="share",
        views_at_once=8,
        precision="32-true",
        weights=dict,
        temperature=temperature,
        identity=arm,
    )


def answer(name, votes):
    """Patches that vote for the given diagnoses, one each."""
    logits = 9 * np.eye(4, dtype=np.float32)[votes]
    places = WHOLE
    if len(votes) > 1:
        many = len(votes)
        places = PatchLocations(
            torch.zeros(many, 2, dtype=torch.int64),
            torch.full((many,), 24),
            torch.ones(many),
            torch.tensor(0.75),
        )
    return Answer(name, logits, places, np.eye(4, dtype=np.float32)[votes].mean(axis=0))


def test_redraws_spread_as_another_draw_of_patches_would():
    patches = answer("one", [0] * 12 + [2] * 36)
    found = redrawn(patches, "share", 4000, seed=1)
    assert found.shape == (4000, 4)
    assert np.isin((found * 48).round(4), np.arange(49)).all()
    np.testing.assert_allclose(found.mean(axis=0), [0.25, 0, 0.75, 0], atol=0.005)
    np.testing.assert_allclose(found[:, 0].std(), np.sqrt(0.25 * 0.75 / 48), rtol=0.05)
    np.testing.assert_array_equal(found, redrawn(patches, "share", 4000, seed=1))
    boxed = redrawn(answer("one", [0, 0, 0, 3]), "share", 50, seed=1, lung_box=True)
    np.testing.assert_allclose(boxed, np.tile([0.75, 0, 0, 0.25], (50, 1)))


@pytest.fixture
def trained():
    module = NeuralWeightModule(2, 4)
    torch.nn.init.zeros_(module.linear.weight)
    with torch.no_grad():
        module.linear.bias.copy_(torch.tensor([0.5, 1.0]).atanh().clamp(max=20.0))
    return Trained(
        name="study",
        fold=0,
        diagnoses=FLANNEL,
        store=Settings(64, "stretch"),
        segmenter=None,
        learners=(learner("global", Temperature(2.0, 0.01, at_bound=False)), learner("patched")),
        ensembles=(
            TrainedEnsemble(
                "fused", "FLANNEL", ("global/small", "patched/small"), PATH, 4, module.state_dict,
                None, "fused",
            ),
        ),
    )  # fmt: skip


def test_an_ensemble_combines_what_the_learners_say_of_every_redraw(trained):
    answers = {
        "global/small": answer("one", [1]),
        "patched/small": answer("one", [0, 0, 0, 2]),
    }
    whole, patched, fused = predictions_for(trained, answers, redraws=500)
    assert (whole.patches, whole.coverage, whole.low) == (0, None, None)
    # softmax(log p / 2) of one class at 1 and three at the floor of 0.01: 1 to 0.1 three times
    np.testing.assert_allclose(whole.calibrated, np.array([0.1, 1, 0.1, 0.1]) / 1.3, rtol=1e-6)
    assert (patched.patches, patched.coverage, patched.calibrated) == (4, 0.75, None)
    np.testing.assert_allclose(patched.low, [0.25, 0, 0, 0])
    np.testing.assert_allclose(patched.high, [1, 0, 0.75, 0])

    def softmax(scores):
        return np.exp(scores) / np.exp(scores).sum()

    for found, share in ((fused.probabilities, 0.75), (fused.low, 0.25), (fused.high, 1.0)):
        expected = softmax(np.array([share, 0.5, 1 - share, 0]))
        np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
    assert leading((whole, patched, fused)) is fused
    mean = replace(fused, learner="mean")
    assert leading((whole, mean, replace(fused, arm="patched"))).learner == "FLANNEL"
    assert leading((whole, mean)) is mean
    assert leading((whole, patched)) is patched
    assert leading(()) is None


def test_a_baseline_combines_like_an_ensemble(trained):
    names = ("global/small", "patched/small")
    mean = TrainedBaseline("fused", "mean", names, lambda given: given.mean(axis=1), None, "mean")
    trained = replace(trained, baselines=(mean,))
    answers = {
        "global/small": answer("one", [1]),
        "patched/small": answer("one", [0, 0, 0, 2]),
    }
    *_, found = predictions_for(trained, answers, redraws=500)
    assert (found.arm, found.learner, found.patches) == ("fused", "mean", None)
    np.testing.assert_allclose(found.probabilities, [0.375, 0.5, 0.125, 0])
    np.testing.assert_allclose(found.low, [0.125, 0.5, 0, 0])
    np.testing.assert_allclose(found.high, [0.5, 0.5, 0.375, 0])


def test_a_missing_learner_silences_the_ensembles_that_need_it(trained):
    found = predictions_for(trained, {"global/small": answer("one", [1])}, redraws=0)
    assert [(one.arm, one.learner) for one in found] == [("global", "small")]
    assert predictions_for(trained, {}, redraws=10) == ()


@pytest.mark.parametrize(
    "path", ["os.system", "flannel.ensemble.combinations.torch", "torch.nn.Linear"]
)
def test_only_our_own_combinations_are_built(trained, path):
    (ensemble,) = trained.ensembles
    other = TrainedEnsemble(
        **{**ensemble.__dict__, "combination": {"class_path": path, "init_args": {}}}
    )
    with pytest.raises(TrainedError, match="is not built"):
        other.build()


def test_what_decides_an_answer_is_in_the_identity(trained):
    assert replace(trained, name="elsewhere").identity == trained.identity
    for change in (
        {"ensembles": ()},
        {"store": Settings(64, "letterbox")},
        {"diagnoses": FLANNEL[:2]},
        {"learners": trained.learners[:1]},
    ):
        assert replace(trained, **change).identity != trained.identity
