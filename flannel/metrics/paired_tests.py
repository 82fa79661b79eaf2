"""The tests of McNemar and DeLong for groups of patients, on probabilities averaged over folds.

The original tests take radiographs as independent. Several of one patient are not, and the tests
then find differences where there are none: in up to one of six cohorts at a level of 5 %
(docs/statistics.md). Here groups of patients are what is independent. With one radiograph in each
group the tests are the original ones, but for Student's t in place of the normal distribution.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Shaped

from flannel.metrics.classification import OVERALL, MeasureError, ranking
from flannel.metrics.significance import holm
from flannel.study.predictions import probability_columns
from flannel.uncertainty import few_groups


@dataclass(frozen=True)
class McNemar:
    """The exact test on the radiographs that only one of two learners got right.

    Attributes:
        first_only: Radiographs that the first alone got right.
        second_only: Radiographs that the second alone got right.
        p: Two-sided; 1 where no group differs.
    """

    first_only: int
    second_only: int
    p: float


def mcnemar(
    first: Bool[np.ndarray, " images"],
    second: Bool[np.ndarray, " images"],
    groups: Shaped[np.ndarray, " images"],
) -> McNemar:
    """Tests whether two learners are right equally often, group by group (exact).

    If neither learner is better, the two can be swapped in any group, and the second's surplus of
    right radiographs there changes its sign. The p value is the share of all such swaps whose sum
    of surpluses is as far from 0 as the observed one, for the statistic of Yang, Sun and Hardin
    (2010). With one radiograph in each group it is McNemar's exact test (1947).

    Args:
        first: Whether the first is right, by radiograph.
        second: The same of the second.
        groups: The group of patients of each radiograph.
    """
    # SciPy takes long to import, and `--help` needs the command table only.
    from scipy.signal import convolve
    from scipy.stats import binom

    surplus = second.astype(int) - first.astype(int)
    _, owner = np.unique(groups, return_inverse=True)
    surpluses = np.bincount(owner, surplus).astype(int)
    distribution = np.ones(1)  # of the sum of the surpluses that are positive after swaps
    for size, count in zip(*np.unique(np.abs(surpluses), return_counts=True), strict=True):
        if size:
            steps = np.zeros(count * size + 1)
            steps[::size] = binom.pmf(np.arange(count + 1), count, 0.5)
            distribution = convolve(distribution, steps)
    rarer = min(surpluses[surpluses > 0].sum(), -surpluses[surpluses < 0].sum())
    p = min(1.0, 2 * float(distribution[: rarer + 1].sum()))
    return McNemar(int((surplus < 0).sum()), int((surplus > 0).sum()), p)


@dataclass(frozen=True)
class DeLong:
    """Two areas under the ROC curve on the same radiographs.

    Attributes:
        first: Area of the first score.
        second: Area of the second.
        error: Standard error of their difference; 0 where no group changes its place.
        p: Two-sided, by Student's t. NaN where too few groups have radiographs of a kind, or the
            error is 0: such radiographs do not tell how uncertain the difference is.
    """

    first: float
    second: float
    error: float
    p: float


def delong(
    first: Float[np.ndarray, " images"],
    second: Float[np.ndarray, " images"],
    positive: Bool[np.ndarray, " images"],
    groups: Shaped[np.ndarray, " images"],
) -> DeLong:
    """Tests whether two scores rank equally well (DeLong, DeLong and Clarke-Pearson, 1988).

    The variance is Obuchowski's (1997) for groups that hold several radiographs.
    Unlike theirs, the p value is that of Student's t with one less than the rarer kind's groups,
    because the normal distribution rejects too often where these are few.

    Args:
        first: A score, any scale; higher is more suspicious.
        second: Another score of the same radiographs.
        positive: Which radiographs have the diagnosis.
        groups: The group of patients of each radiograph.
    """
    from scipy.special import stdtr

    _, owner = np.unique(groups, return_inverse=True)
    kinds = [np.unique(owner[kind]).size for kind in (positive, ~positive)]
    if min(kinds) < 2:
        return DeLong(np.nan, np.nan, np.nan, np.nan)
    areas = [ranking(score, positive)[0] for score in (first, second)]
    change = areas[1].changes - areas[0].changes
    of_kinds = [np.bincount(owner, change * kind) for kind in (positive, ~positive)]
    variance = 2 * _sample(owner.max() + 1) * float(of_kinds[0] @ of_kinds[1])
    for count, of_kind in zip(kinds, of_kinds, strict=True):
        variance += _sample(count) * float(of_kind @ of_kind)
    apart = areas[1].value - areas[0].value
    # Places are multiples of 1 / 2mn: what differs by less is equal but for rounding.
    error = float(np.sqrt(max(variance, 0.0)))
    if error < 1e-9:
        return DeLong(areas[0].value, areas[1].value, 0.0, np.nan)
    p = np.nan if few_groups(min(kinds)) else 2 * float(stdtr(min(kinds) - 1, -abs(apart) / error))
    return DeLong(areas[0].value, areas[1].value, error, p)


def _sample(groups: int) -> float:
    return groups / (groups - 1)


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
    groups = first_table["group"].to_numpy(str)
    right = [predicted == truth for predicted in named]
    rows = [_mcnemar_row(OVERALL, right[0], right[1], groups)]
    for diagnosis, column in zip(diagnoses, columns, strict=True):
        has = truth == diagnosis
        right = [(predicted == diagnosis) == has for predicted in named]
        rows.append(_mcnemar_row(diagnosis, right[0], right[1], groups))
        scores = (first_table[column].to_numpy(), other[column].to_numpy())
        tested = delong(*scores, has, groups)
        rows.append(
            {
                "test": "delong",
                "class": diagnosis,
                "first": tested.first,
                "second": tested.second,
                "p": tested.p,
                "note": _why_untested(tested, [groups[has], groups[~has]], diagnosis),
            }
        )
    table = pd.DataFrame(rows)
    table["difference"] = table["second"] - table["first"]
    table["p_holm"] = np.nan
    for _, part in table[table["class"] != OVERALL].groupby("test"):
        table.loc[part.index, "p_holm"] = holm(part["p"].to_numpy())
    table = table.sort_values("test", ascending=False, kind="stable", ignore_index=True)
    return table[["test", "class", "first", "second", "difference", "p", "p_holm", "note"]]


def _mcnemar_row(
    name: str, first: np.ndarray, second: np.ndarray, groups: np.ndarray
) -> dict[str, object]:
    tested = mcnemar(first, second, groups)
    return {
        "test": "mcnemar",
        "class": name,
        "first": float(first.mean()),
        "second": float(second.mean()),
        "p": tested.p,
        "note": f"right alone: first {tested.first_only}, second {tested.second_only}",
    }


def _why_untested(tested: DeLong, kinds: Sequence[np.ndarray], diagnosis: str) -> str:
    """Returns why DeLong's test has no p value; empty where it has one."""
    if not np.isnan(tested.p):
        return ""
    if tested.error == 0:
        return "no group changes its place, so no error is known"
    counts = [np.unique(kind).size for kind in kinds]
    return f"{counts[0]} groups of patients with {diagnosis} and {counts[1]} without: too few"
