"""Runs trained learners on a store, reproducing the predictions of their training runs."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from flannel.data.store import Store
from flannel.files import derived_seed
from flannel.learners.inference import for_inference, inference_dtype, logits_in_parts
from flannel.learners.views import PatchLocations, View, ViewSampling
from flannel.prediction.trained import Trained, TrainedError, TrainedLearner
from flannel.runs.arithmetic import AUTO
from flannel.runs.run import Answering
from flannel.study.patches import Patches, narrowed_px
from patching.coverage import coverage
from patching.stopping import ROUND, decided
from patching.vote import Rule, mean_vote, vote
from segmentation.masks.devices import device_of

TIMED_VIEWS = 8
"""Views by which the time of all is estimated."""


@dataclass(frozen=True)
class Answer:
    """What a learner says of one radiograph.

    Attributes:
        image_id: The radiograph.
        logits: One row per view.
        places: Where the views lie; for a whole radiograph there is one, without a place.
        confidences: Of each diagnosis, after the vote.
    """

    image_id: str
    logits: Float32[np.ndarray, "views classes"]
    places: PatchLocations
    confidences: Float32[np.ndarray, " classes"]


class _Cut(NamedTuple):
    """The views of several images; with their lung masks where the asking may end early."""

    pixels: UInt8[Tensor, "images views 1 side side"]
    places: list[PatchLocations]
    masks: list[Tensor | None]


class ReadyLearner:
    """A base learner with its network on a device, in the form and precision that it names.

    Args:
        learner: What was trained.
        device: Where it answers.
        patches: Patches a radiograph, K; as in the learner's recipe when None.
        until_sure: Stop asking patches of an image when another majority than that of all K has at
            most this probability; None asks them all.

    Raises:
        TrainedError: If it cannot be built, or K is not positive.
    """

    def __init__(
        self,
        learner: TrainedLearner,
        device: torch.device,
        patches: int | None = None,
        until_sure: float | None = None,
    ) -> None:
        self.learner, self.device = learner, device
        self.options = learner.view_options
        # A whole radiograph is one view.
        self.until_sure = until_sure if self.options.view.patched else None
        self.patches = self.options.patches["predict"] if patches is None else patches
        if self.patches < 1:
            raise TrainedError(f"patches is {self.patches}; expected at least 1.")
        built = learner.build()
        self._mixed = "mixed" in learner.precision
        self.dtype = inference_dtype(learner.precision, built)
        self.network = for_inference(built, self.dtype).to(device)

    def seconds_an_image(self) -> float:
        """Estimates how long one radiograph takes, from a few views of noise."""
        view = self.options.view
        views = view.count(self.patches)
        few = min(views, TIMED_VIEWS)
        pixels = torch.randint(256, (1, few, 1, view.size_px, view.size_px), dtype=torch.uint8)
        self._logits(pixels)  # the first time is slower
        started = time.perf_counter()
        self._logits(pixels)
        return (time.perf_counter() - started) * views / few

    def see(
        self, store: Store, image_id: str
    ) -> tuple[UInt8[Tensor, "views 1 side side"], PatchLocations]:
        """Returns the views that the learner's own run would draw of an image of that name."""
        seed = derived_seed(self.options.seed, "fixed", image_id)
        generator = torch.Generator().manual_seed(seed)
        sampling = ViewSampling(generator, training=False, patches=self.patches)
        return self.options.view.views(store, image_id, sampling)

    def predict(self, store: Store, image_ids: Sequence[str]) -> Iterator[Answer]:
        """Answers for each image, in the order given; the next views are cut meanwhile.

        Args:
            store: Holds the radiographs, and the lung masks of all of them where the arm has any.
            image_ids: Which.
        """
        size = self.options.predict_batch_size
        parts = [image_ids[start : start + size] for start in range(0, len(image_ids), size)]
        with ThreadPoolExecutor(1) as thread:  # a store is for one thread
            coming = [thread.submit(self._cut, store, part) for part in parts[:1]]
            for place, part in enumerate(parts):
                cut = coming.pop().result()
                coming += [
                    thread.submit(self._cut, store, other) for other in parts[place + 1 :][:1]
                ]
                yield from self._answer(part, cut)

    def _cut(self, store: Store, image_ids: Sequence[str]) -> _Cut:
        seen = [self.see(store, image_id) for image_id in image_ids]
        masks: list[Tensor | None] = [None] * len(image_ids)
        if self.until_sure is not None:
            seen = [
                in_random_order(*pair, image_id, self.options.seed)
                for pair, image_id in zip(seen, image_ids, strict=True)
            ]
            masks = [torch.from_numpy(store.lung_mask(image_id)) for image_id in image_ids]
        return _Cut(torch.stack([pair for pair, _ in seen]), [places for _, places in seen], masks)

    def _answer(self, image_ids: Sequence[str], cut: _Cut) -> list[Answer]:
        weights = torch.stack([locations.weights for locations in cut.places])
        if self.until_sure is None:
            logits = list(self._logits(cut.pixels))
        else:
            logits = ask_until_sure(
                self._logits, cut.pixels, weights, self.learner, self.until_sure
            )
        answers = []
        for image_id, image_logits, places, mask in zip(
            image_ids, logits, cut.places, cut.masks, strict=True
        ):
            confidences = vote(
                image_logits[None], self.learner.vote, places.weights[None, : len(image_logits)]
            )[0]
            seen = first_places(places, len(image_logits), mask)
            answers.append(Answer(image_id, image_logits.numpy(), seen, confidences.numpy()))
        return answers

    @torch.inference_mode()
    def _logits(
        self, pixels: UInt8[Tensor, "images views 1 side side"]
    ) -> Float[Tensor, "images views classes"]:
        with self._arithmetic():
            logits = logits_in_parts(
                self.network,
                pixels.to(self.device),
                self.options.normalisation,
                self.learner.views_at_once,
            )
        return logits.cpu()

    def _arithmetic(self) -> AbstractContextManager[object]:
        """Returns the context in which Lightning's trainer predicts at the learner's precision."""
        if not self._mixed:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)


