"""The comparison's rows with the doubt that belongs to them: folds, and intervals over patients.

Mean and sample deviation over folds are the paper's (004, Table 3). The 95 % interval comes from
whole groups of patients drawn anew (bootstrap): radiographs of one patient are not independent, so
that a resample holds all radiographs of a group or none (Efron and Tibshirani, 1993, chapters 6 and
13). The groups are drawn once for everything that is compared, so that two rows differ in nothing
but their predictions. A number without a single error has an interval without width: a limit of the
method, no certainty.

Each fold is measured within the resample, and the folds' mean is what is resampled, because the
folds of the usual protocols share one test set; rows of several folds are never pooled. The
interval tells how much other patients of the same kind would change the number, and not how much
another training would: that is the deviation over folds.

Where each fold has a test set of its own (protocols `nested` and `leave-source-out`), a group that
several folds test is drawn as often in all of them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Float32, Int

from flannel.errors import FlannelError
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

RESAMPLES = 2000
LEVEL = 0.95
UNDEFINED_SHARE = 0.05
"""With more resamples than this in which a number is undefined, it has no interval."""

FEW_GROUPS = 10
"""With fewer groups that have a diagnosis, an interval of its numbers is a rough guess: four groups
can be drawn in 35 ways, ten in 92,378."""


@dataclass(frozen=True)
class GroupDraws:
    """How often every group of patients is drawn in every resample.

    Attributes:
        groups: The groups, sorted.
        counts: Draws; each row sums to the number of groups.
    """

    groups: tuple[str, ...]
    counts: Float32[np.ndarray, "resamples groups"]


def draw_groups(groups: Iterable[str], resamples: int = RESAMPLES, seed: int = 1) -> GroupDraws:
    """Draws as many groups as there are, with replacement, again and again.

    Args:
        groups: The groups of all test radiographs that are to be compared; repeats do not count.
        resamples: How often.
        seed: The same seed and groups give the same draws.

    Raises:
        FlannelError: If there is no group.
    """
    names = tuple(sorted(set(groups)))
    if not names:
        raise FlannelError("groups is empty; expected the groups of at least one test radiograph.")
    shares = np.full(len(names), 1 / len(names))
    drawn = np.random.default_rng(seed).multinomial(len(names), shares, size=resamples)
    return GroupDraws(names, drawn.astype(np.float32))


@dataclass(frozen=True)
class Interval:
    """A number with its 95 % interval; all NaN where `note` says that it is undefined."""

    value: float
    low: float
    high: float
    note: str = ""


def few_groups(diagnosis: str, groups: int) -> str:
    """Warns of a diagnosis that too few groups have; says nothing where they are enough."""
    if groups >= FEW_GROUPS:
        return ""
    return f"a rough interval: {groups} group{'s' * (groups != 1)} of patients with {diagnosis}"


def owners(groups: pd.Series, draws: GroupDraws) -> Int[np.ndarray, " images"]:
    """Returns each image's place among the drawn groups.

    Raises:
        ValueError: If an image's group is not drawn.
    """
    places = pd.Index(draws.groups).get_indexer(groups)
    if (places < 0).any():
        raise ValueError(
            f"The group {groups.iloc[int(np.argmin(places))]!r} is not among the "
            f"{len(draws.groups)} drawn ones; draw the groups of all tables."
        )
    return places


def percentiles(drawn: Float[np.ndarray, " resamples"]) -> tuple[float, float, str]:
    """Returns the ends of the 95 % interval, or NaN and why there is none."""
    there = np.isfinite(drawn)
    lost = int((~there).sum())
    if lost > UNDEFINED_SHARE * len(drawn):
        return np.nan, np.nan, f"no interval: undefined in {lost} of {len(drawn)} resamples"
    low, high = np.quantile(drawn[there], ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return float(low), float(high), ""


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
        """Returns the folds that have a part in a number."""
        return [fold for fold in self.folds if (name, measure) not in self.left_out[fold]]

    def values(
        self, name: str, measure: str, folds: Sequence[int] | None = None
    ) -> Float[np.ndarray, " folds"]:
        """Returns a number fold by fold; by default of the folds that have a part in it."""
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
        owner = owners(table["group"], draws)
        parts.append(_resampled(true, probabilities, owner, draws, diagnoses, ranks))
    return Measured(
        diagnoses=tuple(diagnoses),
        draws=draws,
        images={fold: frozenset(table["image_id"]) for fold, table in tables.items()},
        groups=_groups(tables, diagnoses),
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
    ranked = np.concatenate(blocks, axis=1)
    return {measure: with_macro(ranked[i], occurring) for i, measure in enumerate(RANKED)}
