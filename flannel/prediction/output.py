"""What a prediction leaves: a table with a row per radiograph and learner, and the same as JSON."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from flannel.files import whole_file, write_json
from flannel.prediction.results import Prediction, Probabilities, RadiographResult
from flannel.prediction.trained import NOTICE, Trained
from flannel.study.predictions import probability_columns

TABLE, DOCUMENT, PICTURES = "predictions.csv", "predictions.json", "pictures"


def save_table(results: Sequence[RadiographResult], diagnoses: Sequence[str], path: Path) -> None:
    """Writes a row per radiograph and learner or ensemble; withheld answers leave their row empty.

    Columns: image_id, file, split, arm, learner, diagnosis, p_<diagnosis>, calibrated_<diagnosis>,
    low_<diagnosis>, high_<diagnosis>, patches, coverage, mask_flag, doubts.
    """
    rows = [
        {**_about(radiograph), **_cells(prediction, diagnoses), **_care(radiograph)}
        for radiograph in results
        for prediction in radiograph.predictions or (None,)
    ]
    with whole_file(path) as beside:
        pd.DataFrame(rows).to_csv(beside, index=False, float_format="%.8g")


def save_document(
    trained: Trained,
    results: Sequence[RadiographResult],
    faults: Sequence[str],
    pictures: bool,
    path: Path,
) -> None:
    """Writes all of a prediction as JSON, with what it was made of."""
    write_json(
        {
            "notice": NOTICE,
            "trained": trained.name,
            "identity": trained.identity,
            "fold": trained.fold,
            "diagnoses": list(trained.diagnoses),
            "notes": list(trained.notes),
            "faults": list(faults),
            "radiographs": [
                _as_json(radiograph, trained.diagnoses, pictures) for radiograph in results
            ],
        },
        path,
    )


def picture_name(image_id: str) -> str:
    """Names a radiograph's picture within the prediction's folder."""
    return f"{PICTURES}/{image_id}.png"


def _about(radiograph: RadiographResult) -> dict[str, object]:
    split = radiograph.known.split if radiograph.known else ""
    return {"image_id": radiograph.image_id, "file": radiograph.path, "split": split}


def _care(radiograph: RadiographResult) -> dict[str, object]:
    doubts = "; ".join(doubt.name for doubt in radiograph.doubts)
    return {"mask_flag": radiograph.mask_flag, "doubts": doubts}


def _cells(prediction: Prediction | None, diagnoses: Sequence[str]) -> dict[str, object]:
    parts = ("p", "calibrated", "low", "high")
    if prediction is None:
        empty = dict.fromkeys(f"{part}_{name}" for part in parts for name in diagnoses)
        return {"arm": None, "learner": None, "diagnosis": None} | empty
    values = (prediction.probabilities, prediction.calibrated, prediction.low, prediction.high)
    cells: dict[str, object] = {
        "arm": prediction.arm,
        "learner": prediction.learner,
        "diagnosis": diagnoses[int(prediction.probabilities.argmax())],
    }
    for part, row in zip(parts, values, strict=True):
        named = [column.replace("p_", f"{part}_", 1) for column in probability_columns(diagnoses)]
        cells |= dict(zip(named, [None] * len(diagnoses) if row is None else row, strict=True))
    return cells | {"patches": prediction.patches, "coverage": prediction.coverage}


def _as_json(
    radiograph: RadiographResult, diagnoses: Sequence[str], pictures: bool
) -> dict[str, object]:
    def named(row: Probabilities | None) -> dict[str, float] | None:
        return None if row is None else dict(zip(diagnoses, _plain(row), strict=True))

    return {
        **_about(radiograph),
        "mask_flag": radiograph.mask_flag,
        "doubts": [{"name": doubt.name, "grave": doubt.grave} for doubt in radiograph.doubts],
        "picture": picture_name(radiograph.image_id) if pictures else None,
        "verdicts": [
            {
                "arm": prediction.arm,
                "learner": prediction.learner,
                "diagnosis": diagnoses[int(prediction.probabilities.argmax())],
                "probabilities": named(prediction.probabilities),
                "calibrated": named(prediction.calibrated),
                "low": named(prediction.low),
                "high": named(prediction.high),
                "patches": prediction.patches,
                "coverage": prediction.coverage,
            }
            for prediction in radiograph.predictions
        ],
    }


def _plain(row: Probabilities) -> list[float]:
    return [float(f"{value:.8g}") for value in np.asarray(row)]
