"""The report in a real browser, as a desktop and as a phone show it."""

import html
import json
import re
import shutil
import subprocess

import pytest

from flannel.costs import costs
from flannel.data.diagnosis import FLANNEL
from flannel.figures import save_figure
from flannel.figures.cost import cost_bars
from flannel.figures.scores import f1_bars
from flannel.report import write_report
from flannel.tables import all_tables

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
  const said = [...document.querySelectorAll("iframe")].map((frame) => {
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
  document.querySelector("pre").textContent = JSON.stringify(said);
};
</script>
"""


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome on the PATH")
def test_the_report_fits_a_phone_and_a_desktop(study_files, tmp_path):
    for arm in ("global", "patched"):
        study_files.run(f"base/{arm}/vgg19_bn/fold0", TRUTH * 5, truth=TRUTH * 5)
    measurements, spent = study_files.measured(), costs(study_files.folder)
    drawn = {"f1_covid19": f1_bars(measurements, COVID), "cost": cost_bars(spent)}
    figures = {
        name: save_figure(figure, study_files.folder, name) for name, figure in drawn.items()
    }
    report = write_report(measurements, all_tables(measurements, spent), figures)
    page = report.with_name("frames.html")
    page.write_text(f"<!DOCTYPE html><pre></pre>{FRAMES}{ASK}")
    done = subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom",
            "--allow-file-access-from-files", "--virtual-time-budget=10000",
            f"--user-data-dir={tmp_path / 'browser'}", page.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    said = json.loads(html.unescape(re.search(r"<pre>(.*?)</pre>", done.stdout)[1]))
    expected = {"beyond": 0, "pictures": len(figures), "broken": 0, "asked": 0}
    assert said == [expected] * len(WIDTHS)
