"""The stage that makes all ensembles: what is made, narrowed, skipped by name and refused."""

import json
import subprocess
import sys

import pytest
import yaml

from flannel.__main__ import main
from flannel.data.diagnosis import FLANNEL
from flannel.study.predictions import load_predictions


@pytest.fixture
def recipes(tmp_path, experiments):
    """Recipes of two arms of made-up experts; forms and baselines as shipped."""
    folder = tmp_path / "experiments"
    (folder / "ensemble").mkdir(parents=True)
    for name in ("forms", "baselines", "_common.yaml"):
        (folder / "ensemble" / name).symlink_to(experiments / "ensemble" / name)
    for arm in ("global", "patched"):
        learners = [f"{arm}/expert{expert}" for expert in range(4)]
        text = yaml.safe_dump({"data": {"arm": arm, "learners": learners}})
        (folder / "ensemble" / f"{arm}.yaml").write_text(text)
    return folder


@pytest.fixture
def make(base_study, recipes):
    def run(*options):
        return main(
            ["ensembles", f"--study={base_study.folder}", f"--experiments={recipes}", *options]
        )

    return run


def made(base_study):
    paths = base_study.folder.glob("ensemble/**/predictions.csv")
    return sorted(
        path.parent.relative_to(base_study.folder / "ensemble").as_posix() for path in paths
    )


def test_folds_and_arms_that_lack_learners_are_skipped_by_name(base_study, make, capsys):
    base_study.experts(folds=(0, 2))
    base_study.run("global/expert1", 1, fold=1)
    assert make("--form=mean,majority") == 0
    assert made(base_study) == [
        "global/majority/fold0", "global/majority/fold2", "global/mean/fold0", "global/mean/fold2",
    ]  # fmt: skip
    printed = capsys.readouterr().out
    lacks = "lacks the finished predictions of global/expert0, global/expert2"
    assert f"global: no ensemble for fold 1, which {lacks}" in printed
    assert "patched: no ensemble for folds 0, " in printed
    assert ", which lack the finished predictions of all 4 learners" in printed
    assert "global/mean/fold2: test macro F1" in printed


def test_learners_narrow_an_ensemble(base_study, make, capsys):
    base_study.run("global/expert1", 1)
    base_study.run("global/expert3", 3)
    assert make("--form=best_learner", "--fold=0", "--arm=global", "--learner=expert3,expert1") == 0
    fitted = base_study.folder / "ensemble/global/best_learner/fold0/fitted.json"
    assert json.loads(fitted.read_text())["learner"] in ("global/expert1", "global/expert3")
    assert make("--form=best_learner", "--learner=expert7") == 1
    assert "learner names expert7" in capsys.readouterr().err


@pytest.mark.slow
def test_learners_of_another_seed_have_ensembles_of_their_own(base_study, make, tmp_path):
    (tmp_path / "short").mkdir()
    (tmp_path / "short" / "ensemble.yaml").write_text("trainer: {max_epochs: 2}\n")
    names = base_study.experts(folds=(0, 1))
    for expert, name in enumerate(names):
        base_study.run(f"{name}_seed2", expert, fold=1)
    short = f"--append={tmp_path / 'short'}"
    assert make("--form=flannel,mean", "--arm=global", short) == 0
    assert made(base_study) == [
        *("global/flannel_seed2/fold1", "global/fold0", "global/fold1"),
        *("global/mean/fold0", "global/mean/fold1", "global/mean_seed2/fold1"),
    ]
    configs = {
        place: yaml.safe_load((base_study.folder / "ensemble" / place / "config.yaml").read_text())
        for place in ("global/fold0", "global/fold1", "global/flannel_seed2/fold1")
    }
    assert configs["global/flannel_seed2/fold1"]["data"]["learners"] == [
        f"{name}_seed2" for name in names
    ]
    assert len({one["seed_everything"] for one in configs.values()}) == 3
    assert make("--form=mean", "--arm=global", "--seeds=3") == 1


