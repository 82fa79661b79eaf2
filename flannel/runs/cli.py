"""How a run is started: LightningCLI with a run folder, a fingerprint, and resumable habits."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from filelock import BaseFileLock
from jsonargparse import Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from flannel import __version__
from flannel.errors import RunError
from flannel.files import digest_of, read_json, whole_file
from flannel.runs.arithmetic import device_of_trainer, settle_precision
from flannel.runs.callbacks import (
    EpochLine,
    RefreshBatchNorm,
    SeedEachEpoch,
    StayStopped,
)
from flannel.runs.checkpoint_io import WholeCheckpointIO, check_resumable, put_damaged_aside
from flannel.runs.checkpoints import load_weights, read_checkpoint
from flannel.runs.class_paths import RECIPES, as_first_named, present_paths
from flannel.runs.library_noise import quiet_libraries
from flannel.runs.loggers import log_numbers, run_logger
from flannel.runs.options import add_run_options, check_run_options
from flannel.runs.refusals import options_refused
from flannel.runs.run import LAST_EPOCH, Run, RunFinishedError
from flannel.runs.schedules import OneCycle, over_all_steps
from flannel.runs.signals import Stopped
from flannel.runs.wandb_runs import log_final_values, without_machine


@dataclass(frozen=True)
class RunPlace:
    """Where a run belongs, and what its result depends on beside config and code.

    Attributes:
        folder: Relative to the study, for example `base/global/vgg19_bn/fold0`.
        labels: What dashboards group by: stage, arm, learner, fold.
        inputs: Named hashes of its inputs, for example split, store and masks.
    """

    folder: str
    labels: dict[str, str | int]
    inputs: dict[str, str]


class StudyTrainer(Trainer):
    """Lightning's Trainer whose precision may be the word "auto" in a recipe.

    `StudyCLI` settles what the word becomes before a Trainer is built.

    Args:
        precision: "auto", or one of Lightning's names.
        **kwargs: Lightning's own.
    """

    def __init__(self, *, precision: int | str | None = None, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(precision=precision, **kwargs)  # type: ignore[arg-type]  # was checked


class StudyCLI(LightningCLI):
    """LightningCLI whose runs live in a study folder.

    `fit` skips a finished run, continues a killed one, selects the best epoch, lets `conclude`
    write what the stage leaves on disk, and marks the run finished.

    Args:
        model_class: The stage's LightningModule.
        datamodule_class: The stage's LightningDataModule; it takes `study`.
        place: Finds the run's place from the parsed arguments of the sub-command.
        selection: The metric that chooses the epoch; the larger, the better.
        conclude: Called after training with the best weights loaded.
        args: The command line; `sys.argv` when None.
        mixes: Whether the model can train in mixed precision; if not, "auto" is float32.
    """

    def __init__(
        self,
        model_class: type[LightningModule],
        datamodule_class: type[LightningDataModule],
        *,
        place: Callable[[Namespace, Path], RunPlace],
        selection: str,
        conclude: Callable[["StudyCLI", Run], None],
        args: list[str] | None = None,
        mixes: bool = True,
    ) -> None:
        self._mixes = mixes
        self._find_place = place
        self._selection = selection
        self._conclude = conclude
        # Without this, `--trainer.max_epoch` would pass as an abbreviation of max_epochs.
        strict: dict[str, Any] = {"allow_abbrev": False, "parser_mode": RECIPES}
        self._lock: BaseFileLock | None = None
        self._logger: Logger | None = None
        try:
            with quiet_libraries():
                super().__init__(  # parses, builds and runs
                    model_class,
                    datamodule_class,
                    trainer_class=StudyTrainer,
                    save_config_callback=None,
                    seed_everything_default=1,
                    parser_kwargs={**strict, **{name: dict(strict) for name in self.subcommands()}},
                    load_from_checkpoint_support=False,
                    args=args,
                )
        except MisconfigurationException as fault:
            raise RunError(f"Lightning refuses the options: {fault}") from fault
        finally:
            if self._lock is not None:
                self._lock.release()
            if isinstance(self._logger, WandbLogger):
                import wandb

                wandb.finish()  # else the next run of this process would go on in this one

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Returns the sub-commands; predictions are written by `fit` itself."""
        skipped = {"model", "dataloaders", "datamodule", "weights_only"}
        return {
            "fit": {"model", "train_dataloaders", "val_dataloaders", "datamodule", "weights_only"},
            "validate": skipped,
            "test": skipped,
        }

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:  # noqa: ANN401
        """Parses the given command line, whatever `sys.argv` holds.

        Raises:
            OptionError: If a number cannot be, for which Lightning has no sentence.
            RunError: If the checkpoint that it names is an address.
            CheckpointError: If it cannot be read. Lightning, which reads it next, has no sentence.
        """
        self.config = parser.parse_args(args and [present_paths(word) for word in args])
        arguments = self.config[self.config["subcommand"]]
        check_run_options(arguments)
        ckpt_path = arguments.get("ckpt_path")
        if ckpt_path and "://" in str(ckpt_path):
            raise RunError(f"ckpt_path {ckpt_path} is an address; give a file on this machine.")
        if ckpt_path:
            read_checkpoint(Path(ckpt_path))

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds what every stage knows: study, name, redo, selection, W&B, early stopping."""
        add_run_options(parser, self._selection, self._watched)

    def _watched(self, selection: str) -> str:
        """Returns the metric that is shown, and that early stopping would go by."""
        return self._selection if selection == LAST_EPOCH else selection

    @property
    def selecting(self) -> str | None:
        """The metric that chooses the epoch; None where the last one is taken."""
        selection = str(self.arguments.selection)
        return None if selection == LAST_EPOCH else selection

    @staticmethod
    def configure_optimizers(
        lightning_module: LightningModule,
        optimizer: Optimizer,
        lr_scheduler: LRScheduler | ReduceLROnPlateau | None = None,
    ) -> Any:  # noqa: ANN401  Lightning's signature
        """Leaves frozen parameters out, and lays a one-cycle schedule over the steps to come.

        Raises:
            RunError: If the steps have no known number.
        """
        for group in optimizer.param_groups:
            group["params"] = [
                parameter for parameter in group["params"] if parameter.requires_grad
            ]
        if isinstance(lr_scheduler, OneCycle):
            in_steps = over_all_steps(lr_scheduler, lightning_module)
            return {"optimizer": optimizer, "lr_scheduler": in_steps}
        return LightningCLI.configure_optimizers(lightning_module, optimizer, lr_scheduler)

    @property
    def arguments(self) -> Namespace:
        """The parsed arguments of the sub-command."""
        return cast(Namespace, self.config[str(self.subcommand)])

    def before_instantiate_classes(self) -> None:
        """Finds the run's place and settles whether it may run, before anything heavy is built.

        Raises:
            RunFinishedError: If the run is there already.
            RunHeldError: If another process works on it.
            RunError: If it exists with another fingerprint.
            PrecisionError: If the precision does not exist or cannot be had here.
        """
        arguments = self.arguments
        ckpt_path = arguments.get("ckpt_path")
        self.study = Path(arguments.study)
        self.place = self._find_place(arguments, self.study)
        parts = {
            **self.place.inputs,
            "config": digest_of(as_first_named(without_machine(arguments.as_dict()))),
            "code": __version__,
        }
        self.run = Run(self.study / self.place.folder, parts)
        if self.subcommand == "fit" and _is_first_rank():
            self._lock = self.run.lock()
            self.run.check(arguments.redo)
        if self.subcommand != "fit":
            self._weights = Path(ckpt_path) if ckpt_path else self.run.trained(self.place.inputs)
        self._settle_precision()
        self._config_text = present_paths(
            self._parser(self.subcommand).dump(arguments, skip_unset=False)
        )

    def _settle_precision(self) -> None:
        """Puts what "auto" becomes into the arguments, after the word itself was hashed."""
        options, self._remark = self.arguments.trainer, ""
        if options.precision is None:
            return
        going_on = self.run.last.is_file() and not self.arguments.redo
        training = self.subcommand == "fit"
        # The further processes of a run take what its first one has written.
        keeps = going_on or not training or not _is_first_rank()
        options.precision, self._remark = settle_precision(
            options.precision,
            device_of_trainer(str(options.accelerator)),
            self.run if keeps else None,
            training=training,
            mixes=self._mixes,
        )

    def before_fit(self) -> None:
        """Takes the run's folder into use, now that everything could be built.

        Raises:
            RunError: If the batch or BatchNorm cannot be spread over the devices.
        """
        self._check_devices()
        if not _is_first_rank():
            return
        if not self.arguments.redo:
            put_damaged_aside(self.run, self.model)
        self.run.start(self.arguments.redo)
        with whole_file(self.run.folder / "config.yaml") as beside:
            beside.write_text(self._config_text, encoding="utf-8")
        word = "continuing" if self.run.last.is_file() else "starting"
        print(f"{word} {self.run.folder}, {time.strftime('%Y-%m-%d %H:%M')}", flush=True)
        if self._remark:
            print(self._remark, flush=True)

    def _check_devices(self) -> None:
        ranks, batch_size = self.trainer.world_size, self.arguments.data.get("batch_size")
        if batch_size and batch_size % ranks:
            raise RunError(
                f"The batch of {batch_size} does not divide over {ranks} devices. Choose a number "
                "of devices that divides it (DEVICES=n, or --trainer.devices), or another "
                "data.batch_size."
            )
        normed = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in self.model.modules())
        on_cpu = self.trainer.strategy.root_device.type == "cpu"
        if ranks > 1 and on_cpu and normed and self.arguments.trainer.sync_batchnorm:
            raise RunError(
                f"BatchNorm cannot be synchronised over {ranks} processes on the CPU. Train in one "
                "process, or say --trainer.sync_batchnorm=false: each then normalises its share "
                "of the batch by itself, which the recipe does not."
            )

    def instantiate_classes(self) -> None:
        """Builds model, data, optimiser and Trainer.

        Raises:
            RunError: If one of them refuses its options.
        """
        with options_refused(self.run.folder, between=True):
            super().instantiate_classes()

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:  # noqa: ANN401  Lightning's signature
        """Builds the Trainer with the run folder's loggers and callbacks."""
        selection = self.arguments.selection
        self.epoch_line = EpochLine(self._watched(selection), self.run.folder / "curves.csv")
        common: dict[str, Any] = {"dirpath": self.run.folder, "enable_version_counter": False}
        callbacks = [
            StayStopped(),
            SeedEachEpoch(self.arguments.seed_everything),
            ModelCheckpoint(
                filename="best",
                monitor=self.selecting,
                mode="max",
                save_weights_only=True,
                **common,
            ),
            self.epoch_line,
        ]
        if self.arguments.resume_every:
            callbacks.append(
                ModelCheckpoint(
                    filename="last",
                    every_n_epochs=self.arguments.resume_every,
                    save_on_train_epoch_end=True,
                    **common,
                )
            )
        if self.arguments.refresh_batch_norm:
            callbacks.insert(0, RefreshBatchNorm(self.arguments.refresh_batch_norm))
        if self.subcommand == "fit":  # which alone leaves pictures in the run's folder
            callbacks += self.stage_callbacks()
        self.trainer_defaults = {"callbacks": callbacks}
        if self.subcommand == "fit":
            self._logger = run_logger(
                self.study,
                "/".join(self.place.folder.split("/")[1:]),
                self.place.labels,
                self.arguments.as_dict(),
                self.arguments.wandb,
            )
        trainer = super().instantiate_trainer(
            logger=self._logger or False,  # `curves.csv` is written in any case
            default_root_dir=str(self.run.folder),
            **kwargs,
        )
        trainer.strategy.checkpoint_io = WholeCheckpointIO()
        return trainer

    def stage_callbacks(self) -> list[Callback]:
        """Returns what a stage adds to the callbacks of every run; nothing, unless it says so."""
        return []

    @property
    def logs_images(self) -> bool:
        """Whether pictures that show radiographs go to W&B: offline, or when asked for."""
        asked: bool | None = self.arguments.log_images
        return self.arguments.wandb == "offline" if asked is None else asked

    def fit(self, model: LightningModule, datamodule: LightningDataModule, ckpt_path: Any) -> None:  # noqa: ANN401
        """Trains, or continues where a killed run stopped, and concludes the run.

        Raises:
            Stopped: If a signal ends the run, with what the same command will find.
        """
        try:
            self._train(model, datamodule, ckpt_path)
        except (Stopped, SIGTERMException) as fault:
            # Lightning's own exception, a SystemExit, would end the process with status 0.
            stop = fault if isinstance(fault, Stopped) else Stopped(signal.SIGTERM)
            if self.run.last.is_file():
                stop.remains = f"The same command goes on after the last epoch in {self.run.last}."
            launcher = self.trainer.strategy.launcher
            if launcher is not None:  # the others would wait for this one, and keep nothing
                launcher.kill(signal.SIGKILL)
            raise stop from None

    def _train(
        self,
        model: LightningModule,
        datamodule: LightningDataModule,
        ckpt_path: Any,  # noqa: ANN401  Lightning's signature
    ) -> None:
        if ckpt_path is not None:
            check_resumable(Path(ckpt_path), None, model)
        elif self.run.last.is_file():
            ckpt_path = self.run.last
        with options_refused(self.run.folder, between=False):
            self.trainer.fit(model, datamodule=datamodule, ckpt_path=ckpt_path, weights_only=True)
        if not self.run.best.is_file():
            raise RunError(
                f"{self.arguments.selection} was never measured, so no epoch could be selected. "
                "Give validation images, or another --selection."
            )
        load_weights(model, read_checkpoint(self.run.best)["state_dict"], str(self.run.best))
        started = time.monotonic()
        self._conclude(self, self.run)
        if self.trainer.is_global_zero:
            predicting = time.monotonic() - started
            self.run.write_cost(
                self.place.labels,
                {
                    "train_seconds": self.epoch_line.seconds,
                    "predict_seconds": predicting,
                    "seconds": self.epoch_line.seconds + predicting,
                },
                {
                    "epochs": self.trainer.current_epoch,
                    "seed": self.arguments.seed_everything,
                    "device": _device_name(self.trainer),
                    "devices": self.trainer.world_size,
                    "precision": str(self.trainer.precision),
                    "threads": torch.get_num_threads(),
                    "torch": str(torch.__version__),
                },
            )
            if self._logger is not None:
                files = {name: self.run.folder / f"{name}.json" for name in ("metrics", "cost")}
                values = {name: read_json(file) for name, file in files.items() if file.is_file()}
                if isinstance(self._logger, WandbLogger):
                    log_final_values(self._logger, values)
                else:
                    log_numbers(self._logger, values)
            self.run.finish()

    def _measure(
        self,
        model: LightningModule,
        datamodule: LightningDataModule,
        ckpt_path: Any,  # noqa: ANN401  Lightning's signature
        verbose: bool,
    ) -> None:
        """Measures the weights that were named, or the run's, never those of an untrained network.

        The images are those of the sub-command: of validation or of the test.
        """
        load_weights(model, read_checkpoint(self._weights)["state_dict"], str(self._weights))
        print(f"weights: {self._weights}", flush=True)
        measure = self.trainer.test if self.subcommand == "test" else self.trainer.validate
        measure(model, datamodule=datamodule, verbose=verbose)

    validate = test = _measure


def run_stage(start: Callable[[], StudyCLI]) -> int:
    """Runs one StudyCLI invocation; a run that is already finished is named, and is no error.

    Returns:
        The exit status, 0.
    """
    try:
        start()
    except RunFinishedError as finished:
        print(finished, flush=True)
    return 0


def _is_first_rank() -> bool:
    return (
        int(os.environ.get("LOCAL_RANK", "0")) == 0 and int(os.environ.get("NODE_RANK", "0")) == 0
    )


def _device_name(trainer: Trainer) -> str:
    device = trainer.strategy.root_device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
