import numpy as np
import pytest

from flannel.comparison.results import read_comparison
from flannel.comparison.tables.f1 import published_scores, scores_table, table_3
from flannel.data.diagnosis import FLANNEL

COVID, VIRAL, BACTERIAL, NORMAL = FLANNEL
TRUTH = (COVID, COVID, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, NORMAL)
# F1 by hand: COVID-19 1/2, viral 4/5, bacterial 1, normal 2/3, macro 89/120.
TWO_WRONG = (COVID, VIRAL, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, COVID)


def lines(table, source):
    """Lines by arm and learner, of this study (folds) or as published."""
    return {line.cells[:2]: line for line in table.lines if (line.kind == "soft") == source}


def test_one_fold_gives_no_deviation(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TWO_WRONG)
    table = table_3(study_files.measured())
    cells = lines(table, source=False)["global", "vgg19_bn"].cells
    assert [cell.partition(" [")[0] for cell in cells[3:8]] == [
        "0.500", "0.800", "1.000", "0.667", "0.742",
    ]  # fmt: skip
    assert cells[2] == "fold 0"
    assert "Fold 0 only, one training each, so no deviation is given" in table.caption


def test_two_folds_give_mean_and_sample_deviation(study_files):
    for fold, predicted in enumerate((TWO_WRONG, TRUTH)):
        study_files.run(f"base/global/vgg19_bn/fold{fold}", predicted * 5, truth=TRUTH * 5)
    table = table_3(study_files.measured())
    cells = lines(table, source=False)["global", "vgg19_bn"].cells
    # The mean of 1/2 and 1, and their sample deviation: (1/2) / sqrt(2).
    assert cells[3].startswith("0.750 ± 0.354 [")
    assert cells[2] == "folds 0, 1"
    numbers = table.numbers[table.numbers["source"] == "this study"].set_index("class")
    assert numbers.loc["macro", "f1"] == pytest.approx((89 / 120 + 1) / 2, abs=1e-9)
    assert numbers.loc[COVID, "low"] <= 0.75 <= numbers.loc[COVID, "high"]
    assert "which share one test set" in table.caption


def test_published_rows_stand_beside_ours(study_files):
    study_files.run("ensemble/global/fold0", TRUTH)
    table = table_3(study_files.measured())
    published = lines(table, source=True)
    assert len(published) == 13
    assert published["global", "FLANNEL"].cells[2:] == (
        "paper 004 draft Table 3",
        "0.9239 ± 0.01", "0.6675 ± 0.02", "0.8306 ± 0.01", "0.9322 ± 0.00", "0.8385 ± 0.01",
    )  # fmt: skip
    assert published["global", "FLANNEL_OldData"].cells[3] == "0.8168 ± 0.03"
    assert published["patched", "FLANNEL"].cells[7] == "0.8180 ± 0.01"
    assert "final report" in published["patched", "vgg19_bn"].cells[2]
    places = [line.cells[:2] for line in table.lines]
    first = places.index(("global", "FLANNEL"))
    assert places[first + 1] == ("global", "FLANNEL")
    assert [line.kind for line in table.lines[first : first + 2]] == ["strong", "soft"]
    assert [line.opens for line in table.lines].count(True) == 1


def test_the_baseline_stands_last(study_files):
    study_files.run("ensemble/global/fold0", TRUTH)
    study_files.run("shortcut/size_and_border/fold0", TWO_WRONG)
    table = table_3(study_files.measured())
    assert table.lines[-1].cells[:2] == ("shortcut", "size and border")
    assert "The arm shortcut holds baselines" in table.caption
    assert table.lines[-1].opens


def test_a_partial_study_says_so(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    caption = table_3(study_files.measured()).caption
    assert "A partial study: 1 of the paper's 5 base learners (vgg19_bn)." in caption


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
    cells = lines(table_3(study_files.measured()), source=False)["global", "vgg19_bn"].cells
    assert cells[5:7] == ("–", "–")


def test_published_macro_is_the_mean_of_the_classes():
    by_class = published_scores(FLANNEL).pivot(
        index=["arm", "learner"], columns="class", values="f1"
    )
    apart = (by_class[list(FLANNEL)].mean(axis=1) - by_class["macro"]).abs()
    # The sources round to four digits.
    assert np.all(apart < 2e-4)
