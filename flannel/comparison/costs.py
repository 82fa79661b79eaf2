"""What the runs of a study took: minutes by stage and arm, from their `cost.json`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flannel.files import read_json
from flannel.study.contents import SHORTCUT_FOLDERS, StudyError, arm_place

PATTERNS = {
    "segmentation": ("segmentation/*/cost.json",),
    "base": ("base/*/*/fold*/cost.json",),
    "ensemble": ("ensemble/*/fold*/cost.json",),
    "other forms": ("ensemble/*/*/fold*/cost.json",),
    "shortcut": tuple(f"{folder}/*/fold*/cost.json" for folder in SHORTCUT_FOLDERS),
}
"""Where each stage leaves its costs, in the order of the pipeline."""

WITHOUT_ARM = ("segmentation", "shortcut")
"""Stages that know no arm: below them lie names."""

YARDSTICK = "global"


@dataclass(frozen=True)
class Cost:
    """What the runs of one stage and arm took together.

    Attributes:
        stage: Of `PATTERNS`.
        arm: The study arm, empty for segmentation.
        runs: How many.
        minutes: From start to end, all runs together.
        training: Minutes of that for training; 0 where it was not noted.
        prediction: Likewise for predicting.
        ratio: How many times as long a run takes as one of the arm `global`, over the learners and
            folds that both have on the same device; NaN where there is none.
        devices: What they ran on.
    """

    stage: str
    arm: str
    runs: int
    minutes: float
    training: float
    prediction: float
    ratio: float
    devices: str

    @property
    def minutes_per_run(self) -> float:
        """The mean over runs."""
        return self.minutes / self.runs


def costs(study: Path) -> list[Cost]:
    """Adds up `cost.json` of all runs by stage and arm, in the order of the pipeline.

    Raises:
        RunError: If a file is no JSON object.
        StudyError: If it holds no number of seconds.
    """
    summed = []
    for stage, patterns in PATTERNS.items():
        by_arm: dict[str, dict[str, dict[str, object]]] = {}
        for path in sorted(path for pattern in patterns for path in study.glob(pattern)):
            _, arm, *run = path.relative_to(study).parts
            if stage in WITHOUT_ARM:
                arm, run = "", [arm, *run]
            by_arm.setdefault(arm, {})["/".join(run)] = _read(path)
        for arm in sorted(by_arm, key=arm_place):
            runs = list(by_arm[arm].values())
            summed.append(
                Cost(
                    stage=stage,
                    arm=arm,
                    runs=len(runs),
                    minutes=_minutes(runs, "seconds"),
                    training=_minutes(runs, "train_seconds"),
                    prediction=_minutes(runs, "predict_seconds"),
                    ratio=_ratio(by_arm[arm], by_arm.get(YARDSTICK, {})),
                    devices=", ".join(sorted({str(run.get("device", "")) for run in runs})),
                )
            )
    return summed


def _ratio(
    runs: Mapping[str, dict[str, object]], yardstick: Mapping[str, dict[str, object]]
) -> float:
    """Compares the runs of the same learner and fold on the same device."""
    pairs = [
        (runs[name], yardstick[name])
        for name in runs.keys() & yardstick.keys()
        if runs[name].get("device") == yardstick[name].get("device")
    ]
    theirs = _minutes([other for _, other in pairs], "seconds")
    return _minutes([cost for cost, _ in pairs], "seconds") / theirs if theirs else np.nan


def _minutes(runs: Sequence[Mapping[str, object]], name: str) -> float:
    values = [run.get(name, 0) for run in runs]
    return sum(float(value) for value in values if isinstance(value, int | float)) / 60


def _read(path: Path) -> dict[str, object]:
    content = read_json(path)
    if not isinstance(content.get("seconds"), int | float):
        raise StudyError(f"{path} holds no number of seconds, but {content.get('seconds')!r}.")
    return content
