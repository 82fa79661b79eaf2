"""What stages and arms take: the comparison of run times that paper 004 promises (Section 4)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from flannel.comparison.costs import YARDSTICK, Cost
from flannel.comparison.tables.cells import UNDEFINED
from flannel.comparison.tables.layout import Line, Table


def cost_table(costs: Sequence[Cost]) -> Table | None:
    """Lists minutes by stage and arm, a run of the arm `global` being 1; None without costs."""
    if not costs:
        return None
    lines = [
        Line(
            (
                cost.stage,
                cost.arm,
                str(cost.runs),
                *(
                    _minutes(value)
                    for value in (
                        cost.minutes,
                        cost.training,
                        cost.prediction,
                        cost.minutes_per_run,
                    )
                ),
                UNDEFINED if np.isnan(cost.ratio) else f"{cost.ratio:.2g}",
                cost.devices,
            ),
            opens=place > 0 and cost.stage != costs[place - 1].stage,
        )
        for place, cost in enumerate(costs)
    ]
    return Table(
        name="cost",
        title="Cost",
        caption="Minutes of a stage and arm: of all runs, for training, for predicting, and of one "
        f"run on average. Last: how many times as long a run takes as one of the arm {YARDSTICK}, "
        "over the learners and folds that both have on the same device.",
        head=(
            "stage", "arm", "runs", "minutes", "training", "predicting", "per run",
            f"× {YARDSTICK}", "device",
        ),
        lines=tuple(lines),
        numbers=pd.DataFrame(
            [
                {
                    "stage": cost.stage,
                    "arm": cost.arm,
                    "runs": cost.runs,
                    "minutes": cost.minutes,
                    "training_minutes": cost.training,
                    "prediction_minutes": cost.prediction,
                    "minutes_per_run": cost.minutes_per_run,
                    f"times_{YARDSTICK}": cost.ratio,
                    "device": cost.devices,
                }
                for cost in costs
            ]
        ),
    )  # fmt: skip


def _minutes(value: float) -> str:
    if 0 < value < 0.05:
        return "< 0.1"
    return f"{value:.1f}" if value else UNDEFINED
