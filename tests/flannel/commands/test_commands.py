"""The stages that are plain functions: phantoms, manifest and store, the queue's recipes."""

import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

from flannel.__main__ import main
from flannel.commands.base_models import base_configs
from flannel.commands.recipes import check_appended
from flannel.data.diagnosis import FLANNEL
from flannel.data.manifest import load_manifest
from flannel.data.phantom import write_phantom
from flannel.data.provenance import load_provenance
from flannel.data.sources import csv_table
from flannel.data.store import Store
from flannel.errors import RunError
from flannel.learners.datamodule import RadiographDataModule


@pytest.mark.slow
def test_phantoms_become_a_manifest_and_a_store(tmp_path, capsys):
    out, study = tmp_path / "phantoms", tmp_path / "study"
    words = ["phantoms", f"--out={out}", "--images=32", "--masks=2", "--size_px=64"]
    assert main(words) == 0
    assert main(["manifest", f"--data={out}", f"--study={study}", "--folds=3"]) == 0
    assert main(["store", f"--study={study}", "--size_px=48"]) == 0
    table = load_manifest(study / "manifest.csv")
    assert len(table) == 32
    assert table["diagnosis"].value_counts().unique().tolist() == [8]
    assert Store(study / "store").radiograph(table["image_id"][0]).shape == (48, 48)
    capsys.readouterr()
    assert main(words) == 0
    assert "phantoms are there" in capsys.readouterr().out
    assert main([*words[:-1], "--size_px=65"]) == 1
    assert "holds something else" in capsys.readouterr().err


@pytest.mark.slow
def test_the_manifest_says_how_it_was_made(phantoms, tmp_path, capsys):
    words = ["manifest", f"--data={phantoms}", f"--study={tmp_path}", "--seed=2"]
    assert main([*words, "--protocol=nested", "--folds=3"]) == 0
    assert "groups were joined for near duplicates" in capsys.readouterr().out
    first = (tmp_path / "manifest.csv").read_bytes()
    choices = load_provenance(tmp_path / "manifest.csv").choices
    assert (choices.protocol, choices.seed, choices.near_duplicates) == ("nested", 2, True)
    assert main([*words, "--protocol=nested", "--folds=3"]) == 0
    assert "Looking at new files" not in capsys.readouterr().err
    assert (tmp_path / "manifest.csv").read_bytes() == first
    assert main([*words, "--protocol=leave-source-out"]) == 1
    assert "nothing is left to learn COVID-19 from" in capsys.readouterr().err


