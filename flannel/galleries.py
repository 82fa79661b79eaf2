"""The figures that show radiographs: lung masks, patches and their votes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float16, Int16
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from flannel.data.store import Store, StoreError
from flannel.figures import drawn_in_style, save_figure
from flannel.study import Comparison

CLASS_COLOURS = ("#D55E00", "#CC79A7", "#56B4E9", "#009E73", "#F0E442", "#E69F00", "#0072B2")
"""One colour per diagnosis, from the palette of Okabe and Ito."""

SHOWN_PX = 512
BOXES = 12
FLAGGED = 4


@dataclass(frozen=True)
class Patches:
    """What a patched run keeps of every radiograph, from its `patches.npz`.

    Attributes:
        name: The run, such as `patched vgg19_bn fold 0`.
        image_id: The radiographs.
        centres: Row and column of each patch's centre in store pixels.
        logits: Each patch's scores.
        size_px: Side of the patch window in store pixels; None where the file does not say.
    """

    name: str
    image_id: list[str]
    centres: Int16[np.ndarray, "images patches 2"]
    logits: Float16[np.ndarray, "images patches classes"]
    size_px: int | None


def write_galleries(comparison: Comparison, folder: Path) -> dict[str, Path]:
    """Draws and writes the figures that show radiographs, from the study's store.

    The examples are, for each diagnosis, the first test radiograph in the order of image names:
    nobody picks the successes.

    Args:
        comparison: The results; its study holds the store, the masks and the patches.
        folder: Where the PNG and PDF files go.

    Returns:
        The PNG files by figure name; figures without data are left out; without a finished
        store that is all of them.
    """
    study = comparison.study
    try:
        store = Store(study / "store")
    except StoreError:
        return {}  # the report says what makes these figures
    examples = _examples(comparison, store)
    masked = {image_id: name for image_id, name in examples.items() if store.has_mask(image_id)}
    drawn: dict[str, Figure] = {}
    if masked:
        drawn["segmentation"] = segmentation_triptych(store, next(iter(masked)))
        drawn["masks"] = masks_examples(store, masked | _flagged(study, store))
    patches = _first_patches(comparison)
    if patches is not None:
        seen = {key: name for key, name in examples.items() if key in patches.image_id}
        if seen:
            drawn["votes"] = votes(store, patches, seen, comparison.diagnoses)
    return {name: save_figure(figure, folder, name) for name, figure in drawn.items()}


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
        figure = Figure(figsize=(8.4, 3.0), layout="constrained")
        for axes, (title, levels) in zip(figure.subplots(1, 3), panels.items(), strict=True):
            _show(axes, levels)
            axes.set_title(title)
    return figure


def masks_examples(store: Store, captions: Mapping[str, str]) -> Figure:
    """Draws radiographs with the outline of their lung masks.

    Args:
        store: Radiographs and masks.
        captions: What stands over each radiograph, by image.
    """
    columns = min(4, len(captions))
    lines = -(-len(captions) // columns)
    with drawn_in_style():
        figure = Figure(figsize=(2.7 * columns, 3.2 * lines), layout=_spaced())
        panels = figure.subplots(lines, columns, squeeze=False).ravel()
        for axes, (image_id, caption) in zip(panels, captions.items(), strict=False):
            _show(axes, store.radiograph(image_id))
            mask = store.lung_mask(image_id)
            if mask.any() and not mask.all():
                # Black under yellow: to be seen on lungs and on bones, in colour and in grey.
                for colour, width in (("black", 2.4), ("#F0E442", 1.2)):
                    _outline(axes, mask[:: _step(mask), :: _step(mask)], colour, width)
            axes.set_title(caption)
            axes.set_xlabel(_shortened(image_id), fontsize=6)
        for axes in panels[len(captions) :]:
            axes.set_axis_off()
    return figure


def votes(
    store: Store, patches: Patches, captions: Mapping[str, str], diagnoses: tuple[str, ...]
) -> Figure:
    """Draws radiographs with their patches coloured by vote, above the share of each diagnosis.

    Args:
        store: Radiographs.
        patches: One run's patches; the first twelve of an image are drawn as boxes, all as dots.
        captions: The true diagnosis, by image.
        diagnoses: The label set, in order.
    """
    with drawn_in_style():
        figure = Figure(figsize=(2.7 * len(captions) + 0.9, 4.6), layout="constrained")
        panels = figure.subplots(2, len(captions), squeeze=False, height_ratios=(2.4, 1))
        for column, (image_id, caption) in enumerate(captions.items()):
            place = patches.image_id.index(image_id)
            chosen = patches.logits[place].argmax(axis=1)
            _show(panels[0, column], store.radiograph(image_id))
            _draw_patches(panels[0, column], store.size_px, patches, place)
            panels[0, column].set_title(f"true: {caption}")
            panels[0, column].set_xlabel(_shortened(image_id), fontsize=6)
            shares = np.bincount(chosen, minlength=len(diagnoses)) / len(chosen)
            _draw_shares(panels[1, column], shares.tolist(), diagnoses, named=column == 0)
        figure.suptitle(
            f"{patches.name}: votes of {patches.centres.shape[1]} patches per radiograph"
        )
        marks = [
            Line2D([], [], color=colour, marker="s", linestyle="", label=name)
            for name, colour in zip(diagnoses, CLASS_COLOURS, strict=False)
        ]
        figure.legend(handles=marks, loc="outside lower center", ncols=len(marks))
    return figure


def _draw_patches(axes: Axes, store_px: int, patches: Patches, place: int) -> None:
    """Draws one radiograph's patches; a window at the border is moved in, as it is cropped."""
    chosen = patches.logits[place].argmax(axis=1)
    for number, (row, column) in enumerate(patches.centres[place].astype(int)):
        colour = CLASS_COLOURS[chosen[number]]
        axes.plot(
            column, row, "o", color=colour, markersize=4, markeredgecolor="white", zorder=3,
            markeredgewidth=0.5,
        )  # fmt: skip
        if patches.size_px is not None and number < BOXES:
            top, left = (
                int(np.clip(at - patches.size_px // 2, 0, store_px - patches.size_px))
                for at in (row, column)
            )
            axes.add_patch(
                Rectangle(
                    (left, top), patches.size_px, patches.size_px, fill=False, edgecolor=colour
                )
            )


def _draw_shares(axes: Axes, shares: list[float], diagnoses: tuple[str, ...], named: bool) -> None:
    axes.barh(range(len(shares)), shares, color=CLASS_COLOURS[: len(shares)])
    for place, share in enumerate(shares):
        axes.text(share + 0.02, place, f"{share:.0%}", va="center", fontsize=8)
    axes.set_xlim(0, 1.25)
    axes.set_xticks([0, 0.5, 1], ["0", "50%", "100%"])
    axes.set_yticks(range(len(shares)), diagnoses if named else [""] * len(shares))
    axes.invert_yaxis()
    axes.set_xlabel("share of votes")


def _spaced() -> ConstrainedLayoutEngine:
    """Keeps a row's image names apart from the next row's titles."""
    return ConstrainedLayoutEngine(h_pad=0.1)


def _show(axes: Axes, levels: np.ndarray) -> None:
    """Shows grey levels 0..255; the axes keep the store's pixels, whatever is drawn on them."""
    side = levels.shape[0]
    step = _step(levels)
    axes.imshow(
        levels[::step, ::step], cmap="gray", vmin=0, vmax=255, extent=(0.0, side, side, 0.0)
    )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _outline(axes: Axes, mask: np.ndarray, colour: str, width: float) -> None:
    left, right = axes.get_xlim()
    places = (np.arange(mask.shape[0]) + 0.5) * (right - left) / mask.shape[0]
    axes.contour(places, places, mask, levels=[0.5], colors=colour, linewidths=width)


def _step(levels: np.ndarray) -> int:
    return max(1, levels.shape[0] // SHOWN_PX)


def _shortened(image_id: str) -> str:
    return image_id if len(image_id) <= 36 else f"{image_id[:24]}…{image_id[-11:]}"


def _examples(comparison: Comparison, store: Store) -> dict[str, str]:
    """Gives the first test radiograph of each diagnosis that the store holds."""
    stored = set(store.image_ids)
    table = comparison.results[0].predictions
    table = table[table["image_id"].isin(stored)].sort_values("image_id")
    first = table.groupby("diagnosis")["image_id"].first()
    return {str(first[name]): name for name in comparison.diagnoses if name in first}


def _flagged(study: Path, store: Store) -> dict[str, str]:
    """Gives the first radiographs whose mask was flagged, with the flag."""
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


def _first_patches(comparison: Comparison) -> Patches | None:
    """Reads the patches of the first run that kept some."""
    for result in comparison.results:
        path = result.run.folder / "patches.npz"
        if path.is_file():
            with np.load(path, allow_pickle=False) as kept:
                return Patches(
                    name=f"{result.run.arm} {result.run.learner} fold {result.run.fold}",
                    image_id=[str(image_id) for image_id in kept["image_id"]],
                    centres=kept["centres"],
                    logits=kept["logits"],
                    size_px=int(kept["size_px"]) if "size_px" in kept else None,
                )
    return None
