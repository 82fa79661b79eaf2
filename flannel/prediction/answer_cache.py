"""Caches predictions, so that an interrupted one resumes without evaluating a network twice."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from jaxtyping import Float32

from flannel import __version__
from flannel.data.greyscale import resize
from flannel.data.store import Store
from flannel.files import digest_of, whole_file
from flannel.learners.grad_cam import GradCam
from flannel.learners.views import PatchLocations
from flannel.prediction.predictors import Answer, Panel
from flannel.prediction.trained import TrainedLearner
from flannel.progress import announce

SHOWN_PX = 256
"""Side of a map of saliency that is kept for a picture."""


@dataclass(frozen=True)
class AnswerCache:
    """A folder of answers, a file for each batch of a learner, and of saliency maps.

    A file's name depends on the learner, K, the radiographs, their masks and when a vote stops. So
    answers to anything else are never found, and are computed again.

    Attributes:
        folder: Where they lie.
        panel: Whose answers are cached.
        store: Holds the radiographs.
    """

    folder: Path
    panel: Panel
    store: Store

    def predict(self, learner: TrainedLearner, image_ids: Sequence[str]) -> Iterator[Answer]:
        """Predicts each image, in the order given, from the folder as far as it has answers.

        The batches are those of a prediction without interruption, so that the numbers are too.
        Where no answer is missing, the network is not even built.

        Args:
            learner: One of the panel's.
            image_ids: Which.
        """
        size = learner.view_options.predict_batch_size
        parts = [image_ids[start : start + size] for start in range(0, len(image_ids), size)]
        folder = self._folder(learner)
        files = [folder / f"{digest_of(list(part))}.npz" for part in parts]
        cached = [_read_answers(path) for path in files]
        missing = [i for part, hit in zip(parts, cached, strict=True) if not hit for i in part]
        if len(missing) < len(image_ids):
            known = len(image_ids) - len(missing)
            announce(f"{learner.name} has predicted {known} of {len(image_ids)} already.")
        predicted = self.panel.ready(learner).predict(self.store, missing) if missing else iter(())
        for part, path, hit in zip(parts, files, cached, strict=True):
            answers = hit or list(islice(predicted, len(part)))
            if not hit:
                _write_answers(answers, path)
            yield from answers

    def maps(self, learner: TrainedLearner, answers: Sequence[Answer]) -> Iterator[Path]:
        """Returns files with where a learner found what it says (`load_map`), for each answer.

        Args:
            learner: One of the panel's.
            answers: Its answers.

        Raises:
            SaliencyError: If its network has no feature map.
        """
        cam, folder = None, self._folder(learner)
        for answer in answers:
            path = folder / f"{answer.image_id}.npy"
            if not path.is_file():
                ready = self.panel.ready(learner)
                cam = cam or GradCam(
                    ready.network,
                    ready.options.view,
                    ready.options.normalisation,
                    self.store.size_px,
                    learner.views_at_once,
                )
                pixels, places = ready.see(self.store, answer.image_id)
                heat = cam.map_of(pixels, places, int(answer.confidences.argmax())).numpy()
                side = min(SHOWN_PX, self.store.size_px)
                with whole_file(path) as beside:
                    np.save(beside, np.clip(resize(heat, side, side), 0, 1).astype(np.float16))
            yield path

    def _folder(self, learner: TrainedLearner) -> Path:
        panel, fingerprint = self.panel, self.store.fingerprint()
        part = fingerprint["masks" if learner.needs_mask else "store"]
        asked = [learner.identity, learner.precision, panel.patches, panel.until_sure]
        parts = [*asked, part, __version__]
        return self.folder / f"{learner.arm}.{learner.learner}-{digest_of(parts)}"


def load_map(path: Path) -> Float32[np.ndarray, "side side"]:
    """Reads a map of saliency: in [0, 1], over the store's square."""
    return np.asarray(np.load(path, allow_pickle=False), np.float32)


def _write_answers(answers: Sequence[Answer], path: Path) -> None:
    places = [answer.places for answer in answers]
    with whole_file(path) as beside:
        np.savez(
            beside,
            image_id=np.array([answer.image_id for answer in answers]),
            views=np.array([len(answer.logits) for answer in answers]),
            logits=np.concatenate([answer.logits for answer in answers]),
            confidences=np.stack([answer.confidences for answer in answers]),
            centres=torch.cat([locations.centres for locations in places]).numpy(),
            windows_px=torch.cat([locations.windows_px for locations in places]).numpy(),
            weights=torch.cat([locations.weights for locations in places]).numpy(),
            coverage=torch.stack([locations.coverage for locations in places]).numpy(),
            box=torch.stack([locations.box for locations in places]).numpy(),
        )


def _read_answers(path: Path) -> list[Answer]:
    """Returns the answers of a file; none where it is missing, or was damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except (OSError, ValueError, EOFError, BadZipFile):
        return []
    ends = arrays["views"].cumsum()[:-1]
    logits, centres, windows_px, weights = (
        np.split(arrays[name], ends) for name in ("logits", "centres", "windows_px", "weights")
    )
    return [
        Answer(
            image_id=str(image_id),
            logits=logits[row],
            places=PatchLocations(
                torch.from_numpy(centres[row]),
                torch.from_numpy(windows_px[row]),
                torch.from_numpy(weights[row]),
                torch.tensor(arrays["coverage"][row]),
                torch.from_numpy(arrays["box"][row]),
            ),
            confidences=arrays["confidences"][row],
        )
        for row, image_id in enumerate(arrays["image_id"])
    ]