def test_an_ensemble_that_fails_does_not_stop_the_others(base_study, make, capsys):
    for arm in ("global", "patched"):
        base_study.experts(arm=arm)
    path = base_study.folder / "base/global/expert2/fold0/predictions.csv"
    load_predictions(path, FLANNEL).iloc[1:].to_csv(path, index=False)
    assert make("--form=mean", "--fold=0") == 1
    assert made(base_study) == ["patched/mean/fold0"]
    fault = capsys.readouterr().err
    assert "global/mean/fold0: Learners global/expert0 and global/expert2 predicted diff" in fault


def test_a_file_that_cannot_be_written_does_not_stop_the_others(base_study, make, capsys):
    for arm in ("global", "patched"):
        base_study.experts(arm=arm)
    blocked = base_study.folder / "ensemble" / "global"
    blocked.parent.mkdir(parents=True)
    blocked.write_text("a file where a folder is expected")
    assert make("--form=mean", "--fold=0") == 1
    assert made(base_study) == ["patched/mean/fold0"]
    fault = capsys.readouterr().err
    assert "global/mean/fold0: " in fault
    assert "a file is where a folder is expected" in fault or "may be where a folder" in fault


def test_an_arm_that_was_asked_for_and_cannot_be_made_is_an_error(base_study, make, capsys):
    base_study.experts()
    assert make("--form=mean", "--fold=0", "--arm=global,patched") == 1
    assert made(base_study) == ["global/mean/fold0"]
    assert "No ensemble was made in the arm patched" in capsys.readouterr().err


def test_out_of_fold_stacking_says_which_folds_it_lacks(base_study, make, capsys):
    base_study.experts(folds=(0, 1))
    assert make("--form=logistic,logistic_out_of_fold", "--fold=0", "--arm=global") == 0
    assert made(base_study) == ["global/logistic/fold0"]
    printed = capsys.readouterr().out
    assert "global/logistic_out_of_fold/fold0: not made. In" in printed
    assert "fold 2 lacks the finished predictions of global/expert0" in printed


def test_unknown_forms_and_arms_name_the_known_ones(base_study, make, capsys):
    base_study.experts()
    assert make("--form=median") == 1
    assert "no form 'median'; choose of flannel, flannel_accuracy" in capsys.readouterr().err
    assert make("--arm=frontal") == 1
    assert "Arms: global, patched" in capsys.readouterr().err


def test_what_another_process_is_making_is_left_to_it(base_study, make, capsys):
    base_study.experts()
    place = base_study.folder / "ensemble" / "global" / "mean" / "fold0"
    words = [sys.executable, "-c", HOLDER, str(place)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        assert make("--form=mean,majority", "--fold=0", "--arm=global") == 0
        assert "global/mean/fold0: another process is making it" in capsys.readouterr().out
        assert make("--form=mean", "--fold=0", "--arm=global") == 0
        other.kill()
    assert made(base_study) == ["global/majority/fold0"]
    assert make("--form=mean,majority", "--fold=0", "--arm=global") == 0
    assert made(base_study) == ["global/majority/fold0", "global/mean/fold0"]


HOLDER = """
import sys
from pathlib import Path
from flannel.runs.run import lock_folder

lock = lock_folder(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.readline()
"""


@pytest.mark.slow
def test_any_learners_of_the_study_can_be_combined(base_study, make, capsys):
    for name, expert in (("global/mine", 1), ("global/expert3", 3), ("global/yours", 0)):
        base_study.run(name, expert)
    words = ("--form=flannel,mean", "--fold=0")
    assert make(*words, "--learner=mine,expert3,yours") == 0
    assert made(base_study) == ["global/fold0", "global/mean/fold0"]
    config = yaml.safe_load((base_study.folder / "ensemble/global/fold0/config.yaml").read_text())
    assert config["data"]["learners"] == ["global/expert3", "global/mine", "global/yours"]
    lacks = "lacks the finished predictions of all 3 learners"
    assert f"patched: no ensemble for fold 0, which {lacks}" in capsys.readouterr().out
    assert make(*words, "--learner=mine,hers") == 1
    printed = capsys.readouterr().err
    assert "learner names hers; " in printed
    assert "has expert3, mine, yours" in printed
