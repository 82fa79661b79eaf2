"""Every sentence follows from a number."""

from dataclasses import replace

import pytest

from flannel.data.audit.audit import Audit
from flannel.data.audit.leaks import DuplicatePair, FoldRow, Leak
from flannel.data.audit.remarks import reading, remarks
from flannel.data.audit.shortcuts import LUNG_MASK, LUNGS_HIDDEN, SIZE_AND_BORDER, Shortcut
from flannel.data.audit.tables import PeopleRow

SHORTCUT = Shortcut(
    "diagnosis", SIZE_AND_BORDER, 200, 0.78, 0.75, 0.81, 0.5, {"COVID-19": 0.8, "Normal": 0.76}, {}
)
CLEAN = Audit(
    images=200,
    patients=150,
    sources={"ccx": 100, "kcx": 100},
    diagnoses={"COVID-19": 100, "Normal": 100},
    patients_by_diagnosis={"COVID-19": 80, "Normal": 70},
    masks=200,
    not_stored=(),
    counts=(),
    details=(),
    origin={"COVID-19": {"ccx": 52, "kcx": 48}, "Normal": {"kcx": 52, "ccx": 48}},
    pairs=(),
    folds=(FoldRow(0, {"train": 120, "val": 40, "test": 40}, {"val": 0, "test": 0}),),
    leaks=(),
    sizes=(),
    people=(PeopleRow("ccx", "COVID-19", 150, 200, 200, (20, 50, 80), 0, {"F": 200}),),
    licences={},
    labels=(),
    grey_values={},
    shortcuts=(replace(SHORTCUT, macro_f1=0.52, low=0.46, high=0.58),),
)


def weights_of(**changes) -> dict[str, str]:
    """Maps each remark to its weight."""
    return {remark.text: remark.weight for remark in remarks(replace(CLEAN, **changes))}


def sentence(word: str, **changes) -> tuple[str, str]:
    ((text, weight),) = [(t, w) for t, w in weights_of(**changes).items() if word in t]
    return text, weight


def test_a_clean_cohort_is_as_it_should_be():
    assert set(weights_of().values()) == {"good"}
    assert len(weights_of()) == 4


def test_a_leak_is_stated_with_the_worst_fold():
    text, weight = sentence(
        "fold",
        leaks=(Leak("patient", "ccx 1", 2, (0,), ("train", "test")),) * 2,
        folds=(
            *CLEAN.folds,
            FoldRow(1, {"train": 1, "val": 1, "test": 40}, {"val": 0, "test": 15}),
        ),
    )
    assert weight == "danger"
    assert text.startswith("2 patients, 0 groups and 0 duplicates are in more than one")
    assert "In fold 1, 38 % of the test radiographs (15 of 40)" in text


def test_without_folds_nothing_is_claimed_about_leaks():
    assert sentence("No folds are assigned", folds=())[1] == "care"


def test_a_radiograph_with_two_diagnoses_is_a_danger():
    same = DuplicatePair("a", "b", True, 1.0, ())
    text, weight = sentence("pair of identical files", pairs=(same,))
    assert weight == "care"
    assert text.startswith("1 pair of identical files and 0 pairs of near duplicates")
    both = (same, DuplicatePair("a", "c", False, 0.9, ("diagnosis",)))
    text, weight = sentence("two different diagnoses", pairs=both)
    assert weight == "danger"
    assert "in 1 of them" in text


def test_confounding_is_stated_with_its_shares():
    text, weight = sentence(
        "confounded", origin={"COVID-19": {"ccx": 100}, "Normal": {"kcx": 91, "ccx": 9}}
    )
    assert weight == "danger"
    assert "100 % of COVID-19 is from ccx and 91 % of Normal is from kcx." in text
    assert sentence("one source", sources={"ccx": 200})[1] == "care"


def test_a_share_is_never_rounded_to_all_or_nothing():
    row = PeopleRow("ccx", "COVID-19", 900, 1000, 997, (20, 50, 80), 0, {})
    assert "more than 99 % of" in sentence("The age", images=1000, people=(row,))[0]
    rare = replace(row, age_known=3)
    assert "less than 1 % of" in sentence("The age", images=1000, people=(rare,))[0]


def test_a_shortcut_is_stated_with_its_interval_and_chance():
    blind = replace(SHORTCUT, evidence=LUNG_MASK, macro_f1=0.63)
    text, weight = sentence("shortcut", shortcuts=(blind, SHORTCUT))
    assert weight == "danger"
    assert (
        "sees no lung pixels, only the image size and border, predicts the diagnosis with macro F1 "
        "0.78 (95 % interval 0.75 to 0.81). Chance is 0.50." in text
    )
    assert "From the lung mask alone: 0.63." in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"patients_by_diagnosis": {"COVID-19": 12, "Normal": 70}}, "Few patients: COVID-19 12."),
        ({"masks": 150}, "50 of 200 radiographs have no lung mask yet"),
        ({"not_stored": ("a",)}, "1 radiograph of the manifest could not be read"),
        ({"shortcuts": ()}, "no shortcut could be tested"),
        (
            {"people": (PeopleRow("kcx", "Normal", 1, 200, 0, None, 0, {}),)},
            "The age is known for none of the radiographs.",
        ),
    ],
)
def test_what_limits_results_is_stated_with_care(changes, words):
    assert sentence(words, **changes)[1] == "care"


def test_dangers_come_first():
    weights = [remark.weight for remark in remarks(replace(CLEAN, shortcuts=(SHORTCUT,), masks=0))]
    assert weights == ["danger", "care", "good", "good", "good"]


def test_the_reading_names_the_best_evidence_without_a_lung_or_says_that_there_is_none():
    lung = replace(SHORTCUT, evidence=LUNG_MASK, macro_f1=0.9)  # better, but no proof of a shortcut
    assert reading(
        "source", [lung, SHORTCUT, replace(SHORTCUT, evidence=LUNGS_HIDDEN, macro_f1=0.6)]
    ) == (
        "Without lung pixels, the source is predicted best from the image size and border: "
        "macro F1 0.78 (chance: 0.50)."
    )
    assert "the view is predicted no better than by chance" in reading(
        "view", [replace(SHORTCUT, low=0.4)]
    )


def test_a_shortcut_without_an_interval_is_judged_by_its_number():
    perfect = replace(SHORTCUT, macro_f1=1.0, low=None, high=None)
    text, weight = sentence("shortcut", shortcuts=(perfect,))
    assert weight == "danger"
    assert "macro F1 1.00 (no interval). Chance is 0.50." in text
