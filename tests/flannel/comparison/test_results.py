import pytest

from flannel.comparison.results import read_comparison
from flannel.comparison.tables.cells import caption_of
from flannel.data.diagnosis import FLANNEL
from flannel.study.contents import StudyError

COVID, VIRAL, BACTERIAL, NORMAL = FLANNEL
TRUTH = (COVID, COVID, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, NORMAL)


def test_only_test_rows_count(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    (result,) = read_comparison(study_files.folder).results
    assert result.scores.by_class["macro"].support == 8


def test_predictions_that_cannot_be_read_are_left_out_by_name(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    folder = study_files.run("base/global/resnet152/fold0", TRUTH)
    (folder / "predictions.csv").write_text("image_id\na\n")
    comparison = read_comparison(study_files.folder)
    assert comparison.learners == ["vgg19_bn"]
    assert any("Left out base/global/resnet152/fold0" in note for note in comparison.notes)


def test_arms_are_compared_on_the_radiographs_that_they_share(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    study_files.run("base/patched/vgg19_bn/fold0", (COVID, COVID, VIRAL), truth=TRUTH[:3])
    comparison = read_comparison(study_files.folder)
    assert [len(result.predictions) for result in comparison.results] == [3, 3]
    assert comparison.notes[-3] == (
        "The arms were tested on different radiographs (global 8; patched 3): "
        "all numbers are on the 3 that all runs share."
    )
    assert comparison.notes[-2].startswith(f"No test radiograph is {BACTERIAL}")


def test_folds_with_test_sets_of_their_own_are_taken_one_by_one(study_files):
    for arm in ("global", "patched"):
        study_files.run(f"base/{arm}/vgg19_bn/fold0", TRUTH)
        folder = study_files.run(f"base/{arm}/vgg19_bn/fold1", TRUTH[1:], truth=TRUTH[1:])
        table = (folder / "predictions.csv").read_text()
        (folder / "predictions.csv").write_text(table.replace("test-", "other-"))
    comparison = read_comparison(study_files.folder)
    assert not any("different radiographs" in note for note in comparison.notes)
    assert comparison.test_sizes == [8, 7]
    assert [(r.run.arm, len(r.predictions)) for r in comparison.results] == [
        ("global", 8), ("global", 7), ("patched", 8), ("patched", 7),
    ]  # fmt: skip
    assert caption_of(comparison).startswith("8, 7 test radiographs")
    assert "each with a test set of its own" in caption_of(comparison)
    study_files.run("base/global/resnet152/fold0", TRUTH[:5], truth=TRUTH[:5])
    assert read_comparison(study_files.folder).test_sizes == [5, 7]


def test_one_test_set_has_one_size(study_files):
    for fold in (0, 1):
        study_files.run(f"base/global/vgg19_bn/fold{fold}", TRUTH)
    comparison = read_comparison(study_files.folder)
    assert comparison.test_sizes == [8]
    assert "which share one test set" in caption_of(comparison)


def test_a_diagnosis_that_changed_between_runs_is_refused(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    study_files.run("base/patched/vgg19_bn/fold0", TRUTH, truth=(NORMAL, *TRUTH[1:]))
    with pytest.raises(StudyError, match=r"another diagnosis .* for 1 radiographs, first test-0"):
        read_comparison(study_files.folder)


def test_validation_rows_are_kept_apart(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    (result,) = read_comparison(study_files.folder).results
    assert set(result.predictions["split"]) == {"test"}
    assert list(result.validation["diagnosis"]) == list(FLANNEL)


def test_probabilities_that_are_no_numbers_are_named(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    folder = study_files.run("base/global/resnet152/fold0", TRUTH)
    table = (folder / "predictions.csv").read_text()
    (folder / "predictions.csv").write_text(table.replace("0.7", "nan", 1))
    comparison = read_comparison(study_files.folder)
    assert comparison.learners == ["vgg19_bn"]
    assert any("no number as a probability for 1 images" in note for note in comparison.notes)


def test_probabilities_that_do_not_sum_to_one_are_told(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    folder = study_files.run("base/patched/vgg19_bn/fold0", TRUTH)
    table = (folder / "predictions.csv").read_text()
    (folder / "predictions.csv").write_text(table.replace("0.7", "0.9"))
    (message,) = [note for note in read_comparison(study_files.folder).notes if "sum to" in note]
    assert message.startswith("The probabilities of patched vgg19_bn sum to 1.20 to 1.20")


def test_a_study_of_another_paper_is_measured_by_its_own_plan(study_files, other_plan):
    study_files.run("base/global/small/fold0", TRUTH)
    plan = other_plan({"small": ["global", "masked"], "large": ["global"]})
    comparison = read_comparison(study_files.folder, plan=plan)
    absent = "Missing, so not in the tables: global large fold 0, masked small fold 0."
    assert comparison.notes[0] == absent
    assert comparison.scope == ""
    narrowed = read_comparison(study_files.folder, ["small"], plan)
    assert narrowed.notes[0] == "Missing, so not in the tables: masked small fold 0."
    assert not any("FLANNEL" in note for note in comparison.notes)
