"""Two rows in the same resamples: their difference with its interval, and Holm's correction."""

import numpy as np
import pandas as pd
from jaxtyping import Float

from flannel.metrics.classification import MeasureError
from flannel.metrics.intervals import Measured, listed
from flannel.uncertainty import Difference, Interval


def holm(p_values: Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """Corrects p values for their number (Holm, 1979).

    Args:
        p_values: In [0, 1]; NaN where there was nothing to test, which stays NaN and does not
            count.
    """
    corrected = np.full(len(p_values), np.nan)
    tested = np.flatnonzero(np.isfinite(p_values))
    order = tested[np.argsort(p_values[tested], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1)
    return corrected


def differences(first: Measured, second: Measured) -> pd.DataFrame:
    """Compares two rows on the same radiographs: second minus first, with its 95 % interval.

    Both are measured in the same resamples, and in the folds that both have. The two-sided p
    value belongs to the interval, and there is none without it.

    Returns:
        A row per number: class, measure, first, second, difference, low, high, p, p_holm (Holm's
        correction over the diagnoses of one measure; NaN for "macro" and "overall", which are one
        number each), folds, note.

    Raises:
        MeasureError: If they have no fold in common, were drawn apart, or tested on different
            radiographs.
    """
    shared = [fold for fold in first.folds if fold in second.folds]
    if first.draws is not second.draws or not shared:
        raise MeasureError(
            f"The rows share {'the folds ' + listed(shared) if shared else 'no fold'} and "
            f"{'the' if first.draws is second.draws else 'not the'} resamples; expected both: "
            "measure them with one GroupDraws."
        )
    for fold in shared:
        if first.images[fold] != second.images[fold]:
            lone = len(first.images[fold] ^ second.images[fold])
            raise MeasureError(
                f"The rows were tested on different radiographs in fold {fold} ({lone} are in "
                "one only); keep the rows that both predicted."
            )
    rows = []
    for name, measure in first.keys:
        if (name, measure) not in second.keys:
            continue
        folds = [fold for fold in first.folds_of(name, measure) if fold in shared]
        before, after = (side.values(name, measure, folds) for side in (first, second))
        apart = Difference(Interval(_mean(after - before), np.nan, np.nan), np.nan)
        if np.isnan(apart.interval.value):
            note = "undefined for one of the rows, see there"
        else:
            apart = first.difference(second, name, measure, folds)
            note = apart.interval.note
        rows.append(
            {
                "class": name,
                "measure": measure,
                "first": _mean(before),
                "second": _mean(after),
                "difference": apart.interval.value,
                "low": apart.interval.low,
                "high": apart.interval.high,
                "p": apart.p,
                "p_holm": np.nan,
                "folds": listed(folds),
                "note": note,
            }
        )
    table = pd.DataFrame(rows)
    for _, part in table[table["class"].isin(first.diagnoses)].groupby("measure"):
        table.loc[part.index, "p_holm"] = holm(part["p"].to_numpy())
    return table


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else np.nan
