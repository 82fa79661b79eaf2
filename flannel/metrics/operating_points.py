"""Operating points: how many are found at a false alarm rate that was settled beforehand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from flannel.data.diagnosis import index_of
from flannel.metrics.classification import ABSENT, MeasureError, ratio
from flannel.metrics.intervals import listed
from flannel.study.predictions import probability_columns
from flannel.uncertainty import Extent, GroupDraws, Interval, few_groups, share_interval


@dataclass(frozen=True)
class FoldPoint:
    """One fold at its operating point.

    Attributes:
        threshold: A radiograph is suspected if its probability is above it; from validation rows.
        sensitivity: Share of the test radiographs with the diagnosis that are suspected.
        specificity: Share of the other test radiographs that are not. It need not be the one that
            was wanted: that was reached on validation rows.
    """

    threshold: float
    sensitivity: float
    specificity: float


@dataclass(frozen=True)
class OperatingPoint:
    """A row of the comparison at its operating points.

    Attributes:
        diagnosis: What is looked for.
        wanted: The specificity that the validation rows were to reach.
        folds: By fold.
        sensitivity: Mean over folds, with its 95 % interval over groups of test radiographs.
        specificity: The same.
    """

    diagnosis: str
    wanted: float
    folds: Mapping[int, FoldPoint]
    sensitivity: Interval
    specificity: Interval


def threshold_at(
    score: Float[np.ndarray, " images"], positive: Bool[np.ndarray, " images"], specificity: float
) -> float:
    """Returns the lowest threshold at which enough radiographs without the diagnosis stay below.

    Equal scores, such as equal shares of votes, lie on one side together, so that the specificity
    on these rows is at least the wanted one.

    Args:
        score: Of validation rows; a radiograph is suspected if it is above the threshold.
        positive: Which of them have the diagnosis.
        specificity: The wanted one, in (0, 1].

    Raises:
        MeasureError: If the specificity is none, or every radiograph has the diagnosis.
    """
    if not 0 < specificity <= 1:
        raise MeasureError(f"specificity is {specificity}; expected a number in (0, 1].")
    others = np.sort(score[~positive])
    if not len(others):
        raise MeasureError(
            "Every validation radiograph has the diagnosis, so nothing sets a limit."
        )
    # Rounded, because 0.56 * 25 is 14.000000000000002.
    below = max(1, int(np.ceil(round(specificity * len(others), 9))))
    return float(others[below - 1])


def operating_point(
    tables: Mapping[int, pd.DataFrame],
    validations: Mapping[int, pd.DataFrame],
    draws: GroupDraws,
    diagnosis: str,
    diagnoses: Sequence[str],
    specificity: float = 0.95,
) -> OperatingPoint:
    """Settles each fold's threshold on its validation rows, and measures its test rows there.

    The interval is that of other test patients at the same thresholds: validation rows are not
    drawn anew.

    Args:
        tables: Test rows by fold.
        validations: Validation rows of the same runs, by fold.
        draws: The resamples of all that is compared.
        diagnosis: What is looked for.
        diagnoses: The label set.
        specificity: Wanted on validation rows, in (0, 1].

    Raises:
        MeasureError: If a fold lacks its validation rows, or as `threshold_at`.
    """
    index_of(diagnosis, diagnoses)
    lacking = sorted(tables.keys() - validations.keys())
    if lacking or not tables:
        raise MeasureError(
            f"There are no validation rows of fold {listed(lacking) or 'any'}, on which a "
            "threshold could be settled; predict again."
        )
    (column,) = probability_columns([diagnosis])
    points: dict[int, FoldPoint] = {}
    drawn: dict[str, list[np.ndarray]] = {"sensitivity": [], "specificity": []}
    used = []
    notes = []
    for fold, table in sorted(tables.items()):
        rows = validations[fold]
        has = (rows["diagnosis"] == diagnosis).to_numpy()
        threshold = threshold_at(rows[column].to_numpy(float), has, specificity)
        positive = (table["diagnosis"] == diagnosis).to_numpy()
        if not positive.any() or positive.all():
            why = ABSENT.format(diagnosis) if not positive.any() else f"every one is {diagnosis}"
            notes.append(f"fold {fold}: left out, {why}")
            continue
        right = (table[column].to_numpy(float) > threshold) == positive
        owner = draws.places(table["group"].to_numpy())
        shares = []
        for measure, kind in (("sensitivity", positive), ("specificity", ~positive)):
            shares.append(float(right[kind].mean()))
            by_group = [
                np.bincount(owner[rows_of], minlength=len(draws.groups)).astype(np.float32)
                for rows_of in (kind & right, kind)
            ]
            drawn[measure].append(ratio(*draws.sums(np.stack(by_group, axis=1)).T))
        points[fold] = FoldPoint(threshold, *shares)
        used.append(table)
    intervals = {}
    for measure, with_it in (("sensitivity", True), ("specificity", False)):
        values = [getattr(point, measure) for point in points.values()]
        if not values:
            intervals[measure] = Interval(np.nan, np.nan, np.nan, "; ".join(notes))
            continue
        value = float(np.mean(values))
        extent = _extent(pd.concat(used), draws, diagnosis, with_it)
        few = few_groups(extent.groups, f"{'with' if with_it else 'without'} {diagnosis}")
        interval = (
            Interval(value, np.nan, np.nan, few)
            if few
            else share_interval(value, np.mean(drawn[measure], axis=0), extent)
        )
        note = "; ".join(filter(None, (*notes, interval.note)))
        intervals[measure] = replace(interval, note=note)
    return OperatingPoint(
        diagnosis,
        specificity,
        points,
        sensitivity=intervals["sensitivity"],
        specificity=intervals["specificity"],
    )


def _extent(rows: pd.DataFrame, draws: GroupDraws, diagnosis: str, with_it: bool) -> Extent:
    """Counts the radiographs with or without the diagnosis, each once."""
    once = rows[(rows["diagnosis"] == diagnosis) == with_it].drop_duplicates("image_id")
    places = draws.places(once["group"].to_numpy())
    return Extent.of(np.bincount(places, minlength=len(draws.groups)))
