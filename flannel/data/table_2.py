"""Table 2 of paper 004 (Section 2.1): what the cohort holds, counted and as it was printed."""

from importlib.resources import files

import numpy as np
import pandas as pd

from flannel.data.diagnosis import FLANNEL

TOTAL = "Total"
BLOCKS = (("CCX data", "KCX data"), ("AP view", "PA view"), ("Training", "Testing"))
"""Rows that add up to the last row, each pair for itself."""

ORIGINAL_ROWS = 6413


def published_table_2() -> pd.DataFrame:
    """Reads the printed table: rows by name, the total and one column per diagnosis."""
    with files("flannel.data").joinpath("table_2.csv").open(encoding="utf-8") as stream:
        return pd.read_csv(stream, index_col="row").drop(columns="source")


def counted_table_2(table: pd.DataFrame) -> pd.DataFrame:
    """Counts a manifest of CCX and KCX in the rows of the table; training includes validation."""
    frontal = np.where(table["view"].str.upper().str.contains("AP"), "AP view", "PA view")
    parts = (
        table["source"].str.upper() + " data",
        pd.Series(frontal, index=table.index),
        table["split"].map({"test": "Testing", "development": "Training"}),
    )
    rows = [name for block in BLOCKS for name in block]
    counts = pd.concat([pd.crosstab(part, table["diagnosis"]) for part in parts])
    counts = counts.reindex(index=rows, columns=list(FLANNEL), fill_value=0)
    counts.loc[TOTAL] = table["diagnosis"].value_counts().reindex(list(FLANNEL), fill_value=0)
    counts.insert(0, TOTAL, counts.sum(axis=1))
    return counts.astype(int).rename_axis(index="row", columns=None)


def arithmetic_errors(printed: pd.DataFrame) -> list[str]:
    """Names the cells of a table because of which neither its row nor its column adds up."""
    row_excess = printed[list(FLANNEL)].sum(axis=1) - printed[TOTAL]
    found = []
    for block in BLOCKS:
        column_excess = printed.loc[list(block)].sum() - printed.loc[TOTAL]
        found += [
            f"{row}, {name}: printed {printed.loc[row, name]:,}, but its row adds up to "
            f"{printed.loc[row, TOTAL]:,} and its column to {printed.loc[TOTAL, name]:,} only with "
            f"{printed.loc[row, name] - row_excess[row]:,}."
            for row in block
            for name in FLANNEL
            if row_excess[row] == column_excess[name] != 0
        ]
    return found


def table_2_markdown(table: pd.DataFrame) -> str:
    """Writes the counted table with the printed numbers beside it, and why they differ.

    Args:
        table: A manifest with the folds of an original run (`flannel.data.cohort.import_run`).
    """
    counted, printed = counted_table_2(table), published_table_2()
    lines = [
        "# Table 2 of paper 004, counted again",
        "",
        "Rows of the cohort; in brackets what the paper prints, where it is another number. "
        "Training is training and validation together.",
        "",
        f"| | {' | '.join(counted.columns)} |",
        f"|---|{'---:|' * len(counted.columns)}",
    ]
    for row in counted.index:
        cells = [_cell(counted.loc[row, name], printed.loc[row, name]) for name in counted.columns]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    lines += ["", "Errors of arithmetic in the printed table:", ""]
    lines += [f"- {sentence}" for sentence in arithmetic_errors(printed)]
    lines += ["", "Why the numbers differ:", ""]
    lines += [f"- {sentence}" for sentence in _differences(table, counted, printed)]
    return "\n".join([*lines, ""])


def _cell(counted: int, printed: int) -> str:
    return f"{counted:,}" if counted == printed else f"{counted:,} ({printed:,})"


def _differences(table: pd.DataFrame, counted: pd.DataFrame, printed: pd.DataFrame) -> list[str]:
    rows, files_ = len(table), table["path"].nunique()
    if rows != ORIGINAL_ROWS:
        return [
            f"The authors' lists hold {ORIGINAL_ROWS:,} rows and this cohort {rows:,}: other "
            "numbers than the paper's are first of all due to that."
        ]
    fewer = {
        name: int(counted.loc[TOTAL, name] - printed.loc[TOTAL, name])
        for name in FLANNEL
        if counted.loc[TOTAL, name] != printed.loc[TOTAL, name]
    }
    listed = " and ".join(f"{count} {name}" for name, count in fewer.items())
    sentences = [
        f"The lists hold {rows:,} rows of {files_:,} files: {rows - files_} files, AP views of one "
        "CCX patient whose images without an offset share one key, carry both labels of that key, "
        "COVID-19 and Normal.",
        f"The paper prints {printed.loc[TOTAL, TOTAL]:,}, {sum(fewer.values())} rows fewer: "
        f"{listed}, all of CCX and in AP view. That is what remains of the four rows "
        "when one of the two files counts once, as COVID-19, and the other not at all. No rule of "
        "the code gives it: with both labels COVID-19 counts 479, without the two files 477, and "
        "each file once makes 555 CCX images, not 554.",
    ]
    if counted.loc["Testing"].equals(printed.loc["Testing"]):
        sentences.append(
            "The printed test row is that of the lists, two of the four rows included, so that all "
            "three fall on training: its row is the smaller total without the test row."
        )
    else:
        sentences.append(
            "The printed test row is that of the original run; the patched run drew another."
        )
    return sentences
