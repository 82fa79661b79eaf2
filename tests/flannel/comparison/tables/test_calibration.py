from flannel.comparison.tables.calibration import calibrations_table, operating_points_table
from flannel.data.diagnosis import FLANNEL

COVID, VIRAL, BACTERIAL, NORMAL = FLANNEL
TRUTH = (COVID, COVID, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, NORMAL)
# F1 by hand: COVID-19 1/2, viral 4/5, bacterial 1, normal 2/3, macro 89/120.
TWO_WRONG = (COVID, VIRAL, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, COVID)


def test_calibration_before_and_after(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    (line,) = calibrations_table(study_files.measured()).lines
    # All are right, with a confidence of 0.7: ECE 0.3, Brier 0.3^2 + 3 * 0.1^2.
    assert line.cells[2] == "0.300"
    assert line.cells[4] == "0.120"


def test_sensitivity_at_a_threshold_of_the_validation_rows(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TWO_WRONG)
    table = operating_points_table(study_files.measured())
    (line,) = table.lines
    # No validation radiograph without COVID-19 is above 0.1; on test one of two is found, and one
    # of the six others, too.
    assert line.cells[2].startswith("0.500")
    assert line.cells[3].startswith("0.833")
    assert line.cells[4] == "0.1"


def test_without_validation_rows_there_is_neither(study_files):
    folder = study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    text = (folder / "predictions.csv").read_text()
    (folder / "predictions.csv").write_text(text.replace(",val,", ",train,"))
    assert calibrations_table(study_files.measured()) is None
    assert operating_points_table(study_files.measured()) is None
