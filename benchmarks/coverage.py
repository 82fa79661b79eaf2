"""Coverage of the 95 % intervals and size of the tests, in simulated cohorts (docs/statistics.md).

Groups of patients are drawn from the sizes of the original cohort. The radiographs of a group share
part of the noise in their logits (the intraclass correlation), and two learners share part of
theirs. Truth is a cohort of half a million radiographs. The intervals and tests are those of a
study: `measured`, `differences`, `paired_tests`; other intervals are computed beside them.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from measuring import machine
from scipy.special import ndtr, ndtri
from scipy.stats import binom, norm

from flannel.data.diagnosis import FLANNEL
from flannel.metrics.classification import MACRO, OVERALL, ranking, scores
from flannel.metrics.intervals import measured
from flannel.metrics.paired_tests import paired_tests
from flannel.metrics.significance import differences
from flannel.study.predictions import probability_columns
from flannel.uncertainty import draw_groups

COVID, VIRAL = FLANNEL[:2]
COVID_GROUPS = {1: 180, 2: 61, 3: 27, 4: 12, 5: 3, 7: 2}
"""Groups with COVID-19 in the original cohort, by number of radiographs."""

OTHER_GROUPS = {
    (0, 0, 0, 1): 1375, (0, 0, 0, 2): 15, (0, 0, 0, 3): 58, (0, 0, 0, 4): 3,
    (0, 0, 1, 0): 374, (0, 0, 2, 0): 52, (0, 0, 3, 0): 25, (0, 0, 4, 0): 13, (0, 0, 5, 0): 10,
    (0, 0, 6, 0): 5, (0, 0, 8, 0): 4, (0, 0, 10, 0): 1,
    (0, 1, 0, 0): 210, (0, 2, 0, 0): 23, (0, 3, 0, 0): 9, (0, 4, 0, 0): 2, (0, 9, 0, 0): 1,
    (0, 1, 1, 0): 522, (0, 1, 2, 0): 129, (0, 1, 3, 0): 69, (0, 2, 1, 0): 49, (0, 1, 5, 0): 33,
    (0, 1, 4, 0): 32, (0, 1, 6, 0): 27, (0, 1, 7, 0): 16, (0, 2, 2, 0): 15, (0, 2, 4, 0): 9,
    (0, 1, 8, 0): 9, (0, 2, 3, 0): 8, (0, 3, 1, 0): 7, (0, 5, 1, 0): 5, (0, 1, 11, 0): 8,
    (0, 2, 6, 0): 8, (0, 3, 4, 0): 5, (0, 16, 4, 0): 1, (0, 1, 30, 0): 1, (0, 4, 14, 0): 1,
}  # fmt: skip
"""Other groups by radiographs of each diagnosis; a few rare sizes are merged with their like."""

OTHERS_PER_COVID = 3159 / 285
SHARED = 0.7
"""Correlation of the two learners' noise."""

SKILLS = {"good": (5.2, 2.3, 2.3, 3.2), "middling": (4.0, 1.5, 1.5, 2.2)}
"""How much the true diagnosis raises its logit, whose noise has the deviation 1."""

CALLED_LESS = 2.5
"""By how much COVID-19's logit is lowered, so that so rare a diagnosis is not called too often."""

CORRELATIONS = (0.5, 0.9)
NUMBERS = (
    *((COVID, m) for m in ("f1", "recall", "precision", "specificity", "roc_auc")),
    (COVID, "average_precision"), (VIRAL, "f1"), (OVERALL, "accuracy"),
    *((MACRO, m) for m in ("f1", "precision", "recall", "specificity", "roc_auc")),
    (MACRO, "average_precision"), (OVERALL, "mcc"), (OVERALL, "brier"),
)  # fmt: skip
Cohort = tuple[pd.DataFrame, pd.DataFrame]


