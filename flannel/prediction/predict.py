"""A radiograph in, a diagnosis with its picture out: by all that a fold of a study has trained.

Files go through the same store, segmenter, views and networks as the study's own radiographs, so
that a radiograph of the study gets the numbers of the study's predictions tables again.
"""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from flannel import __version__
from flannel.data.headers import header_of
from flannel.data.outputs import MARKER, mark_as_output
from flannel.errors import FlannelError
from flannel.files import digest_of
from flannel.learners.grad_cam import SaliencyError
from flannel.prediction.answer_cache import AnswerCache
from flannel.prediction.dicom_output import MASKS, OBJECTS, check_available, write_objects
from flannel.prediction.doubts import COPY, Doubt, doubts_of, thumbnail
from flannel.prediction.incoming import (
    Prepared,
    collect,
    copies_of_used,
    oddities,
    prepare_radiographs,
)
from flannel.prediction.output import (
    DOCUMENT,
    PICTURES,
    TABLE,
    picture_name,
    save_document,
    save_table,
)
from flannel.prediction.picture import Drawing, Shown, draw_opinions
from flannel.prediction.predictors import Answer, Panel, patches_of
from flannel.prediction.results import RadiographResult, predictions_for
from flannel.prediction.trained import NOTICE, Trained, TrainedLearner
from flannel.progress import announce, progress
from flannel.runs.run import (
    FINGERPRINT,
    Fingerprint,
    RunFinishedError,
    lock_folder,
    read_fingerprint,
)

UNCHECKED = (
    "Copies of training radiographs cannot be named: no perceptual hashes of these are known."
)
WORK = "work"


class PredictError(FlannelError):
    """Raised when nothing can be predicted for radiographs."""


@dataclass(frozen=True)
class PredictOptions:
    """How a prediction is made.

    Attributes:
        redraws: Redraws of the patches, for the intervals; 0 makes none.
        pictures: Draw a picture of each radiograph.
        saliency: Show in it where the learners found what they say.
        doubtful: Answer for radiographs with a grave doubt too.
        redo: Replace an earlier prediction.
        dicom: Write DICOM objects of each DICOM radiograph's picture and lungs.
    """

    redraws: int = 200
    pictures: bool = True
    saliency: bool = True
    doubtful: bool = False
    redo: bool = False
    dicom: bool = False


@dataclass(frozen=True)
class PredictionReport:
    """What a prediction did.

    Attributes:
        folder: Where its files lie.
        results: The radiographs.
        faults: A sentence for each file that could not be used.
        notes: Sentences on what is unusual about what was trained.
        passed_over: A line for each reason to pass over files of a folder.
    """

    folder: Path
    results: tuple[RadiographResult, ...]
    faults: tuple[str, ...]
    notes: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()

    @property
    def answered(self) -> int:
        """How many radiographs have an answer."""
        return sum(bool(result.predictions) for result in self.results)

    def __str__(self) -> str:
        """Returns the report as text."""
        doubted = [result for result in self.results if result.doubts]
        lines = [*self.notes, f"{self.answered} of {len(self.results)} radiographs answered"]
        if doubted:
            lines.append(f"{len(doubted)} with a doubt (predictions.csv, column doubts):")
            lines += [
                f"  {result.path}: {'; '.join(doubt.name for doubt in result.doubts)}"
                + ("" if result.predictions else "; no answer is given (--doubtful true gives one)")
                for result in doubted
            ]
        if self.faults:
            lines.append(f"{len(self.faults)} files or folders that cannot be used:")
            lines += [f"  {fault}" for fault in self.faults]
        if self.passed_over:
            lines += ["passed over:", *(f"  {line}" for line in self.passed_over)]
        return "\n".join([*lines, f"predictions: {self.folder / TABLE}", NOTICE])


