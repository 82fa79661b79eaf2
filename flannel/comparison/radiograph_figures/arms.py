"""What the network of each arm gets of a radiograph."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
import yaml
from matplotlib.figure import Figure

from flannel.comparison.figures.style import drawn_in_style
from flannel.comparison.radiograph_figures.answers import first_of_each
from flannel.comparison.radiograph_figures.drawing import show
from flannel.comparison.results import Result
from flannel.data.store import Store
from flannel.learners.datamodule import view_options_of
from flannel.learners.views import View, ViewSampling, WholeView


def seen_by_arms(
    store: Store, results: Sequence[Result], table: pd.DataFrame, diagnoses: Sequence[str]
) -> Figure | None:
    """Draws what each arm's network gets of one radiograph of each diagnosis.

    Paper 002 shows the original beside the crop (Section 5). The views are those of the runs' own
    recipes; arms of patches have galleries of their own.

    Args:
        store: Radiographs and masks.
        results: One run of each arm.
        table: `image_id` and `diagnosis` of radiographs to show.
        diagnoses: The label set; a row for each.

    Returns:
        None where fewer than two arms kept a recipe.
    """
    view_of = {result.run.arm: _view(result) for result in results}
    views = {arm: view for arm, view in view_of.items() if isinstance(view, WholeView)}
    table = table[
        table["image_id"].isin({name for name in store.image_ids if store.has_mask(name)})
    ]
    first = first_of_each(table, store, diagnoses, count=1)
    first = {name: part for name, part in first.items() if len(part)}
    if len(views) < 2 or not first:
        return None
    sampling = ViewSampling(torch.Generator(), training=False, patches=1)
    with drawn_in_style():
        figure = Figure(figsize=(2.4 * len(views), 2.6 * len(first)), layout="constrained")
        panels = figure.subplots(len(first), len(views), squeeze=False)
        for line, (name, part) in zip(panels, first.items(), strict=True):
            for axes, (arm, view) in zip(line, views.items(), strict=True):
                pixels, _ = view.views(store, str(part["image_id"].iloc[0]), sampling)
                show(axes, pixels[0, 0].numpy())
                axes.set_title(f"{name}\n{arm}", fontsize=8)
    return figure


def _view(result: Result) -> View | None:
    """Returns the view of a run's recipe; None where it kept none."""
    path: Path = result.run.folder / "config.yaml"
    if not path.is_file():
        return None
    recipe = yaml.safe_load(path.read_text(encoding="utf-8"))["data"]
    return view_options_of(recipe).view
