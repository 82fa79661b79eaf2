"""What `make` hands to the commands; only shown (`make -n`), nothing runs."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(*words, **environment):
    command = ["make", "--dry-run", "--old-file=.venv/.ready", *words]
    inherited = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL")}
    return subprocess.run(
        command, cwd=ROOT, env={**inherited, **environment}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


def commands(*words, manifest="made"):
    """The commands of this project that make would run: the words after the python.

    Shown as for a study that has a manifest, unless that is to be looked for.
    """
    shown = make(*words, FLANNEL_MANIFEST=manifest)
    assert shown.returncode == 0, shown.stderr
    lines = [shlex.split(line) for line in shown.stdout.replace("\\\n", " ").splitlines()]
    ours = (["-m", "flannel"], ["-m", "segmentation"])
    return [line[1:] for line in lines if line[1:3] in ours]


@pytest.mark.parametrize(
    ("word", "nearest"),
    [
        ("LEARNERS=vgg19_bn", "LEARNER"),
        ("FOLDS=0", "FOLD"),
        ("ARMS=global", "ARM"),
        ("STUDI=runs/x", "STUDY"),
        ("study=runs/x", "STUDY"),
        ("APPENDED=experiments/demo", "APPEND"),
    ],
)
def test_a_variable_that_does_not_exist_is_refused_with_the_nearest(word, nearest):
    refused = make("base-models", word)
    assert refused.returncode == 2
    assert (
        f"There is no variable {word.partition('=')[0]}: did you mean {nearest}" in refused.stderr
    )
    assert refused.stdout == ""


def test_all_that_are_wrong_are_named_at_once():
    refused = make("base-models", "LEARNERS=vgg19_bn", "FOLDS=0", "FOLD=1").stderr
    assert "LEARNERS: did you mean LEARNER?" in refused
    assert "FOLDS: did you mean FOLD?" in refused


def test_the_environment_and_what_is_meant_for_it_pass():
    assert make("compare", LEARNERS="vgg19_bn", FOLDS="0").returncode == 0
    for word in ("WANDB_MODE=online", "CUDA_VISIBLE_DEVICES=1", "OMP_NUM_THREADS=2", "TMPDIR=/x"):
        assert make("compare", word).returncode == 0


def test_what_an_ensemble_is_narrowed_to_is_passed_on():
    (plain,) = commands("ensemble")
    assert plain == ["-m", "flannel", "ensembles", "--study=runs/study", "--redo=false"]
    (narrow,) = commands("ensemble", "ARM=global", "FOLD=2", "LEARNER=vgg19_bn,resnet152")
    assert {"--arm=global", "--fold=2", "--learner=vgg19_bn,resnet152"} < set(narrow)
    whole = commands("study", "DATA=d", "MASKS=m", "ARM=masked", "FOLD=all")
    assert [words[2] for words in whole] == [
        "manifest", "store", "audit", "fit", "predict", "audit", "base-models", "ensembles",
        "shortcuts", "compare",
    ]  # fmt: skip
    assert "--arm=masked" in whole[6]
    assert {"--arm=all", "--fold=all"} < set(whole[7])  # of whatever arms there are


@pytest.mark.parametrize("target", ["predict", "app", "bundle", "saliency", "base-models"])
def test_arms_and_learners_reach_every_command_that_has_them(target):
    named = ["IMAGE=a.png"] if target == "predict" else []
    (words,) = commands(target, "ARM=global", "LEARNER=vgg19_bn", *named)
    assert {"--arm=global", "--learner=vgg19_bn"} < set(words)


NAMES = st.text(
    st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"], exclude_characters="$␠/"),
    min_size=1,
    max_size=12,
).filter(lambda name: name == name.strip() and not name.startswith("~"))


@given(study=NAMES, data=NAMES, image=NAMES)
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
def test_folders_of_any_name_are_one_word(study, data, image):
    study, data = f"runs/{study}", f"data/{data}"
    words = commands("study", f"STUDY={study}", f"DATA={data}", f"MASKS={data}")
    assert all(f"--study={study}" in command for command in words)
    assert f"--data={data}" in words[0]
    assert f"--data.folder={data}" in words[3]
    assert f"--segmenter={study}/segmentation/fc_densenet103/best.ckpt" in words[4]
    (answer,) = commands("predict", f"STUDY={study}", f"IMAGE={data}/{image}.png")
    assert answer[3] == f"{data}/{image}.png"
    assert f"--out={study}/opinions/{image}" in answer
    (bundle,) = commands("bundle", f"STUDY={study}")
    assert f"--out={study}.flannel" in bundle


@pytest.mark.parametrize("target", ["segment", "base-models", "ensemble"])
def test_a_stage_that_finds_no_manifest_makes_it_first(target, tmp_path):
    data = ["manifest", "store", "audit"]
    words = (target, f"STUDY={tmp_path}", "CKPT=c" if target == "segment" else "FOLD=0")
    first = commands(*words, manifest="")
    assert [command[2] for command in first[:3]] == data
    assert "--data=data/radiographs" in first[0]
    (tmp_path / "manifest.csv").touch()
    assert commands(*words, manifest="") == first[3:]


def test_lungs_are_found_by_a_file_before_masks_and_by_named_masks_before_those_there(tmp_path):
    names = lambda *words: [line[2] for line in commands("segment", *words)]  # noqa: E731
    assert names("CKPT=c.ckpt", "MASKS=m") == ["predict", "audit"]
    assert names("MASKS=m") == ["fit", "predict", "audit"]
    assert "--segmenter=c.ckpt" in commands("segment", "CKPT=c.ckpt", "MASKS=m")[0]
    there = tmp_path / "data" / "lung_masks"
    there.mkdir(parents=True)
    for name in ("Makefile", "experiments"):
        (tmp_path / name).symlink_to(ROOT / name)
    shown = make("segment", "-C", str(tmp_path), FLANNEL_MANIFEST="made").stdout
    assert "--data.folder=data/lung_masks" in shown
    assert "up to five hours" in shown
    there.rmdir()
    shown = make("segment", "-C", str(tmp_path), FLANNEL_MANIFEST="made").stdout
    assert " fit " not in shown
    assert "segmentation predict --study=runs/study \n" in shown


def test_no_radiograph_in_data_can_be_committed():
    for path, ignored in (("data/radiographs/a.png", 0), ("flannel/data/radiograph.py", 1)):
        command = ["git", "check-ignore", "--quiet", "--no-index", path]
        assert subprocess.run(command, cwd=ROOT, check=False).returncode == ignored


def test_recipes_are_appended_from_a_folder_with_a_space(tmp_path):
    folder = tmp_path / "my recipes"
    folder.mkdir()
    (folder / "segmentation.yaml").touch()
    (folder / "base_vgg19_bn.yaml").touch()
    (folder / "notes.txt").touch()
    fit, *_ = commands("segment", "MASKS=m", f"APPEND={folder}")
    assert f"--config={folder}/segmentation.yaml" in fit
    (models,) = commands("base-models", f"APPEND={folder}")
    assert f"--append={folder}" in models


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("segmentaton.yaml", "segmentation.yaml"),
        ("base.yml", "base.yaml"),
        ("ensembles.yaml", "ensemble.yaml"),
    ],
)
def test_a_file_that_no_recipe_takes_is_refused_with_the_nearest_name(tmp_path, name, nearest):
    (tmp_path / name).touch()
    refused = make("segment", "MASKS=m", f"APPEND={tmp_path}")
    assert refused.returncode == 2
    assert f"{tmp_path}/{name} is appended to no recipe. Did you mean {nearest}?" in refused.stderr


def test_a_folder_to_append_that_is_none_is_refused(tmp_path):
    refused = make("base-models", f"APPEND={tmp_path / 'nowhere'}")
    assert refused.returncode == 2
    assert "no folder" in refused.stderr


def test_the_shipped_folders_can_be_appended():
    for folder in ("demo", "real_small", "base/matched", "base/low_variance", "segmentation_cpu"):
        assert make("base-models", f"APPEND=experiments/{folder}").returncode == 0


def variables():
    """The variables of the Makefile that say what a command does."""
    names = re.findall(r"^([A-Z_]+) *\?=", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    return [name for name in names if name not in ("PYTHON", "CPU")]  # of the environment


def targets():
    listed = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    return [target for target in listed if target != "help"]


@pytest.mark.parametrize("target", targets())
def test_a_variable_reaches_the_commands_of_a_target_or_is_refused(target, tmp_path):
    values = {name: f"odd-{name}-value" for name in variables()}
    values |= {"APPEND": str(tmp_path), "STUDY_NAME": "covid_qu_ex"}
    (tmp_path / "segmentation.yaml").touch()
    words = [f"{name}={value}" for name, value in values.items()]
    # Called by another make, nothing is refused: a stage of `make study` is given what all take.
    shown = make(target, *words, MAKELEVEL="1", FLANNEL_MANIFEST="made")
    assert shown.returncode == 0, shown.stderr
    used = {name for name, value in values.items() if value in shown.stdout}
    taken = make(target, *(word for word in words if word.partition("=")[0] in used))
    assert taken.returncode == 0, taken.stderr
    for name in values.keys() - used:
        refused = make(target, f"{name}={values[name]}")
        assert refused.returncode == 2
        assert f"make {target} takes no {name}" in refused.stderr


def test_a_variable_that_a_target_does_not_use_is_named_with_those_it_takes():
    refused = make("audit", "compare", "FOLD=2", "SEED=3")
    assert "make audit compare takes no FOLD SEED. It takes LEARNER STUDY." in refused.stderr
    assert make("audit", FOLD="2").returncode == 0  # of the environment, for whomever it is meant
