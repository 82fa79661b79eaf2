"""The comparison as a run of W&B: its tables and its figures without radiographs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pandas as pd

from flannel.comparison.measurements import Measurements
from flannel.comparison.tables.f1 import scores_table
from flannel.metrics.classification import MACRO


def log_comparison(
    measurements: Measurements,
    figures: Mapping[str, Path],
    mode: Literal["offline", "online", "off"],
) -> None:
    """Logs tables and figures as a `compare` run of W&B, in the study's `wandb` folder.

    Args:
        measurements: The rows.
        figures: PNG files by name. Those that show radiographs are the caller's to leave out.
        mode: `off` does nothing; `offline` writes files that `wandb sync` can send later.
    """
    if mode == "off":
        return
    from flannel.runs.wandb_runs import PROJECT, wandb_room

    comparison = measurements.comparison
    settings = wandb_room(comparison.study)
    import wandb

    run = wandb.init(
        project=PROJECT,
        name="compare",
        group=comparison.study.resolve().name,
        job_type="compare",
        dir=comparison.study,
        mode=mode,
        config={"stage": "compare", "arms": comparison.arms, "learners": comparison.learners},
        settings=settings,
    )
    run.log(
        {
            "f1": wandb.Table(dataframe=f1_intervals(measurements)),
            "confusion": wandb.Table(dataframe=confusion_counts(measurements)),
        }
    )
    run.log({f"figures/{name}": wandb.Image(str(path)) for name, path in figures.items()})
    for row in measurements.rows:
        run.summary[f"{row.arm}/{row.learner}/macro_f1"] = row.measured.interval(MACRO, "f1").value
    run.finish()


def f1_intervals(measurements: Measurements) -> pd.DataFrame:
    """Lists arm, learner, fold, class, precision, recall and F1, with the interval of its mean.

    The interval belongs to the mean over the folds, so that it is the same in all of them.
    """
    table = scores_table(measurements.comparison).drop(columns="support")
    intervals = pd.DataFrame(
        [
            {
                "arm": row.arm, "learner": row.learner, "class": name,
                "f1_mean": interval.value, "f1_low": interval.low, "f1_high": interval.high,
            }
            for row in measurements.rows
            for name in (*measurements.comparison.diagnoses, MACRO)
            for interval in [row.measured.interval(name, "f1")]
        ]
    )  # fmt: skip
    return table.merge(intervals, on=["arm", "learner", "class"])


def confusion_counts(measurements: Measurements) -> pd.DataFrame:
    """Lists every confusion matrix: arm, learner, fold, true, predicted, radiographs."""
    names = measurements.comparison.diagnoses
    return pd.DataFrame(
        [
            {
                "arm": result.run.arm, "learner": result.run.learner, "fold": result.run.fold,
                "true": true, "predicted": predicted,
                "radiographs": int(result.scores.confusion[row, column]),
            }
            for result in measurements.comparison.results
            for row, true in enumerate(names)
            for column, predicted in enumerate(names)
        ]
    )  # fmt: skip
