"""The picture of one radiograph holds what is said of it, and always the notice."""

import numpy as np
import pytest
import torch
from matplotlib.text import Text

from flannel.asking import Answer
from flannel.data.diagnosis import FLANNEL
from flannel.data.store import Store
from flannel.data.store_files import Settings
from flannel.doubts import INVERTED
from flannel.galleries.opinion import Shown, opinion_picture
from flannel.trained import NOTICE, Known, Trained
from flannel.verdicts import Judged, Verdict
from flannel.views import Places

SURE = np.array([0.1, 0.7, 0.2, 0.0], np.float32)


@pytest.fixture
def store(study_files):
    study_files.pictures()
    return Store(study_files.folder / "store")


@pytest.fixture
def trained():
    return Trained("study", 0, FLANNEL, Settings(64, "stretch"), None)


def texts(figure):
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def test_everything_that_is_said_is_drawn(store, trained):
    places = Places(
        torch.tensor([[20, 20], [30, 44]]), torch.full((2,), 16), torch.ones(2), torch.tensor(0.5)
    )
    answer = Answer("test-0", np.eye(4, dtype=np.float32)[[1, 2]], places, SURE)
    shown = [Shown(answer, "patched/small", True, np.eye(64, dtype=np.float32))]
    verdicts = (
        Verdict("patched", "small", SURE, SURE[::-1], SURE * 0.5, SURE, 2, 0.5),
        Verdict("patched", "FLANNEL", SURE, None, None, None, None, None),
    )
    known = Known("test-0", "train")
    judged = Judged("test-0", "/in/one.png", known, "one lung", (), verdicts)
    figure = opinion_picture(judged, trained, store, shown)
    figure.canvas.draw()
    said = texts(figure)
    for part in (
        NOTICE, "one.png", "patched FLANNEL: Viral pneumonia 70%", "mask: one lung",
        "one of the study's own radiographs (train)", "2 patches by vote",
        "Viral pneumonia 1, Bacterial pneumonia 1", "saliency of patches", "0.70",
    ):  # fmt: skip
        assert part in said


def test_a_withheld_answer_shows_the_doubt_and_no_number(store, trained):
    judged = Judged("test-1", "/in/" + "x" * 90 + ".png", None, "", (INVERTED,), ())
    figure = opinion_picture(judged, trained, store, [])
    figure.canvas.draw()
    said = texts(figure)
    assert "Doubt: inverted grey values" in said
    assert "No answer is given" in said
    assert NOTICE in said
    assert "x" * 60 not in said
