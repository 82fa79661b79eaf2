"""A table as it is shown, in Markdown, LaTeX and HTML, and the numbers behind it, as CSV."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pandas as pd

from flannel.files import whole_file

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "±": r"$\pm$", "−": "$-$", "–": "--", "×": r"$\times$", "≤": r"$\leq$", "≥": r"$\geq$",
    "<": r"$<$", ">": r"$>$", "|": r"$|$", "…": r"\ldots{}", "→": r"$\to$",
}  # fmt: skip


@dataclass(frozen=True)
class Line:
    """A line of a table.

    Attributes:
        cells: One text per column.
        kind: Ensembles are `strong`; what was measured elsewhere is `soft`.
        opens: Whether a rule parts it from the line above.
    """

    cells: tuple[str, ...]
    kind: Literal["plain", "strong", "soft"] = "plain"
    opens: bool = False


@dataclass(frozen=True)
class Table:
    """A table to be read, and the numbers behind it.

    Attributes:
        name: The files' stem, such as `table_3`.
        title: What it is.
        caption: Sentences on what was measured, and how to read a cell.
        head: The columns.
        lines: The table's body.
        numbers: Everything shown and more, one number per cell, not rounded.
        names: So many first columns hold names and not numbers.
    """

    name: str
    title: str
    caption: str
    head: tuple[str, ...]
    lines: tuple[Line, ...]
    numbers: pd.DataFrame
    names: int = 2

    def without_blank_columns(self) -> "Table":
        """Leaves out columns of numbers that no line has anything in."""
        kept = [
            place
            for place in range(len(self.head))
            if place < self.names or any(line.cells[place] for line in self.lines)
        ]
        lines = [replace(line, cells=tuple(line.cells[i] for i in kept)) for line in self.lines]
        return replace(self, head=tuple(self.head[i] for i in kept), lines=tuple(lines))

    def markdown(self, level: int = 1) -> str:
        """Writes title, caption and body as Markdown.

        Args:
            level: Of the heading.
        """
        aligned = ["---" if i < self.names else "---:" for i in range(len(self.head))]
        body = [self.head, aligned, *(_marked(line) for line in self.lines)]
        rows = [f"| {' | '.join(_piped(cell) for cell in cells)} |" for cells in body]
        return "\n".join([f"{'#' * level} {self.title}", "", self.caption, "", *rows, ""])

    def latex(self) -> str:
        """Writes a `table` environment for the package booktabs."""
        columns = "l" * self.names + "r" * (len(self.head) - self.names)
        body = []
        for line in self.lines:
            if line.opens:
                body.append(r"\midrule")
            cells = [_latex(cell) for cell in line.cells]
            if line.kind != "plain":
                command = {"strong": "textbf", "soft": "textit"}[line.kind]
                cells = [rf"\{command}{{{cell}}}" for cell in cells]
            # A bracket or star at the head of a row would belong to the \\ of the row before.
            guard = "{}" if cells[0].startswith(("[", "*")) else ""
            body.append(guard + " & ".join(cells) + r" \\")
        return "\n".join(
            [
                r"\begin{table}",
                r"\centering",
                rf"\caption{{{_latex(self.title)}. {_latex(self.caption)}}}",
                rf"\label{{tab:{self.name.replace('_', '-')}}}",
                rf"\begin{{tabular}}{{{columns}}}",
                r"\toprule",
                " & ".join(_latex(cell) for cell in self.head) + r" \\",
                r"\midrule",
                *body,
                r"\bottomrule",
                r"\end{tabular}",
                r"\end{table}",
                "",
            ]
        )


def write_table(table: Table, folder: Path) -> list[Path]:
    """Writes `<name>.md`, `<name>.csv` and `<name>.tex`, and gives their paths."""
    paths = [folder / f"{table.name}.{kind}" for kind in ("md", "csv", "tex")]
    for path, text in zip(
        paths,
        (table.markdown(), table.numbers.to_csv(index=False, float_format="%.6f"), table.latex()),
        strict=True,
    ):
        with whole_file(path) as beside:
            beside.write_text(text, encoding="utf-8")
    return paths


def _marked(line: Line) -> list[str]:
    mark = {"plain": "", "strong": "**", "soft": "*"}[line.kind]
    return [f"{mark}{cell}{mark}" if cell else "" for cell in line.cells]


def _piped(cell: str) -> str:
    return cell.replace("|", r"\|")


def _latex(text: str) -> str:
    return re.sub("|".join(map(re.escape, _LATEX)), lambda match: _LATEX[match[0]], text)
