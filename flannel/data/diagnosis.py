"""Label sets as ordered tuples: the only place where a diagnosis has an index."""

from collections.abc import Sequence

FLANNEL = ("COVID-19", "Viral pneumonia", "Bacterial pneumonia", "Normal")
"""The four classes of FLANNEL and of paper 004 (Section 2), in the order of the original code."""


def index_of(diagnosis: str, diagnoses: Sequence[str] = FLANNEL) -> int:
    """Gives the position of a diagnosis in its label set.

    Args:
        diagnosis: A name such as "COVID-19".
        diagnoses: The label set, in order.

    Raises:
        ValueError: If the name is not in the label set.
    """
    try:
        return list(diagnoses).index(diagnosis)
    except ValueError:
        known = ", ".join(diagnoses)
        raise ValueError(
            f"Diagnosis {diagnosis!r} is not in the label set ({known}). "
            "Correct the manifest, or choose the label set that it was made with."
        ) from None
