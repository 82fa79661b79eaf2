"""A class-balanced part of a source."""

from collections.abc import Sequence

import numpy as np

from flannel.data.findings import SourceRow


def balanced_subset(rows: Sequence[SourceRow], per_class: int, seed: int) -> list[SourceRow]:
    """Draws at most so many rows of each finding.

    Paper 002 draws 500 normal images and 500 of pneumonia beside its 305 of COVID-19. Which ones
    is unknown; here the draw depends on the file names and the seed, not on the order of the
    rows. Rows that are unfit are not drawn.

    Args:
        rows: The rows of one or several sources.
        per_class: The most rows of one finding; a finding that has fewer keeps them all.
        seed: Seed of the draw.

    Returns:
        The drawn rows, by finding and file.

    Raises:
        ValueError: If `per_class` is below 1.
    """
    if per_class < 1:
        raise ValueError(f"per_class is {per_class}; expected at least 1.")
    generator = np.random.default_rng(seed)
    drawn: list[SourceRow] = []
    fit = [row for row in rows if not row.unfit]
    for finding in sorted({row.finding for row in fit}):
        # Names before folders, so that the draw is the same wherever the set lies.
        those = sorted(
            (row for row in fit if row.finding == finding),
            key=lambda row: (row.source, row.path.name, row.path),
        )
        chosen = generator.permutation(len(those))[:per_class]
        drawn += [those[place] for place in sorted(chosen)]
    return drawn
