"""What FLANNEL has to beat: the best single learner, averages, a vote, and logistic regression.

They need no epochs. Each leaves the same files as a trained ensemble but weights and curves, and
`fitted.json`, which says what was chosen or fitted.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import yaml
from jaxtyping import Float
from jsonargparse import auto_cli
from sklearn.linear_model import LogisticRegression

from flannel import __version__
from flannel.data.diagnosis import index_of
from flannel.ensemble.stacking import (
    EnsembleError,
    Rows,
    Stack,
    Stacking,
    base_inputs,
    ensemble_folder,
    read_stack,
    write_predictions,
)
from flannel.errors import OptionError
from flannel.files import digest_of, whole_file, write_json
from flannel.metrics.classification import MACRO, scores
from flannel.runs.class_paths import RECIPES, as_first_named, present_paths
from flannel.runs.run import Run, RunFinishedError

FITTED = "fitted.json"

Combine = Callable[
    [Float[np.ndarray, "images learners classes"]], Float[np.ndarray, "images classes"]
]


@dataclass(frozen=True)
class Fitted:
    """A baseline that is ready for any image.

    Attributes:
        combine: Returns the confidence of each diagnosis from the learners' probabilities.
        params: What was chosen or fitted, in plain types.
    """

    combine: Combine
    params: dict[str, object]


class Baseline(ABC):
    """A way to combine base learners without epochs: a frozen dataclass of its options."""

    @abstractmethod
    def fit(self, learners: Sequence[str], stack: Stack) -> Fitted:
        """Chooses or fits what there is to, never looking at a test image.

        Args:
            learners: The learners' names, in the order of the stack.
            stack: Its `training` may be fitted, its `validation` chosen on.
        """

    @abstractmethod
    def recall(
        self, params: Mapping[str, object], learners: Sequence[str], diagnoses: Sequence[str]
    ) -> Combine:
        """Rebuilds from the parameters what `fit` returned.

        Args:
            params: What was chosen or fitted.
            learners: The learners' names, in the order in which they were fitted.
            diagnoses: The label set, in order.

        Raises:
            KeyError: If a part of `params` is missing.
            EnsembleError: If it does not fit learners and diagnoses.
        """


@dataclass(frozen=True)
class Mean(Baseline):
    """The mean of the learners' probabilities."""

    def fit(self, learners: Sequence[str], stack: Stack) -> Fitted:
        """Has nothing to fit."""
        return Fitted(_mean, {})

    def recall(
        self, params: Mapping[str, object], learners: Sequence[str], diagnoses: Sequence[str]
    ) -> Combine:
        """Has nothing to recall."""
        return _mean


def _mean(
    probabilities: Float[np.ndarray, "images learners classes"],
) -> Float[np.ndarray, "images classes"]:
    return probabilities.mean(axis=1)


@dataclass(frozen=True)
class MajorityVote(Baseline):
    """Each learner votes for its most probable diagnosis.

    With N learners the confidences are (votes + mean probability) / (N + 1): the votes alone
    decide, and where two diagnoses have as many, the mean. Without that every tie would go to the
    first of the label set, COVID-19.
    """

    def fit(self, learners: Sequence[str], stack: Stack) -> Fitted:
        """Has nothing to fit."""
        return Fitted(_vote, {})

    def recall(
        self, params: Mapping[str, object], learners: Sequence[str], diagnoses: Sequence[str]
    ) -> Combine:
        """Has nothing to recall."""
        return _vote


def _vote(
    probabilities: Float[np.ndarray, "images learners classes"],
) -> Float[np.ndarray, "images classes"]:
    _, learners, classes = probabilities.shape
    votes = np.eye(classes)[probabilities.argmax(axis=2)].sum(axis=1)  # (images, classes)
    return np.asarray((votes + probabilities.mean(axis=1)) / (learners + 1))


