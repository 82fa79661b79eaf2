"""Predictions for one radiograph, and how far other patches would move them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from flannel.metrics.calibration import Temperature
from flannel.prediction.doubts import Doubt
from flannel.prediction.predictors import Answer, redrawn
from flannel.prediction.trained import Known, Trained, TrainedLearner
from flannel.study.contents import ENSEMBLE

LEVEL = 0.95

Probabilities = Float[np.ndarray, " classes"]


@dataclass(frozen=True)
class Prediction:
    """What one learner, or one form of the ensemble, says of a radiograph.

    Attributes:
        arm: Its arm.
        learner: Its name.
        probabilities: As in the study's predictions table.
        calibrated: With the temperature of the fold's validation radiographs; None where none
            could be fitted.
        low: 2.5th percentile of the probabilities over redraws of the patches; None without any.
        high: 97.5th percentile.
        patches: Patches that voted; None for ensembles, 0 for whole radiographs.
        coverage: Share of the lung pixels that they saw; None without patches.
    """

    arm: str
    learner: str
    probabilities: Probabilities
    calibrated: Probabilities | None
    low: Probabilities | None
    high: Probabilities | None
    patches: int | None
    coverage: float | None


@dataclass(frozen=True)
class RadiographResult:
    """A radiograph with all that was predicted for it.

    Attributes:
        image_id: Its name in this prediction.
        path: Its file.
        known: What it is in the study, if it is one of the study's own.
        mask_flag: What is odd about its lung mask; "" for nothing, None where there is no mask.
        doubts: What speaks against believing an answer.
        predictions: Learners and ensembles, in the order of the tables; none where withheld.
        answers: What each learner says of its views, by the learners' names.
    """

    image_id: str
    path: str
    known: Known | None
    mask_flag: str | None
    doubts: tuple[Doubt, ...]
    predictions: tuple[Prediction, ...]
    answers: Mapping[str, Answer] = field(default_factory=dict, repr=False, compare=False)


def predictions_for(
    trained: Trained, answers: Mapping[str, Answer], redraws: int
) -> tuple[Prediction, ...]:
    """Joins what the learners say of one radiograph, and lets the ensembles combine it.

    Args:
        trained: Whose learners, ensembles and baselines.
        answers: By the learners' names; learners that cannot judge this radiograph are missing,
            and whatever needs them to combine.
        redraws: Redraws of the patches for the intervals; 0 makes none.
    """
    learners = [learner for learner in trained.learners if learner.name in answers]
    spread = {
        learner.name: _redrawn(learner, answers[learner.name], redraws) for learner in learners
    }
    predictions = [
        _of_learner(learner, answers[learner.name], spread[learner.name]) for learner in learners
    ]
    for form in trained.forms:
        if not set(form.learners) <= set(answers):
            continue
        given = np.stack([answers[name].confidences for name in form.learners])
        moved = [spread[name] for name in form.learners]
        of_redraws = None
        if redraws and any(votes is not None for votes in moved):
            stacked = [
                np.broadcast_to(row, (redraws, len(row))) if votes is None else votes
                for row, votes in zip(given, moved, strict=True)
            ]
            of_redraws = form.confidences(np.stack(stacked, axis=1))
        probabilities = form.confidences(given[None])[0]
        predictions.append(
            Prediction(
                form.arm, form.learner, probabilities,
                _calibrated(form.temperature, probabilities), *_interval(of_redraws),
                patches=None, coverage=None,
            )
        )  # fmt: skip
    return tuple(predictions)


def leading(predictions: Iterable[Prediction]) -> Prediction | None:
    """Chooses the prediction that a person should see first: FLANNEL's of most learners.

    Without FLANNEL it is that of another form, without any the last learner's; None where there is
    no prediction.
    """
    listed = list(predictions)
    combined = [prediction for prediction in listed if prediction.patches is None]
    order = ("fused", "patched", "global")

    def place(prediction: Prediction) -> tuple[bool, int]:
        rank = order.index(prediction.arm) if prediction.arm in order else len(order)
        return prediction.learner != ENSEMBLE, rank

    return min(combined, key=place, default=listed[-1] if listed else None)


def _of_learner(
    learner: TrainedLearner, answer: Answer, spread: Float[np.ndarray, "redraws classes"] | None
) -> Prediction:
    patched = learner.view_options.view.patched
    return Prediction(
        learner.arm, learner.learner, answer.confidences,
        _calibrated(learner.temperature, answer.confidences), *_interval(spread),
        patches=len(answer.logits) if patched else 0,
        coverage=float(answer.places.coverage) if patched else None,
    )  # fmt: skip


def _redrawn(
    learner: TrainedLearner, answer: Answer, redraws: int
) -> Float[np.ndarray, "redraws classes"] | None:
    view = learner.view_options.view
    if not redraws or not view.patched:
        return None
    return redrawn(answer, learner.vote, redraws, learner.view_options.seed, view.lung_box)


def _calibrated(
    temperature: Temperature | None, probabilities: Probabilities
) -> Probabilities | None:
    if temperature is None or not (probabilities > 0).any():
        return None
    return temperature.apply(probabilities[None].astype(float))[0]


def _interval(
    spread: Float[np.ndarray, "redraws classes"] | None,
) -> tuple[Probabilities | None, Probabilities | None]:
    if spread is None:
        return None, None
    low, high = np.quantile(spread, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return low, high
