"""Every recipe is parsed and run for a step through the real command line, on phantoms."""

import itertools
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from flannel.__main__ import main
from flannel.commands.base_models import CONTROLS, base_configs
from flannel.data.diagnosis import FLANNEL
from flannel.data.folds import splits_of_fold
from flannel.data.manifest import load_manifest
from flannel.errors import RunError
from flannel.learners import learner
from flannel.runs.cli import StudyCLI
from flannel.study.predictions import load_predictions, probability_columns
from segmentation.__main__ import main as lungs

LEARNERS = ("densenet161", "inception_v3", "resnet152", "resnext101", "vgg19_bn")
# 0.1 of 12 batches is one. A 1 would be one batch or all of them: typing gives Trainer's int or
# float in the order in which some module wrote them first, and jsonargparse reads a 1 by it.
ONE_STEP = (
    "--model.channels_last=false",
    "--data.batch_size=2",
    "--data.predict_batch_size=8",
    "--data.window_px=24",
    "--data.predict_patches=2",
    "--data.val_patches=1",
    "--trainer.max_epochs=1",
    "--trainer.limit_train_batches=0.1",
    "--trainer.accelerator=cpu",
    "--resume_every=0",
)


def fit(study, experiments, arm, name, append=None, *options, random=True):
    configs = base_configs(experiments, append, arm, name)
    return fit_configs(study, configs, arm, name, *options, random=random)


def fit_configs(study, paths, arm, name, *options, random=True):
    configs = [f"--config={path}" for path in paths]
    words = [*ONE_STEP, *options]
    words += ["--model.network.init_args.weights=random"] if random else []
    learner.main(["fit", *configs, f"--study={study}", *words])
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
    assert len(load_predictions(folder / "predictions.csv", FLANNEL)) == 40
    shutil.rmtree(phantom_study)  # weights of up to 0.56 GB


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arm", "name", "append"),
    [
        ("masked", "resnet18", None),
        ("global", "resnet18", "as_coded"),
        ("patched", "resnet18", "as_coded"),
        ("patched", "densenet_small", "low_variance"),
        ("masked", "resnet18", "matched"),
        ("patched", "resnet18", "matched"),
        ("patched", "covid_net", None),
        ("global", "efficientnet_b4", None),
        ("global", "efficientnet_lite0", None),
    ],
)
def test_the_other_base_recipes_run_for_a_step(phantom_study, experiments, arm, name, append):
    folder = fit(
        phantom_study, experiments, arm, name, append and experiments / "base" / append,
        "--data.size_px=32", "--data.resize_px=40", "--trainer.precision=32-true",
        random=name != "densenet_small",
    )  # fmt: skip
    assert len(load_predictions(folder / "predictions.csv", FLANNEL)) == 40


@pytest.mark.slow
def test_a_network_of_timm_converts_the_recipe_s_normalisation(phantom_study, experiments):
    """EfficientNet-Lite has mean and deviation 0.5, the matched recipe those of ImageNet."""
    folder = fit(
        phantom_study, experiments, "patched", "efficientnet_lite1",
        experiments / "base" / "matched", "--data.size_px=32", "--data.resize_px=40",
        "--trainer.precision=32-true",
    )  # fmt: skip
    state = torch.load(folder / "best.ckpt", weights_only=True)["state_dict"]
    scale, shift = (state[f"network.{name}"].flatten().tolist() for name in ("scale", "shift"))
    assert scale == pytest.approx([0.458, 0.448, 0.45])
    assert shift == pytest.approx([-0.03, -0.088, -0.188])
    assert len(load_predictions(folder / "predictions.csv", FLANNEL)) == 40


