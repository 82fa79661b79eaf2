"""Every recipe is parsed and run for a step through the real command line, on phantoms."""

import itertools
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml

from flannel import learner
from flannel.__main__ import main
from flannel.data.folds import splits_of_fold
from flannel.data.manifest import load_manifest
from flannel.predictions import load_predictions, probability_columns
from flannel.stages.base_models import base_configs
from segmentation.__main__ import main as lungs

LEARNERS = ("densenet161", "inception_v3", "resnet152", "resnext101", "vgg19_bn")
ONE_STEP = (
    "--model.network.init_args.weights=random",
    "--model.channels_last=false",
    "--data.batch_size=2",
    "--data.predict_batch_size=8",
    "--data.window_px=24",
    "--data.predict_patches=2",
    "--data.val_patches=1",
    "--trainer.max_epochs=1",
    "--trainer.limit_train_batches=1",
    "--trainer.accelerator=cpu",
    "--resume_every=0",
)


def fit(study, experiments, arm, name, append=None, *options):
    configs = [f"--config={path}" for path in base_configs(experiments, append, arm, name)]
    learner.main(["fit", *configs, f"--study={study}", *ONE_STEP, *options])
    return study / "base" / arm / name / "fold0"


@pytest.mark.slow
@pytest.mark.parametrize("arm", ["global", "patched"])
@pytest.mark.parametrize("name", LEARNERS)
def test_a_base_recipe_runs_for_a_step(phantom_study, experiments, arm, name):
    size = 96 if name == "inception_v3" else 32
    sizes = [f"--data.size_px={size}", f"--data.resize_px={size + 8}"]
    if name == "inception_v3":
        sizes.append("--model.network.init_args.auxiliary=false")  # raises below 299 px
    folder = fit(phantom_study, experiments, arm, name, None, *sizes)
    assert len(load_predictions(folder / "predictions.csv")) == 40
    shutil.rmtree(phantom_study)  # weights of up to 0.56 GB


def test_the_masked_recipe_is_the_global_one_on_masked_radiographs(experiments):
    chain = base_configs(experiments, None, "masked", "vgg19_bn")
    assert chain[:2] == base_configs(experiments, None, "global", "vgg19_bn")
    assert yaml.safe_load(chain[2].read_text()) == {"data": {"arm": "masked"}}


@pytest.mark.parametrize("study", ["demo", "real_small", "segmentation_cpu"])
def test_appended_recipes_name_known_stages_and_learners(experiments, study):
    known = {"segmentation", "base", "ensemble", *(f"base_{name}" for name in LEARNERS)}
    known |= {"base_global", "base_masked", "base_patched"}
    assert {path.stem for path in (experiments / study).glob("*.yaml")} <= known


@pytest.mark.slow
@pytest.mark.parametrize("study", ["demo", "real_small"])
def test_appended_recipes_run(phantom_study, experiments, study):
    folder = fit(
        phantom_study, experiments, "patched", "densenet161", experiments / study,
        "--data.size_px=32", "--trainer.precision=32-true",
    )  # fmt: skip
    assert (folder / "patches.npz").is_file()
    shutil.rmtree(phantom_study)


SEGMENTERS = (
    "fc_densenet103", "fc_densenet103_code", "fc_densenet64", "fpn_resnet18", "unet_resnet18",
)  # fmt: skip


def test_every_segmentation_recipe_is_tried(experiments):
    assert {path.stem for path in (experiments / "segmentation").glob("*.yaml")} == set(SEGMENTERS)


