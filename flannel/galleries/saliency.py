"""Saliency on radiographs, and what becomes of it when weights are left to chance."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flannel.data.store import Store
from flannel.figures.style import drawn_in_style
from flannel.galleries.masks import outline_mask
from flannel.galleries.radiographs import shortened, show, step_of
from flannel.saliency_checks import Check

STRONGEST = 0.7
"""How much of the radiograph the strongest saliency covers."""


def show_saliency(
    axes: Axes,
    levels: UInt8[np.ndarray, "size size"],
    saliency: Float32[np.ndarray, "size size"],
) -> None:
    """Shows a map on its radiograph, from nothing to yellow where it is strongest.

    Unlike the authors' code the colours go up to the map's own maximum, not to 1, so that a map of
    little saliency is seen too; how strong it is belongs in the caption.

    Args:
        axes: Where to draw.
        levels: Grey levels 0..255.
        saliency: Values in [0, 1].
    """
    show(axes, levels)
    side, step = len(levels), step_of(levels)
    most = float(saliency.max())
    if most == 0:
        return  # nothing speaks for the diagnosis
    heat = saliency[::step, ::step] / most
    axes.imshow(
        heat, cmap="inferno", vmin=0, vmax=1, alpha=STRONGEST * heat, extent=(0.0, side, side, 0.0)
    )


def saliency_sheet(name: str, store: Store, checks: Sequence[Check]) -> Figure:
    """Draws a line for each radiograph: its lungs, its map, and its maps by chance.

    Args:
        name: Of the learner's run.
        store: Radiographs and masks.
        checks: What was found.
    """
    across = 2 + len(checks[0].by_chance)
    with drawn_in_style():
        figure = Figure(figsize=(2.1 * across, 2.55 * len(checks) + 0.5), layout="constrained")
        lines = figure.subplots(len(checks), across, squeeze=False)
        for line, check in zip(lines, checks, strict=True):
            _draw_line(line, store, check)
        for axes, title in zip(
            lines[0], ("lungs", "as learned", *checks[0].by_chance), strict=True
        ):
            axes.set_title(title)
        figure.suptitle(f"{name}: saliency of the predicted diagnosis, and with weights by chance")
    return figure


def _draw_line(line: Sequence[Axes], store: Store, check: Check) -> None:
    image_id, levels = check.example.image_id, store.radiograph(check.example.image_id)
    show(line[0], levels)
    outline_mask(line[0], store.lung_mask(image_id))
    line[0].set_ylabel(
        f"true: {check.example.diagnosis}\nsaid: {check.example.predicted}", fontsize=7
    )
    line[0].set_xlabel(shortened(image_id), fontsize=6)
    show_saliency(line[1], levels, check.learned.numpy())
    most = float(check.learned.max())
    line[1].set_xlabel(
        f"{check.inside:.0%} in the lungs, flat {check.flat:.0%}\ngreatest value {most:.2f}"
        if most
        else "an empty map",
        fontsize=7,
    )
    for axes, (stage, saliency) in zip(line[2:], check.by_chance.items(), strict=True):
        show_saliency(axes, levels, saliency.numpy())
        correlation = check.correlations[stage]
        axes.set_xlabel(
            "nothing to compare"
            if np.isnan(correlation)
            else f"rank correlation {correlation:.2f}",
            fontsize=7,
        )
