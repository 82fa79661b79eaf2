"""The examples in docs/ give what they say."""

import doctest
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(page.name for page in DOCS.glob("*.md") if "\n>>> " in page.read_text("utf-8"))


def test_there_are_examples():
    assert "text_argmax.md" in PAGES


@pytest.mark.parametrize("name", PAGES)
def test_examples_give_what_they_say(name):
    text = (DOCS / name).read_text(encoding="utf-8")
    # The fences would otherwise count as output.
    examples = re.sub(r"^```.*$", "", text, flags=re.MULTILINE)
    test = doctest.DocTestParser().get_doctest(examples, {}, name, str(DOCS / name), 0)
    assert test.examples
    report: list[str] = []
    failed, _ = doctest.DocTestRunner().run(test, out=report.append)
    assert not failed, "".join(report)
