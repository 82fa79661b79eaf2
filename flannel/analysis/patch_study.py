"""How many patches it takes: F1, spread of the vote and coverage by K, from a study's files alone.

Paper 004 promises to tune the number and the size of its patches. A run keeps its learner's
logits of every patch, so both can be studied later, without a model: subsets of K patches stand
for runs with K patches.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Float32, Int

from flannel.data.diagnosis import index_of
from flannel.data.provenance import label_set_of
from flannel.data.store import Store, StoreError
from flannel.files import derived_seed
from flannel.metrics.classification import MACRO, counted
from flannel.study.contents import StudyError, StudyRun, find_runs
from flannel.study.patches import Patches, load_patches
from flannel.study.predictions import load_predictions
from patching.coverage import coverage
from patching.vote import Rule, ties_broken, votes_of_patches

KS = (1, 2, 5, 10, 20, 30, 40, 45, 60, 80, 100)
"""The numbers of patches that are tried, as far as a run has as many."""

RULES: tuple[Rule, ...] = get_args(Rule)
TIMES = (1, 3)
"""A lung pixel counts as covered when so many patches see it."""

SPREAD = "spread of the vote"
CHOSEN_ON, REPORTED_ON = "val", "test"


@dataclass(frozen=True)
class PatchRun:
    """A finished run that kept its patches.

    Attributes:
        run: The run.
        patches: Its patches, without the box around the lungs.
        truth: Diagnosis and split of each of its images, in the order of the patches.
        diagnoses: The study's label set, in order.
    """

    run: StudyRun
    patches: Patches
    truth: pd.DataFrame
    diagnoses: tuple[str, ...]

    def targets(self, chosen: Bool[np.ndarray, " images"]) -> Int[np.ndarray, " chosen"]:
        """Returns the class index of chosen images."""
        return np.array(
            [index_of(name, self.diagnoses) for name in self.truth["diagnosis"][chosen]]
        )


def patch_runs(study: Path) -> list[PatchRun]:
    """Reads the patches of every finished run that kept some.

    Raises:
        StudyError: If there is none, or its patches and predictions are of different images.
        PatchesError: If a file of patches cannot be used.
    """
    runs = []
    diagnoses = label_set_of(study)
    for run in find_runs(study):
        path = run.folder / "patches.npz"
        if not run.finished or not path.is_file():
            continue
        patches = load_patches(path)
        truth = load_predictions(run.folder / "predictions.csv", diagnoses)
        truth = truth.set_index("image_id")
        if set(patches.image_id) - set(truth.index):
            raise StudyError(
                f"{path} holds images that are not in the run's predictions.csv: make the run "
                "again with --redo true."
            )
        truth = truth.loc[list(patches.image_id), ["diagnosis", "split"]]
        runs.append(PatchRun(run, _without_box(patches), truth, diagnoses))
    if not runs:
        raise StudyError(
            f"{study} has no finished run with patches.npz: run `make base-models ARM=patched`."
        )
    return runs


def study_patches(
    runs: Sequence[PatchRun], store: Store | None, repeats: int = 20, seed: int = 1
) -> pd.DataFrame:
    """Measures subsets of K patches of every run, on its validation and test images.

    A subset is drawn with replacement, so that subsets of a run with uniform centres vary as much
    as new draws of as many centres; without replacement, they would all agree at the run's own K.
    Subsets vote equally; a run's own weights belong to all of its patches together.

    Args:
        runs: What `patch_runs` gives.
        store: With the lung masks, for the coverage; None leaves it out.
        repeats: Subsets of each size, at least 2.
        seed: Of the subsets; the same ones for every run.

    Returns:
        Rows of `learner, fold, split, window_px, rule, k, measure, value, deviation`: F1 of each
        diagnosis and "macro", their mean and deviation over subsets; "spread of the vote", the
        deviation of a confidence over subsets, as root mean square over images and diagnoses; and
        the coverage, without a rule. A run with patches of several sizes has rows of each size,
        and of all together, such as "224+448".
    """
    covered: dict[tuple[str, bytes], Float[np.ndarray, "times k"]] = {}
    parts = []
    for patched in runs:
        for window_px, alike in _by_window(patched.patches).items():
            for split in (CHOSEN_ON, REPORTED_ON):
                chosen = (patched.truth["split"] == split).to_numpy()
                if not chosen.any():
                    continue
                subset = _of_images(patched.patches, chosen, alike)
                ks = [k for k in KS if k < subset.logits.shape[1]] + [subset.logits.shape[1]]
                orders = _orders(subset, ks[-1], repeats, seed)
                rows = list(_voted(subset, patched.targets(chosen), patched.diagnoses, ks, orders))
                if store is not None:
                    rows += _covering(subset, ks, orders[0], store, covered)
                name = {"learner": patched.run.learner, "fold": patched.run.fold, "split": split}
                parts.append(pd.DataFrame(rows).assign(**name, window_px=window_px))
    columns = ["learner", "fold", "split", "window_px", "rule", "k"]
    return pd.concat(parts, ignore_index=True)[[*columns, "measure", "value", "deviation"]]


def chosen_k(table: pd.DataFrame) -> pd.DataFrame:
    """Chooses K on validation images, and measures what it is worth on test images.

    Chosen is the smallest K whose macro F1 is within one deviation over subsets of the best K's
    (the rule of one standard error, Breiman et al. 1984).

    Args:
        table: What `study_patches` gives.

    Returns:
        Rows of `learner, fold, window_px, rule, k, f1, deviation, most, f1_most, deviation_most`:
        macro F1 on test images with the chosen K, and with the largest K.
    """
    macro = table[table["measure"] == f"F1 {MACRO}"]
    rows = []
    for (learner, fold, window_px, rule), of_run in macro.groupby(
        ["learner", "fold", "window_px", "rule"], sort=False
    ):
        splits = {name: rows.set_index("k") for name, rows in of_run.groupby("split")}
        if set(splits) != {CHOSEN_ON, REPORTED_ON}:
            continue
        validation, test = splits[CHOSEN_ON], splits[REPORTED_ON]
        best = validation.loc[validation["value"].idxmax()]
        enough = validation["value"] >= best["value"] - best["deviation"]
        k, most = enough.idxmax(), test.index.max()
        rows.append(
            {
                "learner": learner,
                "fold": fold,
                "window_px": window_px,
                "rule": rule,
                "k": k,
                "f1": test["value"][k],
                "deviation": test["deviation"][k],
                "most": most,
                "f1_most": test["value"][most],
                "deviation_most": test["deviation"][most],
            }
        )
    return pd.DataFrame(rows)


def open_store(study: Path) -> Store | None:
    """Opens the study's store, or says that coverage is left out without it."""
    try:
        return Store(study / "store")
    except StoreError as fault:
        print(f"coverage is left out: {fault}", flush=True)
        return None


