import re

from flannel.comparison.summary import summary
from flannel.data.diagnosis import FLANNEL

COVID, VIRAL, BACTERIAL, NORMAL = FLANNEL
TRUTH = (COVID, COVID, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, NORMAL)
TWO_WRONG = (COVID, VIRAL, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, COVID)
MANY = TRUTH * 10
MANY_WRONG = TWO_WRONG * 10


def sentences_of(study_files, plan=None):
    sentences = summary(study_files.measured(plan=plan))
    assert len(sentences) == 5
    assert "signific" not in " ".join(sentences)
    plain = re.sub(r"\(.*?\)|\[.*?\]", "", " ".join(sentences))
    assert all(len(sentence.split()) <= 35 for sentence in re.split(r"\.\s|;", plain))
    return sentences


def test_a_difference_is_said_with_its_interval(study_files):
    study_files.run("ensemble/global/fold0", MANY_WRONG, truth=MANY)
    study_files.run("ensemble/patched/fold0", MANY, truth=MANY)
    tested, reached, arms, shortcut, doubt = sentences_of(study_files)
    assert tested == (
        "The test set holds 80 radiographs of 80 groups of patients (20 COVID-19, "
        "20 Viral pneumonia, 20 Bacterial pneumonia, 20 Normal)."
    )
    assert "macro F1 0.742 [" in reached
    assert f"1.000 in the arm patched ({COVID}: 1.000 [≥ 0." in reached
    # 1 - 89/120
    assert "whole radiographs is +0.258 [" in arms
    assert "(patches higher, one training each) in macro F1" in arms
    assert arms.startswith("The primary comparison: FLANNEL on patches minus FLANNEL on whole")
    assert shortcut.startswith("No shortcut baseline was computed")
    assert "Only fold 0 was run, so the variation between trainings is unknown." in doubt


def test_an_interval_that_covers_zero_shows_no_difference(study_files):
    almost = (VIRAL, *MANY[1:])
    study_files.run("ensemble/global/fold0", MANY, truth=MANY)
    study_files.run("ensemble/patched/fold0", almost, truth=MANY)
    study_files.run("shortcut/size_and_border/fold0", MANY, truth=MANY)
    _, _, arms, shortcut, _ = sentences_of(study_files)
    assert arms.count("(no difference shown, one training each)") == 2
    assert shortcut.startswith(
        "The best shortcut baseline (size and border), a random forest that sees no lung pixels, "
        "reaches macro F1 1.000. Macro F1 minus that of this baseline is 0.000 (no interval: the "
    )
    assert shortcut.count("(no difference shown, one training each)") == 1
    assert shortcut.endswith("for patched FLANNEL.")


def test_flannel_is_counted_against_its_base_learners(study_files):
    study_files.run("ensemble/global/fold0", MANY, truth=MANY)
    study_files.run("base/global/vgg19_bn/fold0", MANY_WRONG, truth=MANY)
    study_files.run("base/global/resnet152/fold0", MANY, truth=MANY)
    reached = sentences_of(study_files)[1]
    assert reached.endswith(
        "After Holm's correction it is shown to exceed 1 of 2 base learners in the arm global."
    )


def test_too_few_patients_have_no_interval(study_files):
    study_files.run("ensemble/global/fold0", TWO_WRONG)
    study_files.run("ensemble/patched/fold0", TRUTH)
    assert (
        "+0.258 (no interval: 2 groups of patients with COVID-19, expected at least 5"
        ", one training each)" in sentences_of(study_files)[2]
    )


def test_folds_and_missing_parts_are_told(study_files):
    for fold in (0, 1):
        study_files.run(f"base/global/vgg19_bn/fold{fold}", TRUTH)
    _, reached, arms, _, doubt = sentences_of(study_files)
    assert reached.startswith("No ensemble is finished; the base learners' macro F1 goes from 1.0")
    assert arms.endswith("one of the two arms is missing.")
    assert "± is the sample deviation over 2 folds" in doubt
    assert doubt.endswith("A partial study: 1 of the paper's 5 base learners (vgg19_bn).")


def test_rows_of_fewer_folds_are_told(study_files):
    for name, folds in (("vgg19_bn", (0, 1)), ("resnet152", (0,))):
        for fold in folds:
            study_files.run(f"base/global/{name}/fold{fold}", TRUTH)
    assert (
        "deviation over the folds that each row names, 1 to 2 of them"
        in sentences_of(study_files)[4]
    )


def test_learners_are_compared_where_there_is_no_ensemble(study_files):
    for arm in ("global", "patched"):
        study_files.run(f"base/{arm}/vgg19_bn/fold0", MANY, truth=MANY)
    same = "0.000 (no interval: the same in every resample, one training each) for vgg19_bn"
    assert same in sentences_of(study_files)[2]


def test_test_sets_of_their_own_are_told(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    folder = study_files.run("base/global/vgg19_bn/fold1", TRUTH[1:], truth=TRUTH[1:])
    table = (folder / "predictions.csv").read_text()
    (folder / "predictions.csv").write_text(table.replace("test-", "other-"))
    assert sentences_of(study_files)[0].startswith(
        "Each of the 2 folds has a test set of its own, of 8, 7 radiographs; that of fold 0"
    )


def test_another_paper_s_study_is_about_its_own_arms(study_files, other_plan):
    plan = other_plan({"small": ["global", "masked", "background"]}, repeats=2)
    for arm in ("global", "masked"):
        study_files.run(f"base/{arm}/small/fold0", MANY, truth=MANY)
    study_files.run("base/global/small_seed2/fold0", MANY, truth=MANY)
    study_files.run("base/masked/small_seed2/fold0", MANY, truth=MANY)
    _, reached, arms, _, doubt = sentences_of(study_files, plan)
    assert reached.startswith("The base learners' macro F1 goes from 1.000 (global small)")
    assert arms == (
        "Masked radiographs minus whole radiographs, in macro F1, is 0.000 (no interval: the "
        "same in every resample, one training each) for small; radiographs without lungs cannot "
        "be compared with whole radiographs: one of the two arms is missing."
    )
    assert "paper's" not in doubt
    one_arm = other_plan({"small": ["global"]})
    assert sentences_of(study_files, one_arm)[2] == (
        "All runs are of the arm global, so no arms are compared."
    )


def test_learning_out_of_fold_is_told_by_its_difference(study_files):
    study_files.run("ensemble/global/fold0", MANY_WRONG, truth=MANY)
    study_files.run("ensemble/global/flannel_out_of_fold/fold0", MANY, truth=MANY)
    reached = sentences_of(study_files)[1]
    assert "instead of in sample (as in the paper), it changes by +0.258 [" in reached
    assert reached.endswith("(out of fold higher, one training each) in the arm global.")
