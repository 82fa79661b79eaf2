"""Predictions from Python: `flannel.load("model.flannel").predict("radiograph.png")`."""

import shutil
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import overload

import numpy as np
import pandas as pd
from jaxtyping import Bool
from PIL import Image
from scipy.special import softmax

from flannel.bundle.read import open_trained
from flannel.data.arrays import Radiograph, as_places
from flannel.data.mask import read_mask
from flannel.prediction.dicom_output import MASKS
from flannel.prediction.output import TABLE, picture_name
from flannel.prediction.predict import PredictOptions, predict_files
from flannel.prediction.predictors import Answer, Panel
from flannel.prediction.results import Prediction, RadiographResult, leading
from flannel.runs.run import Answering
from flannel.study.contents import form_name
from flannel.study.predictions import probability_columns


@dataclass(frozen=True)
class PredictedRadiograph:
    """What was predicted for one radiograph.

    Attributes:
        name: The radiograph's `image_id`.
        path: Its file.
        diagnosis: The most probable one by the ensemble of most learners; None where doubts are so
            grave that nothing is predicted.
        probabilities: By `<arm>/<learner>`, of each diagnosis; the ensembles' last.
        predictions: The same with calibrated ones, intervals over patches, and coverage.
        patches: By `<arm>/<learner>`, a row per patch: centre and side in pixels of the store,
            weight of its vote, and the softmax of its logits for each diagnosis.
        mask: True inside the lungs, at the radiograph's own size; None without a segmenter.
        doubts: What is unusual about the radiograph.
    """

    name: str
    path: Path
    diagnosis: str | None
    probabilities: dict[str, dict[str, float]]
    predictions: tuple[Prediction, ...]
    patches: dict[str, pd.DataFrame]
    mask: Bool[np.ndarray, "height width"] | None
    doubts: tuple[str, ...]


class Predictions(Sequence[PredictedRadiograph]):
    """Predicted radiographs, sorted by name.

    Attributes:
        faults: A sentence for each file that could not be used.
        notes: Sentences on what is unusual about the study.
    """

    def __init__(
        self,
        radiographs: Sequence[PredictedRadiograph],
        table: pd.DataFrame,
        faults: tuple[str, ...],
        notes: tuple[str, ...],
        panel: Panel,
        options: PredictOptions,
        folder: Path,
    ) -> None:
        self.faults, self.notes = faults, notes
        self._radiographs, self._table = tuple(radiographs), table
        self._panel, self._options = panel, options
        # Arrays stay as files for as long as a picture may be drawn of them.
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)

    def __len__(self) -> int:
        """Returns the number of radiographs."""
        return len(self._radiographs)

    @overload
    def __getitem__(self, index: int) -> PredictedRadiograph: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[PredictedRadiograph, ...]: ...
    def __getitem__(
        self, index: int | slice
    ) -> PredictedRadiograph | tuple[PredictedRadiograph, ...]:
        """Returns a radiograph, or several of a slice."""
        return self._radiographs[index]

    def __iter__(self) -> Iterator[PredictedRadiograph]:
        """Returns the radiographs one by one."""
        return iter(self._radiographs)

    def to_frame(self) -> pd.DataFrame:
        """Returns the table that `flannel predict` writes: a row per radiograph and learner."""
        return self._table.copy()

    def picture(self, index: int = 0, saliency: bool = True) -> Image.Image:
        """Draws a radiograph's picture, as `flannel predict` does.

        Its learners predict again for it.

        Args:
            index: Which radiograph.
            saliency: Show saliency maps of two learners.
        """
        radiograph = self._radiographs[index]
        options = replace(self._options, pictures=True, saliency=saliency)
        with TemporaryDirectory() as folder:
            out = Path(folder) / "out"
            predict_files(self._panel, [radiograph.path], out, options)
            with Image.open(out / picture_name(radiograph.name)) as picture:
                picture.load()
                return picture


