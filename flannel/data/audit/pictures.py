"""The pictures of the audit, each as a data URI that an HTML page can hold."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from flannel.data.audit.leaks import DuplicatePair
from flannel.data.store import Store

SHOWN_PX = 160
SHOWN_PER_CLASS = 16
SHOWN_PAIRS = 24
JPEG_QUALITY = 80
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7", "#000000")
"""One colour per source, from the palette of Okabe and Ito, which the colour-blind can tell."""

LINES = ("-", "--", "-.", ":")
MARKS = "ox^sD+v"


@dataclass(frozen=True)
class Thumbnail:
    """A small radiograph with the words below it."""

    uri: str
    image_id: str
    words: str


def contact_sheets(manifest: pd.DataFrame, store: Store) -> dict[str, list[Thumbnail]]:
    """Picks some radiographs of each diagnosis, one per group.

    The pick is by the files' SHA-256, so that nobody chooses and the order of rows does not
    matter.

    Args:
        manifest: The radiographs, all in the store.
        store: Their grey values.
    """
    mixed = manifest.sort_values("sha256").drop_duplicates(["diagnosis", "group"])
    return {
        diagnosis: [
            _thumbnail(store, row["image_id"], f"{row['source']}, {row['view'] or 'view unknown'}")
            for row in part.head(SHOWN_PER_CLASS).to_dict("records")
        ]
        for diagnosis, part in mixed.groupby("diagnosis")
    }


def pair_thumbnails(
    pairs: Sequence[DuplicatePair], manifest: pd.DataFrame, store: Store
) -> list[tuple[DuplicatePair, Thumbnail, Thumbnail]]:
    """Shows the first pairs of duplicates side by side, with diagnosis and patient."""
    rows = manifest.set_index("image_id")

    def shown(image_id: str) -> Thumbnail:
        row = rows.loc[image_id]
        return _thumbnail(store, image_id, f"{row['diagnosis']}, patient {row['patient_id']}")

    return [(pair, shown(pair.first), shown(pair.second)) for pair in pairs[:SHOWN_PAIRS]]


def grey_value_figure(grey_values: Mapping[str, Sequence[float]]) -> str:
    """Draws how often each band of grey occurs, one line per source."""
    figure, axes = _drawing(height=3.0)
    for place, (source, shares) in enumerate(grey_values.items()):
        levels = (np.arange(len(shares)) + 0.5) * 256 / len(shares)
        colour, line = COLOURS[place % len(COLOURS)], LINES[place % len(LINES)]
        axes.plot(levels, 100 * np.array(shares), line, color=colour, label=_plain(source))
    axes.set(xlabel="grey value (0 black, 255 white)", ylabel="share of pixels, %")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    return _png_uri(figure)


def size_figure(manifest: pd.DataFrame) -> str:
    """Draws width against height of every file, one mark per source."""
    figure, axes = _drawing(height=3.6)
    for place, (source, part) in enumerate(manifest.groupby("source")):
        axes.plot(
            part["width"],
            part["height"],
            MARKS[place % len(MARKS)],
            color=COLOURS[place % len(COLOURS)],
            markersize=4,
            alpha=0.6,
            label=_plain(source),
        )
    axes.set(xlabel="width, pixels", ylabel="height, pixels")
    axes.legend(frameon=False)
    return _png_uri(figure)


def jpeg_uri(levels: UInt8[np.ndarray, "height width"]) -> str:
    """Shrinks a radiograph to a thumbnail and writes it into a data URI."""
    stream = io.BytesIO()
    small = Image.fromarray(levels).resize((SHOWN_PX, SHOWN_PX), Image.Resampling.BICUBIC)
    small.save(stream, "JPEG", quality=JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"


def _thumbnail(store: Store, image_id: str, words: str) -> Thumbnail:
    return Thumbnail(jpeg_uri(np.asarray(store.radiograph(image_id))), image_id, words)


def _drawing(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.4, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _png_uri(figure: Figure) -> str:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=130)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"


def _plain(name: str) -> str:
    """Keeps matplotlib from reading a name as a formula, or hiding it for its first letter."""
    return " " + name.replace("$", r"\$")
