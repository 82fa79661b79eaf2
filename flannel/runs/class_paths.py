"""Recipes of earlier versions: class paths that have moved, and options that were added since."""

import re
from typing import Any

from jsonargparse import get_loader, set_loader
from yaml import YAMLError

MOVED = {
    "flannel.baselines": "flannel.ensemble.baselines",
    "flannel.callbacks": "flannel.runs.callbacks",
    "flannel.combinations": "flannel.ensemble.combinations",
    "flannel.schedules": "flannel.runs.schedules",
}
"""Modules that classes are named from in YAML: where they were, and where they are."""

RECIPES = "recipes"
"""The mode of jsonargparse in which YAML may hold class paths of earlier versions."""

SHORTENED = {"flannel.ensemble": "flannel.ensemble.combinations"}
"""Rooms that export a class, by which jsonargparse names it instead of by its module."""

ADDED = {
    "repeats": None, "grey_outside": False, "shading": 0.0, "blur_px": 0.0, "noise": 0.0,
    "marks": 0,
}  # fmt: skip
"""Options that earlier versions lacked, with the value at which a training is the same as then."""

_FIRST = {new: old for old, new in MOVED.items()}
_FIRST |= {room: _FIRST[module] for room, module in SHORTENED.items()}


def present_paths(text: str) -> str:
    """Returns a text with every class path by its module of today.

    Args:
        text: A class path, an argument, or a whole YAML file.
    """
    return _renamed(text, MOVED | SHORTENED)


def as_first_named(value: Any) -> Any:  # noqa: ANN401  a tree of plain values
    """Returns a config with class paths as the first version named them, and no unused new option.

    A fingerprint hashes these, so that a run of an earlier version is still known as finished.
    """
    if isinstance(value, dict):
        return {
            key: as_first_named(item)
            for key, item in value.items()
            if key not in ADDED or item != ADDED[key]
        }
    if isinstance(value, list | tuple):
        return [as_first_named(item) for item in value]
    return _renamed(value, _FIRST) if isinstance(value, str) else value


def _renamed(text: str, names: dict[str, str]) -> str:
    modules = "|".join(map(re.escape, names))
    pattern = rf"(?<![\w.])({modules})(?=\.[A-Z]\w*(?![\w.]))"
    return re.sub(pattern, lambda match: names[match[1]], text)


def _load_recipe(text: str) -> Any:  # noqa: ANN401  whatever the YAML holds
    return get_loader("yaml")(present_paths(text))


set_loader(RECIPES, _load_recipe, exceptions=(YAMLError,))
