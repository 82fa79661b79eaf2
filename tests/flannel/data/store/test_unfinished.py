import os

import numpy as np
import pytest

from flannel.data.store.layout import (
    ARRAYS,
    Settings,
    StoreEntry,
    open_array,
    read_index,
    read_settings,
)
from flannel.data.store.unfinished import publish, unfinished_store

SETTINGS = Settings(8, "stretch")
ENTRIES = [StoreEntry("a", "sha-a"), StoreEntry("b", "sha-b", "mask-b"), StoreEntry("c", "sha-c")]


def row(number):
    generator = np.random.default_rng(number)
    return tuple(generator.integers(0, 256, shape, np.uint8) for shape in SETTINGS.row_shapes)


@pytest.fixture
def begun(tmp_path):
    """A store of which the rows 0 and 2 are written."""
    with unfinished_store(tmp_path, SETTINGS, ENTRIES) as unfinished:
        assert unfinished.done == set()
        unfinished.write(2, row(2))
        unfinished.write(0, row(0))
    return tmp_path


def again(folder, settings=SETTINGS, entries=ENTRIES):
    with unfinished_store(folder, settings, entries) as unfinished:
        return unfinished.done


def test_rows_of_any_order_become_a_store(begun):
    with unfinished_store(begun, SETTINGS, ENTRIES) as unfinished:
        assert unfinished.done == {0, 2}
        unfinished.write(1, row(1))
        unfinished.finish(SETTINGS)
    assert not (begun / "unfinished").exists()
    assert read_settings(begun) == SETTINGS
    assert read_index(begun) == ENTRIES
    for place, name in enumerate(ARRAYS):
        expected = np.stack([row(number)[place] for number in range(3)])
        np.testing.assert_array_equal(open_array(begun, name), expected)


def test_a_row_that_was_not_written_has_no_source_and_is_black(begun):
    with unfinished_store(begun, SETTINGS, ENTRIES) as unfinished:
        unfinished.finish(SETTINGS)
    assert read_index(begun) == [ENTRIES[0], StoreEntry("b"), ENTRIES[2]]
    assert not any(open_array(begun, name)[1].any() for name in ARRAYS)


@pytest.mark.parametrize("name", ARRAYS)
def test_a_row_that_did_not_reach_the_disk_is_made_again(begun, name):
    array = np.load(begun / "unfinished" / name, mmap_mode="r+")
    array[2].flat[3] ^= 1
    array.flush()
    assert again(begun) == {0}


def test_a_changed_source_is_made_again(begun):
    assert again(begun, entries=[ENTRIES[0], ENTRIES[1], StoreEntry("c", "other")]) == {0}
    assert again(begun, entries=[StoreEntry("a", "sha-a", "mask"), *ENTRIES[1:]]) == set()


@pytest.mark.parametrize("torn", ["1,sha-b,ma", "7,sha,,1\n", "x\n", "\n"])
def test_a_torn_journal_costs_only_its_own_line(begun, torn):
    with (begun / "unfinished" / "done.csv").open("a") as journal:
        journal.write(torn)
    assert again(begun) == {0, 2}
    with unfinished_store(begun, SETTINGS, ENTRIES) as unfinished:
        unfinished.write(1, row(1))
    assert again(begun) == {0, 1, 2}


@pytest.mark.parametrize(
    ("settings", "entries"),
    [
        (Settings(9, "stretch"), ENTRIES),
        (Settings(8, "letterbox"), ENTRIES),
        (SETTINGS, ENTRIES[:2]),
        (SETTINGS, ENTRIES[::-1]),
    ],
)
def test_another_plan_starts_from_nothing(begun, settings, entries):
    assert again(begun, settings, entries) == set()
    shape = (len(entries), *settings.row_shapes[0])
    assert open_array(begun / "unfinished", ARRAYS[0]).shape == shape


def test_a_kill_while_the_files_are_moved_is_made_good(begun):
    with unfinished_store(begun, SETTINGS, ENTRIES) as unfinished:
        unfinished.write(1, row(1))
        unfinished.finish(SETTINGS)
    place = begun / "unfinished"
    place.mkdir()
    for name in (*ARRAYS[1:], "index.csv", "store.json"):
        (begun / name).rename(place / name)
    assert read_settings(begun) is None
    publish(begun)
    assert not place.exists()
    assert read_settings(begun) == SETTINGS
    assert read_index(begun) == ENTRIES


def test_a_disk_that_takes_few_bytes_at_a_time_gets_them_all(begun, monkeypatch):
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: pwrite(file, data[:7], at))
    with unfinished_store(begun, SETTINGS, ENTRIES) as unfinished:
        unfinished.write(1, row(1))
    for array, expected in zip(ARRAYS, row(1), strict=True):
        np.testing.assert_array_equal(open_array(begun / "unfinished", array)[1], expected)