@pytest.mark.parametrize("recipe", SEGMENTERS)
@pytest.mark.slow
def test_a_segmentation_recipe_runs_and_its_masks_reach_the_store(
    phantoms, phantom_study, experiments, recipe, capsys
):
    config = experiments / "segmentation" / f"{recipe}.yaml"
    words = [
        "fit", f"--config={config}", f"--study={phantom_study}", "--data.size_px=64",
        f"--data.folder={phantoms / 'lung_masks'}", "--trainer.max_epochs=1",
        "--trainer.limit_train_batches=1", "--trainer.accelerator=cpu",
    ]  # fmt: skip
    assert lungs(words) == 0
    measures = json.loads((phantom_study / "segmentation" / recipe / "metrics.json").read_text())
    assert 0 <= measures["test/jaccard"] <= 1
    assert lungs(["predict", f"--study={phantom_study}", "--redo=true"]) == 0
    masks = pd.read_csv(phantom_study / "masks" / "masks.csv")
    assert set(masks["image_id"]) == set(load_manifest(phantom_study / "manifest.csv")["image_id"])
    assert "masks" in capsys.readouterr().out


def write_base_predictions(study, arms, folds):
    """Writes random predictions of every base learner, as if trained."""
    manifest = load_manifest(study / "manifest.csv")
    rng = np.random.default_rng(0)
    for arm, name, fold in itertools.product(arms, LEARNERS, folds):
        table = manifest[["image_id", "patient_id", "group", "diagnosis"]].copy()
        table["split"] = splits_of_fold(manifest, fold)
        table[probability_columns()] = rng.dirichlet(np.ones(4), size=len(table))
        folder = study / "base" / arm / name / f"fold{fold}"
        folder.mkdir(parents=True)
        table.to_csv(folder / "predictions.csv", index=False)
        parts = {"split": f"s{fold}", "store": "s", "config": f"{arm}{name}"}
        (folder / "fingerprint.json").write_text(json.dumps({"finished": True, "parts": parts}))


@pytest.mark.slow
def test_ensemble_recipes_are_trained_for_every_arm_that_can_be(phantom_study, experiments, capsys):
    write_base_predictions(phantom_study, ("global", "patched"), folds=(0,))
    words = ["ensembles", f"--study={phantom_study}", f"--experiments={experiments}"]
    words += ["--fold=0", "--form=flannel,mean"]
    assert main([*words, f"--append={experiments / 'demo'}"]) == 0
    printed = capsys.readouterr().out
    assert "masked: no ensemble for fold 0. In" in printed
    assert "global/flannel/fold0: test macro F1" in printed
    for arm, learners in (("global", 5), ("patched", 5), ("fused", 10)):
        table = load_predictions(phantom_study / "ensemble" / arm / "fold0" / "predictions.csv")
        assert sum(column.startswith("w_") for column in table) == learners
        np.testing.assert_allclose(table[probability_columns()].sum(axis=1), 1, atol=1e-6)
        assert (phantom_study / "ensemble" / arm / "mean" / "fold0" / "predictions.csv").is_file()
    assert main([*words, "--arm=masked"]) == 1
    assert "make base-models" in capsys.readouterr().err


@pytest.mark.slow
def test_every_form_of_the_ensemble_is_made(phantom_study, experiments):
    write_base_predictions(phantom_study, ("global",), folds=range(5))
    words = ["ensembles", f"--study={phantom_study}", f"--experiments={experiments}"]
    words += ["--fold=0", "--arm=global", "--form=all", f"--append={experiments / 'demo'}"]
    assert main(words) == 0
    recipes = [*(experiments / "ensemble").glob("*/*.yaml")]
    assert len(recipes) == 10
    for recipe in recipes:
        form = "" if recipe.stem == "flannel" else recipe.stem
        folder = phantom_study / "ensemble" / "global" / form / "fold0"
        assert len(load_predictions(folder / "predictions.csv")) == 40
        config = yaml.safe_load((folder / "config.yaml").read_text())
        assert config["name"] == yaml.safe_load(recipe.read_text())["name"] == recipe.stem


def test_every_recipe_says_what_it_is(experiments):
    for path in sorted(experiments.rglob("*.yaml")):
        first = path.read_text(encoding="utf-8").splitlines()[0]
        assert first.startswith("# "), path
