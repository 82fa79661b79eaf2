"""The comparison's rows with the doubt that belongs to them: folds, and intervals over patients.

Mean and sample deviation over folds are the paper's (004, Table 3). The 95 % interval comes from
whole groups of patients drawn anew (`flannel.resampling`): each fold is measured within the
resample, and the folds' mean is what is resampled, because the folds of the usual protocols share
one test set; rows of several folds are never pooled. The interval tells how much other patients of
the same kind would change the number, and not how much another training would: that is the
deviation over folds.

Where each fold has a test set of its own (protocols `nested` and `leave-source-out`), a group that
several folds test is drawn as often in all of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from flannel.metrics import (
    CLASS_MEASURES,
    COUNTED,
    MACRO,
    OVERALL,
    OVERALL_MEASURES,
    RANKED,
    MeasureError,
    Scores,
    checked_truth,
    counted,
    matthews,
    ranking,
    ratio,
    scores,
    squared_distances,
    with_macro,
)
from flannel.predictions import probability_columns
from flannel.resampling import GroupDraws, Interval, few_groups, owners, percentiles

AT_ONCE = 500
"""Resamples that are ranked at once: a bound on memory."""

UNKNOWN = "unknown"
Key = tuple[str, str]


@dataclass(frozen=True)
class Measured:
    """One row of the comparison, a learner in an arm: as measured, and in every resample.

    Attributes:
        diagnoses: The label set.
        draws: The resamples.
        images: The test radiographs of each fold.
        groups: How many groups of patients have each diagnosis, over all folds.
        scores: Of each fold.
        left_out: Which numbers a fold's radiographs leave undefined for every learner, such as the
            F1 of a diagnosis that none has: the fold has no part in these means.
        resampled: By class (or "macro", "overall") and measure, (folds, resamples).
    """

    diagnoses: tuple[str, ...]
    draws: GroupDraws
    images: Mapping[int, frozenset[str]]
    groups: Mapping[str, int]
    scores: Mapping[int, Scores]
    left_out: Mapping[int, Mapping[Key, str]]
    resampled: Mapping[Key, Float[np.ndarray, "folds resamples"]]

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds, in order."""
        return tuple(self.scores)

    @property
    def keys(self) -> list[Key]:
        """The numbers that were resampled, by class (or "macro", "overall") and measure."""
        return list(self.resampled)

    def folds_of(self, name: str, measure: str) -> list[int]:
        """Gives the folds that have a part in a number."""
        return [fold for fold in self.folds if (name, measure) not in self.left_out[fold]]

    def values(
        self, name: str, measure: str, folds: Sequence[int] | None = None
    ) -> Float[np.ndarray, " folds"]:
        """Gives a number fold by fold; by default of the folds that have a part in it."""
        chosen = self.folds_of(name, measure) if folds is None else folds
        return np.array([self.scores[fold].value(name, measure) for fold in chosen])

    def drawn(
        self, name: str, measure: str, folds: Sequence[int] | None = None
    ) -> Float[np.ndarray, " resamples"]:
        """Gives the folds' mean of a number in every resample, NaN where one is undefined."""
        chosen = self.folds_of(name, measure) if folds is None else folds
        rows = [self.folds.index(fold) for fold in chosen]
        return self.resampled[name, measure][rows].mean(axis=0)

    def interval(self, name: str, measure: str) -> Interval:
        """Gives the mean over folds with its 95 % interval over groups.

        Args:
            name: A diagnosis, "macro" or "overall".
            measure: One of `CLASS_MEASURES`, or for "overall" of `OVERALL_MEASURES`.
        """
        note = self._note(name, measure)
        values = self.values(name, measure)
        if not len(values) or np.isnan(values).any():
            return Interval(np.nan, np.nan, np.nan, note)
        low, high, lost = percentiles(self.drawn(name, measure))
        rough = few_groups(name, self.groups[name]) if name in self.groups else ""
        notes = (note, lost or rough)
        return Interval(float(values.mean()), low, high, "; ".join(filter(None, notes)))

    def table(self) -> pd.DataFrame:
        """Lists every number: class, measure, mean, deviation, low, high, folds, note.

        Mean and sample deviation (ddof 1) are over the folds, as the paper's; the deviation is NaN
        where there is one. `low` and `high` are the 95 % interval over groups.
        """
        rows = []
        for name, measure in self.keys:
            values, interval = self.values(name, measure), self.interval(name, measure)
            rows.append(
                {
                    "class": name,
                    "measure": measure,
                    "mean": interval.value,
                    "deviation": float(values.std(ddof=1)) if len(values) > 1 else np.nan,
                    "low": interval.low,
                    "high": interval.high,
                    "folds": listed(self.folds_of(name, measure)),
                    "note": interval.note,
                }
            )
        return pd.DataFrame(rows)

    def _note(self, name: str, measure: str) -> str:
        """Says which folds have no part in a number, and which leave it undefined."""
        folds_of: dict[str, list[int]] = {}
        for fold in self.folds:
            key = (name, measure)
            if key in self.left_out[fold]:
                folds_of.setdefault(f"left out, {self.left_out[fold][key]}", []).append(fold)
            elif key in self.scores[fold].undefined:
                folds_of.setdefault(self.scores[fold].undefined[key], []).append(fold)
        return "; ".join(f"fold {listed(folds)}: {reason}" for reason, folds in folds_of.items())


