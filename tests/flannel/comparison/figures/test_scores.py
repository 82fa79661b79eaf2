import numpy as np
import pytest
from matplotlib.collections import LineCollection

from flannel.comparison.figures.scores import confusion_matrices, f1_bars
from flannel.comparison.figures.style import PAGE_INCHES
from flannel.comparison.results import read_comparison
from flannel.data.diagnosis import FLANNEL

COVID, VIRAL, BACTERIAL, NORMAL = FLANNEL
TRUTH = (COVID, COVID, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, NORMAL)
TWO_WRONG = (COVID, VIRAL, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, COVID)


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_bars_stand_for_the_means_of_each_arm(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TWO_WRONG)
    study_files.run("base/patched/vgg19_bn/fold0", TRUTH)
    study_files.run("ensemble/global/fold0", TRUTH)
    learners, ensembles = f1_bars(study_files.measured(), COVID).axes
    assert [bar.get_height() for bar in learners.patches] == [0.5, 1]
    assert [bar.get_height() for bar in ensembles.patches] == [1]
    named = [axes.get_xticklabels()[0].get_text() for axes in (learners, ensembles)]
    assert named == ["vgg19_bn", "FLANNEL"]
    assert lines(learners) == []


@pytest.mark.slow
def test_many_bars_stand_in_lines_that_a_page_can_hold(study_files):
    forms = ["best_learner", "mean", "logistic_out_of_fold", *"abcdef"]
    for arm in ("global", "patched", "fused"):
        study_files.run(f"ensemble/{arm}/fold0", TRUTH)
        for form in forms:
            study_files.run(f"ensemble/{arm}/{form}/fold0", TWO_WRONG)
    figure = f1_bars(study_files.measured(), COVID)
    assert figure.get_figwidth() <= PAGE_INCHES
    assert sum(len(axes.patches) for axes in figure.axes) == 3 * (len(forms) + 1)
    widths = [
        bar.get_width() / np.diff(axes.get_xlim()) for axes in figure.axes for bar in axes.patches
    ]
    assert len(figure.axes) > 1
    assert np.ptp(widths) < 1e-9  # equally wide in all lines
    names = [label.get_text() for axes in figure.axes for label in axes.get_xticklabels()]
    assert "logistic out\nof fold" in names


def lines(axes):
    """Ends of the vertical lines: intervals and deviations."""
    found = [one for one in axes.collections if isinstance(one, LineCollection)]
    return [segment[:, 1].tolist() for one in found for segment in one.get_segments()]


def test_deviations_appear_with_the_second_fold(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TWO_WRONG)
    study_files.run("base/global/vgg19_bn/fold1", TRUTH)
    ((lower, upper),) = lines(f1_bars(study_files.measured(), COVID).axes[0])
    assert (upper - lower) / 2 == pytest.approx(0.35355339)


def test_intervals_appear_with_enough_patients(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TWO_WRONG * 5, truth=TRUTH * 5)
    measurements = study_files.measured()
    ((lower, upper),) = lines(f1_bars(measurements, COVID).axes[0])
    interval = measurements.rows[0].measured.interval(COVID, "f1")
    assert (lower, upper) == pytest.approx((interval.low, interval.high))


def test_a_baseline_is_a_line_across(study_files):
    study_files.run("ensemble/global/fold0", TRUTH)
    study_files.run("shortcut/size_and_border/fold0", TWO_WRONG)
    figure = f1_bars(study_files.measured(), COVID)
    (line,) = [one for one in figure.axes[0].lines if one.get_label().startswith("shortcut")]
    assert line.get_ydata() == [0.5, 0.5]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "global", "shortcut baseline: size and border",
    ]  # fmt: skip


def test_an_undefined_score_is_written_instead_of_a_bar(study_files):
    study_files.run("base/global/vgg19_bn/fold0", (VIRAL,), truth=(VIRAL,))
    axes = f1_bars(study_files.measured(), COVID).axes[0]
    assert texts(axes) == ["undefined"]
    assert len(axes.patches) == 0


def test_confusion_is_the_mean_over_folds(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TWO_WRONG)
    study_files.run("base/global/vgg19_bn/fold1", TRUTH)
    axes = confusion_matrices(read_comparison(study_files.folder), "vgg19_bn").axes[0]
    assert axes.get_title() == "vgg19_bn, global\n(mean of 2 folds)"
    # One and two of two COVID-19 radiographs were found: 1.5, or 75 %.
    assert texts(axes)[:2] == ["1.5\n75%", "0.5\n25%"]


def test_confusion_on_the_validation_radiographs(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    axes = confusion_matrices(read_comparison(study_files.folder), "vgg19_bn", True).axes[0]
    assert axes.get_title() == "vgg19_bn, global\n(validation, fold 0)"
    assert texts(axes)[:4] == ["0\n0%", "0\n0%", "0\n0%", "1\n100%"]  # COVID-19, called normal
