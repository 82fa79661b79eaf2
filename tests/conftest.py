"""What all tests share."""

import gc
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from flannel.data.folds import assign_folds
from flannel.data.manifest import build_manifest, save_manifest
from flannel.data.mask import write_mask
from flannel.data.sources import write_phantom_sources
from flannel.data.store import build_store, fill_lung_masks

# Two processes that spin for work on two cores slow each other down tenfold.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def _take_one_thread():
    """Lets torch compute in this process alone."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


# A process forked from one that has computed with several threads would wait for them forever, and
# the process of the tests has.
os.register_at_fork(after_in_child=_take_one_thread)

# What is imported stays: it need not be gone through again at each collection of garbage.
gc.disable()


def pytest_collection_finish():
    gc.freeze()
    gc.enable()


ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _no_wandb(monkeypatch):
    """Keeps tests off W&B unless they ask; Lightning's logger changes the variable itself."""
    monkeypatch.setenv("WANDB_MODE", "disabled")


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


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory) -> Path:
    """40 made-up radiographs in the real layouts, and 8 pairs of radiograph and lung mask."""
    folder = tmp_path_factory.mktemp("phantoms") / "sources"
    write_phantom_sources(folder, images=40, masks=8, seed=1, size=96)
    return folder


@pytest.fixture(scope="session")
def _phantom_study(phantoms, tmp_path_factory) -> Path:
    study = tmp_path_factory.mktemp("phantom") / "study"
    table, _ = build_manifest(phantoms)
    table = assign_folds(table, "patient", seed=1, folds=5)
    save_manifest(table, study / "manifest.csv")
    build_store(table, study / "store", size_px=64)
    for row in table.itertuples():
        mask = np.zeros((row.height, row.width), dtype=bool)
        for left in (0.15, 0.55):  # two lungs of plain shape
            across = slice(int(left * row.width), int((left + 0.3) * row.width))
            mask[int(0.2 * row.height) : int(0.8 * row.height), across] = True
        write_mask(mask, study / "masks" / f"{row.image_id}.png")
    fill_lung_masks(study / "store", study / "masks", table)
    return study


@pytest.fixture
def phantom_study(_phantom_study, tmp_path) -> Path:
    """A study of the phantoms with manifest, store and masks, as if segmented."""
    return Path(shutil.copytree(_phantom_study, tmp_path / "study"))