RELATED = {
    "covid_qu_ex": ("resnet50",),
    "darkcovidnet": ("darkcovidnet",),
    "cnn13": ("cnn13",),
    "frozen": ("mobilenet_v2", "resnet50"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("study", "name"), [(s, name) for s in RELATED for name in RELATED[s]])
def test_a_related_recipe_runs_for_a_step(phantom_study, experiments, study, name):
    recipes = experiments / "related" / study
    known = {"study", "_common", *RELATED[study], "resnet50_preprocessed"}
    assert {path.stem for path in recipes.glob("*.yaml")} <= known
    sizes = ["--data.size_px=32", "--data.resize_px=32", "--model.network.init_args.classes=4"]
    if study == "darkcovidnet":
        sizes.append("--model.network.init_args.size_px=32")
    folder = fit_configs(
        phantom_study, [recipes / "_common.yaml", recipes / f"{name}.yaml"], "global", name, *sizes,
        random=study in ("covid_qu_ex", "frozen"),
    )  # fmt: skip
    assert len(load_predictions(folder / "predictions.csv", FLANNEL)) == 40
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["selection"] == ("val/macro_f1" if study == "covid_qu_ex" else "last")


@pytest.fixture(scope="module")
def resolved(experiments):
    """Returns all options of a base run, as the command line resolves them from its YAML files."""
    parsers = []

    class ParsedError(Exception):
        pass

    def before_instantiate_classes(self):
        parsers.append(self.parser)
        raise ParsedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StudyCLI, "before_instantiate_classes", before_instantiate_classes)
        with pytest.raises(ParsedError):
            learner.train(["fit", "--name=any", "--model.network=torch.nn.Identity"])

    def resolve(arm, name, append=None, *words):
        folder = append and experiments / "base" / append
        flags = [f"--config={path}" for path in base_configs(experiments, folder, arm, name)]
        options = parsers[0].parse_args(["fit", *flags, *words]).fit.as_dict()
        return {**options, "config": None}  # the files' names

    return resolve


@pytest.mark.parametrize(
    "name", [*(pytest.param(n, marks=pytest.mark.slow) for n in LEARNERS[:-1]), LEARNERS[-1]]
)
def test_the_matched_arms_differ_in_nothing_but_the_arm(resolved, name):
    arms = {arm: resolved(arm, name, "matched") for arm in ("global", "masked", "patched")}
    for arm, options in arms.items():
        assert options["data"].pop("arm") == arm
    assert arms["global"] == arms["masked"] == arms["patched"]
    assert arms["global"]["data"]["size_px"] == (299 if name == "inception_v3" else 224)


def test_the_papers_arms_do_differ(resolved):
    of_global, of_patched = resolved("global", "vgg19_bn"), resolved("patched", "vgg19_bn")
    assert of_global["optimizer"]["init_args"]["lr"] == 1e-3
    assert of_patched["optimizer"]["init_args"]["lr"] == 1e-5
    assert of_global["data"]["normalisation"] == "half"
    of_masked = resolved("masked", "vgg19_bn")
    assert of_masked["data"].pop("arm") == "masked"
    assert of_global["data"].pop("arm") == "global"
    assert of_masked == of_global


def test_the_recipes_as_coded_are_those_of_the_public_code(resolved):
    """Facts of the code: see the table of augmented_by in experiments/README.md."""
    of_global = resolved("global", "densenet161", "as_coded")
    assert (of_global["selection"], of_global["data"]["order"]) == ("val/accuracy", "fixed")
    assert of_global["early_stopping"]["monitor"] == "val/accuracy"
    of_patched = resolved("patched", "densenet161", "as_coded")
    data = of_patched["data"]
    assert (data["centres"], data["border"], data["normalisation"], data["order"]) == (
        "independent", "stretched", "levels", "fixed",
    )  # fmt: skip
    assert (data["val_patches"], data["val_anew"], data["predict_patches"]) == (1, True, 100)
    assert (data["window_px"], data["rotation_degrees"], data["batch_size"]) == (224, 5, 16)
    assert of_patched["model"]["vote"] == "mean_sigmoid"
    assert of_patched["optimizer"]["init_args"]["weight_decay"] == 0.1
    assert of_patched["selection"] == "val/macro_f1"
    stopping = of_patched["early_stopping"]
    assert (stopping["patience"], stopping["min_delta"]) == (50, -0.05)
    assert of_patched["trainer"]["max_epochs"] == 100
    inception = resolved("patched", "inception_v3", "as_coded")
    assert (inception["data"]["window_px"], inception["data"]["size_px"]) == (299, 299)
    assert inception["model"]["network"]["init_args"]["auxiliary"] is True


