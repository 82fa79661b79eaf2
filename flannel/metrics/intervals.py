"""The comparison's rows with their uncertainty: deviation over folds, interval over patients.

Mean and sample deviation over folds are the paper's (004, Table 3). The 95 % interval is that of
`flannel.uncertainty`: over groups of patients, which are drawn once for everything that is
compared, so that two rows differ in nothing but their predictions.

Each fold is measured within the resample, and the folds' mean is what is resampled, because the
folds of the usual protocols share one test set; rows of several folds are never pooled. The
interval shows how much other patients of the same kind would change the number, and not how much
another training would: that is the deviation over folds.

Where each fold has a test set of its own (protocols `nested` and `leave-source-out`), a group that
several folds test is drawn as often in all of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Float

from flannel.metrics.classification import (
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
from flannel.study.predictions import probability_columns
from flannel.uncertainty import (
    Difference,
    Extent,
    GroupDraws,
    Interval,
    area_interval,
    few_groups,
    paired_difference,
    percentiles,
    resampled_difference,
    share_interval,
)

UNKNOWN = "unknown"
NO_RANKED = "no interval: see DeLong's test over groups"
"""Intervals of differences of areas are too short in simulation, where the areas are near 1."""

Key = tuple[str, str]


@dataclass(frozen=True)
class Measured:
    """One row of the comparison, a learner in an arm: as measured, and in every resample.

    Attributes:
        diagnoses: The label set.
        draws: The resamples.
        images: The test radiographs of each fold.
        extents: On how many radiographs and groups of patients a number is measured, over all
            folds: all of them ("overall"), those with a diagnosis ("recall"), those without it
            ("specificity"), those predicted to have it ("precision"), or either ("f1").
        scores: Of each fold.
        left_out: Which numbers a fold's radiographs leave undefined for every learner, such as the
            F1 of a diagnosis that none has: the fold has no part in these means.
        resampled: By class (or "macro", "overall") and measure, (folds, resamples).
    """

    diagnoses: tuple[str, ...]
    draws: GroupDraws
    images: Mapping[int, frozenset[str]]
    extents: Mapping[Key, Extent]
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
        """Returns the folds that have a part in a number."""
        return [fold for fold in self.folds if (name, measure) not in self.left_out[fold]]

    def values(
        self, name: str, measure: str, folds: Sequence[int] | None = None
    ) -> Float[np.ndarray, " folds"]:
        """Returns a measure per fold, by default only for folds where it is defined."""
        chosen = self.folds_of(name, measure) if folds is None else folds
        return np.array([self.scores[fold].value(name, measure) for fold in chosen])

    def drawn(
        self, name: str, measure: str, folds: Sequence[int] | None = None
    ) -> Float[np.ndarray, " resamples"]:
        """Returns the folds' mean of a number in every resample, NaN where one is undefined."""
        chosen = self.folds_of(name, measure) if folds is None else folds
        rows = [self.folds.index(fold) for fold in chosen]
        return self.resampled[name, measure][rows].mean(axis=0)

    def interval(self, name: str, measure: str) -> Interval:
        """Returns the mean over folds with its 95 % interval over groups.

        Args:
            name: A diagnosis, "macro" or "overall".
            measure: One of `CLASS_MEASURES`, or for "overall" of `OVERALL_MEASURES`.
        """
        note = self._note(name, measure)
        values = self.values(name, measure)
        if not len(values) or np.isnan(values).any():
            return Interval(np.nan, np.nan, np.nan, note)
        value = float(values.mean())
        few = self._few(name, measure)
        if few:
            interval = Interval(value, np.nan, np.nan, few)
        else:
            interval = self._interval(name, measure, value, self.drawn(name, measure))
        return replace(interval, note="; ".join(filter(None, (note, interval.note))))

    def difference(
        self, other: "Measured", name: str, measure: str, folds: Sequence[int]
    ) -> Difference:
        """Returns another row's number minus this one's, in the same resamples.

        Args:
            other: Measured on the same radiographs with the same draws.
            name: A diagnosis, "macro" or "overall".
            measure: As in `interval`.
            folds: Those that both have.
        """
        both = (self, other)
        first, second = (float(row.values(name, measure, folds).mean()) for row in both)
        few = self._few(name, measure)
        if few:
            return Difference(Interval(second - first, np.nan, np.nan, few), np.nan)
        drawn = other.drawn(name, measure, folds) - self.drawn(name, measure, folds)
        if measure in RANKED:
            return Difference(Interval(second - first, np.nan, np.nan, NO_RANKED), np.nan)
        key = (name, measure)
        if key not in self.extents:
            return resampled_difference(second - first, drawn, self._rarest())
        groups = min(row.extents[key].effective for row in both)
        # F1 = 2 TP / (2 TP + FP + FN) changes by less than a share if groups turn wrong.
        change = 1 - (first + second) / 4 if measure == "f1" else 1.0
        return paired_difference(second - first, drawn, groups, change)

    def _interval(self, name: str, measure: str, value: float, drawn: np.ndarray) -> Interval:
        """Chooses the interval that covers the truth in simulation (docs/statistics.md)."""
        if name in self.diagnoses and measure == "roc_auc":
            ill, well = self.extents[name, "recall"], self.extents[name, "specificity"]
            return area_interval(value, drawn, ill, well)
        if name == MACRO and measure in RANKED:
            # As if all diagnoses erred together; percentiles are too short where areas are near 1.
            each = [
                self._interval(other, measure, float(self.values(other, measure).mean()), apart)
                for other in self.diagnoses
                if self.extents[other, "recall"].groups
                for apart in [self.drawn(other, measure)]
            ]
            low, high = (float(np.mean([getattr(i, end) for i in each])) for end in ("low", "high"))
            return Interval(value, low, high)
        if name in self.diagnoses and measure == "average_precision":
            ill = self.extents[name, "recall"]
            return share_interval(value, drawn, replace(ill, images=ill.effective))
        if (name, measure) not in self.extents:
            return percentiles(value, drawn, self._rarest())
        extent = self.extents[name, measure]
        if measure != "f1":
            return share_interval(value, drawn, extent)
        # F1 = 2 J / (1 + J), with the Jaccard index J, a share of what is true or predicted.
        share = share_interval(value / (2 - value), drawn / (2 - drawn), extent)
        low, high = (2 * end / (1 + end) for end in (share.low, share.high))
        return Interval(value, low, high, share.note)

    def _few(self, name: str, measure: str) -> str:
        """Returns why there are too few groups of patients for an interval; nothing otherwise."""
        if measure == "accuracy":
            return few_groups(self.extents[name, measure].groups)
        if measure == "specificity" and name in self.diagnoses:
            return few_groups(self.extents[name, measure].groups, f"without {name}")
        if name in self.diagnoses:
            return few_groups(self.extents[name, "recall"].groups, f"with {name}")
        for diagnosis in self.diagnoses:
            groups = self.extents[diagnosis, "recall"].groups
            few = few_groups(groups, f"with {diagnosis}")
            if groups and few:
                return few
        return ""

    def _rarest(self) -> float:
        """Returns as how many groups the rarest diagnosis counts."""
        groups = (self.extents[name, "recall"].effective for name in self.diagnoses)
        return min(count for count in groups if count)

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
        """Returns which folds have no part in a number, and which leave it undefined."""
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
    scores_of: dict[int, Scores] = {}
    left_out: dict[int, Mapping[Key, str]] = {}
    parts: list[dict[Key, np.ndarray]] = []
    for fold, table in sorted(tables.items()):
        truth = list(table["diagnosis"])
        probabilities = table[probability_columns(diagnoses)].to_numpy(float)
        true = checked_truth(truth, probabilities, diagnoses)
        scores_of[fold] = scores(truth, probabilities, diagnoses)
        # What is undefined even for predictions without an error lies in the radiographs.
        left_out[fold] = scores(truth, np.eye(len(diagnoses))[true], diagnoses).undefined
        owner = draws.places(table["group"].to_numpy())
        parts.append(_resampled(true, probabilities, owner, draws, diagnoses, ranks))
    return Measured(
        diagnoses=tuple(diagnoses),
        draws=draws,
        images={fold: frozenset(table["image_id"]) for fold, table in tables.items()},
        extents=_extents(tables, draws, diagnoses),
        scores=scores_of,
        left_out=left_out,
        resampled={key: np.stack([part[key] for part in parts]) for key in parts[0]},
    )


