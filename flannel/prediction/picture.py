"""One radiograph with what was predicted: lungs, patches by vote, saliency, probabilities."""

import os
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flannel.comparison.figures.style import drawn_in_style
from flannel.comparison.radiograph_figures.drawing import (
    shortened,
    show,
    show_saliency,
)
from flannel.comparison.radiograph_figures.masks import outline_mask
from flannel.comparison.radiograph_figures.votes import draw_patches
from flannel.data.greyscale import resize
from flannel.data.store import Store
from flannel.files import whole_file
from flannel.prediction.answer_cache import load_map
from flannel.prediction.results import Prediction, RadiographResult, leading
from flannel.prediction.trained import NOTICE
from flannel.runs.signals import leave_interrupts_to_parent
from flannel.study.patches import Patches

TITLES = 58
"""Letters of a file's name in the title."""
LONGEST_LINE = 90
"""Letters of a line of doubts in the title."""
DOTS_PER_INCH = 110
ROW_INCHES = 0.17
"""Height of a row of the table of what everybody says, at least."""
WORTH_A_PROCESS = 16
"""Pictures that take about as long as it takes to start a process that draws some of them."""


@dataclass(frozen=True)
class Shown:
    """What a picture shows of one learner, in plain arrays, for it may be drawn in another process.

    Attributes:
        learner: Its name, `<arm>/<learner>`.
        diagnosis: Index of the one that it names.
        patches: What it saw of this radiograph, to be drawn; None where it saw the whole.
        heat: File with where it found the diagnosis that it names (`AnswerCache.maps`), or
            None.
    """

    learner: str
    diagnosis: int
    patches: Patches | None
    heat: Path | None


@dataclass(frozen=True)
class Drawing:
    """A picture that is to be drawn.

    Attributes:
        result: The radiograph.
        shown: Learners whose patches and saliency are drawn.
        path: Where it goes.
    """

    result: RadiographResult
    shown: Sequence[Shown]
    path: Path