def test_low_variance_changes_where_patches_lie_and_how_they_vote(resolved):
    of_patched = resolved("patched", "vgg19_bn")
    changed = resolved("patched", "vgg19_bn", "low_variance")
    options = {"centres": "relaxed", "patch_weights": "area", "predict_patches": 40}
    assert changed == {**of_patched, "data": {**of_patched["data"], **options}}
    assert resolved("global", "vgg19_bn", "low_variance") == resolved("global", "vgg19_bn")


def test_small_networks_train_alike_in_all_arms(resolved):
    arms = {arm: resolved(arm, "densenet_small") for arm in ("global", "masked", "patched")}
    for options in arms.values():
        assert options["data"].pop("arm")
        options["model"].pop("vote")
    assert arms["global"] == arms["masked"] == arms["patched"]
    network = arms["global"]["model"]["network"]
    assert network["class_path"] == "torchvision.models.DenseNet"
    assert "weights" not in network["init_args"]


def test_the_missing_preprocessing_is_all_that_two_recipes_differ_in(experiments):
    frozen = experiments / "related" / "frozen"
    recipes = (frozen / "resnet50.yaml", frozen / "resnet50_preprocessed.yaml")
    without, with_it = (yaml.safe_load(recipe.read_text()) for recipe in recipes)
    assert without.pop("name") + "_preprocessed" == with_it.pop("name")
    assert without["data"].pop("normalisation") == "levels"
    assert with_it["data"].pop("normalisation") == "imagenet"
    assert without == with_it


def test_a_learner_of_no_arm_is_found_in_the_other_folders(experiments, tmp_path):
    base = experiments / "base"
    assert base_configs(experiments, None, "masked", "covid_net") == [
        base / "global" / "_common.yaml",
        base / "outlook" / "covid_net.yaml",
        base / "masked" / "_common.yaml",
    ]
    for folder, name in (("patched", "_common"), ("mine", "new"), ("yours", "new")):
        (tmp_path / "base" / folder).mkdir(parents=True)
        (tmp_path / "base" / folder / f"{name}.yaml").touch()
    with pytest.raises(RunError, match=r"yours/new.yaml are one learner: rename one"):
        base_configs(tmp_path, None, "patched", "new")
    (tmp_path / "base" / "yours" / "new.yaml").rename(tmp_path / "base" / "yours" / "base_new.yaml")
    chain = base_configs(tmp_path, None, "patched", "new")
    assert [path.parent.name for path in chain] == ["patched", "mine"]
    with pytest.raises(RunError, match="further ones: new"):
        base_configs(tmp_path, None, "patched", "newer")


def test_the_outlook_s_ensembles_are_the_five_and_two(experiments):
    for arm in ("global", "patched"):
        recipes = [experiments / "ensemble" / f"{name}.yaml" for name in (arm, f"seven_{arm}")]
        five, seven = (yaml.safe_load(recipe.read_text())["data"] for recipe in recipes)
        assert seven["arm"] == f"seven_{arm}"
        two = [f"{arm}/covid_net", f"{arm}/efficientnet_b4"]
        assert seven["learners"] == [*five["learners"], *two]


def test_micro_batches_are_told_to_the_trainer(resolved):
    options = resolved("global", "vgg19_bn", None, "--data.accumulate=5")
    assert options["trainer"]["accumulate_grad_batches"] == 5
    assert options["data"]["batch_size"] == 10


@pytest.mark.parametrize("arm", CONTROLS)
def test_a_control_s_recipe_is_the_global_one_on_other_views(experiments, arm):
    chain = base_configs(experiments, None, arm, "vgg19_bn")
    assert chain[:2] == base_configs(experiments, None, "global", "vgg19_bn")
    assert yaml.safe_load(chain[2].read_text()) == {"data": {"arm": arm}}
    masked, own = (
        (experiments / "ensemble" / f"{name}.yaml").read_text() for name in ("masked", arm)
    )
    assert yaml.safe_load(own) == yaml.safe_load(masked.replace("masked", arm))


