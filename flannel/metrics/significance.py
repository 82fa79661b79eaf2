"""Two rows on the same radiographs: their difference, the tests of McNemar and DeLong, and Holm's.

McNemar's and DeLong's tests take the radiographs as independent. Several of one patient are not, so
that their p values are somewhat too small; the difference in the same resamples of groups has no
such fault and comes first. They are here because readers ask for them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from flannel.metrics.classification import OVERALL, MeasureError
from flannel.metrics.intervals import Measured, listed
from flannel.study.predictions import probability_columns
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


@dataclass(frozen=True)
class McNemar:
    """The exact test on the radiographs that only one of two learners got right.

    Attributes:
        first_only: Radiographs that the first alone got right.
        second_only: Radiographs that the second alone got right.
        p: Two-sided, from the binomial distribution; 1 where both are 0.
    """

    first_only: int
    second_only: int
    p: float


def mcnemar(first: Bool[np.ndarray, " images"], second: Bool[np.ndarray, " images"]) -> McNemar:
    """Tests whether two learners are right equally often (McNemar, 1947; exact form).

    Args:
        first: Whether the first is right, by radiograph.
        second: The same of the second.
    """
    # scipy.stats takes long to import, and `--help` needs the command table only.
    from scipy.stats import binom

    first_only, second_only = int((first & ~second).sum()), int((second & ~first).sum())
    rarer, apart = min(first_only, second_only), first_only + second_only
    return McNemar(first_only, second_only, min(1.0, 2 * float(binom.cdf(rarer, apart, 0.5))))


@dataclass(frozen=True)
class DeLong:
    """Two areas under the ROC curve on the same radiographs.

    Attributes:
        first: Area of the first score.
        second: Area of the second.
        error: Standard error of their difference; 0 where every radiograph of a kind changes its
            place among those of the other alike.
        p: Two-sided, from the normal distribution; 1 where error and difference are 0. NaN where
            there are fewer than two radiographs of either kind, or where the error is 0 and the
            difference is not: such radiographs do not tell how uncertain it is.
    """

    first: float
    second: float
    error: float
    p: float


def delong(
    first: Float[np.ndarray, " images"],
    second: Float[np.ndarray, " images"],
    positive: Bool[np.ndarray, " images"],
) -> DeLong:
    """Tests whether two scores rank equally well (DeLong, DeLong and Clarke-Pearson, 1988).

    Each radiograph's placement among those of the other kind comes from its ranks, as Sun and Xu
    (2014) have shown, so that no pair is looked at.

    Args:
        first: A score, any scale; higher is more suspicious.
        second: Another score of the same radiographs.
        positive: Which radiographs have the diagnosis.
    """
    from scipy.stats import norm, rankdata

    m, n = int(positive.sum()), int((~positive).sum())
    if min(m, n) < 2:
        return DeLong(np.nan, np.nan, np.nan, np.nan)
    of_positives, of_negatives = [], []
    for score in (first, second):
        ranks = rankdata(score)
        within = rankdata(score[positive]), rankdata(score[~positive])
        of_positives.append((ranks[positive] - within[0]) / n)
        of_negatives.append(1 - (ranks[~positive] - within[1]) / m)
    areas = [float(placed.mean()) for placed in of_positives]
    # Places are multiples of 1 / 2n and 1 / 2m: what differs by less is equal but for rounding.
    if all(np.ptp(two[1] - two[0]) < 0.1 / (m + n) for two in (of_positives, of_negatives)):
        alike = abs(areas[1] - areas[0]) < 0.1 / (m + n) ** 2
        return DeLong(areas[0], areas[1], 0.0, 1.0 if alike else np.nan)
    spread = np.cov(of_positives) / m + np.cov(of_negatives) / n
    error = float(np.sqrt(max(0.0, spread[0, 0] + spread[1, 1] - 2 * spread[0, 1])))
    apart = areas[1] - areas[0]
    return DeLong(areas[0], areas[1], error, float(2 * norm.sf(abs(apart) / error)))


def fold_averaged(tables: Mapping[int, pd.DataFrame], diagnoses: Sequence[str]) -> pd.DataFrame:
    """Averages each radiograph's probabilities over the folds that tested it.

    So every radiograph counts once, however many folds there are. Where each fold has a test set
    of its own, it is the fold's own prediction, and an area under the ROC curve ranks numbers of
    different networks together.

    Args:
        tables: Test rows by fold.
        diagnoses: The label set.

    Returns:
        image_id, group, diagnosis and probabilities, sorted by image_id.
    """
    rows = pd.concat(tables.values())
    means = rows.groupby("image_id")[probability_columns(diagnoses)].mean()
    identity = rows.drop_duplicates("image_id").set_index("image_id")[["group", "diagnosis"]]
    return identity.join(means).sort_index().reset_index()


def paired_tests(
    first: Mapping[int, pd.DataFrame],
    second: Mapping[int, pd.DataFrame],
    diagnoses: Sequence[str],
) -> pd.DataFrame:
    """Compares two rows by McNemar's and DeLong's tests on fold-averaged probabilities.

    Args:
        first: Test rows by fold; only the folds that both have are used.
        second: Those of the other row, for the same radiographs.
        diagnoses: The label set.

    Returns:
        test ("mcnemar" or "delong"), class, first, second, difference (second - first), p, p_holm,
        note. McNemar's `first` and `second` are shares of radiographs that are right: the
        diagnosis for "overall", one diagnosis against the rest for a class. DeLong's are areas
        under the ROC curve. Holm's correction is over the diagnoses of one test.

    Raises:
        MeasureError: If there is no common fold, or the radiographs or their diagnoses differ.
    """
    shared = sorted(first.keys() & second.keys())
    if not shared:
        raise MeasureError("The rows have no fold in common, so that they cannot be compared.")
    first_table, other = (
        fold_averaged({k: side[k] for k in shared}, diagnoses) for side in (first, second)
    )
    if not first_table[["image_id", "diagnosis"]].equals(other[["image_id", "diagnosis"]]):
        raise MeasureError(
            "The rows were tested on different radiographs, or with different diagnoses; keep the "
            "radiographs that both predicted."
        )
    columns = probability_columns(diagnoses)
    truth = first_table["diagnosis"].to_numpy(str)
    named = [
        np.array(diagnoses)[side[columns].to_numpy().argmax(axis=1)]
        for side in (first_table, other)
    ]
    right = [predicted == truth for predicted in named]
    rows = [_mcnemar_row(OVERALL, right[0], right[1])]
    for diagnosis, column in zip(diagnoses, columns, strict=True):
        has = truth == diagnosis
        right = [(predicted == diagnosis) == has for predicted in named]
        rows.append(_mcnemar_row(diagnosis, right[0], right[1]))
        tested = delong(first_table[column].to_numpy(), other[column].to_numpy(), has)
        rows.append(
            {
                "test": "delong",
                "class": diagnosis,
                "first": tested.first,
                "second": tested.second,
                "p": tested.p,
                "note": _why_untested(tested, has, diagnosis),
            }
        )
    table = pd.DataFrame(rows)
    table["difference"] = table["second"] - table["first"]
    table["p_holm"] = np.nan
    for _, part in table[table["class"] != OVERALL].groupby("test"):
        table.loc[part.index, "p_holm"] = holm(part["p"].to_numpy())
    table = table.sort_values("test", ascending=False, kind="stable", ignore_index=True)
    return table[["test", "class", "first", "second", "difference", "p", "p_holm", "note"]]


def _mcnemar_row(name: str, first: np.ndarray, second: np.ndarray) -> dict[str, object]:
    tested = mcnemar(first, second)
    return {
        "test": "mcnemar",
        "class": name,
        "first": float(first.mean()),
        "second": float(second.mean()),
        "p": tested.p,
        "note": f"right alone: first {tested.first_only}, second {tested.second_only}",
    }


def _why_untested(tested: DeLong, has: np.ndarray, diagnosis: str) -> str:
    """Returns why DeLong's test has no p value; empty where it has one."""
    if not np.isnan(tested.p):
        return ""
    counts = f"{has.sum()} of {len(has)} radiographs are {diagnosis}"
    return counts if np.isnan(tested.error) else f"{counts}; all change alike, so no error is known"


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else np.nan
