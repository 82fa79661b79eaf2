"""Radiographs on axes, and the colours of the diagnoses that are drawn on them."""

import numpy as np
from jaxtyping import Float32, UInt8
from matplotlib.axes import Axes

from flannel.comparison.figures.style import drawable

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""Marks of the diagnoses, in turn: patches differ in grey too."""

SHOWN_PX = 512


def show(axes: Axes, levels: np.ndarray) -> None:
    """Shows grey levels 0..255; the axes keep the store's pixels, whatever is drawn on them."""
    side = levels.shape[0]
    step = step_of(levels)
    axes.imshow(
        levels[::step, ::step], cmap="gray", vmin=0, vmax=255, extent=(0.0, side, side, 0.0)
    )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def step_of(levels: np.ndarray) -> int:
    """Returns the step at which pixels are drawn: no picture needs more than 512 a side."""
    return max(1, levels.shape[0] // SHOWN_PX)


def shortened(image_id: str, letters: int = 36) -> str:
    """Leaves the middle of a long image name out, and escapes what cannot be drawn.

    Names differ at their end.

    Args:
        image_id: The radiograph.
        letters: At most so many.
    """
    name = drawable(image_id)
    if len(name) > letters:
        name = f"{name[: letters - 12]}…{name[-11:]}"
    return name.replace("$", r"\$")  # which would begin a formula


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