def predict_files(
    panel: Panel,
    places: Sequence[Path],
    out: Path,
    options: PredictOptions | None = None,
) -> PredictionReport:
    """Answers for radiographs of any files and folders, and writes tables and pictures.

    A finished prediction is neither made twice nor overwritten. One that was killed goes on with
    the radiographs, masks, answers and pictures that are there, as far as nothing that they depend
    on has changed.

    Args:
        panel: Who answers.
        places: Files, and folders with their sub-folders.
        out: A new folder, or one of an earlier prediction.
        options: How; the default ones when None.

    Raises:
        PredictError: If no radiograph can be read, or `out` holds anything else.
        RunFinishedError: If `out` holds this very prediction.
        RunHeldError: If another process works in `out`.
    """
    options = options or PredictOptions()
    if options.dicom:
        check_available()
        if not options.pictures:
            raise PredictError("--dicom true shows the pictures: leave --pictures false out.")
    trained = panel.trained
    inbox = collect(places, out, lambda path, sha256: _known_name(trained, path, sha256))
    if inbox.table.empty:
        raise PredictError(
            "No radiograph can be read:\n  " + "\n  ".join((*inbox.faults, *inbox.passed_over))
        )
    parts = {
        "radiographs": digest_of(inbox.table[["image_id", "sha256"]].to_numpy().tolist()),
        "trained": panel.identity,
        "options": digest_of(
            [
                # Without the option that earlier predictions did not have, where it is not set.
                {k: v for k, v in asdict(options).items() if v or k != "dicom"} | {"redo": False},
                *(panel.patches, panel.until_sure, *panel.chosen_precision),
            ]
        ),
        "code": __version__,
    }
    _check_folder(out)
    lock = lock_folder(out)
    try:
        _start(out, parts, options.redo)
        prepared = prepare_radiographs(trained, inbox.table, out / WORK / "store", out / MASKS)
        cache = AnswerCache(out / WORK / "answers", panel, prepared.store)
        copies = copies_of_used(trained, prepared.table, out / WORK / "hashes.csv")
        results, shown = _predict(cache, prepared, copies, options)
        if options.pictures:
            drawings = [
                Drawing(result, shown.get(result.image_id, []), out / picture_name(result.image_id))
                for result in results
            ]
            waiting = [drawing for drawing in drawings if not drawing.path.is_file()]
            drawn = draw_opinions(waiting, trained.palette, prepared.store)
            for _ in progress(drawn, len(waiting), "Drawing pictures"):
                pass
        faults = (*inbox.faults, *prepared.faults)
        unchecked = (UNCHECKED,) if trained.hashes is None else ()
        unwritten = write_objects(results, trained.segmenter, out) if options.dicom else ()
        notes = (*trained.notes, *unchecked, *_spared(panel, results), *unwritten)
        save_table(results, trained.diagnoses, out / TABLE)
        save_document(trained, results, faults, options.pictures, out / DOCUMENT)
        Fingerprint(True, parts).write(out)
        shutil.rmtree(out / WORK, ignore_errors=True)
    finally:
        lock.release()
    return PredictionReport(out, tuple(results), faults, notes, inbox.passed_over)


def _spared(panel: Panel, results: Sequence[RadiographResult]) -> Iterator[str]:
    """Returns a sentence on the patches that were left out because the vote was known."""
    if panel.until_sure is None:
        return
    wanted = {
        (learner.arm, learner.learner): panel.patches or learner.view_options.patches["predict"]
        for learner in panel.trained.learners
    }
    counts = [
        (prediction.patches, wanted[prediction.arm, prediction.learner])
        for result in results
        for prediction in result.predictions
        if prediction.patches
    ]
    seen, all_patches = (sum(count) for count in zip(*counts, strict=True)) if counts else (0, 0)
    yield f"{seen} of {all_patches} patches were evaluated; these decided the votes."


def _known_name(trained: Trained, path: Path, sha256: str) -> str | None:
    """Returns the image_id of a radiograph of the study, which decides where its patches lie."""
    known = [radiograph.image_id for radiograph in trained.known.get(sha256, ())]
    like = [name for name in known if name.endswith(f"-{path.stem}-{sha256[:8]}")]
    return next(iter([*like, *known]), None)


def _check_folder(out: Path) -> None:
    """Refuses a folder that holds anything else, because predictions may be replaced there."""
    if out.is_file():
        raise PredictError(f"out is {out}, which is a file; name a new folder.")
    inside = {path.name for path in out.iterdir()} - {".lock", MARKER} if out.is_dir() else set()
    if inside and FINGERPRINT not in inside:
        raise PredictError(
            f"{out} holds other files, first {min(inside)}; name a new folder with --out."
        )


