"""Patches on their radiographs in the colour of their vote, and the share of each diagnosis."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from flannel.comparison.figures.style import LETTERS, PAGE_INCHES, SMALL_LETTERS, drawn_in_style
from flannel.comparison.radiograph_figures.drawing import MARKERS, shortened, show
from flannel.comparison.results import Comparison
from flannel.data.store import Store
from flannel.study.patches import Patches, load_patches

BOXES = 12
IN_ROW = 4


def first_patches(comparison: Comparison) -> tuple[str, Patches] | None:
    """Reads the patches of the first run that kept some, with a name such as patched vgg19_bn."""
    for result in comparison.results:
        path = result.run.folder / "patches.npz"
        if path.is_file():
            name = f"{result.run.arm} {result.run.learner} fold {result.run.fold}"
            return name, load_patches(path)
    return None


def votes(
    store: Store,
    name: str,
    patches: Patches,
    captions: Mapping[str, str],
    colours: Mapping[str, str],
) -> Figure:
    """Draws radiographs with their patches coloured by vote, above the share of each diagnosis.

    Args:
        store: Radiographs.
        name: Of the run.
        patches: One run's patches; the first twelve of an image are drawn as boxes, all as dots.
        captions: The true diagnosis, by image.
        colours: The label set in order, each diagnosis with its colour.
    """
    with drawn_in_style():
        width = min(1.6 * len(captions) + 0.9, PAGE_INCHES)
        figure = Figure(figsize=(width, 3.6), layout="constrained")
        panels = figure.subplots(2, len(captions), squeeze=False, height_ratios=(2.4, 1))
        for column, (image_id, caption) in enumerate(captions.items()):
            place = patches.image_id.index(image_id)
            chosen = patches.logits[place].argmax(axis=1)
            show(panels[0, column], store.radiograph(image_id))
            draw_patches(panels[0, column], store.size_px, patches, place, list(colours.values()))
            panels[0, column].set_title(f"true:\n{caption}", fontsize=9)
            panels[0, column].set_xlabel(shortened(image_id, 26), fontsize=SMALL_LETTERS)
            weights = patches.weights[place]
            shares = np.bincount(chosen, weights, len(colours)) / weights.sum()
            _draw_shares(panels[1, column], shares.tolist(), colours, named=column == 0)
        figure.suptitle(f"{name}: votes of {patches.centres.shape[1]} patches per radiograph")
        marks = [
            Line2D([], [], color=colour, marker=marker, linestyle="", label=name)
            for (name, colour), marker in zip(colours.items(), cycle(MARKERS), strict=False)
        ]
        figure.legend(handles=marks, loc="outside lower center", ncols=min(len(marks), IN_ROW))
    return figure


def draw_patches(
    axes: Axes, store_px: int, patches: Patches, place: int, colours: Sequence[str]
) -> None:
    """Draws one radiograph's patches; a window at the border is moved in, as it is cropped.

    Args:
        axes: Where to draw.
        store_px: Side of the stored radiograph in pixels.
        patches: Of several radiographs.
        place: Which of them.
        colours: One for each diagnosis.
    """
    chosen = patches.logits[place].argmax(axis=1)
    for number, (row, column) in enumerate(patches.centres[place].astype(int)):
        colour = colours[chosen[number]]
        axes.plot(
            column, row, MARKERS[chosen[number] % len(MARKERS)], color=colour, markersize=4.5,
            markeredgecolor="white", markeredgewidth=0.5, zorder=3,
        )  # fmt: skip
        if number < BOXES:
            side = int(patches.windows_px[place, number])
            top, left = (int(np.clip(at - side // 2, 0, store_px - side)) for at in (row, column))
            axes.add_patch(Rectangle((left, top), side, side, fill=False, edgecolor=colour))


def _draw_shares(axes: Axes, shares: list[float], colours: Mapping[str, str], named: bool) -> None:
    axes.barh(range(len(shares)), shares, color=list(colours.values()))
    for place, share in enumerate(shares):
        axes.text(share + 0.02, place, f"{share:.0%}", va="center", fontsize=LETTERS)
    axes.set_xlim(0, 1.35)
    axes.set_xticks([0, 0.5, 1], ["0", "50%", "100%"], fontsize=LETTERS)
    names = list(colours) if named else [""] * len(shares)
    axes.set_yticks(range(len(shares)), names, fontsize=LETTERS)
    axes.invert_yaxis()
    axes.set_xlabel("share of votes")
