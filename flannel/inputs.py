"""What a run of a fold hangs on in the study's manifest and store, as hashes."""

import pandas as pd

from flannel.data.folds import splits_of_fold
from flannel.data.store import Store
from flannel.runs import digest_of


def fold_inputs(manifest: pd.DataFrame, store: Store, fold: int, masks: bool) -> dict[str, str]:
    """Gives the parts of a fingerprint that are not the run's own: split, store and masks.

    Args:
        manifest: The study's, with folds.
        store: The study's.
        fold: The fold.
        masks: Whether the run sees lung masks.

    Raises:
        ManifestError: If the fold does not exist.
    """
    table = manifest.sort_values("image_id")
    rows = zip(table["image_id"], table["diagnosis"], splits_of_fold(table, fold), strict=True)
    stored = store.fingerprint()
    parts = {"split": digest_of([list(row) for row in rows]), "store": stored["store"]}
    return parts | {"masks": stored["masks"]} if masks else parts
