"""Variance of training, folds and patients, of scores and of the arms' differences."""

import statistics

import pytest

from flannel.comparison.compare import compare_study
from flannel.comparison.tables.pairs import differences_table
from flannel.comparison.tables.trainings import trainings_table
from flannel.data.diagnosis import FLANNEL
from flannel.study.contents import find_runs, first_trainings

COVID, VIRAL, BACTERIAL, NORMAL = FLANNEL
TRUTH = (COVID, COVID, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, NORMAL) * 5
WRONG = (COVID, VIRAL, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, COVID) * 5
ONE_WRONG = (VIRAL, *TRUTH[1:])
# Macro F1 by hand: 89/120 of WRONG; with one COVID-19 of ten called viral 18/19 and 20/21.
LOW, HIGH, MIDDLE = 89 / 120, 1.0, (18 / 19 + 20 / 21 + 2) / 4


@pytest.fixture
def repeated(study_files):
    """Two seeds of a learner in two folds of two arms, and one of another learner."""
    for arm, predicted in (("global", (WRONG, TRUTH, ONE_WRONG, TRUTH)), ("patched", [TRUTH] * 4)):
        places = (
            "vgg19_bn/fold0",
            "vgg19_bn_seed2/fold0",
            "vgg19_bn/fold1",
            "vgg19_bn_seed2/fold1",
        )
        for place, answers in zip(places, predicted, strict=True):
            study_files.run(f"base/{arm}/{place}", answers, truth=TRUTH)
        study_files.run(f"base/{arm}/resnet152/fold0", TRUTH, truth=TRUTH)
    return study_files


def test_variances_stand_apart(repeated):
    measurements = repeated.measured()
    table = trainings_table(measurements)
    assert [line.cells[:3] for line in table.lines] == [
        ("global", "resnet152", "1 (1 × 1)"),
        ("global", "vgg19_bn", "4 (2 × 2)"),
        ("patched", "resnet152", "1 (1 × 1)"),
        ("patched", "vgg19_bn", "4 (2 × 2)"),
        ("global → patched", "resnet152", "1 (1 × 1)"),
        ("global → patched", "vgg19_bn", "4 (2 × 2)"),
    ]
    numbers = table.numbers.set_index(["arm", "learner"])
    one = numbers.loc["global", "vgg19_bn"]
    assert one["macro_f1_mean"] == pytest.approx((LOW + MIDDLE + 2 * HIGH) / 4)
    within = (statistics.variance([LOW, HIGH]) + statistics.variance([MIDDLE, HIGH])) / 2
    assert one["macro_f1_training"] == pytest.approx(within**0.5)
    means = [(LOW + HIGH) / 2, (MIDDLE + HIGH) / 2]
    between = max(statistics.variance(means) - within / 2, 0)
    assert one["macro_f1_folds"] == pytest.approx(between**0.5, abs=1e-9)
    difference = numbers.loc["global → patched", "vgg19_bn"]
    assert difference["macro_f1_mean"] == pytest.approx(1 - one["macro_f1_mean"])
    assert difference["macro_f1_training"] == pytest.approx(one["macro_f1_training"])
    assert difference["macro_f1_patients"] == pytest.approx(one["macro_f1_patients"])
    assert numbers.loc["global", "resnet152"].isna()["macro_f1_training"]


def test_other_tables_show_the_first_training(repeated):
    comparison = repeated.measured().comparison
    assert comparison.learners == ["resnet152", "vgg19_bn"]
    assert len(comparison.trainings) == len(comparison.results) + 4
    table = differences_table(repeated.measured())
    assert {line.cells[2] for line in table.lines} == {"patched resnet152", "patched vgg19_bn"}
    kept = first_trainings(find_runs(repeated.folder))
    assert {run.learner for run in kept} == {"resnet152", "vgg19_bn"}


def test_one_seed_has_no_variance_of_training(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TRUTH, truth=TRUTH)
    study_files.run("base/global/vgg19_bn/fold1", WRONG, truth=TRUTH)
    assert trainings_table(study_files.measured()) is None


def test_a_difference_of_one_fold_says_that_it_is_of_one_training(study_files):
    study_files.run("base/global/vgg19_bn/fold0", WRONG, truth=TRUTH)
    study_files.run("base/patched/vgg19_bn/fold0", TRUTH, truth=TRUTH)
    assert "Each row is one training" in differences_table(study_files.measured()).caption
    study_files.run("base/global/vgg19_bn/fold1", WRONG, truth=TRUTH)
    study_files.run("base/patched/vgg19_bn/fold1", TRUTH, truth=TRUTH)
    assert "of these trainings, one in each" in differences_table(study_files.measured()).caption


@pytest.mark.slow
def test_the_report_shows_them(repeated, drawn_once):
    compare_study(repeated.folder, wandb="off")
    report = (repeated.folder / "comparison" / "report.html").read_text()
    assert "Variance of training, folds and patients" in report
    assert (repeated.folder / "comparison" / "trainings.csv").is_file()
