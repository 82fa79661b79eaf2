import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from flannel.data.store import Store, StoreError, build, build_store, fill_lung_masks
from flannel.data.store.layout import locked

SIZE = 36
FILES = ("radiographs.npy", "equalisation.npy", "lung_masks.npy", "index.csv", "store.json")
SLOWLY = """
import sys, time
import pandas as pd
from pathlib import Path
from flannel.data.store import build
quick = build.prepared
def slow(*arguments):
    time.sleep(0.15)
    return quick(*arguments)
build.prepared = slow
manifest = pd.read_csv(sys.argv[1], dtype=str)
build.build_store(manifest, Path(sys.argv[2]), 36, workers=2)
"""


@pytest.fixture
def decoded(monkeypatch):
    """The names of the files that were decoded, in their order."""
    names, prepared = [], build.prepared

    def watched(path, sha256, settings):
        names.append(path.stem)
        return prepared(path, sha256, settings)

    monkeypatch.setattr(build, "prepared", watched)
    return names


def content(folder):
    assert {path.name for path in folder.iterdir()} - {".lock"} == set(FILES)
    return {name: (folder / name).read_bytes() for name in FILES}


def test_deep_levels_use_their_full_range_of_bits(study):
    deep = np.full((40, 40), 65535, np.uint16)
    deep[:20] = 32896  # 128 * 257
    study.draw("a", levels=deep)
    build_store(study.manifest("a"), study.store, 40)
    assert set(np.unique(Store(study.store).radiograph("a"))) == {128, 255}


def test_a_second_build_decodes_only_what_changed(study, decoded):
    build_store(study.manifest("abc"), study.store, SIZE)
    study.mask("a", np.ones((48, 64), bool))
    fill_lung_masks(study.store, study.masks, study.manifest("abc"))
    decoded.clear()
    report = build_store(study.manifest("abc"), study.store, SIZE)
    assert (decoded, report.decoded, report.kept) == ([], 0, 3)
    study.draw("b", seed=1)
    study.draw("0")
    report = build_store(study.manifest("abc0"), study.store, SIZE)
    assert sorted(decoded) == ["0", "b"]
    assert (report.decoded, report.kept) == (2, 2)
    store = Store(study.store)
    assert store.image_ids == ("0", "a", "b", "c")
    assert [store.has_mask(name) for name in "abc0"] == [True, False, False, False]
    assert store.lung_mask("a").all()
    build_store(study.manifest("abc0"), study.folder / "fresh", SIZE)
    fresh = Store(study.folder / "fresh")
    assert store.fingerprint()["store"] == fresh.fingerprint()["store"]
    for name in ("radiographs.npy", "equalisation.npy"):
        assert (study.store / name).read_bytes() == (fresh.folder / name).read_bytes()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"size_px": 40}, "was made with --size_px=36 --resize=stretch, not --size_px=40"),
        ({"resize": "letterbox"}, "not --size_px=36 --resize=letterbox"),
        ({"manifest": "ab"}, "holds 1 radiographs that the manifest lacks, first c"),
    ],
)
def test_a_stale_store_is_refused_with_the_command_that_renews_it(study, decoded, change, why):
    build_store(study.manifest("abc"), study.store, SIZE)
    before = content(study.store)
    settings = {"size_px": SIZE, "resize": "stretch"} | change
    manifest = study.manifest(settings.pop("manifest", "abc"))
    with pytest.raises(StoreError, match=why) as refusal:
        build_store(manifest, study.store, **settings)
    options = f"--size_px={settings['size_px']} --resize={settings['resize']} --renew=true"
    command = f"python -m flannel store --study={study.folder} {options}"
    assert str(refusal.value).endswith(command)
    assert content(study.store) == before
    decoded.clear()
    build_store(manifest, study.store, **settings, renew=True)
    assert len(decoded) == (0 if change.get("manifest") else 3)
    renewed = content(study.store)
    build_store(manifest, study.folder / "fresh", **settings)
    assert content(study.folder / "fresh") == renewed


