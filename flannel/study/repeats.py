"""The seeds of a study's runs: one of its own for each, and repeats with other seeds."""

import re
from pathlib import Path
from typing import Literal

import yaml

from flannel.errors import LARGEST_SEED, OptionError, check_range
from flannel.files import derived_seed

FIRST_SEED = 1
"""The seed of the runs that are called by their recipe's name alone."""

Seeding = Literal["own", "shared"]
"""Whether a run's seed derives from the study's seed, learner and fold, or is the study's seed."""

_REPEAT = re.compile(r"[_ ]seed(\d+)$")  # a folder's, or an ensemble's in tables


def repeat_name(recipe: str, seed: int) -> str:
    """Names the run of a recipe with a seed: `vgg19_bn`, and `vgg19_bn_seed2` for seed 2."""
    return recipe if seed == FIRST_SEED else f"{recipe}_seed{seed}"


def recipe_of(name: str) -> str:
    """Returns the recipe of a learner or ensemble, which is its name without the seed."""
    return _REPEAT.sub("", name)


def seed_of(name: str) -> int:
    """Returns the study's seed of a learner or ensemble, by its name."""
    repeat = _REPEAT.search(name)
    return int(repeat[1]) if repeat else FIRST_SEED


def seeds_of(words: str) -> list[int]:
    """Reads the study's seeds, numbers with commas, each once.

    Raises:
        OptionError: If one is no number, too large or negative.
    """
    try:
        seeds = [int(word) for word in words.split(",")]
    except ValueError:
        raise OptionError(f"seeds is {words!r}; expected numbers with commas, as 1,2,3.") from None
    for seed in seeds:
        check_range(0, LARGEST_SEED, seeds=seed)
    return list(dict.fromkeys(seeds))


def own_seed(seed: int, recipe: str, fold: int) -> int:
    """Derives the seed of a run: initial weights, order, augmentation, dropout and patch centres.

    The arm is no part of it: a learner has the same initial weights in every arm.

    Args:
        seed: The study's.
        recipe: The learner, or the ensemble's form.
        fold: The fold.
    """
    return derived_seed(seed, recipe, fold) % (LARGEST_SEED + 1)


def run_seed(
    folder: Path, seed: int, recipe: str, fold: int, *, seeding: Seeding | None, redo: bool
) -> int:
    """Returns the seed of a run; one that was begun with the shared seed keeps it.

    Args:
        folder: The run's.
        seed: The study's.
        recipe: The learner, or the ensemble's form.
        fold: The fold.
        seeding: "own" or "shared"; as the run was begun when None, and "own" for a new run.
        redo: Whether the run starts anew whatever is there.
    """
    if seeding is None:
        seeding = "shared" if not redo and _seed_begun_with(folder) == seed else "own"
    return seed if seeding == "shared" else own_seed(seed, recipe, fold)


def _seed_begun_with(folder: Path) -> int | None:
    """Reads the seed in a run's config.yaml; None where there is none."""
    path = folder / "config.yaml"
    if not path.is_file():
        return None
    try:
        seed = yaml.safe_load(path.read_text(encoding="utf-8"))["seed_everything"]
    except (ValueError, yaml.YAMLError, KeyError, TypeError):
        return None  # the run itself refuses a damaged config
    return seed if type(seed) is int else None


def seed_options(seed: int) -> tuple[str, str]:
    """Returns the options that give a seed to a run of `flannel learner` or `flannel ensemble`."""
    return f"--seed_everything={seed}", f"--data.seed={seed}"
