import pytest

from flannel.comparison.results import read_comparison
from flannel.data.diagnosis import FLANNEL
from flannel.study.contents import StudyError, find_runs, gaps, narrowed

COVID, VIRAL, BACTERIAL, NORMAL = FLANNEL
TRUTH = (COVID, COVID, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, NORMAL)
PARTS = {"split": "s1", "store": "t1", "masks": "m1", "code": "0.1", "config": "c1"}
NO_SHORTCUT = (
    "No shortcut baseline was computed, so it is unknown how much of the scores follows from the "
    "size and border of the files."
)
FEW = (
    "Few groups of patients are tested (2 COVID-19, 2 Viral pneumonia, 2 Bacterial pneumonia, "
    "2 Normal): their numbers and the macro means have no interval."
)


def test_results_stand_in_the_papers_order(study_files):
    for arm in ("patched", "global"):
        for learner in ("a_new_one", "vgg19_bn", "densenet161"):
            study_files.run(f"base/{arm}/{learner}/fold0", TRUTH)
        study_files.run(f"ensemble/{arm}/fold0", TRUTH)
    comparison = read_comparison(study_files.folder)
    assert comparison.arms == ["global", "patched"]
    assert comparison.learners == ["densenet161", "vgg19_bn", "a_new_one", "FLANNEL"]
    assert comparison.notes == (NO_SHORTCUT, FEW)
    assert all(result.scores.by_class["macro"].f1 == 1 for result in comparison.results)


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
        NO_SHORTCUT,
        FEW,
    )


@pytest.mark.parametrize("part", ["split", "store", "masks", "code"])
def test_runs_of_another_make_are_refused(study_files, part):
    study_files.run("base/masked/densenet161/fold0", TRUTH)
    study_files.run("base/masked/resnet152/fold0", TRUTH)
    study_files.run("base/masked/vgg19_bn/fold0", TRUTH, parts={**PARTS, part: "other"})
    complaint = f"another {part} than base/masked/densenet161/fold0.*: base/masked/vgg19_bn/fold0"
    with pytest.raises(StudyError, match=complaint):
        read_comparison(study_files.folder)


def test_many_runs_of_another_make_are_counted(study_files):
    for number in range(20):
        parts = PARTS if number < 11 else {**PARTS, "code": "0.2"}
        study_files.run(f"base/global/l{number:02}/fold0", TRUTH[:2], TRUTH[:2], parts=parts)
    with pytest.raises(StudyError, match=r"l15/fold0, base/global/l16/fold0 and 3 more\. Make"):
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


def test_two_folders_of_one_run_are_refused(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    study_files.run("base/global/vgg19_bn/fold00", TRUTH)
    complaint = "base/global/vgg19_bn/fold0 and base/global/vgg19_bn/fold00 are both global vgg19"
    with pytest.raises(StudyError, match=complaint):
        find_runs(study_files.folder)


def test_shortcut_baselines_come_last_and_need_no_learners(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    study_files.run("ensemble/global/fold0", TRUTH)
    study_files.run("shortcut/size_and_border/fold0", TRUTH)
    study_files.run("shortcut/lungs_hidden/fold0", TRUTH)
    comparison = read_comparison(study_files.folder, ["vgg19_bn"])
    assert comparison.arms == ["global", "shortcut"]
    assert comparison.notes == (FEW,)


def test_other_forms_and_baselines_are_rows_where_they_were_made(study_files):
    for fold in (0, 1):
        study_files.run(f"base/global/vgg19_bn/fold{fold}", TRUTH)
        study_files.run(f"ensemble/global/fold{fold}", TRUTH)
    for form in ("mean", "flannel_out_of_fold", "best_learner"):
        study_files.run(f"ensemble/global/{form}/fold0", TRUTH)
    study_files.run("ensemble/fused/fold0", TRUTH)
    runs = find_runs(study_files.folder)
    of_fold = [run.learner for run in runs if (run.arm, run.fold) == ("global", 0)]
    assert of_fold == ["vgg19_bn", "best learner", "mean", "FLANNEL", "FLANNEL out of fold"]
    assert {run.stage for run in runs if run.learner == "mean"} == {"ensemble"}
    assert narrowed(runs, ["vgg19_bn"]) == runs
    assert gaps(study_files.folder, runs)[0] == (
        "Missing, so not in the tables: global best learner fold 1, global mean fold 1, "
        "global FLANNEL out of fold fold 1, fused FLANNEL fold 1."
    )


def test_what_a_plan_does_not_name_is_not_missing(study_files, other_plan):
    plan = other_plan({"a": ["global", "masked"], "b": ["global"]}, repeats=2)
    for place in ("global/a", "global/a_seed2", "global/b", "masked/a"):
        study_files.run(f"base/{place}/fold0", TRUTH)
    study_files.run("shortcut/size_and_border/fold0", TRUTH)
    runs = find_runs(study_files.folder)
    assert gaps(study_files.folder, runs, plan.planned) == [
        "Missing, so not in the tables: global b_seed2 fold 0, masked a_seed2 fold 0."
    ]
    # Without a plan every arm is expected to be like the others, with an ensemble.
    (note,) = gaps(study_files.folder, runs)
    assert "masked b fold 0, masked FLANNEL fold 0." in note


def test_a_plan_with_ensembles_misses_them(study_files, other_plan):
    plan = other_plan({"a": ["global"]}, ensembles=["one_global", "two_global"])
    study_files.run("base/global/a/fold0", TRUTH)
    study_files.run("ensemble/one_global/fold0", TRUTH)
    missing, _ = gaps(study_files.folder, find_runs(study_files.folder), plan.planned)
    assert missing == "Missing, so not in the tables: two_global FLANNEL fold 0."
