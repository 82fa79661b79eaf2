"""How a manifest was made: `manifest.json` beside `manifest.csv`, and the label set it follows."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pandas as pd

from flannel.data.diagnosis import FLANNEL, LABEL_SETS, LabelError, coloured
from flannel.data.folds import splits_of_fold
from flannel.data.manifest import (
    ManifestError,
    ManifestReport,
    load_manifest,
    patients_of,
    save_manifest,
)
from flannel.files import sha256_of, whole_file

PARTS = ("train", "val", "test")

DRAWN_BY_GROUP = ("patient", "nested", "leave-source-out")
"""The protocols whose splits follow from radiographs, groups, diagnoses and choices alone."""


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
class Flow:
    """What became of the radiographs that were found, besides those in the manifest.

    Attributes:
        left_out: Radiographs that are not in it, by source and reason.
        unusable: Files that are missing or cannot be read.
        not_selected: Labelled radiographs that the selection left out.
        joined_by_header: By how many there are fewer groups because of equal Patient IDs.
        joined_as_copies: By how many there are fewer groups because of near duplicates.
    """

    left_out: Mapping[str, Mapping[str, int]]
    unusable: int = 0
    not_selected: int = 0
    joined_by_header: int = 0
    joined_as_copies: int = 0

    @property
    def radiographs(self) -> int:
        """All that were found and are not in the manifest."""
        counts = [n for reasons in self.left_out.values() for n in reasons.values()]
        return sum(counts) + self.unusable + self.not_selected


def flow_of(report: ManifestReport, not_selected: int = 0, joined_as_copies: int = 0) -> Flow:
    """Returns what to write of the radiographs that a manifest does not hold.

    Args:
        report: Of the manifest.
        not_selected: Labelled radiographs that a selection left out afterwards.
        joined_as_copies: By how many there are fewer groups because of near duplicates.
    """
    left_out: dict[str, dict[str, int]] = {}
    for (source, reason), count in sorted(report.left_out.items()):
        left_out.setdefault(source, {})[reason] = count
    return Flow(
        left_out, len(report.bad_files), not_selected, report.patients_joined, joined_as_copies
    )


@dataclass(frozen=True)
class Provenance:
    """What is written of a manifest.

    Attributes:
        choices: What was chosen.
        sources: Radiographs by source and diagnosis.
        folds: For each fold, what it is named after, and how many radiographs and patients each
            split has.
        sha256: Of `manifest.csv`.
        flow: What is not in the manifest, and why; None in manifests of earlier versions.
        colours: The label set in order, each diagnosis with its colour. Without them, as in
            manifests of earlier versions, it is that of the mapping.
    """

    choices: Choices
    sources: Mapping[str, Mapping[str, int]]
    folds: Mapping[str, Mapping[str, str | int]]
    sha256: str
    flow: Flow | None = None
    colours: Mapping[str, str] = field(default_factory=dict)


def save_with_provenance(
    table: pd.DataFrame,
    path: Path,
    choices: Choices,
    flow: Flow | None = None,
    colours: Mapping[str, str] | None = None,
) -> Provenance:
    """Writes a manifest with folds, and how it was made beside it as `.json`.

    Args:
        table: The manifest.
        path: `manifest.csv`.
        choices: What was chosen.
        flow: What is not in it, where that is known.
        colours: The label set in order, with colours; None for that of a mapping in `LABEL_SETS`.

    Raises:
        ManifestError: If the table breaks the schema, or has no folds.
    """
    save_manifest(table, path)
    counts = pd.crosstab(table["source"], table["diagnosis"])
    patients = patients_of(table)
    folds: dict[str, dict[str, str | int]] = {}
    for fold in sorted(table["fold"].dropna().unique()):
        used = splits_of_fold(table, int(fold))
        tested = sorted(set(table["source"][used == "test"]))
        names = {"left out": tested[0]} if choices.protocol == "leave-source-out" else {}
        folds[str(fold)] = {
            **names,
            **{s: int((used == s).sum()) for s in PARTS},
            **{f"{s} patients": int(patients[used == s].nunique()) for s in PARTS},
        }
    provenance = Provenance(
        choices=choices,
        sources={str(s): {str(d): int(n) for d, n in row.items()} for s, row in counts.iterrows()},
        folds=folds,
        sha256=sha256_of(path),
        flow=flow,
        colours=dict(colours or {}),
    )
    with whole_file(path.with_suffix(".json")) as beside:
        beside.write_text(json.dumps(asdict(provenance), indent=2) + "\n", encoding="utf-8")
    return provenance


def with_earlier_splits(
    table: pd.DataFrame, path: Path, choices: Choices
) -> tuple[pd.DataFrame, str]:
    """Takes over the splits of the manifest that a new one replaces, where nothing else changed.

    Versions may draw groups otherwise from one seed. The finished runs of a study belong to the
    splits that its manifest has, so these stay, as long as radiographs, groups, diagnoses and
    choices are the same.

    Args:
        table: The new manifest, with folds.
        path: Of the manifest that may be there.
        choices: Of the new manifest.

    Returns:
        The manifest to write, and a sentence on splits that were taken over or that changed;
        "" where there is nothing to say.
    """
    try:
        earlier, before = load_manifest(path), load_provenance(path).choices
    except ManifestError:
        return table, ""
    ours, theirs = (manifest.set_index("image_id") for manifest in (table, earlier))
    reasons = [
        f"{name} was {getattr(before, name)} and is {getattr(choices, name)}"
        for name in ("protocol", "seed", "mapping", "selection", "near_duplicates", "run")
        if getattr(before, name) != getattr(choices, name)
    ]
    shared = ours.index.intersection(theirs.index)
    if len(shared) < max(len(ours), len(theirs)):
        reasons.append(f"{len(ours)} radiographs were found, {len(theirs)} before")
    ours, theirs = ours.loc[shared], theirs.loc[shared]
    reasons += [
        f"{column} of radiographs changed"
        for column in ("group", "diagnosis", "source")
        if (ours[column] != theirs[column]).any()
    ]
    if ours["fold"].nunique() != theirs["fold"].nunique():
        reasons.append("the number of folds changed")
    moved = (ours["split"] != theirs["split"]) | (
        ours["fold"].fillna(-1) != theirs["fold"].fillna(-1)
    )
    if not moved.any():
        return table, ""
    if reasons or choices.protocol not in DRAWN_BY_GROUP:
        why = "; ".join(reasons) or "the source's own splits, or this version's drawing, changed"
        return table, (
            f"{moved.sum()} of {len(shared)} radiographs are in another split than before: {why}. "
            "Runs that were trained on the earlier splits are refused."
        )
    kept = table.assign(
        split=table["image_id"].map(theirs["split"]), fold=table["image_id"].map(theirs["fold"])
    )
    return kept, (
        f"The splits of the earlier manifest stay: this version would draw {moved.sum()} of "
        f"{len(shared)} radiographs otherwise. For its splits, make another study."
    )


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


def provenance_of(study: Path) -> Provenance | None:
    """Returns how a study's manifest was made, None where nothing was written of it.

    Unlike `load_provenance`, it does not ask whether the manifest was changed since.

    Args:
        study: The study folder.

    Raises:
        ManifestError: If `manifest.json` cannot be read.
    """
    beside = study / "manifest.json"
    return _read(beside) if beside.is_file() else None


def label_set_of(study: Path) -> tuple[str, ...]:
    """Returns the diagnoses of a study, in order: everything that counts or names them asks here.

    They stand in `manifest.json`; in that of an earlier version, the label set of its mapping is
    meant. A study that keeps no note of it, such as one of predictions alone, has FLANNEL's four.

    Args:
        study: The study folder.

    Raises:
        ManifestError: If `manifest.json` cannot be read, or names a mapping that does not exist.
    """
    return tuple(colours_of(study))


def colours_of(study: Path) -> dict[str, str]:
    """Returns the diagnoses of a study, in order, each with its colour such as "#D55E00".

    Args:
        study: The study folder.

    Raises:
        ManifestError: As `label_set_of`.
    """
    provenance = provenance_of(study)
    if provenance is None:
        return coloured(FLANNEL)
    beside, mapping = study / "manifest.json", provenance.choices.mapping
    if not provenance.colours and mapping not in LABEL_SETS:
        raise ManifestError(
            f"{beside} names the label mapping {mapping!r} and no colours, which list the "
            f"diagnoses; expected {', '.join(LABEL_SETS)}. Make the manifest again (make data "
            "MAPPING=...)."
        )
    try:
        return coloured([*(provenance.colours or LABEL_SETS[mapping])], provenance.colours)
    except LabelError as fault:
        raise ManifestError(f"{beside}: {fault}") from fault


def _read(beside: Path) -> Provenance:
    try:
        content = json.loads(beside.read_text(encoding="utf-8"))
        choices, flow = Choices(**content["choices"]), content.get("flow")
        made = {"choices": choices, "flow": None if flow is None else Flow(**flow)}
        return Provenance(**{**content, **made})
    except (ValueError, TypeError, KeyError) as fault:
        raise ManifestError(
            f"{beside} does not say how a manifest was made ({fault!r}); make it again (make data)."
        ) from fault
