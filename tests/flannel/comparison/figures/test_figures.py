import pytest
from PIL import Image

from flannel.comparison.costs import costs
from flannel.comparison.figures import draw_figures, save_figure
from flannel.comparison.figures.scores import f1_bars
from flannel.comparison.figures.style import arm_look
from flannel.data.diagnosis import FLANNEL

COVID, VIRAL, BACTERIAL, NORMAL = FLANNEL
TRUTH = (COVID, COVID, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, NORMAL)


def test_figures_without_data_are_left_out(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    drawn = draw_figures(study_files.measured(), costs(study_files.folder))
    assert set(drawn) == {
        "f1_covid19", "f1_macro", "curves_covid19", "curves_micro", "confusion_vgg19_bn",
        "reliability", "decision_curves", "cost",
    }  # fmt: skip


@pytest.mark.slow
def test_a_saved_figure_is_a_png_and_the_same_pdf_each_time(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    measurements = study_files.measured()
    path = save_figure(f1_bars(measurements, COVID), study_files.folder, "bars")
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.width == 900  # 4.5 inches at 200 dots
    pdf = path.with_suffix(".pdf").read_bytes()
    assert pdf.startswith(b"%PDF-")
    assert len(pdf) > 5000
    save_figure(f1_bars(measurements, COVID), study_files.folder, "bars")
    assert path.with_suffix(".pdf").read_bytes() == pdf


def test_an_arm_looks_the_same_wherever_it_stands():
    assert arm_look("patched") == ("#E69F00", "////")
    colour, hatch = arm_look("seven_patched")
    assert colour == arm_look("patched")[0]
    assert hatch != arm_look("patched")[1]
    known = [arm_look(arm) for arm in ("global", "masked", "patched", "fused", "shortcut", "other")]
    assert len({look[0] for look in known}) == len(known)
