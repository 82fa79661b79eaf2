"""The audit as files: `audit.json` for programs, `audit.html` for people."""

import json
from dataclasses import asdict
from pathlib import Path

import pandas as pd
from jinja2 import Environment

from flannel.data.audit.audit import Audit, audit_cohort
from flannel.data.audit.copy_kinds import FOUND, NOT_FOUND
from flannel.data.audit.leaks import KINDS
from flannel.data.audit.pictures import (
    contact_sheets,
    grey_value_figure,
    pair_thumbnails,
    size_figure,
)
from flannel.data.audit.remarks import Remark, reading, remarks
from flannel.data.audit.shortcuts import EXPLAINED, FOLDS, TARGETS, TREES
from flannel.data.copies import SAME
from flannel.data.findings import MAPPINGS
from flannel.data.manifest import load_manifest
from flannel.data.provenance import label_set_of, load_provenance
from flannel.data.store import Store
from flannel.files import whole_file
from flannel.templates import page_environment

LISTED = 50


def write_audit(study: Path, seed: int = 1) -> tuple[Path, list[Remark]]:
    """Audits a study's cohort and writes `audit.json` and `audit.html` into its folder.

    The page holds small radiographs and needs no network.

    Args:
        study: Holds `manifest.csv` and `store`; lung masks are used as far as the store has them.
        seed: Of the forests that look for shortcuts.

    Returns:
        The page, and its remarks.

    Raises:
        ManifestError: If the manifest is missing or breaks its schema, or `manifest.json` belongs
            to another one.
        StoreError: If the store is missing or not of this format.
    """
    path = study / "manifest.csv"
    manifest, store = load_manifest(path), Store(study / "store")
    choices = load_provenance(path).choices if path.with_suffix(".json").is_file() else None
    audit = audit_cohort(manifest, store, seed, label_set_of(study))
    sentences = remarks(audit)
    with whole_file(study / "audit.json") as beside:
        content = {
            "seed": seed,
            "choices": None if choices is None else asdict(choices),
            "remarks": [asdict(remark) for remark in sentences],
            **asdict(audit),
        }
        beside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    stored = manifest[manifest["image_id"].isin(store.image_ids)]
    report = path.with_suffix(".txt")
    page = study / "audit.html"
    with whole_file(page) as beside:
        html = (
            _environment()
            .get_template("audit.html.j2")
            .render(
                **_numbers(audit, seed),
                **_pictures(audit, stored, store),
                study=study.resolve().name,
                remarks=sentences,
                choices=choices,
                report=report.read_text(encoding="utf-8") if report.is_file() else "",
            )
        )
        beside.write_text(html, encoding="utf-8")
    return page, sentences


def _environment() -> Environment:
    environment = page_environment("flannel.data.audit")
    environment.filters["thousands"] = lambda number: f"{number:,}"
    return environment


def _numbers(audit: Audit, seed: int) -> dict[str, object]:
    by_target = {
        target: [shortcut for shortcut in audit.shortcuts if shortcut.target == target]
        for target in TARGETS
    }
    return {
        "audit": audit,
        "shortcuts": by_target,
        "readings": {
            target: reading(target, shortcuts)
            for target, shortcuts in by_target.items()
            if shortcuts
        },
        "explained": {s.evidence: EXPLAINED[s.evidence] for s in audit.shortcuts},
        "forest": {"trees": TREES, "folds": FOLDS, "seed": seed},
        "leaks": {kind: [leak for leak in audit.leaks if leak.kind == kind] for kind in KINDS},
        "listed": LISTED,
        "splits": sorted({split for row in audit.details for split in row.by_split}),
        "mappings": list(MAPPINGS),
        "same": SAME,
        "found": FOUND,
        "not_found": NOT_FOUND,
    }


def _pictures(audit: Audit, manifest: pd.DataFrame, store: Store) -> dict[str, object]:
    sheets = contact_sheets(manifest, store)
    return {
        "pairs": pair_thumbnails(audit.pairs, manifest, store),
        "sheets": {diagnosis: sheets[diagnosis] for diagnosis in audit.diagnoses},
        "sizes": size_figure(manifest),
        "grey_values": grey_value_figure(audit.grey_values),
    }