def cohort(
    draw: np.random.Generator, covid: int, others: int, skills: tuple[str, str], correlation: float
) -> Cohort:
    """Draws the test rows of two learners."""
    sizes = np.concatenate(
        [
            _drawn(draw, {(size, 0, 0, 0): n for size, n in COVID_GROUPS.items()}, covid),
            _drawn(draw, OTHER_GROUPS, others),
        ]
    )  # (groups, classes)
    group, true = (np.repeat(axis.ravel(), sizes.ravel()) for axis in np.indices(sizes.shape))
    noises = []
    for _ in range(2):
        of_group = draw.normal(size=sizes.shape)[group]
        of_image = draw.normal(size=(len(group), 4))
        noises.append(np.sqrt(correlation) * of_group + np.sqrt(1 - correlation) * of_image)
    noises[1] = SHARED * noises[0] + np.sqrt(1 - SHARED**2) * noises[1]
    tables = []
    for noise, skill in zip(noises, skills, strict=True):
        logits = noise + np.eye(4)[true] * np.array(SKILLS[skill])[true, None]
        logits[:, 0] -= CALLED_LESS
        powers = np.exp(logits)
        tables.append(
            pd.DataFrame(
                powers / powers.sum(axis=1, keepdims=True), columns=probability_columns(FLANNEL)
            ).assign(
                image_id=np.arange(len(true)).astype(str),
                group=group.astype(str),
                diagnosis=np.array(FLANNEL)[true],
            )
        )
    return tables[0], tables[1]


def _drawn(draw: np.random.Generator, kinds: dict[tuple[int, ...], int], n: int) -> np.ndarray:
    shares = np.array(list(kinds.values()), float)
    return np.array(list(kinds))[draw.choice(len(kinds), n, p=shares / shares.sum())]


def candidates(
    table: pd.DataFrame, draw: np.random.Generator, resamples: int
) -> dict[str, tuple[float, float]]:
    """Returns other 95 % intervals of COVID-19's F1."""
    true = table["diagnosis"] == COVID
    called = table[probability_columns(FLANNEL)].to_numpy().argmax(axis=1) == 0
    counts = np.stack([true & called, true, called], axis=1).astype(float)
    by_group = pd.DataFrame(counts).groupby(table["group"].to_numpy()).sum().to_numpy()
    value = _f1(by_group.sum(axis=0))
    n = len(by_group)
    drawn = _f1(draw.multinomial(n, np.full(n, 1 / n), size=resamples) @ by_group)
    # Smoothed by one more group that is right and one that is wrong.
    size = by_group[by_group[:, 1] > 0, 1].mean()
    smooth = np.concatenate([by_group, size * np.array([[1, 1, 1], [0, 1, 0]])])
    smoothed = _f1(draw.multinomial(n + 2, np.full(n + 2, 1 / (n + 2)), size=resamples) @ smooth)
    bayesian = _f1(draw.exponential(size=(resamples, n)) @ by_group)
    left = _f1(by_group.sum(axis=0) - by_group)
    change = left.mean() - left
    skew = (change**3).sum() / max(6 * (change**2).sum() ** 1.5, 1e-12)
    below = ((drawn < value).mean() + (drawn == value).mean() / 2).clip(1e-3, 1 - 1e-3)
    bias = ndtri(below) + np.array([-1.96, 1.96])
    ends = ndtr(ndtri(below) + bias / (1 - skew * bias))
    share = value / (2 - value)
    variance = max(float(np.nanvar(drawn / (2 - drawn))), 1e-12)
    trials = min(share * (1 - share) / variance, by_group[:, 1].sum()) or by_group[:, 1].sum()
    centre = (share + 1.92 / trials) / (1 + 3.84 / trials)
    half = 1.96 * np.sqrt(share * (1 - share) / trials + 0.96 / trials**2) / (1 + 3.84 / trials)
    wilson = np.clip([centre - half, centre + half], 0, 1)
    return {
        "percentiles": tuple(np.nanquantile(drawn, (0.025, 0.975))),
        "BCa": tuple(np.nanquantile(drawn, ends)),
        "smoothed bootstrap": tuple(np.nanquantile(smoothed, (0.025, 0.975))),
        "Bayesian bootstrap": tuple(np.nanquantile(bayesian, (0.025, 0.975))),
        "Wilson, effective trials": tuple(2 * wilson / (1 + wilson)),
    }


