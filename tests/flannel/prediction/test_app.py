import errno
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np
import pytest
import uvicorn
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from flannel.data.diagnosis import FLANNEL
from flannel.prediction.app import MOST_UPLOADS, Opinion, create_app
from flannel.prediction.doubts import Doubt
from flannel.prediction.results import Prediction, RadiographResult
from flannel.prediction.trained import NOTICE

HERE = "http://127.0.0.1:8765"
PNG = b"\x89PNG made up"


def prediction(arm, learner, probabilities, patches):
    row = np.array(probabilities)
    spread = (None, None) if patches == 0 else (row - 0.1, row + 0.1)
    return Prediction(arm, learner, row, None, *spread, patches=patches, coverage=None)


PREDICTIONS = (
    prediction("global", "vgg19_bn", (0.1, 0.2, 0.3, 0.4), 0),
    prediction("patched", "FLANNEL", (0.625, 0.125, 0.15, 0.1), None),
)


class Asked:
    """Stands for the learners: notes what it was shown, and returns what it was made with."""

    def __init__(self, judged=None, faults=(), error=None):
        self.judged, self.faults, self.error = judged, faults, error
        self.paths, self.contents = [], []

    def __call__(self, path):
        self.paths.append(path)
        self.contents.append(path.read_bytes())
        path.with_name(f"{path.name}.opinion").mkdir()
        if self.error:
            raise self.error
        return Opinion(self.judged, self.faults, PNG if self.judged else b"")


def judged(doubts=(), predictions=PREDICTIONS):
    return RadiographResult("a-1", "a.png", None, "", doubts, predictions)


def client_of(asked, limit_mb=1, **options):
    app = create_app(asked, "runs/<study>", FLANNEL, limit_mb)
    return TestClient(app, base_url=HERE, raise_server_exceptions=False, **options)


def drop(client, name="chest.png", content=b"grey", headers=None):
    return client.post("/", files={"radiograph": (name, content)}, headers=headers or {})


def test_the_empty_page_says_what_it_is():
    answer = client_of(Asked()).get("/")
    assert answer.status_code == 200
    assert NOTICE in answer.text
    assert "runs/&lt;study&gt;" in answer.text
    assert "<img" not in answer.text
    policy = answer.headers["content-security-policy"]
    nonce = policy.split("script-src 'nonce-")[1].split("'")[0]
    assert f'<script nonce="{nonce}">' in answer.text
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert client_of(Asked()).get("/docs").status_code == 404


def test_an_opinion_is_shown_and_nothing_kept():
    asked = Asked(judged((Doubt("one <lung>", grave=False),)))
    answer = drop(client_of(asked), "chest <b>.png")
    assert answer.status_code == 200
    assert "chest &lt;b&gt;.png" in answer.text
    assert "data:image/png;base64,iVBORyBtYWRlIHVw" in answer.text.replace("\n", "")
    assert "Doubt: one &lt;lung&gt;." in answer.text
    assert '<td class="most">0.625<br><span class="soft">0.53 to 0.72</span></td>' in answer.text
    assert "<strong>COVID-19 0.62</strong>, says patched FLANNEL." in answer.text
    assert '<tr class="strong"><td>patched</td><td>FLANNEL</td>' in answer.text
    assert NOTICE in answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert asked.contents == [b"grey"]
    assert asked.paths[0].name == "chest__b_.png"
    assert not asked.paths[0].parent.exists()


def test_a_withheld_answer_is_said_to_be():
    answer = drop(client_of(Asked(judged((Doubt("no lungs found"),), ()))))
    assert answer.status_code == 200
    assert '<p class="danger">Doubt: no lungs found.</p>' in answer.text
    assert "No answer is given" in answer.text
    assert "<table>" not in answer.text


def test_a_file_that_cannot_be_read_is_no_success():
    answer = drop(client_of(Asked(faults=("chest.png is damaged.",))))
    assert answer.status_code == 422
    assert "chest.png is damaged." in answer.text


