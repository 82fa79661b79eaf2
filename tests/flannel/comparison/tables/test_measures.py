from flannel.comparison.tables.measures import measures_tables
from flannel.data.diagnosis import FLANNEL

COVID, VIRAL, BACTERIAL, NORMAL = FLANNEL
TRUTH = (COVID, COVID, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, NORMAL)
# F1 by hand: COVID-19 1/2, viral 4/5, bacterial 1, normal 2/3, macro 89/120.
TWO_WRONG = (COVID, VIRAL, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, COVID)


def test_every_measure_of_every_row(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TWO_WRONG)
    study_files.run("ensemble/global/fold0", TRUTH)
    over_all, covid = measures_tables(study_files.measured())
    assert over_all.name == "measures"
    assert covid.name == "measures_covid19"
    assert over_all.head[2:] == (
        "macro precision", "macro recall", "macro F1", "macro specificity", "macro ROC-AUC",
        "macro average precision", "accuracy", "Matthews", "Brier",
    )  # fmt: skip
    first, second = over_all.lines
    assert first.cells[8].startswith("0.750")  # six of eight are right
    assert second.kind == "strong"
    # One of two COVID-19 radiographs is found, and one of two so named is one.
    assert [cell[:5] for cell in covid.lines[0].cells[2:5]] == ["0.500"] * 3
    assert set(covid.numbers["class"]) == {COVID}