@pytest.mark.parametrize(
    "study",
    [
        "demo",
        "real_small",
        "segmentation_cpu",
        "base/as_coded",
        "base/low_variance",
        "base/matched",
    ],
)
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
    "fc_densenet103", "fc_densenet103_code", "fc_densenet64", "fpn_resnet18", "unet_lite0",
    "unet_lite0_tuned", "unet_resnet18",
)  # fmt: skip
WITHOUT_ITS_PAIRS = (
    "--data.split=shares", "--data.repeats=null", "--model.network.init_args.encoder_weights=null",
)  # fmt: skip
"""What the recipes of the shipped segmenter need beside its pairs and an installed package."""


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
        "--trainer.accelerator=cpu", *(WITHOUT_ITS_PAIRS if "lite" in recipe else ()),
    ]  # fmt: skip
    assert lungs(words) == 0
    measures = json.loads((phantom_study / "segmentation" / recipe / "metrics.json").read_text())
    assert 0 <= measures["test/jaccard"] <= 1
    assert lungs(["predict", f"--study={phantom_study}", "--redo=true"]) == 0
    masks = pd.read_csv(phantom_study / "masks" / "masks.csv")
    assert set(masks["image_id"]) == set(load_manifest(phantom_study / "manifest.csv")["image_id"])
    assert "masks" in capsys.readouterr().out


def write_base_predictions(study, arms, folds, learners=LEARNERS):
    """Writes random predictions of every base learner, as if trained."""
    manifest = load_manifest(study / "manifest.csv")
    rng = np.random.default_rng(0)
    for arm, name, fold in itertools.product(arms, learners, folds):
        table = manifest[["image_id", "patient_id", "group", "diagnosis"]].copy()
        table["split"] = splits_of_fold(manifest, fold)
        table[probability_columns(FLANNEL)] = rng.dirichlet(np.ones(4), size=len(table))
        folder = study / "base" / arm / name / f"fold{fold}"
        folder.mkdir(parents=True)
        table.to_csv(folder / "predictions.csv", index=False)
        parts = {"split": f"s{fold}", "store": "s", "config": f"{arm}{name}"}
        (folder / "fingerprint.json").write_text(json.dumps({"finished": True, "parts": parts}))


@pytest.mark.slow
def test_ensemble_recipes_are_trained_for_every_arm_that_can_be(phantom_study, experiments, capsys):
    write_base_predictions(phantom_study, ("global", "patched"), folds=(0,))
    further = ("covid_net", "efficientnet_b4")
    write_base_predictions(phantom_study, ("global",), folds=(0,), learners=further)
    words = ["ensembles", f"--study={phantom_study}", f"--experiments={experiments}"]
    words += ["--fold=0", "--form=flannel,mean"]
    assert main([*words, f"--append={experiments / 'demo'}"]) == 0
    printed = capsys.readouterr().out
    assert (
        "masked: no ensemble for fold 0, which lacks the finished predictions of all 5" in printed
    )
    assert "global/flannel/fold0: test macro F1" in printed
    for arm, learners in (
        ("global", 5),
        ("patched", 5),
        ("fused", 10),
        ("seven_global", 7),
    ):
        folder = phantom_study / "ensemble" / arm
        table = load_predictions(folder / "fold0" / "predictions.csv", FLANNEL)
        assert sum(column.startswith("w_") for column in table) == learners
        np.testing.assert_allclose(table[probability_columns(FLANNEL)].sum(axis=1), 1, atol=1e-6)
        assert (folder / "mean" / "fold0" / "predictions.csv").is_file()
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
        assert len(load_predictions(folder / "predictions.csv", FLANNEL)) == 40
        config = yaml.safe_load((folder / "config.yaml").read_text())
        assert config["name"] == yaml.safe_load(recipe.read_text())["name"] == recipe.stem


def test_every_recipe_says_what_it_is(experiments):
    for path in sorted(experiments.rglob("*.yaml")):
        first = path.read_text(encoding="utf-8").splitlines()[0]
        assert first.startswith("# "), path