def test_a_fault_of_ours_is_told_without_its_insides(tmp_path):
    asked = Asked(error=RuntimeError("secret"))
    answer = drop(client_of(asked))
    assert answer.status_code == 500
    assert "Something went wrong" in answer.text
    assert "secret" not in answer.text
    assert not asked.paths[0].parent.exists()


def test_no_more_is_read_than_is_allowed():
    asked = Asked(judged())
    answer = drop(client_of(asked), content=b"x" * 1_100_000)
    assert answer.status_code == 413
    assert "larger than 1 MB" in answer.text
    assert asked.paths == []


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../etc/passwd", "_.._etc_passwd"),
        (".hidden", "hidden"),
        ("...", "radiograph"),
        ("x" * 300 + ".IMG", "x" * 76 + ".IMG"),
        ("ä ö.dcm", "___.dcm"),
        ("opinion", "opinion"),
        ("opinion.opinion", "opinion.opinion"),
    ],
)
def test_a_name_leads_nowhere(name, kept):
    asked = Asked(judged())
    assert drop(client_of(asked), name).status_code == 200
    assert asked.paths[0].name == kept


def test_nothing_but_a_file_is_no_radiograph():
    client = client_of(Asked(judged()))
    for answer in (
        client.post("/", data={"radiograph": "text"}),
        client.post("/", files={"other": ("a.png", b"x")}),
        client.post("/", content=b"not a form"),
    ):
        assert answer.status_code == 400
        assert 'role="alert"' in answer.text


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8765"])
def test_another_name_for_this_machine_is_refused(host):
    """A page elsewhere may let its own name lead here (DNS rebinding), and would say that name."""
    assert client_of(Asked()).get("/", headers={"host": host}).status_code == 400
    asked = Asked(judged())
    assert drop(client_of(asked), headers={"host": host}).status_code == 400
    assert asked.paths == []


@pytest.mark.parametrize(("origin", "status"), [
    (HERE, 200), ("http://127.0.0.1:9999", 403), ("https://evil.example", 403), ("null", 403),
])  # fmt: skip
def test_only_this_page_sends_files(origin, status):
    asked = Asked(judged())
    assert drop(client_of(asked), headers={"origin": origin}).status_code == status
    assert len(asked.paths) == (status == 200)


