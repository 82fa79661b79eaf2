import pandas as pd
import pytest

from flannel.comparison.tables.calibration import (
    calibrations_table,
    operating_points_table,
    recalibration_table,
)
from flannel.data.diagnosis import FLANNEL
from flannel.study.predictions import save_predictions

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
    # At 10 %: 0.05 of 0.05 + 0.15 suspected have it, and 0.75 of 0.75 + 0.05 others do not.
    assert line.cells[6] == "0.25 / 0.94"
    assert table.numbers["ppv_at_0.1"].item() == pytest.approx(0.25)


def test_calibration_of_each_diagnosis(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    study_files.run("base/patched/vgg19_bn/fold0", TWO_WRONG)
    study_files.run("shortcut/size_and_border/fold0", TWO_WRONG)
    first, second = recalibration_table(study_files.measured()).lines
    # 2 of 8 have each diagnosis, all above the others: no slope. Expected are 2 of 8 too.
    assert first.cells[:2] == ("global", "vgg19_bn")
    assert all(cell.endswith(" / –") for cell in first.cells[2:])
    # COVID-19 is named twice, once rightly: log odds of 0.7 for 1 of 2, of 0.1 for 1 of 6, so the
    # slope is log(5) / log(21) = 0.53.
    assert second.cells[2].endswith(" / 0.53")


def test_without_validation_rows_there_is_neither(study_files):
    folder = study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    text = (folder / "predictions.csv").read_text()
    (folder / "predictions.csv").write_text(text.replace(",val,", ",train,"))
    assert calibrations_table(study_files.measured()) is None
    assert operating_points_table(study_files.measured()) is None


def test_of_two_diagnoses_the_first_is_positive(study_files):
    """Scores of the positive class by hand: one of the two ill is as low as the healthy ones."""
    colours = {"TB": "#D55E00", "healthy": "#009E73"}
    choices = {"protocol": "patient", "seed": 1, "mapping": "folders"}
    note = {"choices": choices, "sources": {}, "folds": {}, "sha256": "", "colours": colours}
    study_files.json("manifest.json", note)
    folder = study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    scores = [("TB", 0.7), ("TB", 0.1), ("healthy", 0.1), ("healthy", 0.1)]
    rows = [
        {
            **dict.fromkeys(("image_id", "patient_id", "group"), f"{split}-{number}"),
            "split": split,
            "diagnosis": diagnosis,
            "p_TB": score,
            "p_healthy": 1 - score,
        }
        for split in ("val", "test")
        for number, (diagnosis, score) in enumerate(scores)
    ]
    save_predictions(pd.DataFrame(rows), folder / "predictions.csv")
    table = operating_points_table(study_files.measured())
    assert table.title == "TB at 95 % specificity"
    assert table.caption.startswith("Positive is TB, negative healthy. The threshold")
    assert table.head[2:5] == ("ROC-AUC", "sensitivity", "specificity")
    (line,) = table.lines
    # Of the four pairs of ill and healthy two are in order and two alike: 3 / 4.
    assert [cell[:5] for cell in line.cells[2:5]] == ["0.750", "0.500", "1.000"]
