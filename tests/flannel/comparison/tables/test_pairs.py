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
    assert line.cells[:3] == ("arms", "global vgg19_bn", "patched vgg19_bn")
    assert "is not in this study, so all numbers are exploratory" in table.caption
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


def test_p_values_are_corrected_within_their_family(study_files):
    for arm, ensemble in (("global", TWO_WRONG), ("patched", TRUTH)):
        study_files.run(f"ensemble/{arm}/fold0", ensemble * 5, truth=TRUTH * 5)
        for learner in ("vgg19_bn", "resnet152"):
            study_files.run(f"base/{arm}/{learner}/fold0", TWO_WRONG * 5, truth=TRUTH * 5)
    measurements = study_files.measured()
    table = differences_table(measurements)
    assert [line.cells[0] for line in table.lines] == [
        "primary", *["arms"] * 2, *["base learners"] * 4,
    ]  # fmt: skip
    assert [line.kind for line in table.lines] == ["strong", *["plain"] * 6]
    assert "all other numbers are exploratory" in table.caption
    macro = table.numbers[(table.numbers["class"] == "macro") & (table.numbers["measure"] == "f1")]
    # Where all predictions are alike there is no interval, and so no p value.
    assert macro["p_family"].isna().equals(macro["p"].isna())
    for _, family in macro.dropna(subset="p").groupby("family"):
        p_values = sorted(family["p"])
        steps = [p * (len(p_values) - place) for place, p in enumerate(p_values)]
        expected = [min(1, max(steps[: place + 1])) for place in range(len(steps))]
        assert sorted(family["p_family"]) == pytest.approx(expected)
    assert macro["p_family"].iloc[0] == macro["p"].iloc[0]  # one primary comparison: no correction
    others = table.numbers.drop(macro.index)
    assert others["p_family"].isna().all()


def test_only_the_primary_comparison_is_tested_class_by_class(study_files):
    for arm, ensemble in (("global", TWO_WRONG), ("patched", TRUTH)):
        study_files.run(f"ensemble/{arm}/fold0", ensemble)
        study_files.run(f"base/{arm}/vgg19_bn/fold0", TRUTH)
    table = table_of_tests(study_files.measured())
    assert [line.cells[2] for line in table.lines] == [*FLANNEL, "macro", "macro", "macro"]
    assert set(table.numbers["class"]) == {*FLANNEL, "overall"}
    assert [line.opens for line in table.lines] == [False] * 5 + [True, False]


def test_tests_stand_class_by_class(study_files):
    study_files.run("ensemble/global/fold0", TWO_WRONG)
    study_files.run("ensemble/patched/fold0", TRUTH)
    table = table_of_tests(study_files.measured())
    assert [line.cells[2] for line in table.lines] == [*FLANNEL, "macro"]
    # Two radiographs are right on one side only: McNemar's exact p is 2 * (1/2)^2.
    assert table.lines[-1].cells[6] == "0.500"
    assert table.lines[-1].cells[8] == "–"
