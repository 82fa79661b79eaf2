"""How a manifest was made: `manifest.json` beside `manifest.csv`, and the label set it follows."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from flannel.data.diagnosis import FLANNEL, LABEL_SETS
from flannel.data.folds import splits_of_fold
from flannel.data.manifest import ManifestError, save_manifest
from flannel.data.outputs import mark_as_output
from flannel.files import sha256_of, whole_file


@dataclass(frozen=True)
class Choices:
    """What was chosen when the manifest was made.

    Attributes:
        protocol: The split protocol.
        seed: Seed of its draw.
        mapping: Which findings are which diagnosis.
        selection: Which of the labelled radiographs are in the manifest.
        near_duplicates: Whether groups were joined for near duplicates, too.
        run: The original run whose folds were imported, or "".
        version: The version of this program.
    """

    protocol: str
    seed: int
    mapping: str
    selection: str = "all"
    near_duplicates: bool = False
    run: str = ""
    version: str = ""


@dataclass(frozen=True)
class Provenance:
    """What is written of a manifest.

    Attributes:
        choices: What was chosen.
        sources: Radiographs by source and diagnosis.
        folds: For each fold, what it is named after and how many radiographs each split has.
        sha256: Of `manifest.csv`.
    """

    choices: Choices
    sources: Mapping[str, Mapping[str, int]]
    folds: Mapping[str, Mapping[str, str | int]]
    sha256: str


def save_with_provenance(table: pd.DataFrame, path: Path, choices: Choices) -> Provenance:
    """Writes a manifest with folds, and how it was made beside it as `.json`.

    Raises:
        ManifestError: If the table breaks the schema, or has no folds.
    """
    save_manifest(table, path)
    counts = pd.crosstab(table["source"], table["diagnosis"])
    folds: dict[str, dict[str, str | int]] = {}
    for fold in sorted(table["fold"].dropna().unique()):
        used = splits_of_fold(table, int(fold))
        tested = sorted(set(table["source"][used == "test"]))
        names = {"left out": tested[0]} if choices.protocol == "leave-source-out" else {}
        folds[str(fold)] = {
            **names,
            **{s: int((used == s).sum()) for s in ("train", "val", "test")},
        }
    provenance = Provenance(
        choices=choices,
        sources={str(s): {str(d): int(n) for d, n in row.items()} for s, row in counts.iterrows()},
        folds=folds,
        sha256=sha256_of(path),
    )
    with whole_file(path.with_suffix(".json")) as beside:
        beside.write_text(json.dumps(asdict(provenance), indent=2) + "\n", encoding="utf-8")
    mark_as_output(path.parent)
    return provenance


def load_provenance(path: Path) -> Provenance:
    """Reads how a manifest was made.

    Args:
        path: The manifest, `manifest.csv`.

    Raises:
        ManifestError: If there is no such file, it cannot be read, or it belongs to another
            `manifest.csv` than the one beside it.
    """
    beside = path.with_suffix(".json")
    if not beside.is_file():
        raise ManifestError(f"{beside} does not exist: make the manifest again (make data).")
    provenance = _read(beside)
    if provenance.sha256 != sha256_of(path):
        raise ManifestError(
            f"{beside} belongs to another {path.name} than the one beside it, which was changed "
            "since; make it again (make data)."
        )
    return provenance


def label_set_of(study: Path) -> tuple[str, ...]:
    """Returns the diagnoses of a study, in order: everything that counts or names them asks here.

    They are the label set of the mapping that the study's manifest was made with. A study that
    keeps no note of it, such as one of predictions alone, has FLANNEL's four.

    Args:
        study: The study folder.

    Raises:
        ManifestError: If `manifest.json` cannot be read, or names a mapping that does not exist.
    """
    beside = study / "manifest.json"
    if not beside.is_file():
        return FLANNEL
    mapping = _read(beside).choices.mapping
    if mapping not in LABEL_SETS:
        raise ManifestError(
            f"{beside} names the label mapping {mapping!r}; expected {', '.join(LABEL_SETS)}. Make "
            "the manifest again (make data MAPPING=...)."
        )
    return LABEL_SETS[mapping]


def _read(beside: Path) -> Provenance:
    try:
        content = json.loads(beside.read_text(encoding="utf-8"))
        return Provenance(**{**content, "choices": Choices(**content["choices"])})
    except (ValueError, TypeError, KeyError) as fault:
        raise ManifestError(
            f"{beside} does not say how a manifest was made ({fault!r}); make it again (make data)."
        ) from fault
