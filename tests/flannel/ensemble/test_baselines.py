"""Baselines by hand and against scikit-learn, and the files that they leave."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from flannel.data.diagnosis import FLANNEL
from flannel.ensemble import baselines
from flannel.ensemble.baselines import BestLearner, Logistic, MajorityVote, Mean, recalled
from flannel.ensemble.stacking import Rows, Stack, read_stack
from flannel.errors import RunError
from flannel.study.predictions import load_predictions, probability_columns


def stack_of(probabilities, split, diagnosis):
    identity = pd.DataFrame({"split": split, "diagnosis": diagnosis})
    rows = Rows(identity, np.asarray(probabilities, dtype=np.float32), FLANNEL)
    return Stack(rows, rows.of("train"), ())


EMPTY = stack_of(np.zeros((0, 3, 4)), [], [])


def test_mean_by_hand():
    probabilities = np.array([[[0.7, 0.1, 0.1, 0.1], [0.1, 0.3, 0.5, 0.1]]])
    combined = Mean().fit(["a", "b"], EMPTY).combine(probabilities)
    np.testing.assert_allclose(combined, [[0.4, 0.2, 0.3, 0.1]])


def test_votes_decide_and_the_mean_breaks_ties():
    two_to_one = [[0.4, 0.3, 0.2, 0.1], [0.4, 0.3, 0.2, 0.1], [0.0, 1.0, 0.0, 0.0]]
    tie = [[0.4, 0.3, 0.2, 0.1], [0.0, 0.1, 0.9, 0.0], [0.0, 0.3, 0.3, 0.4]]
    combined = MajorityVote().fit(["a", "b", "c"], EMPTY).combine(np.array([two_to_one, tie]))
    # Two votes and one, and the mean as a fourth.
    first = (np.array([2, 1, 0, 0]) + np.mean(two_to_one, axis=0)) / 4
    np.testing.assert_allclose(combined[0], first)
    assert combined.argmax(axis=1).tolist() == [0, 2]  # the mean alone would say 1 to the first
    np.testing.assert_allclose(combined.sum(axis=1), 1)


@pytest.mark.parametrize("learners", [1, 4, 10])
def test_votes_outrank_any_mean(learners):
    probabilities = np.random.default_rng(0).dirichlet(np.full(4, 0.3), size=(500, learners))
    combined = MajorityVote().fit([""] * learners, EMPTY).combine(probabilities)
    votes = np.eye(4)[probabilities.argmax(axis=2)].sum(axis=1)
    chosen = combined.argmax(axis=1)
    assert (votes[np.arange(500), chosen] == votes.max(axis=1)).all()


def test_the_best_learner_is_chosen_on_validation_and_never_on_test():
    right, wrong = np.eye(4)[[0, 1, 2, 3]], np.eye(4)[[1, 2, 3, 0]]
    diagnosis = [*FLANNEL] * 3
    split = ["train"] * 4 + ["val"] * 4 + ["test"] * 4
    on_train_and_test = np.concatenate([right, wrong, right])
    on_validation = np.concatenate([wrong, right, wrong])
    stack = stack_of(np.stack([on_train_and_test, on_validation], axis=1), split, diagnosis)
    fitted = BestLearner().fit(["global/a", "global/b"], stack)
    assert fitted.params == {"learner": "global/b", "val_macro_f1": 1.0}
    np.testing.assert_array_equal(fitted.combine(stack.rows.probabilities), on_validation)


def test_logistic_regression_is_scikit_learns_with_the_penalty_chosen_on_validation(base_study):
    names = base_study.experts()
    stack = read_stack(base_study.folder, names, 0)
    fitted = Logistic((10.0, 0.001, 0.1)).fit(names, stack)

    def features(rows):
        return rows.probabilities.reshape(len(rows), 16).astype(float)

    measured = {}
    for inverse in (0.001, 0.1, 10.0):
        model = LogisticRegression(C=inverse, max_iter=10_000)
        model.fit(features(stack.training), stack.training.identity["diagnosis"])
        guessed = model.predict(features(stack.validation))
        truth = stack.validation.identity["diagnosis"]
        measured[inverse] = (f1_score(truth, guessed, average="macro"), -inverse, model)
    best_f1, _, model = max(measured.values(), key=lambda found: found[:2])
    assert fitted.params["inverse_penalty"] == model.C
    assert fitted.params["val_macro_f1"] == pytest.approx(best_f1)
    order = [list(model.classes_).index(name) for name in FLANNEL]
    np.testing.assert_allclose(
        fitted.combine(stack.rows.probabilities),
        model.predict_proba(features(stack.rows))[:, order],
        atol=1e-6,
    )
    assert fitted.params["diagnoses"] == list(FLANNEL)
    assert np.shape(fitted.params["coefficients"]) == (4, 16)
    json.dumps(fitted.params)


def test_a_diagnosis_without_training_rows_gets_no_confidence():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(4), size=(40, 2))
    diagnosis = [FLANNEL[i % 3] for i in range(40)]
    stack = stack_of(probabilities, ["train"] * 20 + ["val"] * 20, diagnosis)
    fitted = Logistic((1.0,)).fit(["a", "b"], stack)
    combined = fitted.combine(probabilities)
    assert (combined[:, 3] == 0).all()
    np.testing.assert_allclose(combined.sum(axis=1), 1)


def remembered(method, fitted, names, diagnoses=FLANNEL):
    """What is combined after a fitted baseline went through the files of its run."""
    params = json.loads(json.dumps(fitted.params))
    specification = {
        "class_path": f"flannel.ensemble.baselines.{type(method).__name__}",
        "init_args": {},
    }
    return recalled(specification, params, names, diagnoses)


@pytest.mark.parametrize("method", [Mean(), MajorityVote(), BestLearner(), Logistic((0.1,))])
def test_what_was_fitted_is_recalled_from_its_files(base_study, method):
    names = base_study.experts()
    stack = read_stack(base_study.folder, names, 0)
    fitted = method.fit(names, stack)
    again = remembered(method, fitted, names)
    probabilities = stack.rows.probabilities
    np.testing.assert_allclose(again(probabilities), fitted.combine(probabilities), atol=1e-12)


def test_a_regression_of_two_diagnoses_is_recalled():
    rng = np.random.default_rng(0)
    rows = stack_of(
        rng.dirichlet(np.ones(4), size=(40, 2)),
        ["train"] * 20 + ["val"] * 20,
        [FLANNEL[i % 2] for i in range(40)],
    )
    fitted = Logistic((1.0,)).fit(["a", "b"], rows)
    again = remembered(Logistic(), fitted, ["a", "b"])
    given = rows.rows.probabilities
    np.testing.assert_allclose(again(given), fitted.combine(given), atol=1e-12)
    assert (again(given)[:, 2:] == 0).all()
    with pytest.raises(ValueError, match=r"shape \(1, 8\), not \(1, 12\)"):
        remembered(Logistic(), fitted, ["a", "b", "c"])


def test_only_our_own_baselines_are_recalled():
    with pytest.raises(
        ValueError, match=r"os\.system is none of flannel\.ensemble\.baselines\.Mean"
    ):
        recalled({"class_path": "os.system"}, {}, [], FLANNEL)
    with pytest.raises(ValueError, match="not in list"):
        recalled(
            {"class_path": "flannel.ensemble.baselines.BestLearner"},
            {"learner": "c"},
            ["a"],
            FLANNEL,
        )


def words(study, names, method, *options):
    return [
        "--name=other", f"--method.class_path=flannel.ensemble.baselines.{method}",
        f"--study={study}",
        "--data.arm=global", f"--data.learners=[{','.join(names)}]", *options,
    ]  # fmt: skip


def test_a_baseline_leaves_the_files_of_an_ensemble_and_is_then_skipped(base_study, capsys):
    study, names = base_study.folder, base_study.experts()
    assert baselines.main(words(study, names, "Mean")) == 0
    folder = study / "ensemble/global/other/fold0"
    present = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    assert present == {
        "config.yaml", "predictions.csv", "metrics.json", "fitted.json", "cost.json",
        "fingerprint.json",
    }  # fmt: skip
    table = load_predictions(folder / "predictions.csv", FLANNEL)
    each = [
        load_predictions(study / "base" / name / "fold0" / "predictions.csv", FLANNEL)
        for name in names
    ]
    mean = np.mean([one[probability_columns(FLANNEL)] for one in each], axis=0)
    np.testing.assert_allclose(table[probability_columns(FLANNEL)], mean, atol=1e-6)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["method"] == {"class_path": "flannel.ensemble.baselines.Mean", "init_args": {}}
    assert json.loads((folder / "fingerprint.json").read_text())["finished"] is True
    assert json.loads((folder / "cost.json").read_text())["learner"] == "other"
    assert "test macro F1" in capsys.readouterr().out
    baselines.main(words(study, names, "Mean"))
    assert "finished with the same fingerprint: skipped" in capsys.readouterr().out
    with pytest.raises(RunError, match="another config"):
        baselines.main(words(study, names, "MajorityVote"))
    baselines.main(words(study, names, "MajorityVote", "--redo=true"))
    assert "test macro F1" in capsys.readouterr().out


def test_the_options_of_a_baseline_are_in_its_config(base_study):
    study, names = base_study.folder, base_study.experts()
    option = "--method.init_args.inverse_penalties=[0.5]"
    baselines.main(words(study, names, "Logistic", option))
    config = yaml.safe_load((study / "ensemble/global/other/fold0/config.yaml").read_text())
    assert config["method"]["init_args"] == {"inverse_penalties": [0.5]}
    fitted = json.loads((study / "ensemble/global/other/fold0/fitted.json").read_text())
    assert fitted["inverse_penalty"] == 0.5
