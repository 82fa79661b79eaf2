"""What an epoch of FLANNEL costs beside a plain loop over a DataLoader.

python benchmarks/ensemble.py --rounds 3

A study of made-up base predictions, as large as the paper's (4,104 training, 1,026 validation and
1,283 test rows, five learners), is written to a temporary folder. In each round `flannel ensemble
fit` trains on it with the paper's recipe, and a plain loop as one writes it first (a DataLoader of
rows, the default Adam, every epoch measured on validation, batch by batch) does the same
arithmetic. Told are seconds an epoch and their ratio. Ours is the difference between a long and a
short run by all those epochs, so whatever a run writes on its way is in it. Both come from the
clock and by processor time, which other programs disturb less.
"""

import argparse
import contextlib
import io
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from measuring import machine
from torch.utils.data import DataLoader, TensorDataset

from flannel.data.diagnosis import FLANNEL
from flannel.ensemble import ensemble
from flannel.ensemble.stacking import read_stack
from flannel.study.predictions import probability_columns, save_predictions

ROWS = {"train": 4104, "val": 1026, "test": 1283}
LEARNERS = [f"global/learner{number}" for number in range(5)]
ROOT = Path(__file__).parent.parent


def write_study(study: Path) -> None:
    """Writes base predictions that are right more often than not."""
    rng = np.random.default_rng(1)
    split = [name for name, count in ROWS.items() for _ in range(count)]
    names = [f"image-{number:05}" for number in range(len(split))]
    target = rng.choice(4, size=len(split), p=[0.07, 0.23, 0.45, 0.25])
    for learner in LEARNERS:
        table = pd.DataFrame({"image_id": names, "patient_id": names, "group": names})
        table["split"], table["diagnosis"] = split, [FLANNEL[index] for index in target]
        logits = rng.normal(size=(len(split), 4)) + 2 * np.eye(4)[target]
        table[probability_columns(FLANNEL)] = torch.from_numpy(logits).softmax(dim=1).numpy()
        folder = study / "base" / learner / "fold0"
        save_predictions(table, folder / "predictions.csv")
        content = {"finished": True, "parts": {"split": "s", "store": "s", "config": learner}}
        (folder / "fingerprint.json").write_text(json.dumps(content))


def clocks() -> np.ndarray:
    """Reads the clock, and this process's own time on a processor, in seconds."""
    return np.array([time.perf_counter(), time.process_time()])


def run(study: Path, epochs: int) -> np.ndarray:
    """Trains through the command line, and gives the seconds of all of it."""
    recipes = ROOT / "experiments" / "ensemble"
    started = clocks()
    with contextlib.redirect_stdout(io.StringIO()):
        ensemble.main(
            ["fit", f"--config={recipes / '_common.yaml'}", f"--study={study}", "--name=flannel",
             "--data.arm=global", f"--data.learners=[{','.join(LEARNERS)}]", "--wandb=off",
             f"--trainer.max_epochs={epochs}", "--redo=true"]
        )  # fmt: skip
    return clocks() - started


def ours(study: Path, epochs: int) -> np.ndarray:
    """Returns the seconds of an epoch."""
    few = max(epochs // 10, 1)
    return (run(study, few + epochs) - run(study, few)) / epochs


def plain(study: Path, epochs: int) -> np.ndarray:
    """Trains in a plain loop, and gives the seconds of an epoch."""
    stack = read_stack(study, LEARNERS, 0)
    training, validation = (
        TensorDataset(torch.from_numpy(rows.probabilities), torch.from_numpy(rows.targets))
        for rows in (stack.training, stack.validation)
    )
    linear = torch.nn.Linear(400, 5)
    alpha = 1000 / torch.bincount(training.tensors[1], minlength=4)
    optimizer = torch.optim.Adam(linear.parameters(), lr=1e-5, weight_decay=1e-4)

    def scores(probabilities: torch.Tensor) -> torch.Tensor:
        features = probabilities.flatten(1)
        products = torch.bmm(features[:, :, None], features[:, None, :]).flatten(1)
        return (linear(products).tanh()[:, :, None] * probabilities).sum(dim=1)

    def focal(combined: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        p = combined.softmax(dim=1).gather(1, target[:, None]).squeeze(1)
        return -(alpha[target] * (1 - p) ** 10 * (p + 1e-9).log()).sum()

    started = clocks()
    for _ in range(epochs):
        for probabilities, target in DataLoader(training, batch_size=20, shuffle=True):
            optimizer.zero_grad()
            focal(scores(probabilities), target).backward()
            optimizer.step()
        with torch.no_grad():
            for probabilities, target in DataLoader(validation, batch_size=20):
                combined = scores(probabilities)
                focal(combined, target).item()
                (combined.argmax(dim=1) == target).float().mean().item()
    return (clocks() - started) / epochs


def main() -> None:
    """Measures both in turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="turns of each")
    parser.add_argument("--epochs", type=int, default=100, help="of ours; a tenth of plain ones")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(machine())
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        write_study(Path(folder))
        run(Path(folder), 1)  # what is imported and built once belongs to neither
        for number in range(options.rounds):
            slow = plain(Path(folder), max(options.epochs // 10, 1))
            fast = ours(Path(folder), options.epochs)
            ratios.append(slow / fast)
            timings = [
                f"{name}: plain {1000 * slow[place]:.0f} ms an epoch, ours "
                f"{1000 * fast[place]:.1f} ms, ratio {ratios[-1][place]:.1f}"
                for place, name in enumerate(("clock", "processor"))
            ]
            print(f"round {number}  {';  '.join(timings)}", flush=True)
    by_clock, by_processor = np.median(ratios, axis=0)
    print(f"median ratio {by_clock:.1f} by the clock, {by_processor:.1f} by processor time")


if __name__ == "__main__":
    main()
