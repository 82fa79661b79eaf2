"""What all tests share."""

import os
from pathlib import Path

import numpy as np
import pytest

os.environ["WANDB_MODE"] = "disabled"
# Two processes that spin for work on two cores slow each other down tenfold.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def golden():
    """Reads numbers that were computed with the original programs (tests/golden/README.md)."""

    def read(name: str) -> dict[str, np.ndarray]:
        with np.load(ROOT / "tests" / "golden" / f"{name}.npz", allow_pickle=False) as arrays:
            return dict(arrays)

    return read


@pytest.fixture(scope="session")
def experiments() -> Path:
    """The folder of the recipes."""
    return ROOT / "experiments"