class Panel:
    """The learners of a study, made ready one after the other, or kept ready.

    Args:
        trained: What was trained.
        device: Where they answer; the first GPU, or the CPU, when None.
        patches: Patches a radiograph, K; as in each learner's recipe when None.
        keep: Keep all networks in memory, for one question after another.
        until_sure: As of `ReadyLearner`.
        precision: Of learners and masks: "auto" is that of their training where the device
            computes it natively, and else the quickest; "as_trained" is that of their training.

    Raises:
        TrainedError: If an ensemble cannot be built, or a learner's vote cannot be stopped early.
    """

    def __init__(
        self,
        trained: Trained,
        device: torch.device | None = None,
        patches: int | None = None,
        keep: bool = False,
        until_sure: float | None = None,
        precision: Answering = AUTO,
    ) -> None:
        self.patches, self.keep, self.until_sure = patches, keep, until_sure
        self.precision: Answering = precision
        self.device = device_of(0) if device is None else device
        self.identity = trained.identity  # before the machine has its say
        self.trained = trained.asked_in(precision, self.device)
        self._kept: dict[str, ReadyLearner] = {}
        for ensemble in trained.ensembles:
            _ = ensemble.module  # what cannot be built is refused before anything is predicted

        if until_sure is not None:
            for learner in trained.learners:
                check_can_stop(learner, until_sure)

    @property
    def chosen_precision(self) -> tuple[Answering, ...]:
        """The precision, unless it follows from the machine: two machines give one prediction."""
        return () if self.precision == AUTO else (self.precision,)

    def seconds_an_image(self) -> float:
        """Estimates how long all learners need for one radiograph, once they are in memory."""
        return sum(self.ready(learner).seconds_an_image() for learner in self.trained.learners)

    def ready(self, learner: TrainedLearner) -> ReadyLearner:
        """Makes a learner ready, unless it still is; another's network goes unless it is kept."""
        if learner.name not in self._kept:
            if not self.keep:
                self._kept.clear()
            made = ReadyLearner(learner, self.device, self.patches, self.until_sure)
            self._kept[learner.name] = made
        return self._kept[learner.name]


def patches_of(answers: Sequence[Answer], view: View) -> Patches:
    """Returns the patches of radiographs that were all asked the same number of them.

    Args:
        answers: Of a patched learner, at least one.
        view: How it sees a radiograph.
    """
    places = [answer.places for answer in answers]
    return Patches(
        image_id=tuple(answer.image_id for answer in answers),
        centres=narrowed_px(np.stack([locations.centres.numpy() for locations in places])),
        windows_px=narrowed_px(np.stack([locations.windows_px.numpy() for locations in places])),
        weights=np.stack([locations.weights.numpy() for locations in places]),
        logits=np.stack([answer.logits for answer in answers]),
        strategy=view.centres,
        lung_box=view.lung_box,
    )


