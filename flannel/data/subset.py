"""A class-balanced part of a manifest."""

import numpy as np
import pandas as pd

from flannel.data.manifest import ManifestError


def balanced_subset(table: pd.DataFrame, per_class: int, seed: int) -> pd.DataFrame:
    """Draws at most so many radiographs of each diagnosis.

    Paper 002 draws 500 normal images and 500 of pneumonia beside its 305 of COVID-19. Which ones
    is unknown; here the draw depends on the images and the seed, not on the order of the rows.

    Args:
        table: A manifest.
        per_class: The most radiographs of one diagnosis; one that has fewer keeps them all.
        seed: Seed of the draw.

    Returns:
        The drawn rows, in the order of the table.

    Raises:
        ManifestError: If `per_class` is below 1.
    """
    if per_class < 1:
        raise ManifestError(f"per_class is {per_class}; expected at least 1.")
    generator = np.random.default_rng(seed)
    drawn: set[str] = set()
    for _, rows in sorted(table.groupby("diagnosis")):
        drawn.update(generator.permutation(sorted(rows["image_id"]))[:per_class])
    return table[table["image_id"].isin(drawn)].reset_index(drop=True)