@dataclass(frozen=True)
class BestLearner(Baseline):
    """The one learner that has the highest macro F1 on the validation images."""

    def fit(self, learners: Sequence[str], stack: Stack) -> Fitted:
        """Chooses the learner; the first of those that are equally good."""
        each = stack.validation.probabilities.swapaxes(0, 1)
        measured = [_macro_f1(stack.validation, probabilities) for probabilities in each]
        best = int(np.argmax(measured))
        params = {"learner": learners[best], "val_macro_f1": measured[best]}
        return Fitted(self.recall(params, learners, stack.rows.diagnoses), params)

    def recall(
        self, params: Mapping[str, object], learners: Sequence[str], diagnoses: Sequence[str]
    ) -> Combine:
        """Looks up the place of the learner that was chosen."""
        best = list(learners).index(str(params["learner"]))
        return lambda probabilities: probabilities[:, best]


@dataclass(frozen=True)
class Logistic(Baseline):
    """Multinomial logistic regression on the learners' concatenated probabilities.

    With five learners and four classes on 20 features, as `NeuralWeightModule` before its outer
    product; fitted on the ensemble's training rows, with an L2 penalty chosen on validation.

    Attributes:
        inverse_penalties: scikit-learn's C to choose from, by macro F1 on the validation images;
            of those that are equally good the smallest, which holds the weights back the most.
    """

    inverse_penalties: tuple[float, ...] = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)

    def fit(self, learners: Sequence[str], stack: Stack) -> Fitted:
        """Fits one regression per penalty and keeps the best."""
        training = stack.training
        features = training.probabilities.reshape(len(training), -1).astype(np.float64)
        best, best_f1 = None, -1.0
        for inverse in sorted(self.inverse_penalties):
            model = LogisticRegression(C=inverse, max_iter=10_000)
            model.fit(features, training.targets)
            macro_f1 = _macro_f1(
                stack.validation, _regressed(model, stack.validation.probabilities)
            )
            if macro_f1 > best_f1:
                best, best_f1 = model, macro_f1
        if best is None:
            raise OptionError(
                "inverse_penalties is empty; expected at least one value such as 1.0."
            )
        params = {
            "inverse_penalty": best.C,
            "val_macro_f1": best_f1,
            "diagnoses": [training.diagnoses[index] for index in best.classes_],
            "learners": list(learners),
            "coefficients": best.coef_.tolist(),
            "intercepts": best.intercept_.tolist(),
        }
        return Fitted(lambda probabilities: _regressed(best, probabilities), params)

    def recall(
        self, params: Mapping[str, object], learners: Sequence[str], diagnoses: Sequence[str]
    ) -> Combine:
        """Rebuilds scikit-learn's model from the numbers that were fitted."""
        model = LogisticRegression()
        names = np.asarray(params["diagnoses"], str)
        model.classes_ = np.array([index_of(str(name), diagnoses) for name in names])
        model.coef_ = np.asarray(params["coefficients"], np.float64)
        model.intercept_ = np.asarray(params["intercepts"], np.float64)
        rows = 1 if len(names) == 2 else len(names)  # of two diagnoses, one is enough
        expected = (rows, len(learners) * len(diagnoses))
        if model.coef_.shape != expected or model.intercept_.shape != expected[:1]:
            raise EnsembleError(f"coefficients of the shape {model.coef_.shape}, not {expected}")
        return lambda probabilities: _regressed(model, probabilities)


def _regressed(
    model: LogisticRegression, probabilities: Float[np.ndarray, "images learners classes"]
) -> Float[np.ndarray, "images classes"]:
    """Returns the confidences; 0 for a diagnosis that no training row had."""
    confidences = np.zeros((len(probabilities), probabilities.shape[2]))
    features = probabilities.reshape(len(probabilities), -1).astype(np.float64)
    confidences[:, model.classes_] = model.predict_proba(features)
    return confidences


def _macro_f1(rows: Rows, confidences: Float[np.ndarray, "images classes"]) -> float:
    measured = scores(list(rows.identity["diagnosis"]), confidences, rows.diagnoses)
    return measured.by_class[MACRO].f1


