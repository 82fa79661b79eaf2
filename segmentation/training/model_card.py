"""The model card of a trained segmenter: what it learned from, how good it is, what it cannot."""

from collections.abc import Mapping
from pathlib import Path

import jinja2
import torch

from flannel.data.sources import CONVENTIONS
from flannel.files import whole_file
from segmentation.training.data import LungDataModule
from segmentation.training.measures import interval_words
from segmentation.training.pairs import SPLITS
from segmentation.training.task import LungSegmenter


def write_model_card(
    folder: Path,
    data: LungDataModule,
    model: LungSegmenter,
    measures: Mapping[str, float | int | str | None],
    epochs: int,
    precision: str,
    version: str,
) -> None:
    """Writes `MODEL_CARD.md` beside the checkpoint.

    Args:
        folder: The run's folder.
        data: The pairs it was trained and measured on.
        model: The segmenter.
        measures: The content of `metrics.json`.
        epochs: Epochs trained.
        precision: Lightning's name for the arithmetic of the training.
        version: Version of this code.
    """
    origins = {split: [pair.origin for pair in data.datasets[split].pairs] for split in SPLITS}
    names = sorted({origin for members in origins.values() for origin in members})

    def interval(name: str) -> str:
        return interval_words(measures, name)

    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("segmentation.training"),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # Markdown, read as text
    )
    card = templates.get_template("model_card.md.j2").render(
        network=type(model.network).__name__,
        classes=model.classes,
        data=data,
        origins={name: [origins[split].count(name) for split in SPLITS] for name in names},
        conventions=[
            f"`{name}`. {CONVENTIONS[name]}" for name in data.convention.split(" + ") if name
        ],
        in_alpha=len(data.datasets["train"].prepared.in_alpha),
        measures=measures,
        interval=interval,
        epochs=epochs,
        precision=precision,
        version=version,
        torch=torch.__version__.split("+")[0],
    )
    with whole_file(folder / "MODEL_CARD.md") as beside:
        beside.write_text(card + "\n", encoding="utf-8")
