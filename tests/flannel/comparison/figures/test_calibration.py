import numpy as np
import pytest

from flannel.comparison.figures.calibration import (
    THRESHOLDS,
    decision_curves,
    pooled_bins,
    reliability_curves,
)
from flannel.data.diagnosis import FLANNEL
from flannel.metrics.calibration import calibrate

COVID, VIRAL, BACTERIAL, NORMAL = FLANNEL
TRUTH = (COVID, COVID, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, NORMAL)
TWO_WRONG = (COVID, VIRAL, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, COVID)


def test_a_panel_per_ensemble_with_its_error(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    study_files.run("ensemble/global/fold0", TRUTH)
    (axes,) = reliability_curves(study_files.measured()).axes
    # All are right with a confidence of 0.7.
    assert axes.get_title().startswith("global FLANNEL\nECE 0.300 → ")
    assert axes.lines[1].get_xdata() == pytest.approx([0.7])
    assert axes.lines[1].get_ydata() == pytest.approx([1])


def test_nothing_stands_outside_of_the_figure(study_files):
    for arm in ("global", "patched", "fused"):
        study_files.run(f"ensemble/{arm}/fold0", TRUTH)
    figure = reliability_curves(study_files.measured())
    figure.draw_without_rendering()
    for axes in figure.axes:
        assert axes.get_tightbbox().y0 >= 0


def test_bins_of_folds_are_joined_by_their_radiographs(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    study_files.run("base/global/vgg19_bn/fold1", TWO_WRONG)
    (row,) = study_files.measured().rows
    folds = {
        fold: calibrate(row.tests[fold], row.validations[fold], FLANNEL).before for fold in (0, 1)
    }
    confidence, share, images = pooled_bins(folds)
    assert confidence == pytest.approx([0.7])
    assert share == pytest.approx([14 / 16])
    assert np.array_equal(images, [16])


def test_without_validation_rows_there_is_no_curve(study_files):
    folder = study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    text = (folder / "predictions.csv").read_text()
    (folder / "predictions.csv").write_text(text.replace(",val,", ",train,"))
    assert reliability_curves(study_files.measured()) is None


def test_a_decision_curve_has_a_line_per_ensemble_and_two_to_beat(study_files):
    study_files.run("ensemble/global/fold0", TRUTH)
    study_files.run("ensemble/patched/fold0", TWO_WRONG)
    (axes,) = decision_curves(study_files.measured()).axes
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    assert list(lines) == ["act on all", "act on none", "global FLANNEL", "patched FLANNEL"]
    half = int(np.argmin(np.abs(THRESHOLDS - 0.5)))
    assert THRESHOLDS[half] == pytest.approx(0.5)
    # Two of eight have COVID-19: found both; or one, with one false alarm.
    assert lines["global FLANNEL"][half] == pytest.approx(2 / 8)
    assert lines["patched FLANNEL"][half] == pytest.approx(0)
    assert lines["act on all"][half] == pytest.approx(2 / 8 - 6 / 8)


def test_without_the_diagnosis_there_is_no_decision_curve(study_files):
    study_files.run("ensemble/global/fold0", TRUTH[2:], truth=TRUTH[2:])
    assert decision_curves(study_files.measured()) is None
