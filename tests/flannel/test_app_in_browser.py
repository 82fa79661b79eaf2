"""The page in a real browser, as a desktop and as a phone show it, with a radiograph dropped."""

import html
import io
import json
import re
import shutil
import socket
import subprocess
import threading

import numpy as np
import pytest
from fastapi.responses import HTMLResponse
from PIL import Image

from flannel.app import Opinion, create_app
from flannel.data.diagnosis import FLANNEL
from flannel.stages.app import serve
from flannel.verdicts import Judged, Verdict

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
WIDTHS = (390, 1200)
# Shows the page at each width, drops a file of three bytes on it, and says what came of that.
ASK = """<!DOCTYPE html><pre></pre>
%s
<script>
const said = [];
const looks = (page) => ({
  beyond: page.documentElement.scrollWidth - page.documentElement.clientWidth,
  pictures: page.images.length,
  broken: [...page.images].filter((one) => !one.naturalWidth).length,
  styled: getComputedStyle(page.querySelector("label")).borderTopStyle,
  title: [...page.querySelectorAll("h2")].map((one) => one.textContent),
});
const asked = new Set();
for (const frame of document.querySelectorAll("iframe")) {
  frame.onload = () => {
    const page = frame.contentDocument;
    said.push(looks(page));
    if (asked.has(frame)) {
      document.querySelector("pre").textContent = JSON.stringify(said);
      return;
    }
    asked.add(frame);
    const inside = frame.contentWindow;
    const dropped = new inside.DataTransfer();
    dropped.items.add(new inside.File(["abc"], "dropped.png"));
    const drop = new inside.DragEvent("drop", {dataTransfer: dropped, cancelable: true});
    page.querySelector("label").dispatchEvent(drop);
  };
}
for (const frame of document.querySelectorAll("iframe")) frame.src = "/";
</script>
"""
FRAMES = "".join(f'<iframe style="width: {width}px; height: 900px"></iframe>' for width in WIDTHS)


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome on the PATH")
def test_a_radiograph_is_dropped_on_the_page(tmp_path):
    picture = io.BytesIO()
    Image.new("L", (1500, 900), 90).save(picture, "PNG")
    says = np.array([0.7, 0.1, 0.1, 0.1])
    verdict = Verdict("patched", "resnext101", says, None, says, says, patches=12, coverage=0.9)
    judged = Judged("dropped-1", "dropped.png", None, "", (), (verdict,))
    contents = []

    def opinion(path):
        contents.append(path.read_bytes())
        return Opinion(judged, (), picture.getvalue())

    app = create_app(opinion, "runs/study", FLANNEL)
    app.add_api_route("/frames", lambda: HTMLResponse(ASK % FRAMES))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = serve(app, port)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        done = subprocess.run(
            [
                BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom",
                "--virtual-time-budget=20000", f"--user-data-dir={tmp_path / 'browser'}",
                f"http://127.0.0.1:{port}/frames",
            ],
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
    finally:
        server.should_exit = True
        thread.join()
    said = json.loads(html.unescape(re.search(r"<pre>(.*?)</pre>", done.stdout)[1]))
    assert contents == [b"abc"] * len(WIDTHS)
    sound = {"beyond": 0, "broken": 0, "styled": "dashed"}
    empty = {**sound, "pictures": 0, "title": []}
    full = {**sound, "pictures": 1, "title": ["dropped.png"]}
    assert sorted(said, key=lambda one: one["pictures"]) == [empty] * 2 + [full] * 2
