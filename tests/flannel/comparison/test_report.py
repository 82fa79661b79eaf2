import re

import pytest

from flannel.comparison.costs import costs
from flannel.comparison.figures.scores import f1_bars
from flannel.comparison.figures.style import save_figure
from flannel.comparison.report import parted_doubt, write_report
from flannel.comparison.tables import all_tables
from flannel.data.diagnosis import FLANNEL

COVID, VIRAL, BACTERIAL, NORMAL = FLANNEL
TRUTH = (COVID, COVID, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, NORMAL)
TWO_WRONG = (COVID, VIRAL, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, COVID)


@pytest.fixture
def report(study_files):
    """Writes the report of what the study holds now, and gives its text."""

    def write(figures=None, plan=None):
        measurements = study_files.measured(plan=plan)
        tables = all_tables(measurements, costs(study_files.folder))
        return write_report(measurements, tables, figures or {}).read_text()

    return write


def test_report_holds_the_numbers_and_needs_no_network(study_files, report):
    study_files.run("base/global/vgg19_bn/fold0", TWO_WRONG)
    study_files.pictures()
    bars = save_figure(f1_bars(study_files.measured(), COVID), study_files.folder, "bars")
    html = report({"f1_covid19": bars})
    assert html.count("data:image/png;base64,") == 1
    links = re.findall(r'(?:src|href)="(?!data:|#|\.\./)([^"]*)', html)
    assert links == []
    assert "http" not in re.sub(r"base64,[^\"]*", "", html)
    assert '<td class="number">0.742' in html
    assert "not a medical device" in html
    assert '<td class="number">0.9239 ± 0.01</td>' in html
    assert '<a href="../base/global/vgg19_bn/fold0">base/global/vgg19_bn/fold0</a>' in html


def test_the_interval_stands_below_its_number():
    assert parted_doubt("0.92 ± 0.01 [0.90, 0.95]") == ("0.92 ± 0.01", "[0.90, 0.95]")
    assert parted_doubt("0.92") == ("0.92", "")


def test_text_from_data_is_escaped(study_files, report):
    study_files.run("base/global/<script>alert(1)<_script>/fold0", TRUTH)
    study_files.json("audit.json", {"remarks": [{"weight": "care", "text": "<script>"}]})
    study_files.pictures(finding="<script>")
    html = report()
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "one lung &lt;only&gt;" in html


def test_missing_parts_say_what_makes_them(study_files, report):
    study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    html = report()
    for command in ("data", "audit", "segment", "base-models", "ensemble"):
        assert f"<code>make {command}</code>" in html


def test_audit_and_summary_are_told(study_files, report):
    study_files.run("ensemble/global/fold0", TWO_WRONG)
    study_files.json("audit.json", {"remarks": [{"weight": "danger", "text": "Beware."}]})
    (study_files.folder / "audit.html").write_text("")
    html = report()
    assert '<p class="danger">Beware.</p>' in html
    assert '<a href="../audit.html">' in html
    assert html.count("<li>") == 5
    assert "No shortcut baseline was computed" in html


def test_segmentation_metrics_are_listed_whatever_their_nesting(study_files, report):
    study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    study_files.json("segmentation/lungs/metrics.json", {"val": {"jaccard": 0.93391}, "images": 5})
    html = report()
    assert '<td>val/jaccard</td><td class="number">0.9339</td>' in html
    assert '<td>images</td><td class="number">5</td>' in html


def test_another_paper_s_report_speaks_of_what_that_paper_set_out_to_do(
    study_files, report, other_plan
):
    study_files.run("base/global/small/fold0", TRUTH)
    html = report(plan=other_plan({"small": ["global"]}))
    assert "<h1>Another study</h1>" in html
    assert "Another study: as the papers print it" in html
    for unasked in ("Not available yet", "No masks yet", "FLANNEL fold", "make patch-study"):
        assert unasked not in html
    linked = re.findall(r'href="#(\w+)"', html)
    assert "weights" not in linked
    assert all(f'id="{name}"' in html for name in linked)
