"""What the stages share: recipe files, and the folds and learners that were asked for."""

from collections.abc import Sequence
from pathlib import Path

from flannel.runs import RunError


def recipe_names(folder: Path) -> list[str]:
    """Names the YAML files of a folder, without the common one."""
    return sorted(path.stem for path in folder.glob("*.yaml") if not path.stem.startswith("_"))


def folds_of(study: Path, fold: str) -> list[int]:
    """Reads the folds that were asked for: numbers with commas, or "all" of the manifest.

    Raises:
        RunError: If it is neither.
    """
    if fold == "all":
        from flannel.data.manifest import load_manifest

        found = load_manifest(study / "manifest.csv")["fold"].dropna().astype(int).unique()
        return sorted(int(number) for number in found)
    try:
        return [int(number) for number in fold.split(",")]
    except ValueError:
        raise RunError(f"fold is {fold!r}; expected a number such as 0, or all.") from None


def chosen(names: str) -> list[str] | None:
    """Reads names with commas; "all" is None."""
    return None if names == "all" else names.split(",")


def config_flags(configs: Sequence[Path]) -> list[str]:
    """Gives the chain of `--config` options, in the order in which they are merged."""
    return [f"--config={config}" for config in configs]
