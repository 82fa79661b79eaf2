"""The report in a real browser, as a desktop and as a phone show it."""

import html
import json
import re
import shutil
import subprocess

import pytest

from flannel.comparison.costs import costs
from flannel.comparison.figures import save_figure
from flannel.comparison.figures.cost import cost_bars
from flannel.comparison.figures.scores import f1_bars
from flannel.comparison.report import write_report
from flannel.comparison.tables import all_tables
from flannel.data.diagnosis import FLANNEL

COVID, VIRAL, BACTERIAL, NORMAL = FLANNEL
TRUTH = (COVID, COVID, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, NORMAL)
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
WIDTHS = (390, 1200)
FRAMES = "".join(
    f'<iframe src="report.html" style="width: {width}px; height: 900px; border: 0"></iframe>'
    for width in WIDTHS
)
# Says of each frame how far its page runs beyond it, and what of it did not load or lay elsewhere.
ASK = """
<script>
window.onload = () => {
  const layouts = [...document.querySelectorAll("iframe")].map((frame) => {
    const page = frame.contentDocument;
    page.querySelectorAll("details").forEach((one) => { one.open = true; });
    return {
      beyond: page.documentElement.scrollWidth - page.documentElement.clientWidth,
      pictures: page.images.length,
      broken: [...page.images].filter((one) => !one.naturalWidth).length,
      asked: frame.contentWindow.performance.getEntriesByType("resource")
        .filter((one) => !one.name.startsWith("data:")).length,
    };
  });
  document.querySelector("pre").textContent = JSON.stringify(layouts);
};
</script>
"""


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome on the PATH"),
]


def written(study_files):
    """Writes a report with tables of every kind, and two figures."""
    for arm in ("global", "patched"):
        study_files.run(f"base/{arm}/vgg19_bn/fold0", TRUTH * 5, truth=TRUTH * 5)
        study_files.run(f"ensemble/{arm}/fold0", TRUTH * 5, truth=TRUTH * 5)
    measurements, spent = study_files.measured(), costs(study_files.folder)
    drawn = {"f1_covid19": f1_bars(measurements, COVID), "cost": cost_bars(spent)}
    figures = {
        name: save_figure(figure, study_files.folder, name) for name, figure in drawn.items()
    }
    return write_report(measurements, all_tables(measurements, spent), figures)


def opened(tmp_path, page, *options):
    """Opens a page in a browser, and gives what that says."""
    words = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=10000"]
    words += [f"--user-data-dir={tmp_path / 'browser'}", *options, page.as_uri()]
    return subprocess.run(words, capture_output=True, text=True, timeout=120, check=True).stdout


def test_the_report_fits_a_phone_and_a_desktop(study_files, tmp_path):
    report = written(study_files)
    page = report.with_name("frames.html")
    page.write_text(f"<!DOCTYPE html><pre></pre>{FRAMES}{ASK}")
    shown = opened(tmp_path, page, "--dump-dom", "--allow-file-access-from-files")
    layouts = json.loads(html.unescape(re.search(r"<pre>(.*?)</pre>", shown)[1]))
    expected = {"beyond": 0, "pictures": 2, "broken": 0, "asked": 0}
    assert layouts == [expected] * len(WIDTHS)


def test_paper_shows_what_is_folded_on_the_screen(study_files, tmp_path):
    report = written(study_files)
    text = report.read_text()
    assert "<details>" in text
    pages = {}
    for name, content in {
        "folded": text,
        "unfolded": text.replace("<details>", "<details open>"),
        "without": re.sub("<details>.*?</details>", "", text, flags=re.DOTALL),
    }.items():
        page = report.with_name(f"{name}.html")
        page.write_text(content)
        pdf = tmp_path / f"{name}.pdf"
        opened(tmp_path, page, f"--print-to-pdf={pdf}")
        pages[name] = len(re.findall(rb"/Type\s*/Page\b", pdf.read_bytes()))
    assert pages["folded"] == pages["unfolded"] > pages["without"]
