"""A bundle read as if it were a study, and none of it believed before it was compared or bounded.

`flannel.bundle_writing` writes one. A bundle may come from anybody, and its hashes tell only that
it is as its sender left it. So nothing in it is run, and no network is built before its skeleton
was compared with its file of weights.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from flannel.bundle_entries import Listed, read_entries
from flannel.bundle_files import BundleError, check_unreplaced, is_bundle, read_contents
from flannel.bundle_values import EntryError
from flannel.bundle_weights import check_answer, check_network
from flannel.errors import FlannelError
from flannel.study import ENSEMBLE
from flannel.trained import Trained, TrainedError
from flannel.trained_study import trained_of_study

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
        TrainedError: If none of the chosen learners is there, or a study cannot be used.
        StudyError: If the runs of a study do not belong together.
    """
    if not is_bundle(place):
        return trained_of_study(place, fold, arms, learners, segmenter, forms)
    if segmenter is not None:
        raise BundleError(f"{place} is a bundle, which has its own segmenter: leave it out.")
    trained = trained_of_bundle(place, arms, learners)
    if fold not in (None, trained.fold):
        raise BundleError(f"{place} holds fold {trained.fold}, not {fold}: leave the fold out.")
    if forms is None:
        return trained
    held = {one.learner for one in trained.forms}
    unknown = sorted(set(forms) - held - {ENSEMBLE})
    if unknown:
        raise BundleError(
            f"{place} holds no {' and no '.join(unknown)}; of what combines learners it holds "
            f"{', '.join(sorted(held)) or 'nothing'}."
        )
    return replace(
        trained,
        ensembles=tuple(one for one in trained.ensembles if one.learner in forms),
        baselines=tuple(one for one in trained.baselines if one.learner in forms),
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
    ensembles = [one for one in trained.ensembles if arms is None or one.arm in arms]
    brought = {name for one in ensembles if arms is not None for name in one.learners}
    kept = [
        one
        for one in trained.learners
        if (learners is None or one.learner in learners)
        and (arms is None or one.arm in arms or one.name in brought)
    ]
    found = {one.name for one in kept}
    if not kept:
        raise TrainedError(
            f"{trained.name} holds none of the learners asked for; it holds "
            f"{', '.join(one.name for one in trained.learners)}."
        )
    whole = tuple(one for one in ensembles if set(one.learners) <= found)
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
