"""The audit in sentences: what matters about a cohort, each derived from a number."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from flannel.data.audit.audit import Audit
from flannel.data.audit.copy_kinds import LOOKED_FOR
from flannel.data.audit.leaks import KINDS
from flannel.data.audit.shortcuts import BLIND, FROM_MASKS, Shortcut

Weight = Literal["danger", "care", "good"]
FEW_PATIENTS = 30
"""Below this, a diagnosis has few patients: five folds leave six for each test."""

ALIKE = 0.05
"""Shares that differ by less are not called confounded."""


@dataclass(frozen=True)
class Remark:
    """One sentence or two; `danger` invalidates results, `care` limits them, `good` is right."""

    weight: Weight
    text: str


def remarks(audit: Audit) -> list[Remark]:
    """Returns remarks on what matters, the dangers first."""
    listed = [
        *_on_leaks(audit),
        *_on_pairs(audit),
        *_on_origin(audit),
        *_on_shortcuts(audit),
        *_on_people(audit),
        *_on_files(audit),
    ]
    order: Sequence[Weight] = ("danger", "care", "good")
    return sorted(listed, key=lambda remark: order.index(remark.weight))


def reading(target: str, shortcuts: Sequence[Shortcut]) -> str:
    """Returns a sentence on how well the best evidence without a lung predicts one target."""
    best = _best_blind(shortcuts)
    numbers = f"macro F1 {best.macro_f1:.2f} (chance: {best.chance:.2f})"
    if not best.beats_chance:
        how = "no better than by chance: at best"
    else:
        how = f"best from the {best.evidence}:"
    return f"Without lung pixels, the {target} is predicted {how} {numbers}."


def _on_leaks(audit: Audit) -> Iterator[Remark]:
    if not audit.folds:
        yield Remark("care", "No folds are assigned yet, so leaks between them cannot be detected.")
        return
    if not audit.leaks:
        yield Remark(
            "good",
            "In no fold does a patient, a group of possibly equal patients or a detected duplicate "
            f"occur in two of training, validation and test. {LOOKED_FOR}",
        )
        return
    counts = [_many(sum(leak.kind == kind for leak in audit.leaks), kind) for kind in KINDS]
    worst = max(audit.folds, key=lambda row: row.shared["test"] / max(1, row.images["test"]))
    tested = worst.images["test"]
    yield Remark(
        "danger",
        f"{', '.join(counts[:-1])} and {counts[-1]} are in more than one of training, validation "
        f"and test. In fold {worst.fold}, {_share(worst.shared['test'], tested)} of the test "
        f"radiographs ({worst.shared['test']} of {tested}) show a patient who is also in training "
        "or validation. Scores on this test set are too high.",
    )


def _on_pairs(audit: Audit) -> Iterator[Remark]:
    same = sum(pair.identical for pair in audit.pairs)
    near = len(audit.pairs) - same
    twice = f"{_many(same, 'pair')} of identical files and {_many(near, 'pair')} of near duplicates"
    contradicting = sum("diagnosis" in pair.differs for pair in audit.pairs)
    if contradicting:
        yield Remark(
            "danger",
            f"{twice} were found, and in {contradicting} of them the same radiograph has two "
            "different diagnoses. One of the two must be wrong.",
        )
    elif audit.pairs:
        yield Remark("care", f"{twice} were found; none of them has two diagnoses.")
    else:
        yield Remark(
            "good",
            f"No file occurs twice, and no copy of a radiograph was found. {LOOKED_FOR}",
        )


def _on_origin(audit: Audit) -> Iterator[Remark]:
    if len(audit.sources) < 2:
        (source,) = audit.sources
        yield Remark(
            "care",
            f"All radiographs come from one source, {source}: the cohort cannot show how a network "
            "generalises to others.",
        )
        return
    whole = {source: count / audit.images for source, count in audit.sources.items()}
    parts = []
    for diagnosis, by_source in audit.origin.items():
        source, count = max(by_source.items(), key=lambda item: item[1])
        total = audit.diagnoses[diagnosis]
        if count / total - whole[source] > ALIKE:
            parts.append(f"{_share(count, total)} of {diagnosis} is from {source}")
    if parts:
        yield Remark(
            "danger",
            f"Source and class are confounded: {_listed(parts)}. A network can learn to recognise "
            "the source instead of the disease.",
        )
    else:
        yield Remark("good", "Every diagnosis comes from the sources in about the same shares.")


def _on_shortcuts(audit: Audit) -> Iterator[Remark]:
    shortcuts = [shortcut for shortcut in audit.shortcuts if shortcut.target == "diagnosis"]
    if not shortcuts:
        yield Remark("care", "Too few groups or only one diagnosis: no shortcut could be tested.")
        return
    best = _best_blind(shortcuts)
    if not best.beats_chance:
        yield Remark(
            "good",
            "A classifier that sees no lung pixels predicts the diagnosis no better than by "
            f"chance: at best macro F1 {best.macro_f1:.2f}, chance {best.chance:.2f}.",
        )
        return
    interval = best.interval(2) if best.low is None else f"95 % interval {best.interval(2)}"
    yield Remark(
        "danger",
        "A shortcut suffices: a classifier that sees no lung pixels, only the "
        f"{best.evidence}, predicts the diagnosis with macro F1 {best.macro_f1:.2f} "
        f"({interval}). Chance is {best.chance:.2f}."
        + "".join(
            f" From the {shortcut.evidence}: {shortcut.macro_f1:.2f}."
            for shortcut in shortcuts
            if shortcut.evidence in (*BLIND, *FROM_MASKS) and shortcut is not best
        )
        + " Compare a network's score with these numbers.",
    )


def _on_people(audit: Audit) -> Iterator[Remark]:
    few = [
        f"{diagnosis} {count}"
        for diagnosis, count in audit.patients_by_diagnosis.items()
        if count < FEW_PATIENTS
    ]
    if few:
        yield Remark(
            "care",
            f"Few patients: {_listed(few)}. Their scores will vary much between test sets.",
        )
    known = sum(row.age_known for row in audit.people)
    if known < audit.images:
        unknown = [
            source
            for source in audit.sources
            if not any(row.age_known for row in audit.people if row.source == source)
        ]
        yield Remark(
            "care",
            f"The age is known for {_share(known, audit.images)} of the radiographs"
            + (f", and for none of {_listed(unknown)}" if known and unknown else "")
            + ". Where it is unknown, children cannot be distinguished from adults.",
        )


def _on_files(audit: Audit) -> Iterator[Remark]:
    if audit.not_stored:
        yield Remark(
            "care",
            f"{_many(len(audit.not_stored), 'radiograph')} of the manifest could not be read or "
            "are not in the store, and are left out here.",
        )
    if audit.masks < audit.images:
        yield Remark(
            "care",
            f"{audit.images - audit.masks} of {audit.images} radiographs have no lung mask yet "
            "(make segment). With masks, make audit adds shortcuts with the lungs hidden.",
        )


def _best_blind(shortcuts: Sequence[Shortcut]) -> Shortcut:
    blind = [shortcut for shortcut in shortcuts if shortcut.evidence in BLIND]
    return max(blind, key=lambda shortcut: shortcut.macro_f1)


def _share(part: int, whole: int) -> str:
    """Returns a share in per cent, in words where rounding would make it nothing or all."""
    per_cent = 100 * part / max(1, whole)
    if part == 0:
        return "none"
    if 0 < per_cent < 1:
        return "less than 1 %"
    return "more than 99 %" if 99 < per_cent < 100 else f"{per_cent:.0f} %"


def _many(count: int, name: str) -> str:
    return f"{count} {name}" + ("" if count == 1 else "s")


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
