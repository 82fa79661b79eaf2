"""The page in a real browser, as a desktop and as a phone show it, with a radiograph dropped."""

import base64
import html
import io
import json
import re
import shutil
import socket
import subprocess
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from fastapi.responses import HTMLResponse
from PIL import Image

from flannel.bundle.read import open_trained
from flannel.bundle.write import write_bundle
from flannel.commands.app import serve
from flannel.data.diagnosis import FLANNEL
from flannel.data.formats import KNOWN
from flannel.data.manifest import load_manifest
from flannel.prediction.app import Opinion, create_app, opinion_on
from flannel.prediction.predict import PredictOptions, predict_files
from flannel.prediction.predictors import Panel
from flannel.prediction.results import Prediction, RadiographResult, leading
from flannel.prediction.trained_study import trained_of_study

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
WIDTHS = (390, 1200)
# Shows the page in frames, drops a file on each, and says what came of that, in the frames' order.
ASK = """<!DOCTYPE html><pre></pre>
%s
<script>
const files = %s;
const frames = [...document.querySelectorAll("iframe")];
const states = frames.map(() => []);
const texts = (page, selector) =>
  [...page.querySelectorAll(selector)].map((one) => one.textContent.trim());
const looks = (page) => ({
  beyond: page.documentElement.scrollWidth - page.documentElement.clientWidth,
  pictures: page.images.length,
  broken: [...page.images].filter((one) => !one.naturalWidth).length,
  styled: getComputedStyle(page.querySelector("label")).borderTopStyle,
  title: texts(page, "h2"),
  alerts: texts(page, "[role=alert]"),
  strong: texts(page, "strong"),
});
frames.forEach((frame, n) => {
  frame.onload = () => {
    const page = frame.contentDocument;
    states[n].push(looks(page));
    if (states.every((one) => one.length > 1)) {
      document.querySelector("pre").textContent = JSON.stringify(states);
    }
    if (states[n].length > 1) return;
    const inside = frame.contentWindow;
    const dropped = new inside.DataTransfer();
    const content = Uint8Array.from(atob(files[n].content), (one) => one.charCodeAt(0));
    dropped.items.add(new inside.File([content], files[n].name));
    const drop = new inside.DragEvent("drop", {dataTransfer: dropped, cancelable: true});
    page.querySelector("label").dispatchEvent(drop);
  };
  frame.src = "/";
});
</script>
"""


def after_dropping(app, files, widths, tmp_path):
    """Drops a file (name, content) on each frame, and gives what it showed before and after."""
    frames = "".join(f'<iframe style="width: {one}px; height: 900px"></iframe>' for one in widths)
    dropped = [{"name": n, "content": base64.b64encode(c).decode()} for n, c in files]
    app.add_api_route("/frames", lambda: HTMLResponse(ASK % (frames, json.dumps(dropped))))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = serve(app, port)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
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
    return json.loads(html.unescape(re.search(r"<pre>(.*?)</pre>", done.stdout)[1]))


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome on the PATH"),
]


def test_a_radiograph_is_dropped_on_the_page(tmp_path):
    picture = io.BytesIO()
    Image.new("L", (1500, 900), 90).save(picture, "PNG")
    says = np.array([0.7, 0.1, 0.1, 0.1])
    prediction = Prediction(
        "patched", "resnext101", says, None, says, says, patches=12, coverage=0.9
    )
    judged = RadiographResult("dropped-1", "dropped.png", None, "", (), (prediction,))
    contents = []

    def opinion(path):
        contents.append(path.read_bytes())
        return Opinion(judged, (), picture.getvalue())

    app = create_app(opinion, "runs/study", FLANNEL)
    states = after_dropping(app, [("dropped.png", b"abc")] * len(WIDTHS), WIDTHS, tmp_path)
    assert contents == [b"abc"] * len(WIDTHS)
    sound = {"beyond": 0, "broken": 0, "styled": "dashed", "alerts": []}
    empty = {**sound, "pictures": 0, "title": [], "strong": []}
    full = {**sound, "pictures": 1, "title": ["dropped.png"], "strong": ["COVID-19 0.70"]}
    assert states == [[empty, full]] * len(WIDTHS)


def test_a_bundle_answers_for_a_radiograph_and_tells_what_is_none(trained_study, tmp_path):
    bundle = tmp_path / "model.flannel"
    write_bundle(trained_of_study(trained_study, arms=["global"]), trained_study, bundle)
    panel = Panel(open_trained(bundle, arms=["global"]), keep=True)
    paths = [Path(path) for path in load_manifest(trained_study / "manifest.csv")["path"][:4]]
    options = PredictOptions(pictures=False)
    judged = predict_files(panel, paths, tmp_path / "out", options).results
    answer = next(one for one in judged if one.predictions)
    radiograph = Path(answer.path)
    bomb = io.BytesIO()
    Image.new("1", (11_000, 11_000)).save(bomb, "PNG")
    files = [
        (radiograph.name, radiograph.read_bytes()),
        ("paper.png", b"%PDF-1.7"),
        ("bomb.png", bomb.getvalue()),
    ]
    app = create_app(partial(opinion_on, panel), "model.flannel", FLANNEL)
    states = after_dropping(app, files, (390, 390, 390), tmp_path)
    (_, answered), (_, paper), (_, bombed) = states
    first = leading(answer.predictions)
    most = first.probabilities.argmax()
    assert answered["strong"] == [f"{FLANNEL[most]} {first.probabilities[most]:.2f}"]
    assert (answered["pictures"], answered["broken"], answered["beyond"]) == (1, 0, 0)
    assert paper["alerts"][0].endswith(
        f"paper.png is not an image that can be read: expected {KNOWN}. Save it as PNG."
    )
    assert "bomb.png is 11000 x 11000 = 121 megapixels" in bombed["alerts"][0]
    assert [one["pictures"] for one in (paper, bombed)] == [0, 0]
    assert not any(str(tmp_path) in text for one in states for text in one[1]["alerts"])
