"""What the checks of a learner's saliency found: a table, and sentences."""

from collections.abc import Sequence
from dataclasses import asdict, astuple
from statistics import mean, median

import numpy as np
import pandas as pd

from flannel.analysis.saliency_checks import STAGES, Check
from flannel.comparison.tables.cells import UNDEFINED
from flannel.comparison.tables.layout import Line, Table

ALIKE = 0.5
"""Median rank correlation, all weights left to chance, from which on maps are not to be trusted."""

FEWEST = 4
"""Fewer maps support no such statement."""


def verdict(checks: Sequence[Check]) -> list[str]:
    """Returns sentences on what the checks amount to."""
    covered = [check for check in checks if not np.isnan(check.inside)]
    sentences = []
    if len(covered) < len(checks):
        sentences.append(
            f"{len(checks) - len(covered)} of {len(checks)} maps are empty: nothing speaks for the "
            "diagnosis that has the votes."
        )
    if covered:
        inside, flat = (
            mean(getattr(check, name) for check in covered) for name in ("inside", "flat")
        )
        sentences.append(
            f"{inside:.0%} of the saliency lies inside the lungs; a map that is equal wherever "
            f"the learner looked would have {flat:.0%} there."
        )
    last = STAGES[-1]
    left = [value for check in checks if not np.isnan(value := check.correlations[last])]
    if not left:
        sentences.append("With all weights left to chance there is no map left to compare.")
        return sentences
    alike = median(abs(value) for value in left)
    if len(left) < FEWEST:
        sense = "too few to say whether the maps depend on what was learned; raise the count."
    elif alike < ALIKE:
        sense = "the maps depend on what was learned."
    else:
        sense = "the maps hardly depend on what was learned: do not argue with them."
    sentences.append(
        f"With all weights left to chance the rank correlation with the learned map is "
        f"{alike:.2f} in size (median of {len(left)}, {min(left):.2f} to {max(left):.2f}): {sense}"
    )
    return sentences


def checks_table(name: str, checks: Sequence[Check]) -> Table:
    """Returns a line for each radiograph.

    Args:
        name: Of the learner's run, such as `patched vgg19_bn fold 0`.
        checks: What was found.
    """
    return Table(
        name="saliency",
        title=f"Saliency of {name}",
        caption=(
            "Inside: share of the map of the predicted diagnosis that lies in the lungs; flat: the "
            "same of a map that is equal wherever the learner looked. Then the rank correlation of "
            "the map with that of the network whose head, upper half or whole weights were left to "
            f"chance; {UNDEFINED} where a map is empty. {' '.join(verdict(checks))}"
        ),
        head=("radiograph", "diagnosis", "predicted", "inside", "flat", *STAGES),
        lines=tuple(
            Line(
                (
                    *astuple(check.example),
                    *(_cell(value, "{:.0%}") for value in (check.inside, check.flat)),
                    *(_cell(check.correlations[stage], "{:.2f}") for stage in STAGES),
                )
            )
            for check in checks
        ),
        numbers=pd.DataFrame(
            {
                **asdict(check.example),
                "inside": check.inside,
                "flat": check.flat,
                **check.correlations,
            }
            for check in checks
        ),
        names=3,
    )


def _cell(value: float, form: str) -> str:
    return UNDEFINED if np.isnan(value) else form.format(value)
