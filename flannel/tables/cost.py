"""What stages and arms take: the comparison of run times that paper 004 promises (Section 4)."""

from collections.abc import Sequence

import pandas as pd

from flannel.costs import Cost
from flannel.tables.cells import UNDEFINED
from flannel.tables.layout import Line, Table

YARDSTICK = "global"


def cost_table(costs: Sequence[Cost]) -> Table | None:
    """Lists minutes by stage and arm, a run of the arm `global` being 1; None without costs."""
    if not costs:
        return None
    lines = [
        Line(
            (
                one.stage,
                one.arm,
                str(one.runs),
                *(
                    _minutes(value)
                    for value in (one.minutes, one.training, one.prediction, one.minutes_per_run)
                ),
                _times(one, costs),
                one.devices,
            ),
            opens=place > 0 and one.stage != costs[place - 1].stage,
        )
        for place, one in enumerate(costs)
    ]
    return Table(
        name="cost",
        title="Cost",
        caption="Minutes of all runs of a stage and arm, of these for training and for "
        "predicting, and of one run on average; last, how many times as long a run takes as one "
        f"of the arm {YARDSTICK}. Only runs on the same device can be compared.",
        head=(
            "stage", "arm", "runs", "minutes", "training", "predicting", "per run",
            f"× {YARDSTICK}", "device",
        ),
        lines=tuple(lines),
        numbers=pd.DataFrame(
            [
                {
                    "stage": one.stage,
                    "arm": one.arm,
                    "runs": one.runs,
                    "minutes": one.minutes,
                    "training_minutes": one.training,
                    "prediction_minutes": one.prediction,
                    "minutes_per_run": one.minutes_per_run,
                    "device": one.devices,
                }
                for one in costs
            ]
        ),
    )  # fmt: skip


def _minutes(value: float) -> str:
    return f"{value:.1f}" if value else UNDEFINED


def _times(one: Cost, costs: Sequence[Cost]) -> str:
    """Says how many times as long a run takes as one of the yardstick's arm on the same device."""
    like = [c for c in costs if (c.stage, c.arm, c.devices) == (one.stage, YARDSTICK, one.devices)]
    if not like or not like[0].minutes_per_run:
        return UNDEFINED
    return f"{one.minutes_per_run / like[0].minutes_per_run:.2g}"
