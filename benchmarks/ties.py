"""What ties between few votes cost in validation, and in the choice of an epoch: a simulation.

python benchmarks/ties.py

Outputs of patches are drawn for the validation images of the original's first fold: a mean for each
diagnosis, and noise of the epoch, the image and the patch. `first` gives a tie to the first
diagnosis, COVID-19; `vote` breaks it as `patching.vote.vote` does. The epoch with the largest macro
F1 of K patches is compared with the best by the votes of all patches.
"""

import argparse

import numpy as np
import torch
from measuring import machine

from flannel.metrics.classification import counted
from patching.vote import mean_vote, vote

IMAGES = np.array([81, 229, 452, 264])
"""Of each diagnosis, COVID-19 first, in the validation images of the original's first fold."""

MEANS = torch.tensor(
    [[2.2, 0.3, 0.3, 0.2], [0.2, 1.2, 0.8, 0.2], [0.2, 0.45, 1.7, 0.2], [0.2, 0.4, 0.3, 2.3]]
)
KS = (4, 8, 16)
PATCHES, EPOCHS = 60, 16
RULES = {
    "first": mean_vote,
    "vote": vote,
    "mean softmax": lambda logits: vote(logits, "mean_softmax"),
}


def measured(confidences: torch.Tensor, true: np.ndarray) -> tuple[float, float, int]:
    """Returns macro F1, F1 of COVID-19 and how many images are called so."""
    predicted = confidences.argmax(dim=1).numpy()
    confusion = np.zeros((4, 4))
    np.add.at(confusion, (true, predicted), 1)
    f1 = counted(confusion, np.ones(4, bool))["f1"]
    return f1[4], f1[0], int((predicted == 0).sum())


def main() -> None:
    """Prints a row for each K and rule: means over trainings and their epochs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trainings", type=int, default=64)
    trainings = parser.parse_args().trainings
    generator = torch.Generator().manual_seed(7)
    true = np.repeat(np.arange(4), IMAGES)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, 4, generator=generator)

    rows: dict[tuple[int, str], list[list[float]]] = {(k, rule): [] for k in KS for rule in RULES}
    for _ in range(trainings):
        constant = 0.6 * noise(len(true), 1) + 0.7 * noise(len(true), PATCHES)
        of_all: list[float] = []
        of_few: dict[tuple[int, str], list[tuple[float, ...]]] = {key: [] for key in rows}
        for _ in range(EPOCHS):
            # The biases of the classes wobble from epoch to epoch, as they do in small batches.
            scale = 0.8 + 0.4 * torch.rand(1, generator=generator)
            logits = scale * MEANS[true][:, None] + 0.25 * noise(1, 1) + constant
            logits += 0.3 * noise(len(true), PATCHES)
            of_all.append(measured(vote(logits), true)[0])
            for k, rule in rows:
                few = logits[:, :k]
                share = mean_vote(few).sort(dim=1).values
                tied = (share[:, -1] == share[:, -2]).double().mean().item()
                of_few[k, rule].append((*measured(RULES[rule](few), true), tied))
        for key, values in of_few.items():
            table = np.array(values)
            lost = max(of_all) - of_all[int(table[:, 0].argmax())]
            rows[key].append([*table.mean(axis=0), lost])
    print(machine())
    print(
        "| K | rule | tied | COVID-19 called, of 81 | F1 of COVID-19 | macro F1 | macro F1 lost |"
    )
    print("|---:|---|---:|---:|---:|---:|---:|")
    for (k, rule), means in rows.items():
        macro, covid, called, tied, lost = np.mean(means, axis=0)
        error = np.std([mean[-1] for mean in means], ddof=1) / np.sqrt(trainings)
        print(
            f"| {k} | {rule} | {tied:.1%} | {called:.0f} | {covid:.3f} | {macro:.3f} "
            f"| {lost:.4f} ({error:.4f}) |"
        )


if __name__ == "__main__":
    main()