def by_part(
    tables: Mapping[int, pd.DataFrame], manifest: pd.DataFrame, column: str
) -> dict[str, dict[int, pd.DataFrame]]:
    """Parts test rows by what the manifest says of them, such as `source` or `view`.

    Source and class go together in every public cohort, so that a number over all sources can be
    one of distinguishing the sources.

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
    """Returns folds as text, such as `0, 1`."""
    return ", ".join(str(fold) for fold in folds)


def _extents(
    tables: Mapping[int, pd.DataFrame], draws: GroupDraws, diagnoses: Sequence[str]
) -> dict[Key, Extent]:
    """Counts what every share is a share of, each radiograph once however many folds test it."""
    rows = pd.concat(tables.values())
    places = draws.places(rows["group"].to_numpy())
    weight = rows["image_id"].nunique() / len(rows)

    def extent(kind: np.ndarray) -> Extent:
        return Extent.of(weight * np.bincount(places[kind], minlength=len(draws.groups)))

    predicted = rows[probability_columns(diagnoses)].to_numpy(float).argmax(axis=1)
    extents = {(OVERALL, "accuracy"): extent(np.ones(len(rows), bool))}
    for place, name in enumerate(diagnoses):
        true, called = (rows["diagnosis"] == name).to_numpy(), predicted == place
        kinds = {"recall": true, "specificity": ~true, "precision": called, "f1": true | called}
        extents |= {(name, measure): extent(kind) for measure, kind in kinds.items()}
    return extents


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
    confusion = draws.sums(cells.reshape(groups, -1))
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
        "brier": ratio(draws.sums(far[:, None])[:, 0], images),
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
    """Linearises ROC-AUC and average precision: in a resample, the changes of its groups add up.

    Sorting the radiographs again in every resample would take hours for 100,000.
    """
    resampled = {}
    rankings = [ranking(probabilities[:, i], true == i) for i in range(len(occurring))]
    for measure, of_measure in zip(RANKED, zip(*rankings, strict=True), strict=True):
        changes = np.stack(
            [np.bincount(owner, ranked.changes, len(draws.groups)) for ranked in of_measure],
            axis=1,
        )  # (groups, classes)
        values = np.array([ranked.value for ranked in of_measure]) + draws.sums(changes)
        resampled[measure] = with_macro(values, occurring)
    return resampled
