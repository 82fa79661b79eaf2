import numpy as np
import pytest
from fastapi.testclient import TestClient

from flannel.app import Opinion, create_app
from flannel.data.diagnosis import FLANNEL
from flannel.doubts import Doubt
from flannel.trained import NOTICE
from flannel.verdicts import Judged, Verdict

HERE = "http://127.0.0.1:8765"
PNG = b"\x89PNG made up"


def verdict(arm, learner, probabilities, patches):
    row = np.array(probabilities)
    spread = (None, None) if patches == 0 else (row - 0.1, row + 0.1)
    return Verdict(arm, learner, row, None, *spread, patches=patches, coverage=None)


VERDICTS = (
    verdict("global", "vgg19_bn", (0.1, 0.2, 0.3, 0.4), 0),
    verdict("patched", "FLANNEL", (0.625, 0.125, 0.15, 0.1), None),
)


class Asked:
    """Stands for the learners: notes what it was shown, and says what it is told to say."""

    def __init__(self, judged=None, faults=(), error=None):
        self.judged, self.faults, self.error = judged, faults, error
        self.paths, self.contents = [], []

    def __call__(self, path):
        self.paths.append(path)
        self.contents.append(path.read_bytes())
        (path.parent / "opinion").mkdir()
        if self.error:
            raise self.error
        return Opinion(self.judged, self.faults, PNG if self.judged else b"")


def judged(doubts=(), verdicts=VERDICTS):
    return Judged("a-1", "a.png", None, "", doubts, verdicts)


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
