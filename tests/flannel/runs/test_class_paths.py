"""What earlier versions named in YAML is still found, and nothing else than that."""

import dataclasses
import importlib
import inspect

import pytest
import yaml
from jsonargparse import ArgumentParser
from torch import nn

from flannel.ensemble.combinations import NeuralWeightModule
from flannel.prediction.trained import COMBINATIONS
from flannel.runs.checkpoints import CheckpointError, build_module
from flannel.runs.class_paths import (
    ADDED,
    MOVED,
    RECIPES,
    SHORTENED,
    as_first_named,
    present_paths,
)
from segmentation.training.augmentation import Augmentation
from segmentation.training.data import LungDataModule
from segmentation.training.task import LungSegmenter

OF_BEFORE = {
    "flannel.baselines.Logistic": "flannel.ensemble.baselines.Logistic",
    "flannel.callbacks.SeedEachEpoch": "flannel.runs.callbacks.SeedEachEpoch",
    "flannel.combinations.NeuralWeightModule": "flannel.ensemble.combinations.NeuralWeightModule",
    "flannel.ensemble.NeuralWeightModule": "flannel.ensemble.combinations.NeuralWeightModule",
    "flannel.schedules.OneCycle": "flannel.runs.schedules.OneCycle",
}


@pytest.mark.parametrize("before", OF_BEFORE)
def test_a_class_of_before_is_the_one_of_today(before):
    module, _, name = OF_BEFORE[before].rpartition(".")
    assert present_paths(before) == OF_BEFORE[before]
    assert present_paths(OF_BEFORE[before]) == OF_BEFORE[before]
    assert isinstance(getattr(importlib.import_module(module), name), type)


@pytest.mark.parametrize(
    "other",
    [
        "flannel.losses.FocalLoss", "flannel.networks.CNN13", "flannel.combinations.torch",
        "flannel.combinations.Linear.Combination", "xflannel.combinations.Mean",
        "flannel.combinations",
        "a.flannel.combinations.Mean", "flannel.combinationsX.Mean",
    ],
)  # fmt: skip
def test_what_did_not_move_stays(other):
    assert present_paths(other) == other


def test_a_fingerprint_hashes_the_first_names():
    config = {"method": {"class_path": "flannel.ensemble.baselines.Mean"}, "data": ["a", 1, None]}
    for path in (
        "flannel.ensemble.combinations.NeuralWeightModule",
        "flannel.ensemble.NeuralWeightModule",
    ):
        assert as_first_named(path) == "flannel.combinations.NeuralWeightModule"
    assert as_first_named(config) == {
        "method": {"class_path": "flannel.baselines.Mean"},
        "data": ["a", 1, None],
    }
    assert as_first_named(as_first_named(config)) == as_first_named(config)


def test_a_fingerprint_hashes_a_new_option_only_where_it_is_used():
    before = {"model": {"patience": 5}, "data": {"augmentation": {"flip": True, "zoom": 0.0}}}
    today = {
        "model": {"patience": 5},
        "data": {"repeats": None, "augmentation": {"flip": True, "zoom": 0.0, "noise": 0.0}},
    }
    assert as_first_named(today) == before
    used = {"data": {"repeats": {"adults": 2}, "augmentation": {"marks": 1}}}
    assert as_first_named(used) == used


def test_new_options_of_segmenters_have_the_values_of_before():
    defaults = {field.name: field.default for field in dataclasses.fields(Augmentation)}
    for callable_ in (LungSegmenter, LungDataModule):
        parameters = inspect.signature(callable_).parameters.values()
        defaults |= {parameter.name: parameter.default for parameter in parameters}
    assert defaults | ADDED == defaults


def test_recipes_of_before_are_read(tmp_path):
    parser = ArgumentParser(exit_on_error=False, parser_mode=RECIPES)
    parser.add_argument("--config", action="config")
    parser.add_argument("--combination", type=nn.Module)
    init = {"learners": 2, "classes": 3}
    config = {
        "combination": {"class_path": "flannel.combinations.NeuralWeightModule", "init_args": init}
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(config))
    found = parser.parse_args([f"--config={tmp_path / 'recipe.yaml'}"])
    built = parser.instantiate(found).combination
    assert isinstance(built, NeuralWeightModule)
    written = yaml.safe_load(present_paths(parser.dump(found)))["combination"]["class_path"]
    assert written == "flannel.ensemble.combinations.NeuralWeightModule"


@pytest.mark.parametrize(
    "path",
    [
        "flannel.ensemble.ensemble.Ensemble", "flannel.ensemble.Ensemble", "flannel.ensemble.Mean",
        "flannel.ensemble.baselines.Mean", "flannel.baselines.Mean", "flannel.combinations.torch",
        "flannel.schedules.OneCycle",
    ],
)  # fmt: skip
def test_a_bundle_builds_no_more_than_before(path):
    assert COMBINATIONS == ("flannel.ensemble.combinations.",)
    with pytest.raises(
        CheckpointError, match=r"expected a class of flannel\.ensemble\.combinations"
    ):
        build_module({"class_path": present_paths(path)}, COMBINATIONS)


def test_names_of_before_are_unlike_those_of_today():
    """So that no text is renamed twice."""
    assert not set(MOVED | SHORTENED) & set((MOVED | SHORTENED).values())
