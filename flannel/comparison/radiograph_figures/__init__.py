"""The figures that show radiographs: they stay on this machine and are never logged."""

from pathlib import Path

from matplotlib.figure import Figure

from flannel.comparison.figures.style import save_figure
from flannel.comparison.radiograph_figures.answers import answers, cohort_grid
from flannel.comparison.radiograph_figures.arms import seen_by_arms
from flannel.comparison.radiograph_figures.disagreements import disagreements, first_disagreement
from flannel.comparison.radiograph_figures.masks import (
    flagged,
    masks_examples,
    segmentation_triptych,
)
from flannel.comparison.radiograph_figures.votes import first_patches, votes
from flannel.comparison.results import Comparison, printed_runs
from flannel.data.provenance import colours_of
from flannel.data.store import Store, StoreError

__all__ = ["write_galleries"]


def write_galleries(comparison: Comparison, folder: Path, related: bool = False) -> dict[str, Path]:
    """Draws and writes the figures that show radiographs, from the study's store.

    The examples are, for each diagnosis, the first test radiograph in the order of image names:
    nobody picks the successes.

    Args:
        comparison: The results; its study holds the store, the masks and the patches.
        folder: Where the PNG and PDF files go.
        related: Also draw what papers 000 to 003 show: the cohort with its masks, what each arm
            sees, and radiographs with each learner's answers.

    Returns:
        The PNG files by figure name; figures without data are left out; without a finished
        store that is all of them.
    """
    study = comparison.study
    try:
        store = Store(study / "store")
    except StoreError:
        return {}  # the report names what makes these figures
    examples = _examples(comparison, store)
    masked = {image_id: name for image_id, name in examples.items() if store.has_mask(image_id)}
    drawn: dict[str, Figure] = {}
    if masked:
        drawn["segmentation"] = segmentation_triptych(store, next(iter(masked)))
        drawn["masks"] = masks_examples(store, masked | flagged(study, store))
    first = first_patches(comparison)
    if first is not None:
        run, patches = first
        seen = {key: name for key, name in examples.items() if key in patches.image_id}
        if seen:
            drawn["votes"] = votes(store, run, patches, seen, colours_of(study))
    differing = first_disagreement(comparison)
    if differing is not None:
        figure = disagreements(store, differing)
        if figure is not None:
            drawn["disagreements"] = figure
    if related:
        drawn |= _of_papers(comparison, store)
    return {name: save_figure(figure, folder, name) for name, figure in drawn.items()}


def _of_papers(comparison: Comparison, store: Store) -> dict[str, Figure]:
    """Draws the cohort, the arms' views, and each run's answers."""
    table, diagnoses = comparison.results[0].predictions, comparison.diagnoses
    drawn = {"cohort": cohort_grid(store, table, diagnoses)}
    runs = [result for result in printed_runs(comparison) if result.run.stage == "base"]
    seen = seen_by_arms(store, runs, table, diagnoses)
    if seen is not None:
        drawn["arms"] = seen
    for result in runs:
        drawn[f"answers_{result.run.arm}_{result.run.learner}"] = answers(store, result, diagnoses)
    return drawn


def _examples(comparison: Comparison, store: Store) -> dict[str, str]:
    """Returns the first test radiograph of each diagnosis that the store holds."""
    stored = set(store.image_ids)
    table = comparison.results[0].predictions
    table = table[table["image_id"].isin(stored)].sort_values("image_id")
    first = table.groupby("diagnosis")["image_id"].first()
    return {str(first[name]): name for name in comparison.diagnoses if name in first}