def _without_box(patches: Patches) -> Patches:
    views = patches.logits.shape[1] - int(patches.lung_box)
    return _of_images(patches, np.ones(len(patches.image_id), bool), np.arange(views))


def _by_window(patches: Patches) -> Mapping[str, Int[np.ndarray, " patches"]]:
    """Returns which patches have a size, by size; of several sizes first all together."""
    sides = patches.windows_px[0]
    different = np.unique(sides)
    alike = {str(side): np.flatnonzero(sides == side) for side in different}
    if len(different) == 1:
        return alike
    return {"+".join(map(str, different)): np.arange(len(sides)), **alike}


def _of_images(
    patches: Patches, images: Bool[np.ndarray, " images"], alike: Int[np.ndarray, " patches"]
) -> Patches:
    return Patches(
        image_id=tuple(np.array(patches.image_id)[images].tolist()),
        centres=patches.centres[images][:, alike],
        windows_px=patches.windows_px[images][:, alike],
        weights=patches.weights[images][:, alike],
        logits=patches.logits[images][:, alike],
        strategy=patches.strategy,
        lung_box=False,
    )


def _orders(
    patches: Patches, k: int, repeats: int, seed: int
) -> Int[np.ndarray, "repeats images k"]:
    """Draws the patches of each subset; the first of an order are the smaller subsets."""
    orders = np.empty((repeats, len(patches.image_id), k), np.int64)
    for place, image_id in enumerate(patches.image_id):
        generator = np.random.default_rng(derived_seed(seed, image_id))
        orders[:, place] = generator.integers(patches.logits.shape[1], size=(repeats, k))
    return orders


