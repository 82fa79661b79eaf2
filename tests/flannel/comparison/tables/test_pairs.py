import pytest

from flannel.comparison.tables.pairs import differences_table
from flannel.comparison.tables.pairs import tests_table as table_of_tests
from flannel.data.diagnosis import FLANNEL

COVID, VIRAL, BACTERIAL, NORMAL = FLANNEL
TRUTH = (COVID, COVID, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, NORMAL)
# F1 by hand: COVID-19 1/2, viral 4/5, bacterial 1, normal 2/3, macro 89/120.
TWO_WRONG = (COVID, VIRAL, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, COVID)


def test_differences_are_second_minus_first(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TWO_WRONG * 5, truth=TRUTH * 5)
    study_files.run("base/patched/vgg19_bn/fold0", TRUTH * 5, truth=TRUTH * 5)
    table = differences_table(study_files.measured())
    (line,) = table.lines
    assert line.cells[:3] == ("global", "patched", "vgg19_bn")
    # 1 - 1/2 for COVID-19, and 1 - 89/120 for macro.
    assert line.cells[3].startswith("+0.500 [")
    assert line.cells[7].startswith("+0.258 [")
    numbers = table.numbers[table.numbers["measure"] == "f1"].set_index("class")
    assert numbers.loc["macro", "difference"] == pytest.approx(1 - 89 / 120)
    assert set(numbers["second_arm"]) == {"patched"}


def test_without_pairs_there_is_no_table(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    assert differences_table(study_files.measured()) is None
    assert table_of_tests(study_files.measured()) is None


def test_tests_stand_class_by_class(study_files):
    study_files.run("ensemble/global/fold0", TWO_WRONG)
    study_files.run("ensemble/patched/fold0", TRUTH)
    table = table_of_tests(study_files.measured())
    assert [line.cells[2] for line in table.lines] == [*FLANNEL, "macro"]
    # Two radiographs are right on one side only: McNemar's exact p is 2 * (1/2)^2.
    assert table.lines[-1].cells[6] == "0.500"
    assert table.lines[-1].cells[8] == "–"
