"""The audit of a whole study, as numbers and as a page."""

import json
import re
import shutil
from pathlib import Path

import pytest

from flannel.__main__ import main
from flannel.data.audit.copy_kinds import FOUND, LOOKED_FOR, NOT_FOUND
from flannel.data.audit.page import write_audit
from flannel.data.audit.pictures import SHOWN_PER_CLASS
from flannel.data.audit.shortcuts import CENTRE_HIDDEN, LUNG_MASK
from flannel.data.diagnosis import FLANNEL
from flannel.data.manifest import ManifestError, load_manifest, save_manifest
from flannel.data.provenance import Choices, save_with_provenance
from flannel.data.store import fill_lung_masks

pytestmark = pytest.mark.slow

HOSTILE = '<script>alert("1")</script>'


@pytest.fixture(scope="module", autouse=True)
def _small_forests():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flannel.data.audit.shortcuts.TREES", 1)
        patch.setattr("flannel.data.audit.shortcuts.TARGETS", ("diagnosis",))
        yield


def audited(study: Path) -> tuple[str, dict]:
    page, _ = write_audit(study)
    return page.read_text(), json.loads((study / "audit.json").read_text())


@pytest.fixture(scope="module")
def untouched(_phantom_study, tmp_path_factory):
    """The audit of the phantoms as they are: manifest, page and numbers."""
    study = Path(shutil.copytree(_phantom_study, tmp_path_factory.mktemp("audit") / "study"))
    return load_manifest(study / "manifest.csv"), *audited(study)


def test_the_audit_of_phantoms_holds_what_the_manifest_holds(untouched):
    table, html, numbers = untouched
    assert numbers["images"] == numbers["masks"] == len(table) == 40
    assert numbers["diagnoses"] == dict.fromkeys(FLANNEL, 10)
    assert numbers["origin"]["COVID-19"] == {"ccx": 10}
    assert (numbers["pairs"], numbers["leaks"], numbers["not_stored"]) == ([], [], [])
    assert numbers["licences"]["ccx"] == {"made up": (table["source"] == "ccx").sum()}
    assert numbers["counts"][-1]["by_diagnosis"] == dict.fromkeys(FLANNEL, 10)
    assert [sum(row["images"].values()) for row in numbers["folds"]] == [40] * 5
    assert {s["target"] for s in numbers["shortcuts"]} == {"diagnosis"}
    first = numbers["remarks"][0]
    assert first["weight"] == "danger"
    assert "Source and class are confounded: 100 % of COVID-19 is from ccx" in first["text"]
    assert "do not publish it" in html
    assert "What the manifest left out is unknown" in html


def test_the_page_says_which_copies_are_looked_for_and_which_not(untouched):
    _, page, facts = untouched
    texts = [remark["text"] for remark in facts["remarks"]]
    assert any(LOOKED_FOR in text for text in texts)
    for sentence in (*FOUND, *NOT_FOUND, LOOKED_FOR):
        assert sentence in page.replace("&#39;", "'")


def test_the_page_needs_no_network_and_shows_every_class(untouched):
    table, html, _ = untouched
    assert not re.findall(r'(?:src|href)="(?!data:)', html)
    assert "http" not in re.sub(r"base64,[^\"]*", "", html)
    groups = table.groupby("diagnosis")["group"].nunique()
    assert html.count("data:image/jpeg;base64,") == groups.clip(upper=SHOWN_PER_CLASS).sum()
    assert html.count("data:image/png;base64,") == 2
    assert [html.index(f"<h3>{name}</h3>") for name in FLANNEL] == sorted(
        html.index(f"<h3>{name}</h3>") for name in FLANNEL
    )


def test_text_from_data_is_escaped_wherever_it_is_shown(phantom_study):
    path = phantom_study / "manifest.csv"
    table = load_manifest(path)
    tested = table.index[table["split"] == "test"][:1]
    learnt = table.index[table["split"] == "development"][:1]
    for column in ("patient_id", "group", "finding", "view", "licence", "sex", "source"):
        table.loc[tested.union(learnt), column] = f"{column} {HOSTILE}"
    # Both files are one now, too: the pair is shown with diagnosis and patient.
    table.loc[learnt, "sha256"] = table.loc[tested, "sha256"].to_numpy()
    save_manifest(table, path)
    path.with_suffix(".txt").write_text(f"1 files that cannot be used:\n  {HOSTILE}\n")
    html, numbers = audited(phantom_study)
    assert "<script" not in html
    assert html.count("&lt;script&gt;") > 8
    names = {(leak["kind"], leak["name"]) for leak in numbers["leaks"]}
    assert ("patient", f"source {HOSTILE} patient_id {HOSTILE}") in names
    assert ("group", f"group {HOSTILE}") in names
    assert {kind for kind, _ in names} == {"patient", "group", "duplicate"}
    assert [pair["identical"] for pair in numbers["pairs"]] == [True]
    assert "<details open><summary>What the manifest includes" in html


def test_the_same_study_gives_the_same_page_whatever_the_order_of_rows(phantom_study, untouched):
    path = phantom_study / "manifest.csv"
    header, *lines = path.read_text().splitlines()
    path.write_text("\n".join([header, *reversed(lines)]) + "\n")
    assert audited(phantom_study) == untouched[1:]


def test_without_masks_the_centre_is_blacked_out_and_it_says_so(phantom_study):
    table = load_manifest(phantom_study / "manifest.csv")
    for mask in (phantom_study / "masks").glob("*.png"):
        mask.unlink()
    fill_lung_masks(phantom_study / "store", phantom_study / "masks", table)
    html, numbers = audited(phantom_study)
    seen = {shortcut["evidence"] for shortcut in numbers["shortcuts"]}
    assert CENTRE_HIDDEN in seen
    assert LUNG_MASK not in seen
    assert "one box black that holds nearly all lungs" in html
    assert "40 of 40 radiographs have no lung mask yet" in html


def test_a_radiograph_that_the_store_lacks_is_named(phantom_study):
    path = phantom_study / "manifest.csv"
    table = load_manifest(path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[1].replace(table["image_id"][0], "zz-later")]) + "\n")
    html, numbers = audited(phantom_study)
    assert numbers["not_stored"] == ["zz-later"]
    assert numbers["images"] == 40
    assert "<li>zz-later</li>" in html


def test_the_choices_are_shown_and_those_of_another_manifest_refused(phantom_study):
    path = phantom_study / "manifest.csv"
    save_with_provenance(load_manifest(path), path, Choices("patient", 7, "wide"))
    html, numbers = audited(phantom_study)
    assert "Split protocol <strong>patient</strong>, seed 7" in html
    assert "labelled by the mapping <strong>wide</strong>" in html
    assert numbers["choices"]["seed"] == 7
    path.write_text(path.read_text() + "\n")
    with pytest.raises(ManifestError, match="belongs to another"):
        write_audit(phantom_study)


def test_the_command_prints_what_matters(phantom_study, capsys):
    assert main(["audit", f"--study={phantom_study}"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("danger: Source and class are confounded")
    assert printed[-1].startswith(f"audit: {phantom_study / 'audit.html'}")
    assert main(["audit", f"--study={phantom_study / 'nowhere'}"]) == 1
    assert "make data" in capsys.readouterr().err