@settings(max_examples=30)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=120))
def test_any_name_is_taken(name):
    asked = Asked(judged())
    answer = drop(client_of(asked), name)
    assert answer.status_code == 200
    path = asked.paths[0]
    assert path.name.isascii()
    assert 0 < len(path.name) <= 80
    assert path.parent.name.startswith("flannel-page-")
    assert not path.name.startswith(".")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_with_its_place(number, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    answer = drop(client_of(Asked(error=OSError(number, os.strerror(number)))))
    assert answer.status_code == 507
    assert f"cannot be looked at in {tmp_path} ({os.strerror(number)})." in answer.text
    assert list(tmp_path.iterdir()) == []


PART = b'--xx\r\nContent-Disposition: form-data; name="radiograph"; filename="a.png"\r\n\r\n'
BODY = PART + b"grey" * 100 + b"\r\n--xx--\r\n"


class Served:
    """A page on a port of its own."""

    def __init__(self, opinion, **options):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        config = uvicorn.Config(
            create_app(opinion, "study", FLANNEL, **options),
            port=self.port,
            log_level="warning",
            timeout_graceful_shutdown=1,
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run)

    def __enter__(self):
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        return self

    def __exit__(self, *_):
        self.server.should_exit = True
        self.thread.join()

    def begin(self, sent):
        """Sends an upload as far as that, and returns the line."""
        line = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        line.sendall(
            f"POST / HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nContent-Length: {len(BODY)}\r\n"
            "Content-Type: multipart/form-data; boundary=xx\r\n\r\n".encode()
            + BODY[:sent]
        )
        return line

    def status(self, line):
        with line:
            return int(line.recv(20).split()[1])


@pytest.mark.parametrize("slow", [1, MOST_UPLOADS - 1])
def test_uploads_that_stand_still_keep_nobody_waiting(slow):
    with Served(Asked(judged())) as page:
        lines = [page.begin(len(PART) + 3) for _ in range(slow)]
        assert page.status(page.begin(len(BODY))) == 200
        for line in lines:
            line.sendall(BODY[len(PART) + 3 :])
            assert page.status(line) == 200


def test_no_more_uploads_wait_than_are_allowed():
    with Served(Asked(judged())) as page:
        lines = [page.begin(len(PART)) for _ in range(MOST_UPLOADS)]
        while (status := page.status(page.begin(len(BODY)))) == 200:
            pass  # the last of them has not arrived yet
        assert status == 503
        lines.pop().close()
        while (status := page.status(page.begin(len(BODY)))) == 503:
            pass
        assert status == 200
        for line in lines:
            line.close()


@pytest.mark.slow
def test_an_upload_that_takes_too_long_is_ended():
    with Served(Asked(judged()), upload_seconds=0.2) as page:
        for sent in (0, 10, len(PART), len(BODY) - 1):
            assert page.status(page.begin(sent)) == 408
        assert page.status(page.begin(len(BODY))) == 200


@pytest.mark.slow
def test_an_answer_may_take_longer_than_an_upload():
    def opinion(path):
        time.sleep(0.5)
        return Opinion(judged(), (), PNG)

    with Served(opinion, upload_seconds=0.2) as page:
        assert page.status(page.begin(len(BODY))) == 200


def test_a_cancelled_upload_is_no_error(caplog, capfd):
    asked = Asked(judged())
    with caplog.at_level(logging.WARNING), Served(asked) as page:
        for sent in (0, 10, len(PART), len(BODY) - 1):
            page.begin(sent).close()
        assert page.status(page.begin(len(BODY))) == 200
    assert caplog.records == []
    assert len(asked.paths) == 1
    assert "Traceback" not in "".join(capfd.readouterr())


def test_who_has_gone_is_not_answered():
    first, go_on = threading.Event(), threading.Event()
    names = []

    def opinion(path):
        names.append(path.name)
        first.set()
        go_on.wait()
        return Opinion(judged(), (), PNG)

    with Served(opinion) as page:
        waiting = page.begin(len(BODY))
        first.wait()
        page.begin(len(BODY)).close()
        time.sleep(0.2)
        go_on.set()
        assert page.status(waiting) == 200
    assert names == ["a.png"]


PAGE = """
import sys, time
from flannel.prediction.app import Opinion, create_app
from flannel.runs.program import speaks_plainly
from flannel.commands.app import run_page
def opinion(path):
    print("looks", flush=True)
    time.sleep(60)
speaks_plainly(lambda: run_page(create_app(opinion, "study", ("a", "b")), int(sys.argv[1])))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "sent"),
    [(signal.SIGINT, len(PART)), (signal.SIGTERM, len(BODY)), (signal.SIGHUP, len(PART))],
)
def test_the_page_ends_when_it_is_told_to(number, sent, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    page = subprocess.Popen(
        [sys.executable, "-c", PAGE, str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        text=True,
    )
    while True:
        try:
            line = socket.create_connection(("127.0.0.1", port), timeout=20)
            break
        except OSError:
            time.sleep(0.1)
    line.sendall(
        f"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(BODY)}\r\n"
        "Content-Type: multipart/form-data; boundary=xx\r\n\r\n".encode()
        + BODY[:sent]
    )
    if sent == len(BODY):
        assert page.stdout.readline() == "looks\n"
    else:
        time.sleep(0.5)
    page.send_signal(number)
    printed, errors = page.communicate(timeout=20)
    assert page.returncode == 128 + (signal.SIGTERM if number == signal.SIGHUP else number)
    assert "Traceback" not in errors
    assert printed.endswith("The page has ended; what was dropped on it is deleted.\n")
    assert line.recv(20).split()[1] == b"503"
    line.close()
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size]
    assert files == []
