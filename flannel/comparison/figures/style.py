"""How every figure looks: colours that the colour-blind can tell apart, and letters that print."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.lines import Line2D
from matplotlib.typing import LineStyleType

from flannel.files import whole_file
from flannel.study.contents import SHORTCUT

ARM_COLOURS = {
    "global": "#0072B2", "masked": "#999999", "cropped": "#56B4E9", "background": "#CC79A7",
    "patched": "#E69F00", "fused": "#009E73",
}  # fmt: skip
"""One colour per arm, from the palette of Okabe and Ito, which the colour-blind can tell apart."""

ARM_HATCHES = {
    "global": "", "masked": "....", "cropped": "||||", "background": "oooo",
    "patched": "////", "fused": "xxxx",
}  # fmt: skip
SHORTCUT_COLOUR = "#D55E00"
SHORTCUT_STYLES: tuple[LineStyleType, ...] = (
    ":", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 3)), (0, (4, 1, 4, 4)),
)  # fmt: skip
"""Of the lines of the shortcut baselines, in their order: no arm has these."""

LINE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINE_STYLES: tuple[LineStyleType, ...] = ("-", "--", "-.", ":", (0, (8, 2)))
DOTS_PER_INCH = 200

PAGE_INCHES = 7.3
"""What a printed page is wide: the letters of a wider figure would become too small there."""

LETTERS, SMALL_LETTERS = 7.5, 6.5
"""Points of the words on a figure that are not its axes': labels of panels, names of files."""


def arm_look(arm: str) -> tuple[str, str]:
    """Returns the colour and the hatch of an arm, the same in every figure.

    An ensemble over other learners of an arm, such as seven_patched, has the arm's colour.
    """
    for known, colour in ARM_COLOURS.items():
        if arm == known:
            return colour, ARM_HATCHES[known]
        if arm.endswith(f"_{known}"):
            return colour, "++++"
    return SHORTCUT_COLOUR if arm == SHORTCUT else "#000000", ""


def drawn_in_style() -> AbstractContextManager[None]:
    """Returns the context in which every figure is drawn and saved: fonts, frames, legends."""
    return mpl.rc_context(
        {
            "font.size": 9.0,
            "axes.titlesize": 10.0,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "legend.frameon": False,
            "pdf.fonttype": 42,  # letters stay letters: journals refuse Type 3 fonts
        }
    )


def drawable(name: str) -> str:
    """Returns a file's name with what a figure's font lacks escaped, such as Chinese letters."""
    known = _letters()
    return "".join(letter if ord(letter) in known else ascii(letter)[1:-1] for letter in name)


@cache
def _letters() -> frozenset[int]:
    with drawn_in_style():
        return frozenset(get_font(findfont(FontProperties())).get_charmap())


def save_figure(figure: Figure, folder: Path, name: str) -> Path:
    """Writes a figure as `<name>.png` (`DOTS_PER_INCH`) and `<name>.pdf`.

    Returns:
        The path of the PNG.
    """
    png = folder / f"{name}.png"
    with drawn_in_style():
        with whole_file(png) as beside:
            figure.savefig(beside, dpi=DOTS_PER_INCH)
        with whole_file(folder / f"{name}.pdf") as beside:
            # Without the date, the same numbers give the same bytes.
            figure.savefig(beside, metadata={"CreationDate": None})
    return png


def legend_once(figure: Figure, panels: Sequence[Axes]) -> None:
    """Puts one legend over the figure, however many panels show a name; lines come last."""
    named = {}
    for panel in panels:
        handles, labels = panel.get_legend_handles_labels()
        named.update(dict(zip(labels, handles, strict=True)))
    named = dict(sorted(named.items(), key=lambda item: isinstance(item[1], Line2D)))
    columns = 3 if figure.get_figwidth() > 5.5 else 2
    figure.legend(named.values(), named.keys(), loc="outside upper center", ncols=columns)


def name_ticks(axes: Axes, columns: Sequence[str], rows: Sequence[str]) -> None:
    """Names the columns and rows of a picture of numbers, without ticks or frame."""
    axes.set_xticks(range(len(columns)), columns, fontsize=SMALL_LETTERS)
    axes.set_yticks(range(len(rows)), rows, fontsize=LETTERS)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def broken(name: str) -> str:
    """Puts each word of a name on a line of its own."""
    return name.replace(" ", "\n")
