"""Test radiographs on which two arms disagree."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from flannel.comparison.figures.style import PAGE_INCHES, SMALL_LETTERS, drawn_in_style
from flannel.comparison.radiograph_figures.drawing import shortened, show
from flannel.comparison.results import Comparison, Result
from flannel.data.store import Store
from flannel.study.contents import ENSEMBLE, learner_place
from flannel.study.predictions import probability_columns

SHOWN = 4
ARMS = ("global", "patched")


@dataclass(frozen=True)
class Disagreement:
    """Where two results of one fold differ.

    Attributes:
        first: One arm.
        second: The other.
        table: A row per test radiograph with two diagnoses: image_id, diagnosis (the true one),
            first, second (what each predicts), p_first, p_second (its probability), gap (of the
            true diagnosis' probability, second minus first).
    """

    first: Result
    second: Result
    table: pd.DataFrame

    def only_right(self, arm: str) -> pd.DataFrame:
        """Returns the radiographs on which only `first` or `second` is right, widest gap first."""
        right = self.table[self.table[arm] == self.table["diagnosis"]]
        widest = right["gap"].abs().sort_values(ascending=False, kind="stable").index
        return right.loc[widest]


def first_disagreement(comparison: Comparison) -> Disagreement | None:
    """Compares whole radiographs with patches, by FLANNEL or else by the first learner of both.

    Returns:
        The first fold that both arms have, None where there is none.
    """
    names = sorted(comparison.learners, key=lambda name: (name != ENSEMBLE, learner_place(name)))
    for learner in names:
        first, other = (
            {result.run.fold: result for result in comparison.of(arm, learner)} for arm in ARMS
        )
        for fold in sorted(first.keys() & other.keys()):
            return disagreement(first[fold], other[fold], comparison.diagnoses)
    return None


def disagreement(first: Result, second: Result, diagnoses: tuple[str, ...]) -> Disagreement:
    """Lists the radiographs that two results of one fold name differently.

    Args:
        first: One arm.
        second: The other, on the same radiographs.
        diagnoses: The label set.
    """
    columns = probability_columns(diagnoses)
    table = first.predictions[["image_id", "diagnosis"]].copy()
    true = table["diagnosis"].map(list(diagnoses).index).to_numpy()
    of_truth = []
    for side, result in (("first", first), ("second", second)):
        probabilities = result.predictions[columns].to_numpy(float)
        table[side] = np.array(diagnoses)[probabilities.argmax(axis=1)]
        table[f"p_{side}"] = probabilities.max(axis=1)
        of_truth.append(probabilities[np.arange(len(true)), true])
    table["gap"] = of_truth[1] - of_truth[0]
    differ = table["first"] != table["second"]
    return Disagreement(first, second, table[differ].reset_index(drop=True))


def disagreements(store: Store, disagreement: Disagreement) -> Figure | None:
    """Draws radiographs that only one of two arms names rightly, a row for each arm.

    Those with the widest gap in the probability of the true diagnosis are shown; nobody picks.

    Args:
        store: Radiographs; those that it lacks are left out.
        disagreement: Where the arms differ.

    Returns:
        None where no radiograph is predicted rightly by one arm alone.
    """
    names = {"first": disagreement.first.run.arm, "second": disagreement.second.run.arm}
    rows = {side: disagreement.only_right(side) for side in names}
    rows = {side: part[part["image_id"].isin(set(store.image_ids))] for side, part in rows.items()}
    rows = {side: part for side, part in rows.items() if len(part)}
    if not rows:
        return None
    run = disagreement.first.run
    with drawn_in_style():
        figure = Figure(
            figsize=(PAGE_INCHES, 2.75 * len(rows) + 0.4), layout=ConstrainedLayoutEngine(h_pad=0.1)
        )
        panels = figure.subplots(len(rows), SHOWN, squeeze=False)
        for line, (side, part) in zip(panels, rows.items(), strict=True):
            for axes, row in zip(line, part.to_dict("records"), strict=False):
                show(axes, store.radiograph(row["image_id"]))
                axes.set_title(f"true:\n{row['diagnosis']}", fontsize=9)
                predictions = [
                    f"{names[side]}: {row[side]} {row[f'p_{side}']:.2f}" for side in names
                ]
                words = [*predictions, shortened(row["image_id"], 28)]
                axes.set_xlabel("\n".join(words), fontsize=SMALL_LETTERS)
            shown = min(SHOWN, len(part))
            line[0].set_ylabel(f"only {names[side]} right\n({shown} of {len(part)})")
            for axes in line[shown:]:
                axes.set_axis_off()
        figure.suptitle(
            f"{run.learner} fold {run.fold}: {' and '.join(names.values())} differ on "
            f"{len(disagreement.table)} of {len(disagreement.first.predictions)} test radiographs"
        )
    return figure
