"""Patched FLANNEL: chest radiographs, patches that vote, and learners that are weighed.

`flannel.load` opens a trained study or bundle, `flannel.lungs.load` a lung segmenter; both are
imported when they are first used.
"""

import importlib
from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:  # noqa: ANN401  a function or a module
    """Imports what is used: `load` and `lungs` need PyTorch, which takes seconds."""
    if name == "load":
        return importlib.import_module("flannel.loaded").load
    if name == "lungs":
        return importlib.import_module("flannel.lungs")
    raise AttributeError(f"module 'flannel' has no attribute {name!r}")


def __dir__() -> list[str]:
    return ["__version__", "load", "lungs"]