def test_unreadable_radiographs_are_listed_and_the_rest_is_written(study, decoded):
    manifest = study.manifest("abc")
    build_store(manifest, study.store, SIZE)
    study.path("a").write_bytes(b"")
    study.draw("b", seed=5)
    manifest.loc[:1, "sha256"] = "0" * 64
    wrong = r"(?s)2 of 3 radiographs cannot be read.*\n  \S*a.png is empty.*b.png has changed"
    with pytest.raises(StoreError, match=wrong):
        build_store(manifest, study.store, SIZE, strict=True)
    assert Store(study.store).image_ids == ("a", "b", "c")
    report = build_store(manifest, study.store, SIZE)
    assert (report.decoded, report.kept) == (0, 1)
    assert "a.png is empty" in str(report)
    assert "b.png has changed since the manifest was made" in str(report)
    store = Store(study.store)
    assert store.image_ids == ("c",)
    assert json.loads((study.store / "store.json").read_text())["images"] == 1
    assert not np.load(study.store / "radiographs.npy")[:2].any()
    before, written = content(study.store), (study.store / "radiographs.npy").stat().st_mtime_ns
    decoded.clear()
    assert build_store(manifest, study.store, SIZE).bad_files == report.bad_files
    assert sorted(decoded) == ["a", "b"]
    assert content(study.store) == before
    assert (study.store / "radiographs.npy").stat().st_mtime_ns == written
    build_store(study.manifest("bc"), study.store, SIZE)
    assert Store(study.store).image_ids == ("b", "c")


def test_a_cohort_without_a_readable_radiograph_makes_no_store(study):
    manifest = study.manifest("ab")
    for name in "ab":
        study.path(name).write_bytes(b"")
    with pytest.raises(StoreError, match="2 of 2 radiographs cannot be read"):
        build_store(manifest, study.store, SIZE)
    with pytest.raises(StoreError, match="no finished store"):
        Store(study.store)


@pytest.mark.slow
def test_a_killed_build_goes_on_where_it_was(study, tmp_path, decoded):
    names = "abcdefghijkl"
    for name in names[3:]:
        study.draw(name)
    manifest = study.manifest(names)
    manifest.to_csv(tmp_path / "manifest.csv", index=False)
    journal = study.store / "unfinished" / "done.csv"
    words = [sys.executable, "-c", SLOWLY, str(tmp_path / "manifest.csv"), str(study.store)]
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            if journal.is_file() and journal.read_text().count("\n") >= 4:  # its head, and 3 rows
                break
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    with pytest.raises(StoreError, match="no finished store"):
        Store(study.store)
    done = [int(line.split(",")[0]) for line in journal.read_text().splitlines()[1:]]
    assert 3 <= len(done) < len(names)
    report = build_store(manifest, study.store, SIZE)
    assert sorted(decoded) == sorted(set(names) - {names[row] for row in done})
    assert (report.decoded, report.kept) == (len(names) - len(done), len(done))
    build_store(manifest, study.folder / "undisturbed", SIZE)
    assert content(study.store) == content(study.folder / "undisturbed")


def test_a_disk_that_fills_up_ends_in_a_sentence(study, monkeypatch, decoded):
    pwrite, writes = os.pwrite, []

    def filling(*arguments):
        writes.append(arguments)
        if len(writes) > 6:  # after two rows of three arrays
            raise OSError(errno.ENOSPC, "No space left on device")
        return pwrite(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", filling)
        with pytest.raises(StoreError, match=r"No space left on device.* Make room.*goes on"):
            build_store(study.manifest("abc"), study.store, SIZE, workers=1)
    assert not [name for name in FILES if (study.store / name).exists()]
    decoded.clear()
    build_store(study.manifest("abc"), study.store, SIZE)
    assert decoded == ["c"]
    build_store(study.manifest("abc"), study.folder / "undisturbed", SIZE)
    assert content(study.store) == content(study.folder / "undisturbed")


def test_a_disk_that_is_too_full_is_told_before(study, monkeypatch, capsys):
    usage = shutil.disk_usage(study.folder)._replace(free=6000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    # A row is 36 * 36 levels, 256 entries of the table, and 36 lines of 5 bytes.
    needed = f"{3 * (36 * 36 + 256 + 36 * 5):,}"
    assert needed == "5,196"
    build_store(study.manifest("abc"), study.folder / "fits", SIZE)
    assert "3 radiographs of 36 x 36 pixels: 0.00 GB to write" in capsys.readouterr().err
    study.draw("d")
    with pytest.raises(StoreError, match=r"needs 6,928 more bytes, but .* has 6,000 bytes free"):
        build_store(study.manifest("abcd"), study.store, SIZE)
    assert [path.name for path in study.store.iterdir()] == [".lock"]


def test_two_builds_at_once_are_kept_apart(study):
    with locked(study.store), pytest.raises(StoreError, match="Another process is writing"):
        build_store(study.manifest("ab"), study.store, SIZE)
    assert build_store(study.manifest("ab"), study.store, SIZE).decoded == 2


def test_wrong_settings_are_sentences(study):
    with pytest.raises(StoreError, match="size_px is 8; expected at least 32"):
        build_store(study.manifest("ab"), study.store, 8)
    with pytest.raises(StoreError, match="resize is 'crop'; expected 'stretch' or 'letterbox'"):
        build_store(study.manifest("ab"), study.store, SIZE, resize="crop")
