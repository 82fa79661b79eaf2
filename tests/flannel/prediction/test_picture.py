"""The picture of one radiograph holds what was predicted for it, and always the notice."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from matplotlib.text import Text

from flannel.data.diagnosis import FLANNEL, coloured
from flannel.data.store import Store
from flannel.prediction import picture
from flannel.prediction.doubts import INVERTED
from flannel.prediction.picture import Drawing, Shown, draw_opinions, opinion_picture
from flannel.prediction.results import Prediction, RadiographResult
from flannel.prediction.trained import NOTICE, Known
from flannel.study.patches import Patches

SURE = np.array([0.1, 0.7, 0.2, 0.0], np.float32)
PATCHES = Patches(
    image_id=("test-0",),
    centres=np.array([[[20, 20], [30, 44]]], np.int16),
    windows_px=np.full((1, 2), 16, np.int16),
    weights=np.ones((1, 2), np.float32),
    logits=np.eye(4, dtype=np.float32)[[1, 2]][None],
    strategy="uniform",
    lung_box=False,
)


@pytest.fixture
def store(study_files):
    study_files.pictures()
    return Store(study_files.folder / "store")


def texts(figure):
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def test_everything_that_is_said_is_drawn(store, tmp_path):
    heat = tmp_path / "heat.npy"
    np.save(heat, np.eye(64, dtype=np.float16))
    shown = [Shown("patched/small", 1, PATCHES, heat)]
    predictions = (
        Prediction("patched", "small", SURE, SURE[::-1], SURE * 0.5, SURE, 2, 0.5),
        Prediction("patched", "FLANNEL", SURE, None, None, None, None, None),
    )
    known = Known("test-0", "train")
    judged = RadiographResult("test-0", "/in/one.png", known, "one lung", (), predictions)
    figure = opinion_picture(judged, coloured(FLANNEL), store, shown)
    figure.canvas.draw()
    drawn = texts(figure)
    for part in (
        NOTICE, "one.png", "patched FLANNEL: Viral pneumonia 70%", "mask: one lung",
        "one of the study's own radiographs (train)", "2 patches by vote",
        "Viral pneumonia 1, Bacterial pneumonia 1", "saliency of patches", "0.70",
    ):  # fmt: skip
        assert part in drawn


def test_a_withheld_answer_shows_the_doubt_and_no_number(store):
    judged = RadiographResult("test-1", "/in/" + "x" * 90 + ".png", None, "", (INVERTED,), ())
    figure = opinion_picture(judged, coloured(FLANNEL), store, [])
    figure.canvas.draw()
    drawn = texts(figure)
    assert "Doubt: inverted grey values" in drawn
    assert "No answer is given" in drawn
    assert NOTICE in drawn
    assert "x" * 60 not in drawn


@pytest.mark.parametrize(
    ("name", "drawn"),
    [
        ("胸片 1.png", r"\u80f8\u7247 1.png"),
        ("Lunge ä ß Ж.png", "Lunge ä ß Ж.png"),
        ("a$b$c.png", r"a\$b\$c.png"),
        ("$x_{.png$", r"\$x_{.png\$"),
        ("a\n\U0001f9ec.png", r"a\n\U0001f9ec.png"),
    ],
)
def test_any_name_is_drawn_without_a_warning(store, name, drawn, caplog):
    judged = RadiographResult("test-1", f"/in/{name}", None, "", (INVERTED,), ())
    figure = opinion_picture(judged, coloured(FLANNEL), store, [])
    figure.canvas.draw()
    assert texts(figure).count(drawn) == 1
    assert caplog.records == []


@pytest.mark.slow
def test_many_pictures_are_drawn_by_several_processes(store, tmp_path, monkeypatch):
    """Threads stand in for them, which have to get nothing but what can be sent to a process."""

    class Sent(ThreadPoolExecutor):
        def __init__(self, processes, mp_context, initializer):
            assert (processes, mp_context.get_start_method()) == (2, "spawn")
            super().__init__(1)

        def map(self, work, drawings):
            return super().map(
                pickle.loads(pickle.dumps(work)), pickle.loads(pickle.dumps(drawings))
            )

    judged = RadiographResult("test-1", "/in/one.png", None, "", (INVERTED,), ())
    shown = (Shown("patched/small", 1, PATCHES, None),)
    one, *others = [Drawing(judged, shown, tmp_path / f"{number}.png") for number in range(3)]
    assert list(draw_opinions([one], coloured(FLANNEL), store)) == [one.path]
    monkeypatch.setattr(picture, "ProcessPoolExecutor", Sent)
    monkeypatch.setattr(picture, "WORTH_A_PROCESS", 1)
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    assert list(draw_opinions(others, coloured(FLANNEL), store)) == [other.path for other in others]
    assert all(other.path.read_bytes() == one.path.read_bytes() for other in others)