def redrawn(
    answer: Answer, rule: Rule, redraws: int, seed: int, lung_box: bool = False
) -> Float32[np.ndarray, "redraws classes"]:
    """Returns what the vote might have been with other patches, by a bootstrap of its K patches.

    K patches are drawn from those that were seen, with replacement, again and again. For centres
    that are drawn independently that is how another draw of K would spread; centres that keep
    apart from each other spread less. How sure the learner's weights are is not in it.

    Args:
        answer: Of a patched learner.
        rule: How its patches vote.
        redraws: How often.
        seed: Of the redraws, beside the image.
        lung_box: Whether the last view is the box around the lungs, which is always there.
    """
    views = len(answer.logits)
    drawn = views - lung_box
    generator = torch.Generator().manual_seed(derived_seed(seed, "redraws", answer.image_id))
    chosen = torch.randint(drawn, (redraws, drawn), generator=generator)
    if lung_box:
        chosen = torch.cat([chosen, torch.full((redraws, 1), drawn)], dim=1)
    logits = torch.from_numpy(answer.logits)[chosen]  # (redraws, views, classes)
    return np.asarray(mean_vote(logits, rule, answer.places.weights[chosen]).numpy(), np.float32)


Pixels = UInt8[Tensor, "images views 1 side side"]
Logits = Float[Tensor, "images seen classes"]


def check_can_stop(learner: TrainedLearner, error: float) -> None:
    """Refuses a learner whose votes cannot be counted one after the other.

    Args:
        learner: A base learner; one of whole radiographs has nothing to stop.
        error: The risk of another majority than that of all patches, 0 or more.

    Raises:
        TrainedError: If the vote or the risk does not allow it.
    """
    view = learner.view_options.view
    if not view.patched:
        return
    if view.lung_box:
        raise TrainedError(
            f"{learner.name} looks at the box around the lungs after its patches, so its count has "
            "no random order: leave until_sure out."
        )
    weights = _counting(learner, torch.ones(1, 2))
    try:
        decided(torch.zeros(1, 1, 2), 2, learner.vote, error, weights)
    except ValueError as fault:
        raise TrainedError(f"{learner.name} cannot stop early: {fault}") from fault


def in_random_order(
    pixels: UInt8[Tensor, "views 1 side side"], places: PatchLocations, image_id: str, seed: int
) -> tuple[UInt8[Tensor, "views 1 side side"], PatchLocations]:
    """Shuffles the views of an image, for the centres of some strategies come in an order."""
    generator = torch.Generator().manual_seed(derived_seed(seed, "order", image_id))
    order = torch.randperm(len(pixels), generator=generator)
    shuffled = PatchLocations(
        places.centres[order], places.windows_px[order], places.weights[order], places.coverage
    )
    return pixels[order], shuffled


def first_places(places: PatchLocations, seen: int, mask: Tensor | None) -> PatchLocations:
    """Returns the places of the views that were seen, with what they cover of the lungs.

    Args:
        places: Of all views of an image.
        seen: How many of them were seen.
        mask: The lung mask; None where all views are always seen.
    """
    if mask is None or seen == len(places.centres):
        return places
    centres, windows_px = places.centres[:seen], places.windows_px[:seen]
    share = coverage(mask, centres, windows_px)[-1].float()
    return PatchLocations(centres, windows_px, places.weights[:seen], share)


def ask_until_sure(
    ask: Callable[[Pixels], Logits],
    pixels: Pixels,
    weights: Float[Tensor, "images views"],
    learner: TrainedLearner,
    error: float,
) -> list[Float[Tensor, "seen classes"]]:
    """Evaluates patches in rounds, and drops images whose vote is already decided.

    Args:
        ask: Returns the logits of views.
        pixels: All views of some images.
        weights: How much each view counts.
        learner: By whose rule they vote.
        error: The risk of another majority than that of all views.

    Returns:
        For each image the logits of the views that were evaluated, the first of `pixels`.
    """
    views = pixels.shape[1]
    decided_logits: dict[int, Tensor] = {}
    going = torch.arange(len(pixels))
    logits: Tensor | None = None
    for start in range(0, views, ROUND):
        more = ask(pixels[going, start : start + ROUND])
        logits = more if logits is None else torch.cat([logits, more], dim=1)
        counting = _counting(learner, weights[going])
        over = decided(logits, views, learner.vote, error, counting)
        if start + ROUND >= views:
            over = torch.ones_like(over)
        decided_logits |= {int(going[at]): logits[at] for at in over.nonzero().flatten().tolist()}
        going, logits = going[~over], logits[~over]
        if not len(going):
            break
    return [decided_logits[at] for at in range(len(pixels))]


def _counting(
    learner: TrainedLearner, weights: Float[Tensor, "images views"]
) -> Float[Tensor, "images views"] | None:
    """Returns the weights where votes are weighed, and None where they can be counted."""
    return weights if learner.view_options.view.weights == "area" else None
