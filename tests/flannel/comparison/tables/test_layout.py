from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flannel.comparison.tables.layout import Line, Table, write_table


@pytest.fixture
def table():
    return Table(
        name="table_9",
        title="Scores of a_b",
        caption="Higher is better & 95 % is much.",
        head=("learner", "F1"),
        lines=(
            Line(("vgg19_bn", "0.5 ± 0.1 [−0.1, 1.0]")),
            Line(("FLANNEL", "–"), "strong", opens=True),
            Line(("a|b", ""), "soft"),
        ),
        numbers=pd.DataFrame({"learner": ["vgg19_bn"], "f1": [0.5]}),
        names=1,
    )


def test_markdown_escapes_bars_and_marks_kinds(table):
    assert table.markdown(level=2).splitlines() == [
        "## Scores of a_b",
        "",
        "Higher is better & 95 % is much.",
        "",
        "| learner | F1 |",
        "| --- | ---: |",
        "| vgg19_bn | 0.5 ± 0.1 [−0.1, 1.0] |",
        "| **FLANNEL** | **–** |",
        r"| *a\|b* |  |",
    ]


def test_blank_columns_of_numbers_can_be_left_out(table):
    lines = tuple(Line((*line.cells, "", "1"), line.kind, line.opens) for line in table.lines)
    wide = replace(table, head=("", "F1", "published F1", "support"), lines=lines)
    found = wide.without_blank_columns()
    assert found.head == ("", "F1", "support")
    assert found.lines[1] == Line(("FLANNEL", "–", "1"), "strong", opens=True)
    nameless = replace(table, lines=(Line(("", "0.5")),))
    assert nameless.without_blank_columns() == nameless


def test_latex_escapes_and_draws_rules(table):
    lines = table.latex().splitlines()
    assert r"\caption{Scores of a\_b. Higher is better \& 95 \% is much.}" in lines
    assert r"\begin{tabular}{lr}" in lines
    assert r"vgg19\_bn & 0.5 $\pm$ 0.1 [$-$0.1, 1.0] \\" in lines
    assert lines[lines.index(r"\textbf{FLANNEL} & \textbf{--} \\") - 1] == r"\midrule"

    assert r"\textit{a$|$b} & \textit{} \\" in lines


@given(st.lists(st.text("a1[]*{}$&%#_~^\\±−–<>|", max_size=8), min_size=2, max_size=2))
def test_no_text_breaks_the_latex(latex_is_sound, cells):
    line = Line(tuple(cells))
    latex_is_sound(Table("t", *cells, ("a", "b"), (line, line), pd.DataFrame(), 1).latex())


def test_a_table_is_written_three_times(table, tmp_path):
    paths = write_table(table, tmp_path)
    assert [path.name for path in paths] == ["table_9.md", "table_9.csv", "table_9.tex"]
    assert pd.read_csv(paths[1]).loc[0, "f1"] == 0.5
    assert paths[0].read_text() == table.markdown()
