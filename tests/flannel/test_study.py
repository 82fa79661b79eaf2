import pytest

from flannel.data.diagnosis import FLANNEL
from flannel.study import StudyError, read_comparison
from flannel.tables import markdown

COVID, VIRAL, BACTERIAL, NORMAL = FLANNEL
TRUTH = (COVID, COVID, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, NORMAL)
PARTS = {"split": "s1", "store": "t1", "masks": "m1", "code": "0.1", "config": "c1"}


def test_results_stand_in_the_papers_order(study_files):
    for arm in ("patched", "global"):
        for learner in ("a_new_one", "vgg19_bn", "densenet161"):
            study_files.run(f"base/{arm}/{learner}/fold0", TRUTH)
        study_files.run(f"ensemble/{arm}/fold0", TRUTH)
    comparison = read_comparison(study_files.folder)
    assert comparison.arms == ["global", "patched"]
    assert comparison.learners == ["densenet161", "vgg19_bn", "a_new_one", "FLANNEL"]
    assert comparison.notes == ()
    assert all(result.scores.by_class["macro"].f1 == 1 for result in comparison.results)


def test_only_test_rows_count(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    (result,) = read_comparison(study_files.folder).results
    assert result.scores.by_class["macro"].support == 8


def test_unfinished_and_missing_runs_are_named(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    study_files.run("base/global/vgg19_bn/fold1", TRUTH)
    study_files.run("base/global/resnet152/fold0", TRUTH, finished=False)
    study_files.run("ensemble/global/fold0", TRUTH)
    comparison = read_comparison(study_files.folder)
    assert comparison.learners == ["vgg19_bn", "FLANNEL"]
    assert comparison.notes == (
        "Not finished, so not in the tables: base/global/resnet152/fold0.",
        "Missing, so not in the tables: global resnet152 fold 1, global FLANNEL fold 1.",
    )


def test_predictions_that_cannot_be_read_are_left_out_by_name(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    folder = study_files.run("base/global/resnet152/fold0", TRUTH)
    (folder / "predictions.csv").write_text("image_id\na\n")
    comparison = read_comparison(study_files.folder)
    assert comparison.learners == ["vgg19_bn"]
    assert any("Left out base/global/resnet152/fold0" in note for note in comparison.notes)


@pytest.mark.parametrize("part", ["split", "store", "masks", "code"])
def test_runs_of_another_make_are_refused(study_files, part):
    study_files.run("base/masked/densenet161/fold0", TRUTH)
    study_files.run("base/masked/resnet152/fold0", TRUTH)
    study_files.run("base/masked/vgg19_bn/fold0", TRUTH, parts={**PARTS, part: "other"})
    complaint = f"another {part} than base/masked/densenet161/fold0.*: base/masked/vgg19_bn/fold0"
    with pytest.raises(StudyError, match=complaint):
        read_comparison(study_files.folder)


def test_each_fold_has_its_own_split(study_files):
    for arm in ("global", "patched"):
        for fold in (0, 1):
            parts = {**PARTS, "split": f"split of fold {fold}"}
            study_files.run(f"base/{arm}/vgg19_bn/fold{fold}", TRUTH, parts=parts)
    assert len(read_comparison(study_files.folder).results) == 4
    study_files.run("base/patched/vgg19_bn/fold1", TRUTH, parts=PARTS)
    with pytest.raises(StudyError, match="another split than base/global/vgg19_bn/fold1"):
        read_comparison(study_files.folder)


def test_masks_and_config_may_differ_where_they_do_not_matter(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TRUTH, parts={**PARTS, "masks": "none"})
    study_files.run("base/patched/vgg19_bn/fold0", TRUTH, parts={**PARTS, "config": "c2"})
    assert len(read_comparison(study_files.folder).results) == 2


def test_arms_are_compared_on_the_radiographs_that_they_share(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    study_files.run("base/patched/vgg19_bn/fold0", (COVID, COVID, VIRAL), truth=TRUTH[:3])
    comparison = read_comparison(study_files.folder)
    assert [len(result.predictions) for result in comparison.results] == [3, 3]
    assert comparison.notes[-3] == (
        "The arms were tested on different radiographs (global 8; patched 3): "
        "all numbers are on the 3 that every run shares."
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
    assert "8, 7 test radiographs" in markdown(comparison)
    assert "each with a test set of its own" in markdown(comparison)
    study_files.run("base/global/resnet152/fold0", TRUTH[:5], truth=TRUTH[:5])
    assert read_comparison(study_files.folder).test_sizes == [5, 7]


def test_one_test_set_has_one_size(study_files):
    for fold in (0, 1):
        study_files.run(f"base/global/vgg19_bn/fold{fold}", TRUTH)
    comparison = read_comparison(study_files.folder)
    assert comparison.test_sizes == [8]
    assert "the folds share one test set" in markdown(comparison)


def test_a_diagnosis_that_changed_between_runs_is_refused(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    study_files.run("base/patched/vgg19_bn/fold0", TRUTH, truth=(NORMAL, *TRUTH[1:]))
    with pytest.raises(StudyError, match=r"another diagnosis .* for 1 radiographs, first test-0"):
        read_comparison(study_files.folder)


def test_learners_narrow_the_comparison_but_for_the_ensemble(study_files):
    for learner in ("vgg19_bn", "resnet152"):
        study_files.run(f"base/global/{learner}/fold0", TRUTH)
    study_files.run("ensemble/global/fold0", TRUTH)
    assert read_comparison(study_files.folder, ["vgg19_bn"]).learners == ["vgg19_bn", "FLANNEL"]
    with pytest.raises(StudyError, match="learner alexnet; the study holds resnet152, vgg19_bn"):
        read_comparison(study_files.folder, ["alexnet"])


def test_an_empty_study_says_what_to_run(tmp_path):
    with pytest.raises(StudyError, match="make base-models"):
        read_comparison(tmp_path)


def test_a_broken_fingerprint_is_named(study_files):
    folder = study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    (folder / "fingerprint.json").write_text("[]")
    with pytest.raises(StudyError, match="is no fingerprint"):
        read_comparison(study_files.folder)
