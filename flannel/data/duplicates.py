"""Duplicates -> `group`: images that are the same file keep their patients together."""

from collections.abc import Sequence


def joined_groups(groups: Sequence[str], fingerprints: Sequence[str]) -> list[str]:
    """Joins the patient groups that share an identical file.

    Args:
        groups: The patient group of each image.
        fingerprints: The SHA-256 of each image's file.

    Returns:
        One name for each image: the first, in alphabetical order, of all groups that are linked
        through identical files.
    """
    parent = {group: group for group in groups}

    def root(group: str) -> str:
        while parent[group] != group:
            parent[group] = parent[parent[group]]
            group = parent[group]
        return group

    owner: dict[str, str] = {}
    for group, fingerprint in zip(groups, fingerprints, strict=True):
        first, second = sorted((root(owner.setdefault(fingerprint, group)), root(group)))
        parent[second] = first
    return [root(group) for group in groups]
