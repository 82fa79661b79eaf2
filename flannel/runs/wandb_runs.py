"""What W&B gets to know of a run: labels, curves and final values; no path and no machine."""

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from multiprocessing.util import Finalize
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from flannel.files import remove_left_overs, unfinished_place
from flannel.runs.run import WandbMode

if TYPE_CHECKING:
    from lightning.pytorch.loggers import WandbLogger

PROJECT = "patched-flannel"

# What may differ between two machines without changing a result.
MACHINE_KEYS = {
    "study", "redo", "wandb", "log_images", "resume_every", "config", "ckpt_path", "num_nodes",
    "devices", "strategy", "accelerator", "workers", "weights_only", "logger", "default_root_dir",
    "begin_from",  # what the file holds is an input of the run, wherever it lies
}  # fmt: skip


def wandb_logger(
    study: Path,
    name: str,
    labels: Mapping[str, str | int],
    config: Mapping[str, Any],
    mode: WandbMode,
) -> "WandbLogger":
    """Makes the logger of one run: one (stage, arm, learner, fold) is one W&B run.

    Args:
        study: The study folder; its name is the group, and its `wandb` folder holds the files.
        name: What the run is called, for example `patched/vgg19_bn/fold0`.
        labels: What dashboards group by, such as stage, arm, learner and fold. The stage is the job
            type; all are tags too.
        config: The parsed arguments of the run.
        mode: "offline" writes files that `wandb sync` can send later.
    """
    from lightning.pytorch.loggers import WandbLogger

    logger = WandbLogger(
        project=PROJECT,
        name=name,
        group=study.resolve().name,
        job_type=str(labels["stage"]),
        tags=[f"{key}: {value}" for key, value in labels.items()],
        save_dir=study,
        offline=mode == "offline",
        mode=mode,  # WANDB_MODE is read once a process, and the first run settled it
        config={**labels, **public(config)},
        settings=wandb_room(study),
    )
    # Lightning always passes it, and W&B warns of it in every run.
    logger._wandb_init.pop("anonymous", None)
    return logger


def log_final_values(logger: "WandbLogger", files: Mapping[str, Mapping[str, object]]) -> None:
    """Puts what a finished run measured into the W&B summary, under the same names in every arm.

    Args:
        logger: The run's logger.
        files: What its JSON files hold, by name: `{"metrics": ..., "cost": ...}`. A nested number
            becomes `metrics/test/macro_f1`; other values are left out.
    """
    values = {name: value for key in files for name, value in numbers_in(key, files[key])}
    logger.experiment.summary.update(values)


def numbers_in(name: str, value: object) -> Iterator[tuple[str, float]]:
    """Yields the numbers of nested values by names such as `metrics/test/macro_f1`."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from numbers_in(f"{name}/{key}", inner)
    elif isinstance(value, int | float):
        yield name, value


def without_machine(value: Any) -> Any:  # noqa: ANN401  a tree of plain values
    """Leaves out of a config what does not change a result, and writes paths as text."""
    if isinstance(value, dict):
        return {k: without_machine(v) for k, v in value.items() if k not in MACHINE_KEYS}
    if isinstance(value, list | tuple):
        return [without_machine(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def public(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a dashboard may see of a config: everything but paths and machine settings."""
    names = ("model", "data", "optimizer", "lr_scheduler", "early_stopping", "seed_everything")
    chosen = {key: config[key] for key in names if key in config}
    chosen["max_epochs"] = config["trainer"]["max_epochs"]
    chosen["precision"] = config["trainer"]["precision"] or "32-true"
    return cast(dict[str, Any], _without_paths(without_machine(chosen)))


def _without_paths(value: Any) -> Any:  # noqa: ANN401  a tree of plain values
    if isinstance(value, dict):
        return {k: _without_paths(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_without_paths(item) for item in value]
    return "(path)" if isinstance(value, str) and _is_path(value) else value


def _is_path(text: str) -> bool:
    """Returns whether a text is a path, not a name such as the learner `global/vgg19_bn`."""
    if os.sep not in text:
        return False
    path = Path(text)
    return path.is_absolute() or text[0] in ".~" or bool(path.suffix) or path.exists()


def wandb_room(study: Path) -> Any:  # noqa: ANN401  wandb has no types
    """Keeps W&B's staged files in the study, and what it would tell of this machine to itself.

    Returns:
        Settings that log no program path, arguments, code, host, hardware or console.
    """
    room = (study / "wandb").absolute()
    os.environ["WANDB_DATA_DIR"] = str(room)
    with _staging_in(room):
        import wandb
    return wandb.Settings(
        disable_git=True,
        save_code=False,
        console="off",
        silent=True,
        host="(not recorded)",
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_disable_stats=True,
    )


@contextlib.contextmanager
def _staging_in(room: Path) -> Iterator[None]:
    """Lets W&B, if it is imported in the block, stage pictures and artifacts in its room.

    It makes folders for them when it is imported, and a process that is killed leaves them: here,
    where the next one removes them, and not in TMPDIR.
    """
    if "wandb" in sys.modules:
        yield
        return
    room.mkdir(parents=True, exist_ok=True)
    remove_left_overs(room)
    staged = unfinished_place(room / "staged")
    staged.mkdir(exist_ok=True)
    # Unlike atexit, this is called at the end of a queue's process too.
    Finalize(None, shutil.rmtree, (staged, True), exitpriority=0)
    usual, tempfile.tempdir = tempfile.tempdir, str(staged)
    try:
        yield
    finally:
        tempfile.tempdir = usual
