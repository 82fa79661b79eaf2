import numpy as np
import pytest
from matplotlib.collections import LineCollection
from PIL import Image

from flannel.data.diagnosis import FLANNEL
from flannel.figures import (
    confusion_matrices,
    f1_bars,
    learner_weights,
    save_figure,
    training_curves,
    write_figures,
)
from flannel.study import read_comparison
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


def test_learner_weights_are_means_by_true_diagnosis(study_files):
    study_files.run("ensemble/global/fold0", TRUTH, weights={"vgg19_bn": 0.8, "resnet152": -0.5})
    study_files.run("ensemble/global/fold1", TRUTH, weights={"vgg19_bn": 0.4, "resnet152": -0.5})
    axes = learner_weights(read_comparison(study_files.folder)).axes[0]
    assert np.allclose(axes.images[0].get_array(), [[0.6] * 4, [-0.5] * 4])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["vgg19_bn", "resnet152"]


def test_training_curves_are_drawn_by_arm_and_learner(study_files):
    for arm, learner in (("global", "vgg19_bn"), ("patched", "resnet152")):
        folder = study_files.folder / "base" / arm / learner / "fold0"
        folder.mkdir(parents=True)
        (folder / "curves.csv").write_text("epoch,train/loss,val/macro_f1\n0,2,0.5\n1,1,0.75\n")
    figure = training_curves(study_files.folder)
    loss, _, macro, _ = figure.axes
    assert loss.get_title() == "global"
    assert loss.lines[0].get_ydata().tolist() == [2, 1]
    assert macro.lines[0].get_ydata().tolist() == [0.5, 0.75]
    names = {text.get_text() for text in figure.legends[0].get_texts()}
    assert names == {"vgg19_bn", "resnet152"}


def test_figures_without_data_are_left_out(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    written = write_figures(read_comparison(study_files.folder), study_files.folder / "figures")
    assert set(written) == {"f1_covid19", "f1_macro", "confusion_vgg19_bn"}


def test_a_saved_figure_is_a_png_and_the_same_pdf_each_time(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    rows = f1_rows(read_comparison(study_files.folder))
    path = save_figure(f1_bars(rows, COVID), study_files.folder, "bars")
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.width == 900  # 4.5 inches at 200 dots
    pdf = path.with_suffix(".pdf").read_bytes()
    assert pdf.startswith(b"%PDF-")
    assert len(pdf) > 5000
    save_figure(f1_bars(rows, COVID), study_files.folder, "bars")
    assert path.with_suffix(".pdf").read_bytes() == pdf
