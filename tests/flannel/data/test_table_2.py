import pandas as pd

from flannel.data.diagnosis import FLANNEL
from flannel.data.original_cohorts import (
    arithmetic_errors,
    counted_table_2,
    published_table_2,
    table_2_markdown,
)

COVID, VIRAL, _, NORMAL = FLANNEL


def cohort(*rows):
    columns = ["source", "view", "diagnosis", "split", "path"]
    return pd.DataFrame(rows, columns=columns)


def expanded(**numbers):
    """A cohort of the size of the lists: rows by source and view, diagnosis, split and count."""
    rows = []
    for key, of_split in numbers.items():
        source, view = key.split("_", 1)
        for split, counts in of_split.items():
            for diagnosis, count in zip(FLANNEL, counts, strict=True):
                rows += [(source, view, diagnosis, split)] * count
    table = pd.DataFrame(rows, columns=["source", "view", "diagnosis", "split"])
    return table.assign(path=[str(max(number, 2)) for number in range(len(table))])


def test_rows_are_counted_by_hand():
    table = cohort(
        ("ccx", "AP Supine", COVID, "test", "a"),
        ("ccx", "PA", COVID, "development", "b"),
        ("kcx", "AP", NORMAL, "development", "c"),
        ("kcx", "AP", NORMAL, "test", "d"),
        ("kcx", "AP", VIRAL, "test", "e"),
    )
    counted = counted_table_2(table)
    assert counted.index.tolist() == published_table_2().index.tolist()
    assert counted.loc["CCX data"].tolist() == [2, 2, 0, 0, 0]
    assert counted.loc["AP view"].tolist() == [4, 1, 1, 0, 2]
    assert counted.loc["Training"].tolist() == [2, 1, 0, 0, 1]
    assert counted.loc["Total"].tolist() == [5, 2, 1, 0, 2]
    assert "hold 6,413 rows and this cohort 5" in table_2_markdown(table)


def test_the_printed_table_has_one_wrong_cell():
    assert arithmetic_errors(published_table_2()) == [
        "Training, Viral pneumonia: printed 1,509, but its row adds up to 5,127 and its column to "
        "1,509 only with 1,170."
    ]
    corrected = published_table_2()
    corrected.loc["Training", VIRAL] = 1170
    assert arithmetic_errors(corrected) == []


def test_three_rows_make_the_difference():
    # The rows of the authors' lists; the first three paths are one, so that two files come twice.
    table = expanded(
        ccx_AP={"test": (50, 4, 5, 6), "development": (233, 4, 4, 4)},
        ccx_PA={"test": (50, 2, 5, 2), "development": (146, 6, 28, 8)},
        kcx_AP={"test": (0, 333, 521, 305), "development": (0, 1160, 2259, 1278)},
    )
    markdown = table_2_markdown(table)
    assert "| CCX data | 557 (554) | 479 (478) | 16 | 42 | 20 (18) |" in markdown
    assert "| AP view | 6,166 (6,163) | 283 (282) | 1,501 | 2,789 | 1,593 (1,591) |" in markdown
    assert "| PA view | 247 | 196 | 8 | 33 | 10 |" in markdown
    assert "| Training | 5,130 (5,127) | 379 (378) | 1,170 (1,509) | 2,291 | 1,290 (1,288) |" in (
        markdown
    )
    assert "| Testing | 1,283 | 100 | 339 | 531 | 313 |" in markdown
    assert "6,413 rows of 6,411 files: 2 files" in markdown
    assert "6,410, 3 rows fewer: 1 COVID-19 and 2 Normal" in markdown
    assert "two of the four rows included" in markdown
    patched = table.assign(split=table["split"].iloc[::-1].to_numpy())
    assert "the patched run drew another" in table_2_markdown(patched)