def _voted(
    patches: Patches,
    true: Int[np.ndarray, " images"],
    diagnoses: Sequence[str],
    ks: Sequence[int],
    orders: Int[np.ndarray, "repeats images k"],
) -> Iterator[dict[str, object]]:
    """Yields F1 and spread by rule and K."""
    occurring = np.bincount(true, minlength=len(diagnoses)) > 0
    for rule in RULES:
        confidences = _confidences(patches, rule, ks, orders)
        predicted = _predicted(confidences, patches, rule, ks, orders)
        repeats, images, sizes, classes = confidences.shape
        confusion = np.zeros((repeats, sizes, classes, classes), np.int64)
        subset, size = np.ogrid[:repeats, :sizes]
        for image in range(images):
            confusion[subset, size, true[image], predicted[:, image]] += 1
        f1 = counted(confusion, occurring)["f1"]  # (repeats, sizes, classes + 1)
        spread = np.sqrt(confidences.var(axis=0, ddof=1).mean(axis=(0, 2)))  # (sizes,)
        for at, k in enumerate(ks):
            for name, values in zip((*diagnoses, MACRO), f1[:, at].T, strict=True):
                yield _row(rule, k, f"F1 {name}", values.mean(), values.std(ddof=1))
            yield _row(rule, k, SPREAD, spread[at])


def _predicted(
    confidences: Float32[np.ndarray, "repeats images sizes classes"],
    patches: Patches,
    rule: Rule,
    ks: Sequence[int],
    orders: Int[np.ndarray, "repeats images k"],
) -> Int[np.ndarray, "repeats images sizes"]:
    """Returns the places of the largest confidences, with ties broken as `vote` does."""
    if rule != "share":
        return confidences.argmax(axis=3)
    softmax = torch.from_numpy(_confidences(patches, "mean_softmax", ks, orders))
    return ties_broken(torch.from_numpy(confidences), softmax).argmax(dim=3).numpy()


def _confidences(
    patches: Patches, rule: Rule, ks: Sequence[int], orders: Int[np.ndarray, "repeats images k"]
) -> Float32[np.ndarray, "repeats images sizes classes"]:
    """Votes with the first K patches of each order: under every rule the mean over patches."""
    logits = torch.from_numpy(patches.logits.astype(np.float32))
    alone = votes_of_patches(logits, rule).numpy()
    sizes = np.array(ks)
    return np.stack(
        [
            np.take_along_axis(alone, order[:, :, None], axis=1).cumsum(axis=1)[:, sizes - 1]
            / sizes.astype(np.float32)[:, None]
            for order in orders
        ]
    )


def _covering(
    patches: Patches,
    ks: Sequence[int],
    order: Int[np.ndarray, "images k"],
    store: Store,
    covered: dict[tuple[str, bytes], Float[np.ndarray, "times k"]],
) -> list[dict[str, object]]:
    """Returns the mean coverage by K, of one order an image; learners mostly share patches."""
    of_images = []
    for place, image_id in enumerate(patches.image_id):
        centres = torch.from_numpy(patches.centres[place][order[place]].astype(np.int64))
        sides = torch.from_numpy(patches.windows_px[place][order[place]].astype(np.int64))
        key = image_id, centres.numpy().tobytes() + sides.numpy().tobytes()
        if key not in covered:
            mask = torch.from_numpy(store.lung_mask(image_id))
            covered[key] = np.stack([coverage(mask, centres, sides, n).numpy() for n in TIMES])
        of_images.append(covered[key])
    mean = np.mean(of_images, axis=0)  # (times, k)
    return [
        _row("", k, covered_by(times), shares[k - 1])
        for times, shares in zip(TIMES, mean, strict=True)
        for k in ks
    ]


def covered_by(times: int) -> str:
    """Names the measure: the share of lung pixels that so many patches see."""
    return f"coverage by {times} or more"


def _row(
    rule: str, k: int, measure: str, value: float, deviation: float = np.nan
) -> dict[str, object]:
    return {"rule": rule, "k": k, "measure": measure, "value": value, "deviation": deviation}
