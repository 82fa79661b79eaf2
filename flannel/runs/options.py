"""The options of every training beside those of its model, its data and Lightning's Trainer."""

from collections.abc import Callable
from pathlib import Path

from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser

from flannel.errors import LARGEST_SEED, check_range
from flannel.runs.callbacks import SteadyEarlyStopping
from flannel.runs.run import LAST_EPOCH, WandbMode, wandb_mode

NOT_NEGATIVE = (
    *("resume_every", "refresh_batch_norm", "early_stopping.patience"),
    "trainer.gradient_clip_val",
)
POSITIVE = ("trainer.check_val_every_n_epoch",)
"""Options whose bounds neither Lightning nor torch checks."""


def add_run_options(
    parser: LightningArgumentParser, selection: str, watched: Callable[[str], str]
) -> None:
    """Adds study, name, redo, selection, W&B and early stopping, and the Trainer's defaults.

    Args:
        parser: Of a sub-command.
        selection: The metric that chooses the epoch unless another is named.
        watched: Returns the metric that early stopping watches for a selection.
    """
    parser.add_argument("--study", type=Path, default=Path("runs/study"), help="study folder")
    parser.add_argument("--name", type=str, required=True, help="the run's name in the study")
    parser.add_argument("--redo", type=bool, default=False, help="replace an existing run")
    parser.add_argument(
        "--selection",
        type=str,
        default=selection,
        help=f"metric that chooses the epoch, or {LAST_EPOCH}: none does",
    )
    parser.add_argument(
        "--wandb", type=WandbMode, default=wandb_mode(), help="or WANDB_MODE in the environment"
    )
    parser.add_argument(
        "--log_images",
        type=bool | None,
        default=None,
        help="let W&B have pictures that show radiographs; by default only offline",
    )
    parser.add_argument(
        "--refresh_batch_norm",
        type=int,
        default=0,
        help="training batches that BatchNorm's statistics are estimated on; 0 keeps them",
    )
    parser.add_argument(
        "--resume_every",
        type=int,
        default=1,
        help="epochs between the states that a killed run continues from; 0 keeps none",
    )
    parser.add_lightning_class_args(SteadyEarlyStopping, "early_stopping")
    parser.set_defaults({"early_stopping.mode": "max", "early_stopping.patience": 10_000})
    parser.link_arguments("selection", "early_stopping.monitor", compute_fn=watched)
    parser.link_arguments("study", "data.study")
    parser.set_defaults(
        {
            "trainer.enable_progress_bar": False,
            "trainer.enable_model_summary": False,
            "trainer.num_sanity_val_steps": 0,
            "trainer.use_distributed_sampler": False,  # the data modules shard by themselves
            "trainer.sync_batchnorm": True,  # over several devices: the recipe's batch
            "trainer.log_every_n_steps": 10,
        }
    )


def check_run_options(arguments: Namespace) -> None:
    """Refuses numbers that neither Lightning nor torch checks.

    Raises:
        OptionError: If one is out of its range.
    """
    check_range(0, LARGEST_SEED, seed_everything=arguments.seed_everything)
    check_range(0, **{name: arguments[name] for name in NOT_NEGATIVE})
    check_range(1, **{name: arguments[name] for name in POSITIVE})
