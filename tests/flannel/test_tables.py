import numpy as np
import pytest

from flannel.comparison import read_comparison
from flannel.data.diagnosis import FLANNEL
from flannel.published import published_scores
from flannel.tables import f1_rows, markdown, published_rows, scores_table

COVID, VIRAL, BACTERIAL, NORMAL = FLANNEL
TRUTH = (COVID, COVID, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, NORMAL)
# F1 by hand: COVID-19 1/2, viral 4/5, bacterial 1, normal 2/3, macro 89/120.
TWO_WRONG = (COVID, VIRAL, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, COVID)


def test_one_fold_gives_no_deviation(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TWO_WRONG)
    comparison = read_comparison(study_files.folder)
    (row,) = f1_rows(comparison)
    assert row.cells == ["0.500", "0.800", "1.000", "0.667", "0.742"]
    ours, _ = markdown(comparison).split("## Published")
    assert "±" not in ours
    assert "| global | vgg19_bn | 0.500 | 0.800 | 1.000 | 0.667 | 0.742 | 0 |" in ours


def test_two_folds_give_mean_and_sample_deviation(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TWO_WRONG)
    study_files.run("base/global/vgg19_bn/fold1", TRUTH)
    (row,) = f1_rows(read_comparison(study_files.folder))
    assert row.means[COVID] == pytest.approx(0.75)
    # Sample deviation of 1/2 and 1: (1/2) / sqrt(2).
    assert row.deviations[COVID] == pytest.approx(0.35355339)
    assert row.means["macro"] == pytest.approx((89 / 120 + 1) / 2)
    assert row.cells[0] == "0.750 ± 0.354"
    assert row.folds == "0, 1"


def test_scores_table_is_long(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TWO_WRONG)
    study_files.run("ensemble/global/fold0", TRUTH)
    table = scores_table(read_comparison(study_files.folder))
    assert list(table) == [
        "arm", "learner", "fold", "class", "precision", "recall", "f1", "support",
    ]  # fmt: skip
    assert len(table) == 2 * 5
    macro = table[table["class"] == "macro"].set_index("learner")["f1"]
    assert macro["vgg19_bn"] == pytest.approx(table["f1"][:4].mean())
    assert macro["FLANNEL"] == 1


def test_an_undefined_score_is_a_dash(study_files):
    study_files.run("base/global/vgg19_bn/fold0", (COVID, VIRAL), truth=(COVID, VIRAL))
    (row,) = f1_rows(read_comparison(study_files.folder))
    assert row.cells == ["1.000", "1.000", "–", "–", "1.000"]


def test_published_rows_hold_the_papers_numbers():
    rows = {(row.arm, row.learner): row for row in published_rows()}
    assert len(rows) == 13
    assert rows["global", "FLANNEL"].cells == [
        "0.9239 ± 0.01", "0.6675 ± 0.02", "0.8306 ± 0.01", "0.9322 ± 0.00", "0.8385 ± 0.01",
    ]  # fmt: skip
    assert rows["patched", "FLANNEL"].means["macro"] == 0.8180
    assert rows["global", "FLANNEL_OldData"].means[COVID] == 0.8168
    assert "Table 3" in rows["global", "vgg19_bn"].folds
    assert "final report" in rows["patched", "vgg19_bn"].folds


def test_published_macro_is_the_mean_of_the_classes():
    by_class = published_scores().pivot(index=["arm", "learner"], columns="class", values="f1")
    apart = (by_class[list(FLANNEL)].mean(axis=1) - by_class["macro"]).abs()
    # The sources round to four digits.
    assert np.all(apart < 2e-4)


def test_published_numbers_stand_in_a_table_of_their_own(study_files):
    study_files.run("ensemble/global/fold0", TRUTH)
    text = markdown(read_comparison(study_files.folder))
    assert "## Published (paper 004, other data)" in text
    assert text.index("| global | FLANNEL | 1.000") < text.index("| global | FLANNEL | 0.9239")