def _start(out: Path, parts: dict[str, str], redo: bool) -> None:
    """Notes what the prediction is made of; clears what an earlier one left that does not go on.

    Raises:
        PredictError: If another finished prediction is there.
        RunFinishedError: If this one is there.
    """
    before = read_fingerprint(out) or Fingerprint()
    known, changed = before.parts, ", ".join(before.changed(parts))
    if before.finished and not redo:
        if not changed:
            raise RunFinishedError(f"{out} holds this prediction already: nothing to do.")
        raise PredictError(
            f"{out} holds a prediction with another {changed}. Name another folder with --out, or "
            "say --redo true to replace it."
        )
    if known and changed and not redo:
        announce(
            f"{out} holds an unfinished prediction with another {changed}: what depends on it is "
            "made again."
        )
    # Store, masks and answers tell by themselves what was made otherwise; pictures do not.
    other_radiographs = known.get("radiographs") != parts["radiographs"]
    stale = (PICTURES, OBJECTS, *((WORK, MASKS) if redo or other_radiographs else ()))
    for name in stale if redo or changed else ():
        shutil.rmtree(out / name, ignore_errors=True)
    for name in (TABLE, DOCUMENT):
        (out / name).unlink(missing_ok=True)
    Fingerprint(False, parts).write(out)
    mark_as_output(out)


def _predict(
    cache: AnswerCache, prepared: Prepared, copies: Sequence[str], options: PredictOptions
) -> tuple[list[RadiographResult], dict[str, list[Shown]]]:
    """Asks every learner about every radiograph, with one network in memory at a time."""
    trained, store = cache.panel.trained, prepared.store
    paths = dict(zip(prepared.table["image_id"], prepared.table["path"], strict=True))
    doubts = {
        image_id: tuple(_doubts(trained, prepared, image_id, Path(path), image_id in copies))
        for image_id, path in progress(paths.items(), len(paths), "Comparing with the training")
    }
    asked = [i for i in paths if options.doubtful or not any(doubt.grave for doubt in doubts[i])]
    answers: dict[str, dict[str, Answer]] = {image_id: {} for image_id in paths}
    shown: dict[str, list[Shown]] = {}
    kinds: set[bool] = set()
    for learner in trained.learners:
        able = [i for i in asked if not learner.needs_mask or store.has_mask(i)]
        if not able:
            continue
        answering = cache.predict(learner, able)
        for answer in progress(answering, len(able), f"Predicting with {learner.name}"):
            answers[answer.image_id][learner.name] = answer
        patched = learner.view_options.view.patched
        if options.pictures and patched not in kinds:  # one of whole radiographs, one of patches
            kinds.add(patched)
            of_learner = [answers[image_id][learner.name] for image_id in able]
            for answer, part in zip(
                of_learner, _shown(cache, learner, of_learner, options), strict=True
            ):
                shown.setdefault(answer.image_id, []).append(part)
    sha256 = dict(zip(prepared.table["image_id"], prepared.table["sha256"], strict=True))
    results = []
    for image_id, path in paths.items():
        known = trained.known.get(sha256[image_id], ())
        mask = prepared.masks.get(image_id)
        results.append(
            RadiographResult(
                image_id,
                path,
                known=next((copy for copy in known if copy.image_id == image_id), None),
                mask_flag=mask.quality.flag if mask else None,
                doubts=doubts[image_id],
                predictions=predictions_for(trained, answers[image_id], options.redraws),
                answers=answers[image_id],
            )
        )
    return results, shown


def _doubts(
    trained: Trained, prepared: Prepared, image_id: str, path: Path, copy: bool
) -> Iterator[Doubt]:
    for oddity in oddities(path):
        yield Doubt(oddity)
    header = header_of(path)
    if header is not None and header.has_unknown_part:
        yield Doubt(f"unknown body part {header.body_part}", grave=False)
    store, mask = prepared.store, None
    if store.has_mask(image_id):
        mask = store.lung_mask(image_id)
    elif trained.segmenter is not None:
        mask = np.zeros((store.size_px, store.size_px), bool)
    thumb, negative = (thumbnail(store, image_id, inverted) for inverted in (False, True))
    yield from doubts_of(thumb, negative, mask, trained.norms)
    if copy:
        yield COPY


def _shown(
    cache: AnswerCache, learner: TrainedLearner, answers: Sequence[Answer], options: PredictOptions
) -> Iterator[Shown]:
    """Returns what the pictures show of a learner: its patches, and where it found what it says."""
    view = learner.view_options.view
    heats: list[Path | None] = [None] * len(answers)
    if options.saliency:
        maps = progress(cache.maps(learner, answers), len(answers), f"Saliency of {learner.name}")
        try:
            heats = list(maps)
        except SaliencyError as fault:
            announce(str(fault))
    for answer, heat in zip(answers, heats, strict=True):
        patches = patches_of([answer], view) if view.patched else None
        yield Shown(learner.name, int(answer.confidences.argmax()), patches, heat)
