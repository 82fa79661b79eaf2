"""Shortcuts: how well diagnosis, source and view are predicted with the lungs (almost) hidden."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from flannel.data.audit.evidence import Evidence
from flannel.uncertainty import draw_groups, percentiles

if TYPE_CHECKING:
    from sklearn.ensemble import RandomForestClassifier

TARGETS = ("diagnosis", "source", "view")
SIZE_AND_BORDER = "image size and border"
THUMBNAIL = "thumbnail"
LUNGS_HIDDEN = "thumbnail with the lungs blacked out"
CENTRE_HIDDEN = "thumbnail with the centre blacked out"
LUNG_MASK = "lung mask alone"
LUNG_POSITION = "position of the lungs alone"
LUNG_SHAPE = "shape of the lung mask alone"
GREY_VALUES = "grey values alone"

BLIND = (SIZE_AND_BORDER, LUNGS_HIDDEN, CENTRE_HIDDEN)
"""Evidence without lung pixels. Where the lungs lie, which the black box shows, may still depend on
the disease, as where a segmenter misses consolidated lung."""

EXPLAINED: Mapping[str, str] = {
    SIZE_AND_BORDER: "width, height and aspect of the file, grey values along the four edges",
    THUMBNAIL: "the radiograph shrunk to 16 x 16 pixels; some of the disease may show",
    LUNGS_HIDDEN: "the thumbnail, with everything in the smallest box around the lung mask black",
    CENTRE_HIDDEN: "the thumbnail, with one box black that holds nearly all lungs, because less "
    "than nine of ten radiographs have a lung mask",
    LUNG_MASK: "the outline of the lungs shrunk to 16 x 16 pixels, and no grey value; the disease "
    "may show in it",
    LUNG_POSITION: "top, bottom, left and right of the box around the lung mask; age, rotation and "
    "what the segmenter misses show in it",
    LUNG_SHAPE: "the lung mask within that box, stretched to 16 x 16 pixels; the disease may show "
    "in it",
    GREY_VALUES: "how often each of 64 grey values occurs, without their places; some of "
    "the disease may show",
}
"""What a shortcut baseline sees, in words."""

FROM_MASKS = (LUNG_MASK, LUNG_POSITION, LUNG_SHAPE)
"""Evidence of the lung mask and of no grey value."""

MASKED_SHARE = 0.9
FOLDS = 5
TREES = 50
TREE_IMAGES = 1500
"""Images that a tree grows on, at most: more improve little and take long."""

RESAMPLINGS = 1000


@dataclass(frozen=True)
class Shortcut:
    """How well one target is predicted from one kind of evidence.

    Attributes:
        target: What is predicted: `diagnosis`, `source` or `view`.
        evidence: What is seen, a key of `EXPLAINED`.
        images: Radiographs with a prediction.
        macro_f1: Mean over the classes of F1, one class against the rest.
        low: Lower end of its 95 % interval over other patients; None where there is none, because
            it is the same in every resample.
        high: Upper end, likewise.
        chance: Macro F1 of guessing by the classes' shares.
        f1: F1 of each class.
        left_out: Radiographs of classes with fewer groups than folds.
    """

    target: str
    evidence: str
    images: int
    macro_f1: float
    low: float | None
    high: float | None
    chance: float
    f1: Mapping[str, float]
    left_out: Mapping[str, int]

    @property
    def beats_chance(self) -> bool:
        """Whether the interval, or the number without one, lies above chance."""
        return (self.macro_f1 if self.low is None else self.low) > self.chance

    def interval(self, digits: int) -> str:
        """Returns the interval in words."""
        if self.low is None or self.high is None:
            return "no interval"
        return f"{self.low:.{digits}f} to {self.high:.{digits}f}"


def find_shortcuts(
    manifest: pd.DataFrame, evidence: Evidence, groups: Sequence[str], seed: int = 1
) -> list[Shortcut]:
    """Tries every target from every kind of evidence; what has a single class is passed over.

    Args:
        manifest: The radiographs, by diagnosis, source and view.
        evidence: Of the same rows.
        groups: Which radiographs must stay together.
        seed: Of forests, folds and resampling.
    """
    owners = np.asarray(groups)
    shortcuts = []
    for target in TARGETS:
        truth = manifest[target].to_numpy(str)
        for name, (numbers, seen) in views_of(evidence).items():
            counts = _groups_by_class(truth[seen], owners[seen])
            kept = [label for label, count in counts.items() if count >= FOLDS and label]
            rows = seen & np.isin(truth, kept)
            if len(kept) > 1:
                others = truth[seen & ~rows].tolist()
                left_out = {label: others.count(label) for label in sorted(set(others))}
                predicted = predict(numbers[rows], truth[rows], owners[rows], seed)
                shortcuts.append(
                    _judged(target, name, truth[rows], predicted, owners[rows], left_out, seed)
                )
    return shortcuts


def views_of(
    evidence: Evidence,
) -> Mapping[str, tuple[Float[np.ndarray, "images numbers"], Bool[np.ndarray, " images"]]]:
    """Names what a baseline may see: its numbers for each image, and which images have them.

    The lungs are hidden by the box around their mask if at least nine of ten images have a mask;
    otherwise by one fixed box for all, because having a mask could reveal the source.
    """
    everybody = np.ones(len(evidence.has_mask), bool)
    masked = evidence.has_mask.mean() >= MASKED_SHARE
    names = [SIZE_AND_BORDER, THUMBNAIL, LUNGS_HIDDEN if masked else CENTRE_HIDDEN]
    if evidence.has_mask.any():
        names += FROM_MASKS
    numbers = numbers_of(evidence)
    return {
        name: (
            numbers[name],
            evidence.has_mask if name in (LUNGS_HIDDEN, *FROM_MASKS) else everybody,
        )
        for name in (*names, GREY_VALUES)
    }


def numbers_of(evidence: Evidence) -> Mapping[str, Float[np.ndarray, "images numbers"]]:
    """Returns what a forest sees of each image, by the kinds of evidence of `EXPLAINED`."""
    return {
        SIZE_AND_BORDER: evidence.frame,
        THUMBNAIL: evidence.thumbnail,
        LUNGS_HIDDEN: evidence.lungs_hidden,
        CENTRE_HIDDEN: evidence.centre_hidden,
        LUNG_MASK: evidence.lungs,
        LUNG_POSITION: evidence.lung_box,
        LUNG_SHAPE: evidence.lung_shape,
        GREY_VALUES: evidence.histogram,
    }


def predict(
    numbers: Float[np.ndarray, "images numbers"],
    truth: np.ndarray,
    groups: np.ndarray,
    seed: int = 1,
) -> np.ndarray:
    """Predicts the class of every image with random forests that saw only other groups.

    Args:
        numbers: What is seen of each image.
        truth: The classes, each in at least FOLDS groups.
        groups: Which images must stay together.
        seed: Of forests and folds.
    """
    # scikit-learn takes long to import, and `--help` needs the command table only.
    from sklearn.model_selection import StratifiedGroupKFold

    predicted = np.empty_like(truth)
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # A class with few images is predicted badly, and its F1 shows it.
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        for training, tested in folds.split(numbers, truth, groups):
            forest = grown_forest(numbers[training], truth[training], seed)
            predicted[tested] = forest.predict(numbers[tested])
    return predicted


def grown_forest(
    numbers: Float[np.ndarray, "images numbers"], truth: np.ndarray, seed: int
) -> "RandomForestClassifier":
    """Grows the forest of a shortcut baseline; the same input and seed give the same forest.

    Args:
        numbers: What is seen of each image.
        truth: The classes, which weigh alike however many images they have.
        seed: Of the forest.
    """
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(
        TREES,
        class_weight="balanced",
        max_samples=min(TREE_IMAGES, len(truth)),
        random_state=seed,
        n_jobs=1,
    )
    return forest.fit(numbers, truth)


def f1_by_class(confusion: Int[np.ndarray, "*draws classes classes"]) -> np.ndarray:
    """Returns 2 TP / (2 TP + FP + FN) of each class, 0 where it neither occurs nor is predicted.

    Args:
        confusion: Images by true class (rows) and predicted class (columns).
    """
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    all_named = confusion.sum(axis=-1) + confusion.sum(axis=-2)
    return np.divide(2 * right, all_named, out=np.zeros(right.shape), where=all_named > 0)


def _judged(
    target: str,
    evidence: str,
    truth: np.ndarray,
    predicted: np.ndarray,
    groups: np.ndarray,
    left_out: Mapping[str, int],
    seed: int,
) -> Shortcut:
    classes, true = np.unique(truth, return_inverse=True)
    owners, owner = np.unique(groups, return_inverse=True)
    cells = np.zeros((len(owners), len(classes), len(classes)), int)
    np.add.at(cells, (owner, true, np.searchsorted(classes, predicted)), 1)
    scores = f1_by_class(cells.sum(axis=0))
    draws = draw_groups(owners.tolist(), RESAMPLINGS, seed)
    sums = draws.sums(cells.reshape(len(owners), -1).astype(np.float64))
    confusions = sums.reshape(RESAMPLINGS, *cells.shape[1:])
    rarest = min(_groups_by_class(truth, groups).values())
    ends = percentiles(float(scores.mean()), f1_by_class(confusions).mean(axis=1), rarest)
    return Shortcut(
        target=target,
        evidence=evidence,
        images=len(truth),
        macro_f1=float(scores.mean()),
        low=ends.low if ends.exists else None,
        high=ends.high if ends.exists else None,
        # Guessing class c with its share p gives precision and recall p, so F1 is p; shares sum
        # to 1, and their mean is this.
        chance=1 / len(classes),
        f1=dict(zip(classes.tolist(), scores.tolist(), strict=True)),
        left_out=left_out,
    )


def _groups_by_class(truth: np.ndarray, groups: np.ndarray) -> Mapping[str, int]:
    return pd.Series(groups).groupby(truth).nunique().to_dict()