@dataclass(frozen=True)
class LoadedStudy:
    """The learners and ensembles of one fold, of a study or a bundle.

    Attributes:
        panel: What predicts.
    """

    panel: Panel

    @property
    def diagnoses(self) -> tuple[str, ...]:
        """The label set, in the order of every table."""
        return tuple(self.panel.trained.diagnoses)

    @property
    def learners(self) -> tuple[str, ...]:
        """The base learners, as `<arm>/<learner>`."""
        return tuple(learner.name for learner in self.panel.trained.learners)

    def predict(
        self,
        radiographs: Radiograph | Sequence[Radiograph],
        redraws: int = 200,
        doubtful: bool = False,
    ) -> Predictions:
        """Predicts radiographs, with the digits of `flannel predict`.

        Args:
            radiographs: One or several: files, folders, or arrays (height, width) of grey levels
                of 8 or 16 bits. An array is a PNG file of these levels.
            redraws: Redraws of the patches for the intervals; 0 makes none.
            doubtful: Predict radiographs with a grave doubt too.

        Raises:
            PredictError: If no radiograph can be read.
            OptionError: If an array is of another shape or type.
        """
        options = PredictOptions(redraws, pictures=False, saliency=False, doubtful=doubtful)
        folder = Path(mkdtemp(prefix="flannel-"))
        out = folder / "predictions"
        try:
            places = as_places(radiographs, folder / "arrays")
            report = predict_files(self.panel, places, out, options)
            listed = [
                _predicted(result, self.diagnoses, out / MASKS / f"{result.image_id}.png")
                for result in report.results
            ]
            table = pd.read_csv(out / TABLE)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return Predictions(listed, table, report.faults, report.notes, self.panel, options, folder)


def load(
    place: str | Path,
    fold: int | None = None,
    arms: Sequence[str] | None = None,
    learners: Sequence[str] | None = None,
    forms: Sequence[str] | None = ("flannel",),
    segmenter: str | Path | None = None,
    patches: int | None = None,
    precision: Answering = "auto",
) -> LoadedStudy:
    """Opens a study's folder or a bundle, ready to predict.

    Args:
        place: The folder.
        fold: By default the first that the study has trained; a bundle holds one.
        arms: Arms of learners and ensembles; all when None.
        learners: Base learners; all when None.
        forms: Forms of the ensemble and baselines, by the names of their recipes; all when None.
        segmenter: A best.ckpt of a lung segmenter; the study's own when None.
        patches: Patches per radiograph; those of each learner's recipe when None.
        precision: "auto", "as_trained", or a precision of Lightning's.

    Raises:
        BundleError: If the bundle is damaged, or holds none of the chosen.
        TrainedError: If a study cannot be used, or holds none of the chosen.
    """
    names = None if forms is None else tuple(form_name(name) for name in forms)
    checkpoint = None if segmenter is None else Path(segmenter)
    trained = open_trained(Path(place), fold, arms, learners, checkpoint, names)
    return LoadedStudy(Panel(trained, patches=patches, precision=precision))


def _predicted(
    result: RadiographResult, diagnoses: tuple[str, ...], mask: Path
) -> PredictedRadiograph:
    first = leading(result.predictions)
    return PredictedRadiograph(
        name=result.image_id,
        path=Path(result.path),
        diagnosis=None if first is None else diagnoses[int(first.probabilities.argmax())],
        probabilities={
            f"{prediction.arm}/{prediction.learner}": dict(
                zip(diagnoses, map(float, prediction.probabilities), strict=True)
            )
            for prediction in result.predictions
        },
        predictions=result.predictions,
        patches={
            name: _patches(answer, diagnoses)
            for name, answer in result.answers.items()
            if (answer.places.windows_px > 0).all()
        },
        mask=read_mask(mask) if mask.is_file() else None,
        doubts=tuple(doubt.name for doubt in result.doubts),
    )


def _patches(answer: Answer, diagnoses: tuple[str, ...]) -> pd.DataFrame:
    places = answer.places
    shares = softmax(answer.logits, axis=1)
    return pd.DataFrame(
        {
            "row": places.centres[:, 0],
            "column": places.centres[:, 1],
            "window_px": places.windows_px,
            "weight": places.weights,
            **dict(zip(probability_columns(diagnoses), shares.T, strict=True)),
        }
    )
