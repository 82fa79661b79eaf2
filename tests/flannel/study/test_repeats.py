"""Seeds of runs: derived from seed, learner and fold, or shared, and what a repeat is called."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flannel.errors import LARGEST_SEED, OptionError
from flannel.study.repeats import (
    own_seed,
    recipe_of,
    repeat_name,
    run_seed,
    seed_of,
    seeds_of,
)

SEEDS = st.integers(0, LARGEST_SEED)
NAMES = st.sampled_from(["vgg19_bn", "densenet161", "flannel", "flannel_out_of_fold"])


@given(SEEDS, NAMES, st.integers(0, 20))
def test_a_seed_of_its_own_is_a_hash_of_seed_learner_and_fold(seed, name, fold):
    digest = hashlib.sha256(f"({seed}, '{name}', {fold})".encode()).digest()
    plain = int.from_bytes(digest[:8], "big") // 2 % 2**32
    assert own_seed(seed, name, fold) == plain
    assert 0 <= plain <= LARGEST_SEED


def test_seeds_of_a_study_differ():
    learners = ["densenet161", "inception_v3", "resnet152", "resnext101", "vgg19_bn"]
    seeds = {
        own_seed(seed, name, fold) for seed in (1, 2, 3) for name in learners for fold in range(5)
    }
    assert len(seeds) == 75


@given(st.integers(0, 99), NAMES)
def test_a_name_holds_its_seed(seed, recipe):
    name = repeat_name(recipe, seed)
    assert (recipe_of(name), seed_of(name)) == (recipe, seed)
    in_tables = name.replace("_", " ")
    assert seed_of(in_tables) == seed
    assert recipe_of(in_tables) == recipe.replace("_", " ")


def test_the_first_seed_has_no_part_in_a_name():
    assert [repeat_name("vgg19_bn", seed) for seed in (1, 2)] == ["vgg19_bn", "vgg19_bn_seed2"]
    assert recipe_of("seed2") == "seed2"


def test_seeds_are_read_once_each():
    assert seeds_of("1,2,3,2") == [1, 2, 3]


@pytest.mark.parametrize("words", ["", "1,", "one", "1.5", "-1", str(2**32)])
def test_seeds_that_cannot_be_are_refused(words):
    with pytest.raises(OptionError, match="seeds is"):
        seeds_of(words)


def test_a_run_keeps_the_way_in_which_it_was_begun(tmp_path):
    own = own_seed(1, "vgg19_bn", 0)

    def seed(begun, seeding=None, redo=False):
        config = tmp_path / "config.yaml"
        config.unlink(missing_ok=True)
        if begun is not None:
            config.write_text(begun)
        return run_seed(tmp_path, 1, "vgg19_bn", 0, seeding=seeding, redo=redo)

    assert seed(None) == own
    assert seed(None, "shared") == 1
    assert seed("seed_everything: 1\n") == 1
    assert seed("seed_everything: 1\n", "own") == own
    assert seed("seed_everything: 1\n", redo=True) == own
    assert seed(f"seed_everything: {own}\n") == own
    assert seed(f"seed_everything: {own}\n", "shared") == 1
    for damaged in ("{", "- 1\n", "other: 1\n", "seed_everything: true\n"):
        assert seed(damaged) == own
