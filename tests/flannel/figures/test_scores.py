import pytest
from matplotlib.collections import LineCollection

from flannel.comparison import read_comparison
from flannel.data.diagnosis import FLANNEL
from flannel.figures.scores import confusion_matrices, f1_bars
from flannel.tables import f1_rows

COVID, VIRAL, BACTERIAL, NORMAL = FLANNEL
TRUTH = (COVID, COVID, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, NORMAL)
TWO_WRONG = (COVID, VIRAL, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, COVID)


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_bars_stand_for_the_means_of_each_arm(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TWO_WRONG)
    study_files.run("base/patched/vgg19_bn/fold0", TRUTH)
    study_files.run("ensemble/global/fold0", TRUTH)
    axes = f1_bars(f1_rows(read_comparison(study_files.folder)), COVID).axes[0]
    assert [bar.get_height() for bar in axes.patches] == [0.5, 1, 1]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["vgg19_bn", "FLANNEL"]
    assert not [one for one in axes.collections if isinstance(one, LineCollection)]


def test_deviations_appear_with_the_second_fold(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TWO_WRONG)
    study_files.run("base/global/vgg19_bn/fold1", TRUTH)
    axes = f1_bars(f1_rows(read_comparison(study_files.folder)), COVID).axes[0]
    (line,) = [one for one in axes.collections if isinstance(one, LineCollection)]
    lower, upper = line.get_segments()[0][:, 1]
    assert (upper - lower) / 2 == pytest.approx(0.35355339)


def test_an_undefined_score_is_written_instead_of_a_bar(study_files):
    study_files.run("base/global/vgg19_bn/fold0", (VIRAL,), truth=(VIRAL,))
    axes = f1_bars(f1_rows(read_comparison(study_files.folder)), COVID).axes[0]
    assert texts(axes) == ["undefined"]
    assert len(axes.patches) == 0


def test_confusion_is_the_mean_over_folds(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TWO_WRONG)
    study_files.run("base/global/vgg19_bn/fold1", TRUTH)
    axes = confusion_matrices(read_comparison(study_files.folder), "vgg19_bn").axes[0]
    assert axes.get_title() == "vgg19_bn, global (mean of 2 folds)"
    # One and two of two COVID-19 radiographs were found: 1.5, or 75 %.
    assert texts(axes)[:2] == ["1.5\n75%", "0.5\n25%"]