def measured(
    tables: Mapping[int, pd.DataFrame],
    draws: GroupDraws,
    diagnoses: Sequence[str],
    ranks: bool = True,
) -> Measured:
    """Measures one row of the comparison in every fold, and again in every resample.

    Args:
        tables: Test rows of the predictions by fold.
        draws: The resamples, the same for all that is to be compared.
        diagnoses: The label set.
        ranks: Also measure ROC-AUC and average precision, which take most of the time.

    Raises:
        MeasureError: If there is no fold, a fold cannot be measured (as `scores`), or holds a group
            that is not drawn.
    """
    if not tables:
        raise MeasureError("tables is empty; expected the test rows of at least one fold.")
    found: dict[int, Scores] = {}
    left_out: dict[int, Mapping[Key, str]] = {}
    parts: list[dict[Key, np.ndarray]] = []
    for fold, table in sorted(tables.items()):
        truth = list(table["diagnosis"])
        probabilities = table[probability_columns(diagnoses)].to_numpy(float)
        true = checked_truth(truth, probabilities, diagnoses)
        found[fold] = scores(truth, probabilities, diagnoses)
        # What is undefined even for predictions without an error lies in the radiographs.
        left_out[fold] = scores(truth, np.eye(len(diagnoses))[true], diagnoses).undefined
        owner = owners(table["group"], draws)
        parts.append(_resampled(true, probabilities, owner, draws, diagnoses, ranks))
    return Measured(
        diagnoses=tuple(diagnoses),
        draws=draws,
        images={fold: frozenset(table["image_id"]) for fold, table in tables.items()},
        groups=_groups(tables, diagnoses),
        scores=found,
        left_out=left_out,
        resampled={key: np.stack([part[key] for part in parts]) for key in parts[0]},
    )


def by_part(
    tables: Mapping[int, pd.DataFrame], manifest: pd.DataFrame, column: str
) -> dict[str, dict[int, pd.DataFrame]]:
    """Parts test rows by what the manifest says of them, such as `source` or `view`.

    Source and class go together in every public cohort, so that a number over all sources can be
    one of telling the sources apart.

    Args:
        tables: Test rows by fold.
        manifest: By image_id.
        column: A column of the manifest; where it is empty, the part is "unknown".

    Returns:
        By value, in alphabetical order, the rows of each fold that has some.

    Raises:
        MeasureError: If the manifest lacks an image.
    """
    known = manifest.set_index("image_id")[column].fillna("").replace("", UNKNOWN)
    parts: dict[str, dict[int, pd.DataFrame]] = {}
    for fold, table in tables.items():
        lost = table["image_id"][~table["image_id"].isin(known.index)]
        if len(lost):
            raise MeasureError(
                f"The manifest lacks {len(lost)} test images of fold {fold}, first "
                f"{lost.iloc[0]}: compare with the manifest that the runs were made from."
            )
        for value, rows in table.groupby(table["image_id"].map(known)):
            parts.setdefault(str(value), {})[fold] = rows.reset_index(drop=True)
    return dict(sorted(parts.items()))


def listed(folds: Sequence[int]) -> str:
    """Gives folds as text, such as `0, 1`."""
    return ", ".join(str(fold) for fold in folds)


def _groups(tables: Mapping[int, pd.DataFrame], diagnoses: Sequence[str]) -> dict[str, int]:
    rows = pd.concat(tables.values())
    counts = rows.groupby("diagnosis")["group"].nunique()
    return {name: int(counts.get(name, 0)) for name in diagnoses}


def _resampled(
    true: np.ndarray,
    probabilities: np.ndarray,
    owner: np.ndarray,
    draws: GroupDraws,
    diagnoses: Sequence[str],
    ranks: bool,
) -> dict[Key, np.ndarray]:
    """Measures one fold in every resample."""
    classes, groups = len(diagnoses), len(draws.groups)
    cells = np.zeros((groups, classes, classes), np.float32)
    np.add.at(cells, (owner, true, probabilities.argmax(axis=1)), 1)
    far = np.bincount(owner, squared_distances(true, probabilities), minlength=groups)
    # One product of matrices instead of a loop over the resamples.
    confusion = draws.counts @ cells.reshape(groups, -1)
    confusion = confusion.reshape(-1, classes, classes).astype(np.float64)
    images = confusion.sum(axis=(1, 2))
    occurring = np.isin(np.arange(classes), true)
    by_class = counted(confusion, occurring)
    if ranks:
        by_class |= _ranked(true, probabilities, owner, draws, occurring)
    overall = {
        "accuracy": ratio(np.trace(confusion, axis1=1, axis2=2), images),
        "balanced_accuracy": by_class["recall"][:, -1],
        "mcc": matthews(confusion),
        "brier": ratio(draws.counts @ far, images),
    }
    measures = CLASS_MEASURES if ranks else COUNTED
    return {
        **{
            (name, measure): by_class[measure][:, place]
            for place, name in enumerate((*diagnoses, MACRO))
            for measure in measures
        },
        **{(OVERALL, measure): overall[measure] for measure in OVERALL_MEASURES},
    }


def _ranked(
    true: np.ndarray,
    probabilities: np.ndarray,
    owner: np.ndarray,
    draws: GroupDraws,
    occurring: np.ndarray,
) -> dict[str, np.ndarray]:
    blocks = [
        np.stack(
            [
                np.stack(ranking(probabilities[:, i], true == i, weights))
                for i in range(probabilities.shape[1])
            ],
            axis=-1,
        )
        for weights in (
            draws.counts[start : start + AT_ONCE].T[owner]
            for start in range(0, len(draws.counts), AT_ONCE)
        )
    ]  # each (measures, resamples of the block, classes)
    found = np.concatenate(blocks, axis=1)
    return {measure: with_macro(found[i], occurring) for i, measure in enumerate(RANKED)}
