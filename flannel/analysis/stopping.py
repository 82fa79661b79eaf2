"""How many patches could be spared by stopping when a vote is decided, and what that costs.

From the patches that a study's runs kept, without a model: their votes are counted anew in random
orders, and each count stops when it is decided (`patching.stopping`).
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float32, Int
from torch import Tensor

from flannel.analysis.patch_study import REPORTED_ON, RULES, PatchRun
from flannel.files import derived_seed
from flannel.metrics.classification import counted
from patching.stopping import ROUND, patches_needed
from patching.vote import Rule, vote

ERRORS = (0.0, 0.01, 0.05, 0.1)
"""The risks of another majority than that of all patches that are tried; only 0 for soft votes."""

COLUMNS = ["learner", "fold", "rule", "error", "patches", "asked", "spared", "agreement"]
COLUMNS += ["difference", "f1", "f1_all"]


def study_stopping(runs: Sequence[PatchRun], repeats: int = 20, seed: int = 1) -> pd.DataFrame:
    """Stops the count of every test image of every run, in random orders of its patches.

    Patches count alike, whatever the run's own weights. Of several sizes all are taken together.

    Args:
        runs: What `flannel.analysis.patch_study.patch_runs` gives.
        repeats: Orders of each image's patches.
        seed: Of the orders; the same ones for every run.

    Returns:
        Rows of `COLUMNS`: the mean number of patches evaluated, the share that was spared, and the
        macro F1 with and without stopping. Agreement is the share of images and orders whose
        majority is that of all K. The difference of confidences is a root mean square over images,
        orders and diagnoses.
    """
    rows = []
    for patched in runs:
        tested = (patched.truth["split"] == REPORTED_ON).to_numpy()
        if not tested.any():
            continue
        kept = torch.from_numpy(patched.patches.logits[tested].astype(np.float32))
        orders = _orders(patched.truth.index[tested], kept.shape[1], repeats, seed)
        logits = kept[torch.arange(len(kept))[:, None], orders].flatten(0, 1)  # an order an image
        name = {"learner": patched.run.learner, "fold": patched.run.fold}
        for rule in RULES:
            for error in ERRORS if rule == "share" else ERRORS[:1]:
                outcome = _stopped(logits, np.tile(patched.targets(tested), repeats), rule, error)
                rows.append({**name, "rule": rule, "error": error, **outcome})
    return pd.DataFrame(rows, columns=COLUMNS)


def _orders(
    image_ids: pd.Index, patches: int, repeats: int, seed: int
) -> Int[Tensor, "repeats images patches"]:
    """Draws in which order the patches of each image are asked."""
    orders = np.empty((repeats, len(image_ids), patches), np.int64)
    for place, image_id in enumerate(image_ids):
        generator = np.random.default_rng(derived_seed(seed, image_id, "order"))
        orders[:, place] = generator.permuted(np.tile(np.arange(patches), (repeats, 1)), axis=1)
    return torch.from_numpy(orders)


def _stopped(
    logits: Float32[Tensor, "counts patches classes"],
    true: Int[np.ndarray, " counts"],
    rule: Rule,
    error: float,
) -> dict[str, float]:
    """Measures what comes of stopping each count, beside the count of all patches."""
    patches = logits.shape[1]
    needed = patches_needed(logits, rule, error)
    early = torch.empty_like(logits[:, 0])
    for asked in needed.unique().tolist():
        stopped = needed == asked
        early[stopped] = vote(logits[stopped, :asked], rule)
    whole = vote(logits, rule)
    mean = needed.double().mean().item()
    return {
        "patches": patches,
        "asked": mean,
        "spared": 1 - mean / patches,
        "agreement": (early.argmax(1) == whole.argmax(1)).double().mean().item(),
        "difference": (early - whole).square().mean().sqrt().item(),
        "f1": _macro_f1(true, early.argmax(dim=1).numpy(), logits.shape[2]),
        "f1_all": _macro_f1(true, whole.argmax(dim=1).numpy(), logits.shape[2]),
    }


def _macro_f1(
    true: Int[np.ndarray, " counts"], predicted: Int[np.ndarray, " counts"], classes: int
) -> float:
    confusion = np.bincount(true * classes + predicted, minlength=classes**2).reshape(
        classes, classes
    )
    return float(counted(confusion, confusion.sum(axis=1) > 0)["f1"][-1])


def stopping_page(table: pd.DataFrame) -> str:
    """Writes the table of `study_stopping` as Markdown: a row per rule and risk, mean over runs."""
    lines = [
        "## How many could be spared",
        "",
        "The same patches, counted in random orders on the test images, the votes looked at after "
        f"every {ROUND} patches of an image. With a risk of 0 a count stops when no patch to come "
        "could change the majority; otherwise when another majority than that of all patches has "
        "at most this probability. Agreement is the share of counts that end with the majority of "
        "all patches; difference is that of their confidences (root mean square). Means over "
        f"{table.groupby(['learner', 'fold']).ngroups} runs.",
        "",
        "| vote | risk | patches | asked | spared | agreement | difference | macro F1 | of all |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for (rule, error), rows in table.groupby(["rule", "error"], sort=False):
        mean = rows.mean(numeric_only=True)
        lines.append(
            f"| {rule} | {error:g} | {mean['patches']:.0f} | {mean['asked']:.1f} | "
            f"{mean['spared']:.0%} | {mean['agreement']:.2%} | {mean['difference']:.3f} | "
            f"{mean['f1']:.3f} | {mean['f1_all']:.3f} |"
        )
    return "\n".join([*lines, ""])
