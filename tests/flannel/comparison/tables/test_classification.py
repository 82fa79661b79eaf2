"""Classification report and confusion counts, against scikit-learn."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import classification_report, confusion_matrix

from flannel.comparison.related import COLUMNS, Related, RelatedStudy, Twin
from flannel.comparison.tables.classification import (
    classification_table,
    confusion_table,
    printed_cell,
)
from flannel.data.diagnosis import FLANNEL

COVID, VIRAL, BACTERIAL, NORMAL = FLANNEL
TRUTH = (COVID, COVID, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, NORMAL)
TWO_WRONG = (COVID, VIRAL, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, COVID)
PLAN = RelatedStudy(
    title="Nine",
    papers="Paper 9",
    mapping="flannel",
    runs={"vgg19_bn": ["global"]},
    reported="test",
    phantoms=Twin({"ccx": 8}),
)


def paper(*rows):
    """Makes a study of a paper that published these numbers."""
    return Related(PLAN, pd.DataFrame(rows, columns=list(COLUMNS)), made_up=False)


@pytest.fixture
def comparison(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TWO_WRONG)
    return study_files.measured().comparison


def test_the_report_is_that_of_scikit_learn(comparison):
    table = classification_table(comparison, paper(), "test")
    numbers = table.numbers.set_index("class")
    report = classification_report(TRUTH, TWO_WRONG, labels=list(FLANNEL), output_dict=True)
    names = {name: name for name in FLANNEL} | {"macro": "macro avg", "weighted": "weighted avg"}
    for ours, theirs in names.items():
        for measure, word in (("precision",) * 2, ("recall",) * 2, ("f1", "f1-score")):
            assert numbers.loc[ours, measure] == pytest.approx(report[theirs][word])
        assert numbers.loc[ours, "support"] == report[theirs]["support"]
    assert numbers.loc["overall", "f1"] == np.mean(np.array(TRUTH) == TWO_WRONG)
    assert [line.cells[2] for line in table.lines] == [
        *FLANNEL, "accuracy", "macro average", "weighted average",
    ]  # fmt: skip
    assert table.lines[0].cells[6] == "2"


def test_published_numbers_stand_beside_ours_and_alone_where_we_have_no_run(comparison):
    related = paper(
        ("global", "vgg19_bn", "test", COVID, "f1", 0.9, "paper 9"),
        ("global", "vgg19_bn", "test", "overall", "accuracy", 0.9733, "paper 9"),
        ("global", "other", "test", NORMAL, "support", 1903.0, "paper 8"),
    )
    table = classification_table(comparison, related, "test")
    by_name = {line.cells[1:3]: line.cells for line in table.lines}
    assert by_name["vgg19_bn", COVID][9] == "0.90"
    assert by_name["vgg19_bn", "accuracy"][9] == "0.9733"
    assert by_name["other", NORMAL][3:] == ("–", "–", "–", "–", "", "", "", "1,903")
    assert "paper 9; paper 8" in table.caption
    on_validation = classification_table(comparison, related, "val")
    assert "print nothing on these images" in on_validation.caption
    assert len(on_validation.lines) == 7


def test_confusion_counts_both_splits_and_what_was_published(comparison):
    related = paper(("global", "vgg19_bn", "test", COVID, f"as {VIRAL}", 11.0, "paper 9"))
    table = confusion_table(comparison, related)
    expected = confusion_matrix(TRUTH, TWO_WRONG, labels=list(FLANNEL))
    tested = table.numbers[table.numbers["split"] == "test"]
    assert tested["radiographs"].to_numpy().reshape(4, 4).tolist() == expected.tolist()
    row = next(line for line in table.lines if line.cells[0] == "test" and line.cells[3] == COVID)
    assert row.cells[4:] == ("1", "1 (11)", "0", "0")
    # The one validation image of COVID-19 is called normal.
    assert table.lines[0].cells == ("validation", "global", "vgg19_bn", COVID, "0", "0", "0", "1")


@pytest.mark.parametrize(
    ("value", "measure", "text"),
    [(0.97, "f1", "0.97"), (0.9733, "f1", "0.9733"), (1.0, "f1", "1.00"), (0.9, "f1", "0.90"),
     (1903.0, "support", "1,903"), (float("nan"), "f1", "")],
)  # fmt: skip
def test_a_published_number_is_written_as_it_was_printed(value, measure, text):
    assert printed_cell(value, measure) == text
