"""The predictions table: one row per image, written once by a run and read by every later stage."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from flannel.errors import FlannelError
from flannel.files import whole_file

IDENTITY = ("image_id", "patient_id", "group", "split", "diagnosis")
SPLITS = ("train", "val", "test")
SUM_TOLERANCE = 1e-3
"""A sum of probabilities that is further from 1 is reported."""


class PredictionsError(FlannelError):
    """Raised when a predictions table cannot be used."""


def probability_columns(diagnoses: Sequence[str]) -> list[str]:
    """Returns the names of the probability columns: `p_COVID-19` and so on."""
    return [f"p_{diagnosis}" for diagnosis in diagnoses]


def prediction_row(
    image_id: str,
    confidences: Sequence[float] | np.ndarray,
    diagnoses: Sequence[str],
    patches: int,
    coverage: float,
) -> dict[str, object]:
    """Returns what a base learner predicts for an image, as a row of the table.

    Args:
        image_id: The image.
        confidences: The probability of each diagnosis.
        diagnoses: The label set.
        patches: How many views voted; 0 for a whole radiograph.
        coverage: Share of the lung pixels that they saw; NaN for a whole radiograph.
    """
    probabilities = dict(zip(probability_columns(diagnoses), confidences, strict=True))
    return {"image_id": image_id, **probabilities, "patches": patches, "coverage": coverage}


def predictions_table(identity: pd.DataFrame, rows: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """Joins the rows of predicted images to their identity columns, in the identity's order."""
    return identity[list(IDENTITY)].merge(pd.DataFrame(rows), on="image_id", validate="one_to_one")


def unusual_sums(sums: Mapping[str, np.ndarray]) -> list[str]:
    """Names the learners whose probabilities do not sum to one, which mean sigmoids need not.

    Args:
        sums: Of each learner, by its name: the sums of its images' probabilities.
    """
    return [
        f"The probabilities of {name} sum to {of_images.min():.2f} to {of_images.max():.2f} "
        "instead of 1 (as mean sigmoids do) and are used unchanged."
        for name, of_images in sums.items()
        if np.abs(of_images - 1).max(initial=0) > SUM_TOLERANCE
    ]


def save_predictions(table: pd.DataFrame, path: Path) -> None:
    """Writes a predictions table, sorted by image, whole or not at all."""
    with whole_file(path) as beside:
        table.sort_values("image_id").to_csv(beside, index=False, float_format="%.8g")


def load_predictions(path: Path, diagnoses: Sequence[str]) -> pd.DataFrame:
    """Reads and checks one predictions table.

    Args:
        path: A `predictions.csv`.
        diagnoses: The label set; its probability columns must all be there.

    Returns:
        The table, indexed by nothing, sorted by `image_id`.

    Raises:
        PredictionsError: If the file is missing, lacks a column, names an image twice, holds a
            probability that is not a number, or a split or diagnosis outside the known ones.
    """
    if not path.is_file():
        raise PredictionsError(
            f"{path} does not exist: run the learner or ensemble that writes it first."
        )
    text = dict.fromkeys(IDENTITY, str)
    try:
        table = pd.read_csv(path, dtype=text, keep_default_na=False, na_values=[""])
    except (ValueError, UnicodeDecodeError) as fault:
        raise PredictionsError(f"{path} is not a CSV table: {fault}.") from fault
    needed = [*IDENTITY, *probability_columns(diagnoses)]
    missing = [column for column in needed if column not in table]
    if missing:
        raise PredictionsError(
            f"{path} lacks the columns {', '.join(missing)}; it has {', '.join(table.columns)}. "
            "Was it written with another label set?"
        )
    table[list(IDENTITY)] = table[list(IDENTITY)].fillna("")
    twice = table["image_id"][table["image_id"].duplicated()].unique()
    if len(twice):
        raise PredictionsError(f"{path} holds the image {twice[0]} more than once.")
    probabilities = table[probability_columns(diagnoses)].apply(pd.to_numeric, errors="coerce")
    bad = table["image_id"][~np.isfinite(probabilities).all(axis=1)]
    if len(bad):
        raise PredictionsError(
            f"{path} holds no number as a probability for {len(bad)} images, first {bad.iloc[0]}."
        )
    table[probability_columns(diagnoses)] = probabilities
    for column, known in (("split", SPLITS), ("diagnosis", tuple(diagnoses))):
        strange = sorted(set(table[column]) - set(known))
        if strange:
            raise PredictionsError(
                f"{path} holds {strange[0]!r} as {column}; expected one of {', '.join(known)}."
            )
    return table.sort_values("image_id", ignore_index=True)


def aligned_probabilities(
    tables: Mapping[str, pd.DataFrame], diagnoses: Sequence[str]
) -> tuple[pd.DataFrame, np.ndarray]:
    """Lines up the predictions of several learners image by image.

    Args:
        tables: Predictions by learner, in the ensemble's order.
        diagnoses: The label set.

    Returns:
        The identity columns (one row per image), and the probabilities
        (images, learners, classes) as float32 in the order of `tables`.

    Raises:
        PredictionsError: If two learners differ in images, splits or diagnoses.
    """
    names = list(tables)
    first = tables[names[0]].sort_values("image_id", ignore_index=True)
    identity = first[list(IDENTITY)]
    stacked = []
    for name in names:
        table = tables[name].sort_values("image_id", ignore_index=True)
        apart = set(table["image_id"]) ^ set(identity["image_id"])
        if apart:
            raise PredictionsError(
                f"Learners {names[0]} and {name} predicted different images: {len(apart)} images "
                f"are in one table only, first {min(apart)}. Run both on the same manifest."
            )
        for column in ("split", "diagnosis"):
            differs = table["image_id"][table[column] != identity[column]]
            if len(differs):
                raise PredictionsError(
                    f"Learners {names[0]} and {name} differ in the {column} of {len(differs)} "
                    f"images, first {differs.iloc[0]}. Run both on the same manifest."
                )
        stacked.append(table[probability_columns(diagnoses)].to_numpy(np.float32))
    return identity, np.stack(stacked, axis=1)
