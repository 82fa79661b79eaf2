import re

import pytest

from flannel.comparison import read_comparison
from flannel.data.diagnosis import FLANNEL
from flannel.figures import write_figures
from flannel.report import costs, log_comparison, summary, write_report
from flannel.study import StudyError
from flannel.tables import f1_rows

COVID, VIRAL, BACTERIAL, NORMAL = FLANNEL
TRUTH = (COVID, COVID, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, NORMAL)
TWO_WRONG = (COVID, VIRAL, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, COVID)


def test_report_holds_the_numbers_and_needs_no_network(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TWO_WRONG)
    study_files.pictures()
    comparison = read_comparison(study_files.folder)
    figures = write_figures(comparison, study_files.folder / "comparison" / "figures")
    html = write_report(comparison, figures).read_text()
    assert html.count("data:image/png;base64,") == len(figures)
    assert not re.findall(r'(?:src|href)="(?!data:)', html)
    assert "http" not in re.sub(r"base64,[^\"]*", "", html)
    assert '<td class="number">0.742</td>' in html
    assert "no medical device" in html
    assert "0.9239 ± 0.01" in html


def test_text_from_data_is_escaped(study_files):
    study_files.run("base/global/<script>alert(1)<_script>/fold0", TRUTH)
    study_files.pictures(finding="<script>")
    html = write_report(read_comparison(study_files.folder), {}).read_text()
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "one lung &lt;only&gt;" in html


def test_missing_parts_say_what_makes_them(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    html = write_report(read_comparison(study_files.folder), {}).read_text()
    for command in ("make data", "make segment", "make base-models", "make ensemble"):
        assert f"<code>{command}</code>" in html


def test_summary_says_no_more_than_the_numbers(study_files):
    study_files.run("ensemble/global/fold0", TWO_WRONG)
    study_files.run("ensemble/patched/fold0", TRUTH)
    comparison = read_comparison(study_files.folder)
    text = summary(comparison, f1_rows(comparison))
    assert "8 radiographs (2 COVID-19, 2 Viral pneumonia, 2 Bacterial" in text
    assert "One fold (0) was run, so no deviation is given." in text
    assert "FLANNEL in the arm global: macro F1 0.742, COVID-19 F1 0.500." in text
    # 1 - 89/120
    assert "Patched minus global is +0.258 in macro F1." in text
    assert "signific" not in text


def test_costs_are_added_by_stage_and_arm(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    study_files.run("base/global/resnet152/fold0", TRUTH)
    study_files.run("ensemble/global/fold0", TRUTH)
    study_files.json("segmentation/lungs/cost.json", {"seconds": 600, "device": "cpu"})
    found = [(cost.stage, cost.arm, cost.runs, cost.minutes) for cost in costs(study_files.folder)]
    assert found == [
        ("segmentation", "", 1, 10),
        ("base", "global", 2, 3),
        ("ensemble", "global", 1, 1.5),
    ]


def test_segmentation_metrics_are_listed_whatever_their_nesting(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    study_files.json("segmentation/lungs/metrics.json", {"val": {"jaccard": 0.93391}, "images": 5})
    html = write_report(read_comparison(study_files.folder), {}).read_text()
    assert '<td>val/jaccard</td><td class="number">0.9339</td>' in html
    assert '<td>images</td><td class="number">5</td>' in html


def test_a_cost_without_seconds_is_refused(study_files):
    study_files.json("segmentation/lungs/cost.json", {"seconds": "long"})
    with pytest.raises(StudyError, match="no number of seconds, but 'long'"):
        costs(study_files.folder)


def test_wandb_off_writes_nothing(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    log_comparison(read_comparison(study_files.folder), {}, "off")
    assert not (study_files.folder / "wandb").exists()


@pytest.mark.slow
def test_wandb_offline_stays_in_the_study(study_files, monkeypatch):
    monkeypatch.setenv("WANDB_DATA_DIR", "")  # the call sets it; this puts it back afterwards
    study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    comparison = read_comparison(study_files.folder)
    figures = write_figures(comparison, study_files.folder / "figures")
    log_comparison(comparison, figures, "offline")
    assert list((study_files.folder / "wandb").glob("offline-run-*/*.wandb"))
