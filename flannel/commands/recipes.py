"""What the stages share: recipe files, and the folds and learners that were asked for."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from flannel.errors import RunError
from flannel.study.contents import ARMS

RECIPES = Path(__file__).parents[1] / "experiments"
"""The recipes that come with the package; in a checkout a link to its folder `experiments`."""


def recipe_names(folder: Path) -> list[str]:
    """Names the YAML files of a folder, without the common one."""
    return sorted(path.stem for path in folder.glob("*.yaml") if not path.stem.startswith("_"))


def check_appended(append: Path | None, experiments: Path) -> None:
    """Refuses a folder that is to be appended to recipes and holds a file that no recipe takes.

    Args:
        append: The folder; None for none.
        experiments: The folder of the recipes.

    Raises:
        RunError: If it is no folder, or a YAML file of it has another name than `base`, `base_ARM`,
            `base_LEARNER`, `ensemble` or `segmentation`.
    """
    if append is None:
        return
    if not append.is_dir():
        raise RunError(f"append is {append}, which is no folder.")
    recipes = [*(experiments / "base").rglob("*.yaml"), *(experiments / "related").rglob("*.yaml")]
    parts = {*ARMS, *(recipe.stem for recipe in recipes)}
    known = [f"{stem}.yaml" for stem in ("base", "ensemble", "segmentation")]
    known += sorted(f"base_{part}.yaml" for part in parts)
    strange = sorted(
        path.name
        for path in append.iterdir()
        if path.suffix in (".yaml", ".yml") and path.name not in known
    )
    if strange:
        meant = "; ".join(
            f"{name} (did you mean {get_close_matches(name, known, 1, 0.0)[0]}?)"
            for name in strange
        )
        raise RunError(
            f"Files of {append} are appended to no recipe: {meant}. Rename them, or move them away."
        )


def folds_of(study: Path, fold: str) -> list[int]:
    """Reads the folds that were asked for: numbers with commas, or "all" of the manifest.

    Raises:
        RunError: If it is neither.
    """
    if fold == "all":
        from flannel.data.manifest import load_manifest

        numbers = load_manifest(study / "manifest.csv")["fold"].dropna().astype(int).unique()
        return sorted(int(number) for number in numbers)
    try:
        return [int(number) for number in fold.split(",")]
    except ValueError:
        raise RunError(f"fold is {fold!r}; expected a number such as 0, or all.") from None


def chosen(names: str) -> list[str] | None:
    """Reads names with commas; "all" is None."""
    return None if names == "all" else names.split(",")


def config_flags(configs: Sequence[Path]) -> list[str]:
    """Returns the chain of `--config` options, in the order in which they are merged."""
    return [f"--config={config}" for config in configs]
