from PIL import Image

from flannel.comparison import read_comparison
from flannel.data.diagnosis import FLANNEL
from flannel.figures import save_figure, write_figures
from flannel.figures.scores import f1_bars
from flannel.tables import f1_rows

COVID, VIRAL, BACTERIAL, NORMAL = FLANNEL
TRUTH = (COVID, COVID, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, NORMAL)


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
