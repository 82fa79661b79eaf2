"""Patches of an image asked in rounds, until its vote is decided."""

from collections.abc import Callable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from flannel.runs import derived_seed
from flannel.trained import TrainedError, TrainedLearner
from flannel.views import PatchView, Places
from patching.coverage import coverage
from patching.stopping import ROUND, decided

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
    if not isinstance(view, PatchView):
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
    pixels: UInt8[Tensor, "views 1 side side"], places: Places, image_id: str, seed: int
) -> tuple[UInt8[Tensor, "views 1 side side"], Places]:
    """Shuffles the views of an image, for the centres of some strategies come in an order."""
    generator = torch.Generator().manual_seed(derived_seed(seed, "order", image_id))
    order = torch.randperm(len(pixels), generator=generator)
    shuffled = Places(
        places.centres[order], places.windows_px[order], places.weights[order], places.coverage
    )
    return pixels[order], shuffled


def first_places(places: Places, seen: int, mask: Tensor | None) -> Places:
    """Gives the places of the views that were seen, with what they cover of the lungs.

    Args:
        places: Of all views of an image.
        seen: How many of them were seen.
        mask: The lung mask; None where all views are always seen.
    """
    if mask is None or seen == len(places.centres):
        return places
    centres, windows_px = places.centres[:seen], places.windows_px[:seen]
    share = coverage(mask, centres, windows_px)[-1].float()
    return Places(centres, windows_px, places.weights[:seen], share)


def ask_until_sure(
    ask: Callable[[Pixels], Logits],
    pixels: Pixels,
    weights: Float[Tensor, "images views"],
    learner: TrainedLearner,
    error: float,
) -> list[Float[Tensor, "seen classes"]]:
    """Asks so many views of each image at a time, and no more of those whose vote is decided.

    Args:
        ask: Gives the logits of views.
        pixels: All views of some images.
        weights: How much each view counts.
        learner: By whose rule they vote.
        error: The risk of another majority than that of all views.

    Returns:
        For each image the logits of the views that were asked, the first of `pixels`.
    """
    views = pixels.shape[1]
    found: dict[int, Tensor] = {}
    going = torch.arange(len(pixels))
    said: Tensor | None = None
    for start in range(0, views, ROUND):
        more = ask(pixels[going, start : start + ROUND])
        said = more if said is None else torch.cat([said, more], dim=1)
        counting = _counting(learner, weights[going])
        over = decided(said, views, learner.vote, error, counting)
        if start + ROUND >= views:
            over = torch.ones_like(over)
        found |= {int(going[at]): said[at] for at in over.nonzero().flatten().tolist()}
        going, said = going[~over], said[~over]
        if not len(going):
            break
    return [found[at] for at in range(len(pixels))]


def _counting(
    learner: TrainedLearner, weights: Float[Tensor, "images views"]
) -> Float[Tensor, "images views"] | None:
    """Gives the weights where votes are weighed, and None where they can be counted."""
    view = learner.view_options.view
    return weights if isinstance(view, PatchView) and view.weights == "area" else None
