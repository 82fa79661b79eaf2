"""The paper's tables: F1 per diagnosis of every learner and ensemble, in each arm."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from flannel.comparison import Comparison
from flannel.data.diagnosis import FLANNEL
from flannel.metrics import MACRO
from flannel.published import published_scores

PUBLISHED = "paper 004, other data"


@dataclass(frozen=True)
class F1Row:
    """A row of the F1 table: one learner in one arm.

    Attributes:
        arm: The study arm.
        learner: The base learner, or the ensemble.
        means: Mean F1 over folds by diagnosis and "macro"; NaN where it is undefined.
        deviations: Sample deviation over folds, likewise; NaN where there is only one fold.
        folds: The folds that were averaged, such as "0, 1"; or the source of published numbers.
        digits: Decimal places of means and of deviations.
    """

    arm: str
    learner: str
    means: dict[str, float]
    deviations: dict[str, float]
    folds: str
    digits: tuple[int, int] = (3, 3)

    @property
    def cells(self) -> list[str]:
        """The scores as text: `0.924 ± 0.010`, without a deviation where there is one fold."""
        return [self._cell(mean, self.deviations[name]) for name, mean in self.means.items()]

    def _cell(self, mean: float, deviation: float) -> str:
        of_mean, of_deviation = self.digits
        if np.isnan(mean):
            return "–"
        spread = "" if np.isnan(deviation) else f" ± {deviation:.{of_deviation}f}"
        return f"{mean:.{of_mean}f}{spread}"


def scores_table(comparison: Comparison) -> pd.DataFrame:
    """Lists precision, recall and F1 by arm, learner, fold and class, "macro" included."""
    return pd.DataFrame(
        [
            {
                "arm": result.run.arm,
                "learner": result.run.learner,
                "fold": result.run.fold,
                "class": name,
                "precision": one.precision,
                "recall": one.recall,
                "f1": one.f1,
                "support": one.support,
            }
            for result in comparison.results
            for name, one in result.scores.by_class.items()
        ]
    )


def f1_rows(comparison: Comparison) -> list[F1Row]:
    """Averages F1 over the folds: mean and sample deviation (ddof 1), as the paper's Table 3.

    Where the folds share one test set, the deviation tells how much training varies, not how much
    another set of radiographs would change the score.
    """
    rows = []
    for arm in comparison.arms:
        for learner in comparison.learners:
            results = comparison.of(arm, learner)
            if not results:
                continue
            values = {
                name: np.array([result.scores.by_class[name].f1 for result in results])
                for name in (*comparison.diagnoses, MACRO)
            }
            several = len(results) > 1
            rows.append(
                F1Row(
                    arm=arm,
                    learner=learner,
                    means={name: float(f1.mean()) for name, f1 in values.items()},
                    deviations={
                        name: float(f1.std(ddof=1)) if several else np.nan
                        for name, f1 in values.items()
                    },
                    folds=", ".join(str(result.run.fold) for result in results),
                )
            )
    return rows


def published_rows() -> list[F1Row]:
    """Gives the published F1 scores as rows, with their source in the place of the folds."""
    rows = []
    for (arm, learner), part in published_scores().groupby(["arm", "learner"], sort=False):
        by_class = part.set_index("class")
        rows.append(
            F1Row(
                arm=str(arm),
                learner=str(learner),
                means={str(name): float(f1) for name, f1 in by_class["f1"].items()},
                deviations={str(name): float(d) for name, d in by_class["deviation"].items()},
                folds=str(by_class["source"].iloc[0]),
                digits=(4, 2),
            )
        )
    return rows


def markdown(comparison: Comparison) -> str:
    """Writes the F1 table, the notes that belong to it, and the published table as Markdown."""
    rows = f1_rows(comparison)
    several = any("," in row.folds for row in rows)
    lines = [
        "# F1 on the test radiographs",
        "",
        _caption(comparison.test_sizes, several),
        "",
        *(f"> {note}\n" for note in comparison.notes),
        *_markdown_table(rows, comparison.diagnoses, last="folds"),
        "",
        f"## Published ({PUBLISHED})",
        "",
        "Measured on other radiographs, and the two arms on different test images: for "
        "orientation, not for a comparison with the table above. Mean ± sample deviation over "
        "five folds.",
        "",
        *_markdown_table(published_rows(), FLANNEL, last="source"),
        "",
    ]
    return "\n".join(lines)


def _caption(sizes: Sequence[int], several: bool) -> str:
    spread = "One fold, so no deviation is given."
    if several:
        spread = "Mean ± sample deviation over folds; the folds share one test set."
    if len(sizes) > 1:
        spread = "Mean ± sample deviation over folds, each with a test set of its own."
    images = ", ".join(str(size) for size in sizes)
    return f"{images} test radiographs; one diagnosis against the rest. {spread}"


def _markdown_table(rows: Sequence[F1Row], diagnoses: Sequence[str], last: str) -> list[str]:
    head = ["arm", "learner", *diagnoses, MACRO, last]
    body = [[row.arm, row.learner, *row.cells, row.folds] for row in rows]
    aligned = ["---"] * 2 + ["---:"] * (len(diagnoses) + 1) + ["---"]
    return [f"| {' | '.join(cells)} |" for cells in [head, aligned, *body]]
