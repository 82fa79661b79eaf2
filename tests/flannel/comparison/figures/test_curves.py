import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from flannel.comparison.figures.curves import MICRO, ensemble_curves, learner_curves, mean_curve
from flannel.comparison.figures.style import PAGE_INCHES
from flannel.data.diagnosis import FLANNEL

COVID, VIRAL, BACTERIAL, NORMAL = FLANNEL
TRUTH = (COVID, COVID, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, NORMAL)
TWO_WRONG = (COVID, VIRAL, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, COVID)


@pytest.fixture
def row(study_files):
    for fold in (0, 1):
        folder = study_files.run(f"base/global/vgg19_bn/fold{fold}", TRUTH * 3, truth=TRUTH * 3)
        text = (folder / "predictions.csv").read_text()
        generator = np.random.default_rng(fold)
        while "0.7" in text:  # no two radiographs are alike
            text = text.replace("0.7", f"{generator.uniform(0.05, 0.6):.4f}", 1)
        (folder / "predictions.csv").write_text(text)
    return study_files.measured().rows[0]


@pytest.mark.parametrize(
    ("measure", "area"),
    [("roc_auc", roc_auc_score), ("average_precision", average_precision_score)],
)
@pytest.mark.parametrize("name", [COVID, MICRO])
def test_the_area_under_the_mean_is_the_mean_of_the_areas(row, name, measure, area):
    chosen = list(FLANNEL) if name == MICRO else [name]
    expected = np.mean(
        [
            area(
                np.stack([table["diagnosis"] == one for one in chosen], axis=1).ravel(),
                table[[f"p_{one}" for one in chosen]].to_numpy().ravel(),
            )
            for table in row.tests.values()
        ]
    )
    x, y, text = mean_curve(row, name, measure, FLANNEL)
    assert 0.1 < expected < 0.95
    assert np.trapezoid(y, x) == pytest.approx(expected, abs=3e-3)
    assert text.startswith(f"{expected:.2f}")


def test_a_column_per_arm_and_a_line_per_learner(study_files):
    for arm in ("global", "patched"):
        study_files.run(f"base/{arm}/vgg19_bn/fold0", TRUTH)
        study_files.run(f"ensemble/{arm}/fold0", TRUTH)
        study_files.run(f"ensemble/{arm}/mean/fold0", TRUTH)  # other forms would hide learners
    study_files.run("shortcut/size_and_border/fold0", TWO_WRONG)
    measurements = study_files.measured()
    figure = learner_curves(measurements, COVID)
    panels = figure.axes
    assert figure.get_suptitle() == "COVID-19, against the rest"
    assert [axes.get_title() for axes in panels] == [
        "global: ROC", "patched: ROC",
        "global: precision and recall", "patched: precision and recall",
    ]  # fmt: skip
    assert [line.get_label() for line in panels[0].lines] == ["vgg19_bn 1.00", "FLANNEL 1.00"]
    together = ensemble_curves(measurements, MICRO).axes[0]
    assert [line.get_label()[:-5] for line in together.lines] == [
        "global", "patched", "shortcut baseline: size and border",
    ]  # fmt: skip


@pytest.mark.slow
def test_no_legend_is_cut_off_or_lies_on_the_curves(study_files):
    for learner in ("densenet161", "inception_v3", "resnet152", "resnext101", "vgg19_bn"):
        for arm in ("global", "patched", "masked"):
            study_files.run(f"base/{arm}/{learner}/fold0", TRUTH)
    figure = learner_curves(study_files.measured(), COVID)
    assert figure.get_figwidth() <= PAGE_INCHES
    whole = figure.bbox
    for axes in figure.axes:
        legend = axes.get_legend().get_window_extent()
        assert whole.y0 <= legend.y0
        assert legend.y1 <= axes.xaxis.label.get_window_extent().y0
        assert whole.x0 <= legend.x0 < legend.x1 <= whole.x1


def test_without_the_diagnosis_there_is_no_curve(study_files):
    study_files.run("base/global/vgg19_bn/fold0", (VIRAL,), truth=(VIRAL,))
    assert learner_curves(study_files.measured(), COVID) is None
    assert ensemble_curves(study_files.measured(), MICRO) is None


def test_a_learner_has_one_colour_in_all_arms(study_files):
    study_files.run("base/global/densenet161/fold0", TRUTH)
    for arm in ("global", "patched"):
        study_files.run(f"base/{arm}/vgg19_bn/fold0", TRUTH)
    panels = learner_curves(study_files.measured(), COVID).axes
    whole, patches = (
        {line.get_label(): line.get_color() for line in axes.lines} for axes in panels[:2]
    )
    assert whole["vgg19_bn 1.00"] == patches["vgg19_bn 1.00"] != whole["densenet161 1.00"]