def recalled(
    method: Mapping[str, object],
    params: Mapping[str, object],
    learners: Sequence[str],
    diagnoses: Sequence[str],
) -> Combine:
    """Returns the baseline of a finished run again, ready for any image.

    Args:
        method: `class_path` and `init_args`, as in the run's config.yaml.
        params: What its fitted.json holds.
        learners: The learners' names, in its order.
        diagnoses: The label set, in order.

    Raises:
        KeyError: If a part is missing.
        TypeError: If a part is of another kind.
        EnsembleError: If the class is none of those here, or the parts do not fit each other.
    """
    kinds = {f"{kind.__module__}.{kind.__qualname__}": kind for kind in Baseline.__subclasses__()}
    kind = kinds.get(str(method["class_path"]))
    if kind is None:
        raise EnsembleError(f"{method['class_path']} is none of {', '.join(kinds)}")
    # What the options say was used in fitting; nothing of it is needed to combine.
    return kind().recall(params, learners, diagnoses)


@dataclass(frozen=True)
class StackOptions:
    """Which base predictions are combined.

    Attributes:
        arm: The ensemble's arm, for example "global" or "fused".
        learners: The base runs in the ensemble's order, as "<arm>/<learner>".
        fold: 0 to 4.
        stacking: "in_sample" or "out_of_fold" training rows; see `read_stack`.
    """

    arm: str
    learners: list[str]
    fold: int = 0
    stacking: Stacking = "in_sample"


def combine_baseline(
    name: str,
    data: StackOptions,
    method: Baseline,
    study: Path = Path("runs/study"),
    redo: bool = False,
) -> None:
    """Combines the base learners of one arm and fold by a method that needs no epochs.

    Args:
        name: The run's name in the study, and its row's in the comparison.
        data: Which base predictions are combined.
        method: How.
        study: The study folder.
        redo: Replace an existing run.

    Raises:
        EnsembleError: If base predictions are missing or cannot be put together.
        RunFinishedError: If the run is finished.
        RunError: If the run exists with another fingerprint.
    """
    kind = type(method)
    config = {
        "name": name,
        "data": asdict(data),
        "method": {
            "class_path": f"{kind.__module__}.{kind.__qualname__}",
            "init_args": asdict(method),  # type: ignore[call-overload]  # they are dataclasses
        },
    }
    inputs = base_inputs(study, data.arm, data.learners, data.fold, data.stacking)
    run = Run(
        study / ensemble_folder(data.arm, name, data.fold),
        {**inputs, "config": digest_of(as_first_named(config)), "code": __version__},
    )
    lock = run.lock()
    try:
        run.check(redo)
        run.start(redo)
        with whole_file(run.folder / "config.yaml") as beside:
            beside.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        _combine(name, data, method, study, run)
        run.finish()
    finally:
        lock.release()


def _combine(name: str, data: StackOptions, method: Baseline, study: Path, run: Run) -> None:
    started = time.monotonic()
    stack = read_stack(study, data.learners, data.fold, data.stacking)
    for note in stack.notes:
        print(note, flush=True)
    fitted = method.fit(data.learners, stack)
    trained = time.monotonic()
    write_json(fitted.params, run.folder / FITTED)
    write_predictions(stack.rows, fitted.combine(stack.rows.probabilities), run.folder)
    ended = time.monotonic()
    run.write_cost(
        {"stage": "ensemble", "arm": data.arm, "learner": name, "fold": data.fold},
        {
            "train_seconds": trained - started,
            "predict_seconds": ended - trained,
            "seconds": ended - started,
        },
        {"device": "cpu"},
    )


def combine(arguments: list[str]) -> None:
    """Combines by the command line of `flannel baseline`.

    Raises:
        RunFinishedError: If the run is finished.
    """
    auto_cli(
        combine_baseline,
        args=[present_paths(word) for word in arguments],
        parser_mode=RECIPES,
        prog="flannel baseline",
        allow_abbrev=False,
        as_positional=False,
    )


def main(arguments: list[str]) -> int:
    """Runs `flannel baseline`; a run that is already finished is named, and is no error."""
    try:
        combine(arguments)
    except RunFinishedError as finished:
        print(finished, flush=True)
    return 0