def _f1(sums: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return 2 * sums[..., 0] / (sums[..., 1] + sums[..., 2])


def original_tests(first: pd.DataFrame, second: pd.DataFrame) -> dict[str, float]:
    """Returns the p values of the tests that take radiographs as independent."""
    columns = probability_columns(FLANNEL)
    truth = first["diagnosis"].to_numpy()
    right = [
        np.array(FLANNEL)[table[columns].to_numpy().argmax(axis=1)] == truth
        for table in (first, second)
    ]
    only = (right[0] & ~right[1]).sum(), (right[1] & ~right[0]).sum()
    p_values = {"McNemar": min(1.0, 2 * binom.cdf(min(only), sum(only), 0.5))}
    for name in (COVID, VIRAL):
        has = truth == name
        areas = [ranking(table[f"p_{name}"].to_numpy(), has)[0] for table in (first, second)]
        change = areas[1].changes - areas[0].changes
        error = np.sqrt(sum(k.sum() / (k.sum() - 1) * (change[k] ** 2).sum() for k in (has, ~has)))
        apart = areas[1].value - areas[0].value
        p_values[f"DeLong, {name}"] = 2 * norm.sf(abs(apart) / max(error, 1e-12))
    return p_values


class Tally:
    """How often intervals cover the truth, how wide they are, how often there is none."""

    def __init__(self) -> None:
        self.covered: list[bool] = []
        self.widths: list[float] = []
        self.intervals = 0

    def add(self, ends: tuple[float, float], truth: float) -> None:
        """Counts one interval; NaN where there is none."""
        self.intervals += 1
        if not np.isnan(ends[0]):
            self.covered.append(ends[0] - 1e-9 <= truth <= ends[1] + 1e-9)
            self.widths.append(ends[1] - ends[0])


Setting = tuple[str, str, float]
Tallies = dict[tuple[str, str], dict[Setting, Tally]]


def simulate(
    covid: int,
    setting: Setting,
    truths: Mapping[str, Mapping[tuple[str, str], float]],
    rounds: int,
    resamples: int,
    tallies: Tallies,
    rejected: dict[str, dict[Setting, list[bool]]],
) -> None:
    """Draws cohorts of so many groups with COVID-19, and counts what covers the truth.

    Args:
        covid: Groups with COVID-19; others are in proportion to the original cohort.
        setting: Skill of both learners, and the intraclass correlation.
        truths: Of each skill.
        rounds: Cohorts.
        resamples: Of each.
        tallies: Filled: kind ("value", "difference" or "candidate") and name, by setting.
        rejected: Filled: whether each test rejects at 5 %, where both learners are equal.
    """
    skills, correlation = setting[:2], setting[2]
    draw = np.random.default_rng([covid, round(100 * correlation), *map(len, skills)])
    for _ in range(rounds):
        tables = cohort(draw, covid, round(covid * OTHERS_PER_COVID), skills, correlation)
        draws = draw_groups(tables[0]["group"], resamples, seed=int(draw.integers(2**31)))
        rows = [measured({0: table}, draws, FLANNEL) for table in tables]
        for name, measure in NUMBERS:
            interval = rows[0].interval(name, measure)
            truth = truths[skills[0]][name, measure]
            tally = tallies["value", f"{name} {measure}"][setting]
            tally.add((interval.low, interval.high), truth)
        apart = differences(*rows).set_index(["class", "measure"])
        for name, measure in NUMBERS:
            truth = truths[skills[1]][name, measure] - truths[skills[0]][name, measure]
            tally = tallies["difference", f"{name} {measure}"][setting]
            tally.add(tuple(apart.loc[(name, measure), ["low", "high"]]), truth)
        for name, ends in candidates(tables[0], draw, resamples).items():
            tallies["candidate", name][setting].add(ends, truths[skills[0]][COVID, "f1"])
        if skills[0] == skills[1]:
            tested = paired_tests({0: tables[0]}, {0: tables[1]}, FLANNEL)
            tested = tested.set_index(["test", "class"])["p"]
            p_values = original_tests(*tables)
            p_values |= {
                "McNemar over groups": tested["mcnemar", OVERALL],
                **{f"DeLong over groups, {n}": tested["delong", n] for n in (COVID, VIRAL)},
                "difference of accuracy": apart.loc[(OVERALL, "accuracy"), "p"],
                f"difference of {COVID} F1": apart.loc[(COVID, "f1"), "p"],
                "difference of macro F1": apart.loc[(MACRO, "f1"), "p"],
            }
            for name, p in p_values.items():
                rejected[name][setting].append(p < 0.05)


def truth_of(skill: str, groups: int) -> dict[tuple[str, str], float]:
    """Returns the numbers of a huge cohort; they do not depend on the correlation."""
    draw = np.random.default_rng(7)
    others = round(groups * OTHERS_PER_COVID)
    table, _ = cohort(draw, groups, others, (skill, skill), CORRELATIONS[0])
    columns = probability_columns(FLANNEL)
    found = scores(list(table["diagnosis"]), table[columns].to_numpy(), FLANNEL)
    return {key: found.value(*key) for key in NUMBERS}


def printed(title: str, lines: Mapping[str, Iterable[str]], counts: Iterable[int]) -> None:
    """Prints a Markdown table, a column per number of groups with COVID-19."""
    counts = list(counts)
    print(f"\n| {title} | {' | '.join(map(str, counts))} |")
    print(f"|---|{'---|' * len(counts)}")
    for name, cells in lines.items():
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=300, help="cohorts of each setting")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--groups", type=int, nargs="+", default=[5, 10, 15, 20, 30, 58, 100])
    parser.add_argument("--quick", action="store_true", help="30 rounds, 300 resamples")
    options = parser.parse_args()
    rounds, resamples = (30, 300) if options.quick else (options.rounds, options.resamples)
    print(machine())
    started = time.process_time()
    truths = {skill: truth_of(skill, 2_000 if options.quick else 25_000) for skill in SKILLS}
    for skill, numbers in truths.items():
        print(
            f"{skill}: COVID-19 F1 {numbers[COVID, 'f1']:.3f}, macro F1 {numbers[MACRO, 'f1']:.3f}"
        )
    pairs = [(skill, skill) for skill in SKILLS] + [("middling", "good")]
    settings = [(*pair, correlation) for pair in pairs for correlation in CORRELATIONS]
    lines: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for covid in options.groups:
        tallies: Tallies = defaultdict(lambda: defaultdict(Tally))
        rejected: dict[str, dict[Setting, list[bool]]] = defaultdict(lambda: defaultdict(list))
        for setting in settings:
            simulate(covid, setting, truths, rounds, resamples, tallies, rejected)
        for (kind, name), by_setting in tallies.items():
            lines[kind][name].append(_cell(list(by_setting.values())))
        for name, by_setting in rejected.items():
            shares = [100 * np.mean(outcomes) for outcomes in by_setting.values()]
            lines["test"][name].append(f"{np.mean(shares):.0f}, {max(shares):.0f} %")
        print(f"{covid} groups: {time.process_time() - started:.0f} s", flush=True)
    for kind, title in (
        ("candidate", "other intervals of COVID-19 F1"), ("value", "number"),
        ("difference", "difference"), ("test", "rejected at 5 %: mean, most"),
    ):  # fmt: skip
        printed(title, lines[kind], options.groups)


def _cell(tallies: list[Tally]) -> str:
    """Returns mean and lowest coverage of all settings, and in brackets the mean width."""
    coverages = [np.mean(tally.covered) for tally in tallies if tally.covered]
    widths = [np.mean(tally.widths) for tally in tallies if tally.widths]
    if not coverages:
        return "none"
    absent = 1 - sum(len(t.covered) for t in tallies) / sum(t.intervals for t in tallies)
    text = f"{np.mean(coverages):.2f}, {min(coverages):.2f} ({np.mean(widths):.2f})"
    text = text.replace("0.", ".")
    return text + f", none in {absent:.0%}" * (absent > 0.01)


if __name__ == "__main__":
    main()
