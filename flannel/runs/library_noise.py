"""What libraries print that no user can mend, kept from the screen."""

import contextlib
import logging
import warnings
from collections.abc import Iterator

NOISE = (
    r"(?s).*JSONARGPARSE_DEPRECATION_WARNINGS",
    r"(?s).*was deprecated in v4\.49\.0",
    r".*isinstance\(treespec, LeafSpec\)",
    r".*exists and is not empty",
    r".*is smaller than the logging interval",
    r".*does not have many workers",
    r".*_dataloader.* does not have",
    r".*`srun` command is available",  # the queue starts the processes of a run, on a cluster too
)
"""Warnings that libraries address to each other, or that are about things meant here."""


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keeps the noise of libraries from the screen in the block."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        for message in NOISE:
            warnings.filterwarnings("ignore", message)
        yield
