"""The study of patches as files: two tables, `patches.md` and `figures/patches_k`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from flannel.analysis.patch_figure import patches_by_k
from flannel.analysis.patch_study import (
    REPORTED_ON,
    SPREAD,
    TIMES,
    PatchRun,
    chosen_k,
    covered_by,
    open_store,
    patch_runs,
    study_patches,
)
from flannel.analysis.stopping import stopping_page, study_stopping
from flannel.comparison.figures.style import save_figure
from flannel.errors import OptionError
from flannel.files import whole_file
from flannel.metrics.classification import MACRO


def write_patch_study(study: Path, repeats: int = 20, seed: int = 1) -> list[Path]:
    """Studies the patches of every finished run, and writes what came out to `comparison/`.

    Args:
        study: The study's folder.
        repeats: Subsets of each size, and orders to count votes in, at least 2.
        seed: Of the subsets and orders.

    Returns:
        The files: the tables, the page and the figure.

    Raises:
        StudyError: If no finished run kept patches.
        OptionError: If there are fewer than 2 repeats.
    """
    if repeats < 2:
        raise OptionError(f"repeats is {repeats}: a spread needs at least 2 subsets of each size.")
    runs = patch_runs(study)
    table = study_patches(runs, open_store(study), repeats, seed)
    folder = study / "comparison"
    with whole_file(folder / "patches.csv") as beside:
        table.to_csv(beside, index=False, float_format="%.6f")
    stopping = study_stopping(runs, repeats, seed)
    with whole_file(folder / "stopping.csv") as beside:
        stopping.to_csv(beside, index=False, float_format="%.6f")
    with whole_file(folder / "patches.md") as beside:
        page = f"{_page(table, runs, repeats)}\n{stopping_page(stopping)}"
        beside.write_text(page, encoding="utf-8")
    coverages = (covered_by(TIMES[0]), covered_by(TIMES[1]))
    figure = patches_by_k(table, f"F1 {MACRO}", SPREAD, coverages, REPORTED_ON)
    drawn = save_figure(figure, folder / "figures", "patches_k")
    return [folder / "patches.csv", folder / "stopping.csv", folder / "patches.md", drawn]


def _page(table: pd.DataFrame, runs: Sequence[PatchRun], repeats: int) -> str:
    """Writes how far fewer patches do, with K chosen on validation images."""
    lines = [
        "# How many patches it takes",
        "",
        f"Subsets of K patches of each run, drawn with replacement {repeats} times, stand for runs "
        "with K patches. ± is the deviation over subsets; spread is that of a confidence. K is "
        "chosen on the validation images, the smallest whose macro F1 is within one deviation of "
        "the best, and everything in the table is measured on the test images.",
        "",
    ]
    apart = sorted({run.patches.strategy for run in runs} - {"uniform"})
    if apart:
        lines += [
            f"> Centres were drawn by {', '.join(name or 'an unknown way' for name in apart)}. "
            "Subsets of such centres lie more at random than a run with K patches would, so its "
            "spread is overstated here: run with another `data.predict_patches` to know.",
            "",
        ]
    head = ["learner", "window", "vote", "fold", "K", "macro F1", "spread", "coverage"]
    head += ["all K", "macro F1", "spread"]
    lines += [_line(head), _line(["---"] * 3 + ["---:"] * (len(head) - 3))]
    lookup = table[table["split"] == REPORTED_ON].set_index(
        ["learner", "fold", "window_px", "rule", "measure", "k"]
    )["value"]
    for row in chosen_k(table).itertuples():
        of_run = row.learner, row.fold, row.window_px
        seen = lookup.get((*of_run, "", covered_by(1), row.k), np.nan)
        cells = [row.learner, f"{row.window_px} px", row.rule, str(row.fold), str(row.k)]
        cells += [f"{row.f1:.3f} ± {row.deviation:.3f}"]
        cells += [f"{lookup[(*of_run, row.rule, SPREAD, row.k)]:.4f}"]
        cells += ["–" if np.isnan(seen) else f"{seen:.1%}"]
        cells += [str(row.most), f"{row.f1_most:.3f} ± {row.deviation_most:.3f}"]
        cells += [f"{lookup[(*of_run, row.rule, SPREAD, row.most)]:.4f}"]
        lines.append(_line(cells))
    return "\n".join([*lines, ""])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
