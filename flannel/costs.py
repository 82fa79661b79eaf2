"""What the runs of a study took: minutes by stage and arm, from their `cost.json`."""

from dataclasses import dataclass
from pathlib import Path

from flannel.runs import read_json
from flannel.study import StudyError, arm_place

PATTERNS = {
    "segmentation": "segmentation/*/cost.json",
    "base": "base/*/*/fold*/cost.json",
    "ensemble": "ensemble/*/fold*/cost.json",
    "cheat": "cheat/*/fold*/cost.json",
}
"""Where each stage leaves its costs, in the order of the pipeline."""


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
        devices: What they ran on.
    """

    stage: str
    arm: str
    runs: int
    minutes: float
    training: float
    prediction: float
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
    found = []
    for stage, pattern in PATTERNS.items():
        by_arm: dict[str, list[dict[str, object]]] = {}
        for path in sorted(study.glob(pattern)):
            # Segmentation and cheats know no arm: below them lie names.
            arm = path.relative_to(study).parts[1] if stage in ("base", "ensemble") else ""
            by_arm.setdefault(arm, []).append(_read(path))
        for arm in sorted(by_arm, key=arm_place):
            runs = by_arm[arm]
            found.append(
                Cost(
                    stage=stage,
                    arm=arm,
                    runs=len(runs),
                    minutes=_minutes(runs, "seconds"),
                    training=_minutes(runs, "train_seconds"),
                    prediction=_minutes(runs, "predict_seconds"),
                    devices=", ".join(sorted({str(run.get("device", "")) for run in runs})),
                )
            )
    return found


def _minutes(runs: list[dict[str, object]], name: str) -> float:
    values = [run.get(name, 0) for run in runs]
    return sum(float(value) for value in values if isinstance(value, int | float)) / 60


def _read(path: Path) -> dict[str, object]:
    content = read_json(path)
    if not isinstance(content.get("seconds"), int | float):
        raise StudyError(f"{path} holds no number of seconds, but {content.get('seconds')!r}.")
    return content
