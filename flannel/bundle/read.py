"""Loads a bundle like a study; its contents are untrusted, and validated before use.

`flannel.bundle.write` writes one. A bundle may come from anybody, and its hashes tell only that
it is as its sender left it. So nothing in it is run, and no network is built before its skeleton
was compared with its file of weights.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar, get_args

import numpy as np

from flannel.bundle.layout import (
    MOST_HASHES,
    BundleError,
    check_unreplaced,
    is_bundle,
    read_contents,
)
from flannel.bundle.values import (
    Entry,
    EntryError,
    arguments_of,
    count,
    names,
    one_of,
    options,
    path_name,
    positive,
    sentences,
    side_px,
    table,
    tables,
)
from flannel.bundle.weights import check_answer, check_network, read_weights
from flannel.data.choices import Squaring
from flannel.data.diagnosis import LabelError, coloured
from flannel.data.duplicates import HASH_BYTES
from flannel.data.store.layout import Settings
from flannel.errors import FlannelError
from flannel.files import digest_of
from flannel.learners.datamodule import RadiographDataModule
from flannel.learners.views import PatchView
from flannel.metrics.calibration import Temperature
from flannel.prediction.doubts import SIDE_PX, Norms
from flannel.prediction.trained import (
    COMBINATIONS,
    NETWORKS,
    Trained,
    TrainedEnsemble,
    TrainedError,
    TrainedLearner,
)
from flannel.prediction.trained_study import trained_of_study
from flannel.runs.checkpoints import CheckpointError, load_weights
from flannel.runs.class_paths import present_paths
from flannel.study.contents import ENSEMBLE
from patching.vote import Rule
from segmentation.checkpoint import NETWORKS as SEGMENTERS
from segmentation.checkpoint import Segmenter, build_network, channels_last
from segmentation.masks.pipeline import MaskOptions
from segmentation.structures import Structures, classes_of

LARGEST_INPUT_PX = 2048
"""Side that a network may ask for."""
MOST_PIXELS = 2**31
"""Of the views of one batch, each a byte."""
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true", "32", "64")


@dataclass(frozen=True)
class Listed:
    """What a bundle lists, all of its files compared with their hashes.

    Attributes:
        folder: The bundle.
        contents: What `bundle.json` says.
    """

    folder: Path
    contents: Entry

    def weights(self, entry: Entry) -> tuple[Path, str]:
        """Returns path and hash of an entry's weights.

        Raises:
            EntryError: If the list of files has none of that name.
        """
        name = entry["weights"]
        listed = table(self.contents["files"]).get(name) if isinstance(name, str) else None
        if listed is None:
            raise EntryError(f"weights {str(name)[:100]!r} that are not in its list of files")
        return self.folder / str(name), str(table(listed)["sha256"])

    def paths(self) -> dict[str, Path]:
        """Returns the weights of learners and ensembles by their names, once these were read."""
        entries = (*tables(self.contents["learners"]), *tables(self.contents["ensembles"]))
        return {f"{entry['arm']}/{entry['learner']}": self.weights(entry)[0] for entry in entries}


def read_entries(listed: Listed) -> Trained:
    """Reads all that a bundle says, and the segmenter's weights.

    Raises:
        CheckpointError: If a class is none of ours, or the segmenter does not fit its weights.
        KeyError: If something is missing.
        EntryError: If a value is of another kind, or none that this version uses.
    """
    contents = listed.contents
    diagnoses = names(contents["diagnoses"])
    store = table(contents["store"])
    settings = Settings(side_px(store["size_px"]), one_of(store["resize"], get_args(Squaring)))
    learners = [_learner(entry, settings, listed) for entry in tables(contents["learners"])]
    ensembles = [
        _ensemble(entry, len(diagnoses), listed) for entry in tables(contents["ensembles"])
    ]
    # Each name once.
    names([*(learner.name for learner in learners), *(form.name for form in ensembles)])
    segmenter, norms = contents["segmenter"], contents["norms"]
    if segmenter is None and any(learner.needs_mask for learner in learners):
        raise EntryError("learners that need a lung mask, and no segmenter")
    return Trained(
        name=str(listed.folder),
        fold=count(contents["fold"]),
        diagnoses=diagnoses,
        colours=_colours(contents.get("colours", []), diagnoses),
        store=settings,
        segmenter=None if segmenter is None else _segmenter(table(segmenter), listed),
        masks=MaskOptions(**arguments_of(MaskOptions, contents["masks"])),
        learners=tuple(learners),
        ensembles=tuple(ensembles),
        norms=None if norms is None else _norms(table(norms)),
        hashes=_hashes(contents.get("hashes"), listed),
        notes=sentences(contents["notes"]),
    )


def _colours(value: object, diagnoses: tuple[str, ...]) -> tuple[str, ...]:
    """Reads a colour for each diagnosis; bundles of earlier versions have none."""
    colours = sentences(value)
    if colours and len(colours) != len(diagnoses):
        raise EntryError(f"{len(colours)} colours for {len(diagnoses)} diagnoses")
    try:
        return tuple(coloured(diagnoses, dict(zip(diagnoses, colours, strict=False))).values())
    except LabelError as fault:
        raise EntryError(str(fault)) from fault


def _learner(entry: Entry, store: Settings, listed: Listed) -> TrainedLearner:
    path, sha256 = listed.weights(entry)
    learner = TrainedLearner(
        arm=path_name(entry["arm"]),
        learner=path_name(entry["learner"]),
        network=_allowed(entry["network"], NETWORKS),
        data=arguments_of(RadiographDataModule, entry["data"], "study", "fold"),
        vote=one_of(entry["vote"], get_args(Rule)),
        views_at_once=count(entry["views_at_once"], least=1),
        precision=one_of(entry["precision"], PRECISIONS),
        weights=partial(read_weights, path, sha256),
        temperature=_temperature(entry["temperature"]),
        identity=digest_of([entry, sha256]),
    )
    _check_views(learner, store)
    return learner


def _check_views(learner: TrainedLearner, store: Settings) -> None:
    """Bounds what a learner wants to see of a radiograph."""
    options = learner.view_options
    view, images = options.view, count(options.predict_batch_size, least=1)
    if options.arm != "global" and not learner.needs_mask:
        raise EntryError(f"the arm {learner.arm} with the data of {options.arm}")
    side, views = side_px(view.size_px), view.count(count(options.patches["predict"], least=1))
    if isinstance(view, PatchView):
        if max(view.windows_px) > store.size_px:
            raise EntryError(f"patches of {max(view.windows_px)} px of {store.size_px}")
    else:
        side_px(view.resize_px)
        count(view.crop_margin_px)
    if side > LARGEST_INPUT_PX or images * views * side**2 > MOST_PIXELS:
        raise EntryError(
            f"{images} x {views} views of {side} px at once; at most {LARGEST_INPUT_PX} px and "
            f"{MOST_PIXELS:,} pixels are taken"
        )


def _ensemble(entry: Entry, classes: int, listed: Listed) -> TrainedEnsemble:
    path, sha256 = listed.weights(entry)
    return TrainedEnsemble(
        arm=path_name(entry["arm"]),
        learner=path_name(entry["learner"]),
        learners=names(entry["learners"]),
        combination=_allowed(entry["combination"], COMBINATIONS),
        classes=classes,
        weights=partial(read_weights, path, sha256),
        temperature=_temperature(entry["temperature"]),
        identity=digest_of([entry, sha256]),
    )


def _segmenter(entry: Entry, listed: Listed) -> Segmenter:
    path, sha256 = listed.weights(entry)
    specification = _allowed(entry["network"], SEGMENTERS)
    classes = names(entry["classes"])
    if classes not in map(classes_of, get_args(Structures)):
        raise EntryError(f"a segmenter of {', '.join(classes)}")
    side = side_px(entry["size_px"])
    if side > LARGEST_INPUT_PX:
        raise EntryError(f"a segmenter for {side} px; at most {LARGEST_INPUT_PX} are taken")
    skeleton = check_network(partial(build_network, specification), path, "the segmenter")
    check_answer(skeleton, (1, 1, side, side), (1, len(classes), side, side), "the segmenter")
    network = build_network(specification)
    load_weights(network, read_weights(path, sha256), "the segmenter")
    return Segmenter(
        network=channels_last(network),
        size_px=side,
        sha256=str(entry["sha256"]),  # of the checkpoint, as the study's own masks name it
        classes=classes,
        specification=specification,
    )


def _hashes(name: object, listed: Listed) -> Callable[[], tuple[bytes, ...]] | None:
    """Reads the hashes of training and validation radiographs; older bundles have none.

    Raises:
        EntryError: If the file is none of whole hashes, or not what was listed.
    """
    if name is None:
        return None
    path, sha256 = listed.weights({"weights": name})
    size = path.stat().st_size
    if size % HASH_BYTES or size > MOST_HASHES * HASH_BYTES:
        raise EntryError(
            f"hashes of {size:,} bytes; expected a multiple of {HASH_BYTES}, at most "
            f"{MOST_HASHES * HASH_BYTES:,}"
        )
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise EntryError("hashes that were changed since the bundle was opened")
    hashes = tuple(content[start : start + HASH_BYTES] for start in range(0, size, HASH_BYTES))
    return lambda: hashes


def _temperature(entry: object) -> Temperature | None:
    if entry is None:
        return None
    value, floor = (positive(table(entry)[name]) for name in ("value", "floor"))
    return Temperature(value, floor, at_bound=False)


def _norms(entry: Entry) -> Norms:
    norms = Norms.from_json(entry)
    cells = SIDE_PX**2
    numbers = (norms.mean, norms.directions, norms.limit, norms.usual, norms.side_by_side or 0)
    fits = norms.mean.shape == (cells,) and norms.directions.shape[1:] == (cells,)
    if not fits or not all(np.isfinite(array).all() for array in numbers):
        raise EntryError(f"norms that are no {cells} numbers, with directions of as many")
    return norms


def _allowed(value: object, places: tuple[str, ...]) -> Entry:
    """Reads class and arguments of a network, of modules of ours and of two libraries."""
    specification = table(value)
    arguments = table(specification.get("init_args") or {})
    class_path = present_paths(str(specification["class_path"]))
    module, _, name = class_path.rpartition(".")
    # No deeper in the segmenters' library, where there are classes that fetch weights.
    inside = module == "segmentation_models_pytorch" or not class_path.startswith(
        "segmentation_models_pytorch."
    )
    if not (
        inside and class_path.startswith(places) and class_path.isascii() and name.isidentifier()
    ):
        raise CheckpointError(
            f"It names the class {class_path[:100]!r}; expected one of {' or '.join(places)}, as "
            "these run no unknown code."
        )
    return {"class_path": class_path, "init_args": options(arguments)}


Part = TypeVar("Part")


def open_trained(
    place: Path,
    fold: int | None = None,
    arms: Sequence[str] | None = None,
    learners: Sequence[str] | None = None,
    segmenter: Path | None = None,
    forms: Sequence[str] | None = (ENSEMBLE,),
) -> Trained:
    """Finds what was trained in a study's folder or in a bundle.

    Args:
        place: A study's folder, or a bundle.
        fold: Of a study, the first that was trained when None; a bundle holds one fold.
        arms: As of `trained_of_bundle`.
        learners: As of `trained_of_bundle`.
        segmenter: A best.ckpt for a study's learners; a bundle has its own.
        forms: Forms of the ensemble and baselines, by their names in tables; all when None.

    Raises:
        BundleError: If the bundle is damaged, holds another fold or not one of the forms, or is
            given a segmenter.
        TrainedError: If there is no such folder, none of the chosen learners is there, or a study
            cannot be used.
        StudyError: If the runs of a study do not belong together.
    """
    if not place.is_dir():
        raise TrainedError(
            f"There is no folder {place}. Name a study's folder or a bundle with --study; where "
            "another process replaces a bundle there, run the command again."
        )
    if not is_bundle(place):
        return trained_of_study(place, fold, arms, learners, segmenter, forms)
    if segmenter is not None:
        raise BundleError(f"{place} is a bundle, which has its own segmenter: leave it out.")
    trained = trained_of_bundle(place, arms, learners)
    if fold not in (None, trained.fold):
        raise BundleError(f"{place} holds fold {trained.fold}, not {fold}: leave the fold out.")
    if forms is None:
        return trained
    known = {form.learner for form in trained.forms}
    unknown = sorted(set(forms) - known - {ENSEMBLE})
    if unknown:
        raise BundleError(
            f"{place} holds no {' and no '.join(unknown)}; of what combines learners it holds "
            f"{', '.join(sorted(known)) or 'nothing'}."
        )
    return replace(
        trained,
        ensembles=tuple(form for form in trained.ensembles if form.learner in forms),
        baselines=tuple(form for form in trained.baselines if form.learner in forms),
    )


def trained_of_bundle(
    folder: Path, arms: Sequence[str] | None = None, learners: Sequence[str] | None = None
) -> Trained:
    """Reads a bundle, after comparing all of its files with their hashes.

    Args:
        folder: The bundle.
        arms: Arms of learners and ensembles; all when None. An ensemble brings its learners.
        learners: Base learners; all when None. Ensembles that lack one are left out.

    Raises:
        BundleError: If it is damaged, names a class or a value that this version does not use, or
            asks for a network that is not the one of its weights, or is replaced meanwhile.
        TrainedError: If it holds none of the chosen learners.
    """
    listed = Listed(folder, read_contents(folder))
    trained = _chosen(_understood(listed, partial(read_entries, listed)), arms, learners)
    _understood(listed, partial(_check_networks, trained, listed))
    return trained


def _chosen(
    trained: Trained, arms: Sequence[str] | None, learners: Sequence[str] | None
) -> Trained:
    """Keeps the arms and learners that were asked for."""
    ensembles = [form for form in trained.ensembles if arms is None or form.arm in arms]
    brought = {name for form in ensembles if arms is not None for name in form.learners}
    kept = [
        learner
        for learner in trained.learners
        if (learners is None or learner.learner in learners)
        and (arms is None or learner.arm in arms or learner.name in brought)
    ]
    chosen = {learner.name for learner in kept}
    if not kept:
        raise TrainedError(
            f"{trained.name} holds none of the learners asked for; it holds "
            f"{', '.join(learner.name for learner in trained.learners)}."
        )
    whole = tuple(form for form in ensembles if set(form.learners) <= chosen)
    return replace(trained, learners=tuple(kept), ensembles=whole)


def _check_networks(trained: Trained, listed: Listed) -> None:
    """Compares skeletons of learners and ensembles with their files of weights."""
    paths, classes = listed.paths(), len(trained.diagnoses)
    for learner in trained.learners:
        skeleton = check_network(learner.unfilled, paths[learner.name], learner.name)
        side = learner.view_options.view.size_px
        check_answer(skeleton, (1, 3, side, side), (1, classes), learner.name)
    for ensemble in trained.ensembles:
        skeleton = check_network(ensemble.unfilled, paths[ensemble.name], ensemble.name)
        check_answer(skeleton, (1, len(ensemble.learners), classes), (1, classes), ensemble.name)


def _understood(listed: Listed, read: Callable[[], Part]) -> Part:
    """Reads what was compared with its hashes, and is still not to be believed."""
    try:
        return read()
    except (OSError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as fault:
        check_unreplaced(listed.folder, listed.contents)
        if isinstance(fault, OSError):
            sentence = f"{fault.filename} cannot be read ({fault.strerror})."
        elif isinstance(fault, FlannelError) and not isinstance(fault, EntryError):
            sentence = str(fault)
        else:
            reason = str(fault) if isinstance(fault, EntryError) else repr(fault)
            sentence = f"It does not say what was trained: {reason}."
        raise BundleError(f"The bundle {listed.folder} is not used. {sentence}") from fault