def draw_opinions(
    drawings: Sequence[Drawing], colours: Mapping[str, str], store: Store
) -> Iterator[Path]:
    """Draws pictures, whole or not at all, in several processes where there are many.

    Args:
        drawings: Which.
        colours: The label set in order, each diagnosis with its colour.
        store: Holds the radiographs, and their lung masks as far as they have any.

    Yields:
        The path of each picture, in the order given.
    """
    draw = partial(_draw, colours=dict(colours), store=store)
    processes = min(os.cpu_count() or 1, len(drawings) // WORTH_A_PROCESS)
    if processes < 2:
        yield from map(draw, drawings)
        return
    # Spawned: this process has computed with threads, which a forked one would wait for.
    context = get_context("spawn")
    with ProcessPoolExecutor(processes, context, leave_interrupts_to_parent) as pool:
        yield from pool.map(draw, drawings)


def _draw(drawing: Drawing, colours: Mapping[str, str], store: Store) -> Path:
    picture = opinion_picture(drawing.result, colours, store, drawing.shown)
    with whole_file(drawing.path) as beside:
        picture.savefig(beside, dpi=DOTS_PER_INCH)
    return drawing.path


def opinion_picture(
    result: RadiographResult, colours: Mapping[str, str], store: Store, shown: Sequence[Shown]
) -> Figure:
    """Draws what was predicted for one radiograph, and always that it is no diagnosis.

    Args:
        result: The radiograph.
        colours: The label set in order, each diagnosis with its colour.
        store: Holds it, and its lung mask if it has one.
        shown: Learners whose patches and saliency are drawn.
    """
    diagnoses = tuple(colours)
    views = (
        1
        + sum(part.patches is not None for part in shown)
        + sum(part.heat is not None for part in shown)
    )
    first = leading(result.predictions)
    with drawn_in_style():
        rows = max(3.2, ROW_INCHES * len(result.predictions))
        size = (max(3.1 * views, 8.4), 4.0 + rows)
        figure = Figure(figsize=size, layout="constrained")
        (above,), (below,) = figure.subfigures(2, 1, squeeze=False, height_ratios=(4.0, rows))
        panels = iter(above.subplots(1, max(views, 2), squeeze=False)[0])
        _radiograph(next(panels), result, store)
        for part in shown:
            if part.patches is not None:
                _patches(next(panels), part.learner, part.patches, store, colours)
            if part.heat is not None:
                _heat(next(panels), part, store.radiograph(result.image_id), diagnoses)
        for axes in panels:
            axes.set_axis_off()
        if first is None:
            _withheld(below.subplots())
        else:
            bars, table = below.subplots(1, 2, width_ratios=(1, 1.35))
            _bars(bars, first, colours)
            _table(table, result.predictions, diagnoses)
        figure.suptitle(_title(result, first, diagnoses), fontsize=11)
        figure.supxlabel(NOTICE, fontsize=8)
    return figure


def _title(result: RadiographResult, first: Prediction | None, diagnoses: Sequence[str]) -> str:
    lines = [shortened(Path(result.path).name, TITLES)]
    if first is not None:
        share = first.probabilities.max() / max(first.probabilities.sum(), 1e-9)
        lines.append(
            f"{first.arm} {first.learner}: {diagnoses[int(first.probabilities.argmax())]} "
            f"{share:.0%}"
        )
    if result.known is not None and result.known.split:
        lines.append(f"one of the study's own radiographs ({result.known.split})")
    if result.doubts:
        doubts = "; ".join(doubt.name for doubt in result.doubts)
        lines += textwrap.wrap(f"Doubt: {doubts}", LONGEST_LINE)
    return "\n".join(lines)


def _radiograph(axes: Axes, result: RadiographResult, store: Store) -> None:
    show(axes, store.radiograph(result.image_id))
    title = "radiograph"
    if store.has_mask(result.image_id):
        outline_mask(axes, store.lung_mask(result.image_id))
        title = "radiograph, lung mask"
    axes.set_title(title)
    flag = f"mask: {result.mask_flag}\n" if result.mask_flag else ""
    axes.set_xlabel(flag + shortened(result.image_id), fontsize=6)


def _patches(
    axes: Axes, learner: str, patches: Patches, store: Store, colours: Mapping[str, str]
) -> None:
    show(axes, store.radiograph(patches.image_id[0]))
    draw_patches(axes, store.size_px, patches, 0, list(colours.values()))
    votes = np.bincount(patches.logits[0].argmax(axis=1), minlength=len(colours))
    axes.set_title(f"{votes.sum()} patches by vote")
    counted = [f"{name} {count}" for name, count in zip(colours, votes, strict=True) if count]
    axes.set_xlabel("\n".join([learner, ", ".join(counted)]), fontsize=6.5)


def _heat(
    axes: Axes, shown: Shown, levels: UInt8[np.ndarray, "size size"], diagnoses: Sequence[str]
) -> None:
    assert shown.heat is not None
    heat = load_map(shown.heat)
    side = len(heat)
    show_saliency(axes, resize(levels, side, side), heat)
    axes.set_title("saliency of " + ("the whole" if shown.patches is None else "patches"))
    axes.set_xlabel(f"{shown.learner}\nfor {diagnoses[shown.diagnosis]}", fontsize=6.5)


def _bars(axes: Axes, prediction: Prediction, colours: Mapping[str, str]) -> None:
    places = range(len(colours))
    axes.barh(places, prediction.probabilities, color=list(colours.values()))
    if prediction.low is not None and prediction.high is not None:
        middle = (prediction.low + prediction.high) / 2
        half = (prediction.high - prediction.low) / 2
        axes.errorbar(middle, places, xerr=half, fmt="none", color="black", capsize=3, linewidth=1)
    if prediction.calibrated is not None:
        axes.plot(
            prediction.calibrated, places, "D", color="white", markeredgecolor="black",
            markersize=5, label="calibrated", clip_on=False,
        )  # fmt: skip
        axes.legend(loc="lower right", fontsize=7)
    for place, value in enumerate(prediction.probabilities):
        axes.text(1.03, place, f"{value:.2f}", va="center", fontsize=8)
    axes.set_xlim(0, 1)
    axes.set_yticks(places, list(colours))
    axes.invert_yaxis()
    redrawn = "; line: 95 % of redraws of the patches" if prediction.low is not None else ""
    axes.set_xlabel(f"probability{redrawn}", fontsize=7.5)
    axes.set_title(f"{prediction.arm} {prediction.learner}")


def _table(axes: Axes, predictions: Sequence[Prediction], diagnoses: Sequence[str]) -> None:
    numbers = np.stack([prediction.probabilities for prediction in predictions])
    axes.imshow(numbers, cmap="Greys", vmin=0, vmax=1.25, aspect="auto")
    for row, line in enumerate(numbers):
        for column, value in enumerate(line):
            colour = "white" if value > 0.75 else "black"
            weight = "bold" if value == line.max() else "normal"
            axes.text(
                column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=7,
                fontweight=weight,
            )  # fmt: skip
    axes.set_xticks(range(len(diagnoses)), [name.replace(" ", "\n") for name in diagnoses])
    axes.set_yticks(
        range(len(predictions)),
        [f"{prediction.arm} {prediction.learner}" for prediction in predictions],
    )
    axes.tick_params(length=0, labelsize=7.5)
    axes.xaxis.tick_top()
    axes.spines[:].set_visible(False)


def _withheld(axes: Axes) -> None:
    axes.set_axis_off()
    axes.text(
        0.5, 0.6, "No answer is given, because this picture is unlike what the learners can judge.",
        ha="center", va="center", fontsize=12,
    )  # fmt: skip