def test_folds_of_a_table_count_and_leaks_are_refused(tmp_path, capsys):
    data, study = tmp_path / "data", tmp_path / "study"
    records = []
    for number in range(12):
        name = f"{number}.png"
        write_phantom(data / name, "Normal", np.random.default_rng(number), (64, 64))
        diagnosis = ("tuberculosis", "healthy")[number % 2]
        records.append({"path": name, "diagnosis": diagnosis, "fold": str(number // 2 % 3)})
    csv_table.write_table(data, records)
    words = ["manifest", f"--data={data}", f"--study={study}", "--mapping=folders"]
    assert main(words) == 0
    assert "The table's own folds are taken: protocol given." in capsys.readouterr().out
    table = load_manifest(study / "manifest.csv")
    assert load_provenance(study / "manifest.csv").choices.protocol == "given"
    stems = table["path"].map(lambda path: int(Path(path).stem))
    assert table["fold"].tolist() == (stems // 2 % 3).tolist()
    assert set(table["split"]) == {"rotating"}
    (data / "2.png").write_bytes((data / "0.png").read_bytes())
    assert main(words) == 1
    message = capsys.readouterr().err
    assert "1 patients, or copies of one radiograph, lie in several folds of the table" in message
    assert "(fold 0), " in message
    assert "(fold 1)" in message


def test_recipes_are_chained_in_order(experiments, tmp_path):
    for stem in ("base", "base_patched", "base_vgg19_bn", "base_resnet152"):
        (tmp_path / f"{stem}.yaml").write_text("{}\n")
    chain = base_configs(experiments, tmp_path, "patched", "vgg19_bn")
    assert [path.stem for path in chain] == [
        "_common", "vgg19_bn", "base", "base_patched", "base_vgg19_bn",
    ]  # fmt: skip
    assert {path.parent.name for path in chain[:2]} == {"patched"}


def test_a_small_network_s_recipe_comes_behind_the_arm_s(experiments):
    chain = base_configs(experiments, None, "masked", "resnet18")
    assert [f"{path.parent.name}/{path.stem}" for path in chain] == [
        "global/_common", "small/_common", "small/resnet18", "masked/_common",
    ]  # fmt: skip


def test_a_recipe_that_is_not_there_names_those_that_are(experiments):
    with pytest.raises(RunError, match=r"vgg16.*densenet161, inception_v3, resnet152"):
        base_configs(experiments, None, "global", "vgg16")


def test_what_no_recipe_takes_is_not_appended(experiments, tmp_path):
    check_appended(None, experiments)
    for folder in ("demo", "real_small", "base/matched", "base/low_variance", "segmentation_cpu"):
        check_appended(experiments / folder, experiments)
    for folder in (experiments / "related").glob("*/phantoms"):
        check_appended(folder, experiments)
    (tmp_path / "notes.txt").touch()
    (tmp_path / "base_vgg19_bn.yaml").touch()
    check_appended(tmp_path, experiments)
    (tmp_path / "base_vgg19.yaml").touch()
    (tmp_path / "ensembles.yml").touch()
    with pytest.raises(
        RunError, match=r"vgg19\.yaml \(did you mean base_vgg19_bn\.yaml\?\)"
    ) as error:
        check_appended(tmp_path, experiments)
    assert "ensembles.yml (did you mean ensemble.yaml?)" in str(error.value)
    with pytest.raises(RunError, match="which is no folder"):
        check_appended(experiments / "nowhere", experiments)


@pytest.mark.parametrize("command", ["base-models", "ensembles"])
def test_a_missing_manifest_is_said_once(command, tmp_path, experiments, capsys):
    words = [f"--study={tmp_path}", f"--experiments={experiments}", "--fold=0,1"]
    assert main([command, *words]) == 1
    printed = capsys.readouterr()
    assert (printed.out + printed.err).count("manifest.csv does not exist") == (
        command == "base-models"
    )


def test_an_option_is_read_by_its_former_name(tmp_path, capsys):
    assert main(["compare", f"--study={tmp_path / 'none'}", "--learners=a"]) == 1
    assert capsys.readouterr().err.startswith("--learners is called --learner now.\nerror: ")


def test_a_segmenter_is_named_by_one_option_everywhere(tmp_path, capsys):
    words = ["related", "--name=cnn13", f"--study={tmp_path}", "--checkpoint=x", "--devices=0"]
    assert main(words) == 1
    assert capsys.readouterr().err.startswith("--checkpoint is called --segmenter now.\nerror: ")


def test_a_mode_that_wandb_does_not_know_is_refused_by_every_command(capsys, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "onlin")
    assert main(["compare"]) == 1
    assert "WANDB_MODE is 'onlin'; expected one of offline, online" in capsys.readouterr().err


@pytest.mark.parametrize("fold", ["x", "1,b"])
def test_a_fold_that_is_no_number_is_a_sentence(tmp_path, fold, capsys):
    assert main(["base-models", f"--study={tmp_path}", f"--fold={fold}"]) == 1
    assert "expected a number such as 0, or all" in capsys.readouterr().err


def test_the_runs_of_a_study_are_listed_and_one_of_them_is_started(
    phantom_study, experiments, capsys, monkeypatch
):
    words = [
        "base-models", f"--study={phantom_study}", f"--experiments={experiments}", "--fold=1,3",
        "--arm=global,masked", "--learner=vgg19_bn,resnet152", "--wandb=off",
    ]  # fmt: skip
    assert main([*words, "--list=true"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8
    parsed = [shlex.split(line) for line in lines]
    assert {tuple(line[:3]) for line in parsed} == {("flannel", "learner", "fit")}
    assert ["--data.fold=1" in line for line in parsed] == [True] * 4 + [False] * 4

    started = []
    monkeypatch.setattr(
        "flannel.commands.base_models.work_through", lambda runs, *_: started.extend(runs)
    )
    for number in range(8):
        assert main([*words, f"--index={number}"]) == 0
    assert [["flannel", *run.arguments] for run in started] == parsed
    assert [run.name for run in started[:2]] == ["global/vgg19_bn/fold1", "global/resnet152/fold1"]
    capsys.readouterr()
    assert main([*words, "--index=8"]) == 1
    assert "index is 8; there are 8 runs, numbered from 0" in capsys.readouterr().err


@pytest.mark.parametrize(("cores", "at_once", "threads"), [(8, 1, 8), (8, 3, 2), (2, 4, 1)])
def test_runs_at_a_time_share_the_cores_of_a_cpu(
    cores, at_once, threads, phantom_study, experiments, monkeypatch
):
    used, slots = [], []
    monkeypatch.setattr(torch, "get_num_threads", lambda: cores)
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    monkeypatch.setattr("flannel.commands.base_models.train_learner", lambda words: None)

    def work_through(runs, command, screen, devices):
        slots.extend(devices)
        command(list(runs[0].arguments))

    monkeypatch.setattr("flannel.commands.base_models.work_through", work_through)
    words = [f"--study={phantom_study}", f"--experiments={experiments}", "--learner=vgg19_bn"]
    assert main(["base-models", *words, f"--at_once={at_once}"]) == 0
    assert slots == [None] * at_once
    assert used == ([threads] if at_once > 1 else [])


def runs_of(phantom_study, experiments, capsys, *words):
    """The options of each run that `base-models` lists, by learner and fold."""
    command = ["base-models", f"--study={phantom_study}", f"--experiments={experiments}"]
    assert main([*command, "--list=true", *words]) == 0
    lines = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
    options = [dict(word.removeprefix("--").split("=", 1) for word in line[3:]) for line in lines]
    return [(Path(line[4]).stem, one) for line, one in zip(lines, options, strict=True)]


def test_learners_see_crops_and_patches_of_their_own(phantom_study, experiments, capsys):
    words = ("--fold=0,1", "--learner=vgg19_bn,resnet152")
    runs = runs_of(phantom_study, experiments, capsys, *words)
    seeds = {}
    for learner, options in runs:
        assert options["data.seed"] == options["seed_everything"]
        seeds[learner, options["data.fold"]] = int(options["data.seed"])
    assert len(set(seeds.values())) == len(seeds) == 4  # the arms share theirs
    shared = runs_of(phantom_study, experiments, capsys, "--seeding=shared", *words)
    assert {options["data.seed"] for _, options in shared} == {"1"}

    def seen(arm, seed):
        data = RadiographDataModule(phantom_study, arm, size_px=32, window_px=24, seed=seed)
        data.setup("fit")
        return next(iter(data.train_dataloader())), next(iter(data.predict_dataloader()))

    first, other = (seeds[learner, "0"] for learner in ("vgg19_bn", "resnet152"))
    for arm in ("global", "patched"):
        (train, predict), (train_other, predict_other) = seen(arm, first), seen(arm, other)
        assert train.image_ids != train_other.image_ids
        assert predict.image_ids == predict_other.image_ids
        same_centres = torch.equal(predict.places.centres, predict_other.places.centres)
        assert same_centres == (arm == "global")
        before = RadiographDataModule(phantom_study, arm, size_px=32, window_px=24)
        before.setup("fit")
        assert next(iter(before.train_dataloader())).pixels.equal(seen(arm, 1)[0].pixels)


def test_repeats_are_runs_of_their_own(phantom_study, experiments, capsys):
    words = ("--learner=vgg19_bn", "--arm=global", "--seeds=1,2,3")
    runs = runs_of(phantom_study, experiments, capsys, *words)
    assert [options.get("name") for _, options in runs] == [
        None,
        "vgg19_bn_seed2",
        "vgg19_bn_seed3",
    ]
    assert len({options["seed_everything"] for _, options in runs}) == 3


def test_runs_that_shared_a_seed_keep_it(phantom_study, experiments, capsys):
    folder = phantom_study / "base" / "global" / "vgg19_bn" / "fold0"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("seed_everything: 1\ndata:\n  seed: 1\n")
    words = ("--learner=vgg19_bn,resnet152", "--arm=global")
    runs = dict(runs_of(phantom_study, experiments, capsys, *words))
    assert runs["vgg19_bn"]["data.seed"] == "1" != runs["resnet152"]["data.seed"]


def test_a_run_over_more_gpus_than_there_are_is_refused(phantom_study, experiments, capsys):
    words = ["base-models", f"--study={phantom_study}", f"--experiments={experiments}"]
    assert main([*words, "--devices=64"]) == 1
    assert "asks for 64 GPUs" in capsys.readouterr().err


def test_a_store_of_another_shape_is_made_only_when_it_is_asked_for(phantom_study, capsys):
    words = ["store", f"--study={phantom_study}", "--size_px=64", "--resize=letterbox"]
    assert main(words) == 1
    assert "--size_px=64 --resize=letterbox --renew=true" in capsys.readouterr().err
    assert main([*words, "--renew=true"]) == 0
    assert "40 radiographs in the store: 40 decoded now, 0 were there" in capsys.readouterr().out
    assert Store(phantom_study / "store").resize == "letterbox"


@pytest.mark.slow
def test_a_study_goes_into_hdf5_and_comes_back_as_a_source(phantom_study, tmp_path, capsys):
    file, folder = tmp_path / "radiographs.h5", tmp_path / "unpacked"
    words = [f"--study={phantom_study}", f"--out={file}", "--size_px=32"]
    assert main(["export-hdf5", *words]) == 0
    assert main(["unpack-hdf5", f"--file={file}", f"--out={folder}"]) == 0
    assert "40 radiographs in" in capsys.readouterr().out
    assert main(["manifest", f"--data={folder}", f"--study={tmp_path / 'again'}"]) == 0
    before = load_manifest(phantom_study / "manifest.csv")
    after = load_manifest(tmp_path / "again" / "manifest.csv")
    assert after["diagnosis"].value_counts().to_dict() == (
        before["diagnosis"].value_counts().to_dict()
    )
    assert after["patient_id"].nunique() == before["patient_id"].nunique()


@pytest.mark.slow
def test_a_balanced_part_of_the_cohort(phantom_study, tmp_path, capsys):
    data = load_manifest(phantom_study / "manifest.csv")["path"].map(Path).iloc[0]
    while data.name != "sources" and not (data / "chest_xray").is_dir():
        data = data.parent
    words = ["manifest", f"--data={data}", f"--study={tmp_path}", "--per_class=6", "--folds=2"]
    assert main(words) == 0
    table = load_manifest(tmp_path / "manifest.csv")
    assert table["diagnosis"].value_counts().to_dict() == dict.fromkeys(FLANNEL, 6)
    assert load_provenance(tmp_path / "manifest.csv").choices.selection == "all, 6 per class"
