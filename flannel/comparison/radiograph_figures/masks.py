"""Lung masks on their radiographs, and what masking leaves (paper 004, Figure 2)."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from flannel.comparison.figures.style import PAGE_INCHES, SMALL_LETTERS, drawn_in_style
from flannel.comparison.radiograph_figures.drawing import shortened, show, step_of
from flannel.data.store import Store

FLAGGED = 4


def segmentation_triptych(store: Store, image_id: str) -> Figure:
    """Draws a radiograph, its lung mask, and the masked radiograph (paper 004, Figure 2)."""
    mask = store.lung_mask(image_id)
    equalised = store.equalisation(image_id)[store.radiograph(image_id)]
    panels = {
        "radiograph": store.radiograph(image_id),
        "lung mask": mask * np.uint8(255),
        "masked radiograph, equalised": equalised * mask,
    }
    with drawn_in_style():
        figure = Figure(figsize=(PAGE_INCHES, 2.8), layout="constrained")
        for axes, (title, levels) in zip(figure.subplots(1, 3), panels.items(), strict=True):
            show(axes, levels)
            axes.set_title(title)
    return figure


def masks_examples(store: Store, captions: Mapping[str, str]) -> Figure:
    """Draws radiographs with the outline of their lung masks.

    Args:
        store: Radiographs and masks.
        captions: The title of each radiograph, by image.
    """
    columns = min(4, len(captions))
    lines = -(-len(captions) // columns)
    with drawn_in_style():
        figure = Figure(figsize=(PAGE_INCHES / 4 * columns, 2.3 * lines), layout=_spaced())
        panels = figure.subplots(lines, columns, squeeze=False).ravel()
        for axes, (image_id, caption) in zip(panels, captions.items(), strict=False):
            show(axes, store.radiograph(image_id))
            mask = store.lung_mask(image_id)
            outline_mask(axes, mask)
            axes.set_title(caption, fontsize=9)
            axes.set_xlabel(shortened(image_id, 28), fontsize=SMALL_LETTERS)
        for axes in panels[len(captions) :]:
            axes.set_axis_off()
    return figure


def outline_mask(axes: Axes, mask: Bool[np.ndarray, "size size"]) -> None:
    """Draws the outline of a mask on its radiograph; one that is full or empty has none."""
    if mask.any() and not mask.all():
        # Black under yellow: to be seen on lungs and on bones, in colour and in grey.
        for colour, width in (("black", 2.4), ("#F0E442", 1.2)):
            _outline(axes, mask[:: step_of(mask), :: step_of(mask)], colour, width)


def flagged(study: Path, store: Store) -> dict[str, str]:
    """Returns the first radiographs whose mask was flagged, with the flag."""
    table = mask_flags(study)
    table = table[table["image_id"].isin(set(store.image_ids))].head(FLAGGED)
    return {
        str(image_id): f"flagged: {flag}"
        for image_id, flag in zip(table["image_id"], table["flag"], strict=True)
        if store.has_mask(str(image_id))
    }


def mask_flags(study: Path) -> pd.DataFrame:
    """Reads which masks look wrong: `image_id` and `flag`, flagged ones only."""
    path = study / "masks" / "masks.csv"
    if not path.is_file():
        return pd.DataFrame({"image_id": [], "flag": []}, dtype=str)
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    return table.loc[table["flag"] != "", ["image_id", "flag"]]


def _spaced() -> ConstrainedLayoutEngine:
    """Keeps a row's image names apart from the next row's titles."""
    return ConstrainedLayoutEngine(h_pad=0.1)


def _outline(axes: Axes, mask: np.ndarray, colour: str, width: float) -> None:
    left, right = axes.get_xlim()
    places = (np.arange(mask.shape[0]) + 0.5) * (right - left) / mask.shape[0]
    axes.contour(places, places, mask, levels=[0.5], colors=colour, linewidths=width)
