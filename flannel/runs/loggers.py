"""Where the curves of a run go beside its own `curves.csv`: one choice for all stages."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger

from flannel.runs.run import WandbMode, logger_name
from flannel.runs.wandb_runs import PROJECT, numbers_in, public, wandb_logger


def run_logger(
    study: Path,
    name: str,
    labels: Mapping[str, str | int],
    config: Mapping[str, Any],
    wandb: WandbMode,
) -> Logger | None:
    """Makes the logger of one run; nothing but W&B in its online mode leaves this machine.

    Args:
        study: The study folder, in which the logger's files lie.
        name: What the run is called, for example `patched/vgg19_bn/fold0`.
        labels: Stage, arm, learner and fold.
        config: The parsed arguments of the run.
        wandb: The mode of W&B, where that is chosen.

    Returns:
        None where W&B is chosen and off.

    Raises:
        RunError: As `logger_name`.
    """
    place = "/".join((str(labels["stage"]), name))
    logger: Logger
    match logger_name():
        case "wandb":
            return None if wandb == "off" else wandb_logger(study, name, labels, config, wandb)
        case "tensorboard":
            logger = TensorBoardLogger(study / "tensorboard", name=place, version="")
        case "mlflow":
            # Named, so that MLflow's own variable in the environment sends nothing elsewhere.
            uri = f"file:{(study / 'mlruns').resolve()}"
            logger = MLFlowLogger(experiment_name=PROJECT, run_name=place, tracking_uri=uri)
        case _:
            logger = CSVLogger(study / "csv", name=place, version="")
    logger.log_hyperparams({**labels, **dict(_flat("", public(config)))})
    return logger


def log_numbers(logger: Logger, files: Mapping[str, Mapping[str, object]]) -> None:
    """Logs what a finished run measured, where the logger has no summary of its own.

    Args:
        logger: The run's.
        files: What its JSON files hold, by name.
    """
    numbers = {name: value for key in files for name, value in numbers_in(key, files[key])}
    logger.log_metrics(numbers)
    logger.save()
    logger.finalize("success")


def _flat(name: str, value: object) -> Iterator[tuple[str, str | int | float]]:
    """Yields nested options by names such as `data/size_px`, which every logger takes."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{name}/{key}" if name else str(key), inner)
    elif isinstance(value, str | int | float):
        yield name, value
    else:
        yield name, str(value)
