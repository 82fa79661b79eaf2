"""Asking in rounds, against all patches asked at once."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from flannel.data.store import Store
from flannel.learners.views import WholeView
from flannel.prediction.predictors import Panel, ReadyLearner, ask_until_sure
from flannel.prediction.trained import TrainedError
from flannel.prediction.trained_study import trained_of_study
from patching.coverage import covered
from patching.stopping import ROUND


class Counting:
    """A learner that says what is written in the first pixel of a view."""

    vote = "share"
    view_options = None

    def __init__(self):
        self.asked = []

    def ask(self, pixels):
        self.asked.append(pixels.shape[:2])
        return 9 * torch.nn.functional.one_hot(pixels[:, :, 0, 0, 0].long(), 3).float()


def views_saying(*rows):
    """Pixels of images whose views say these classes, as (images, views, 1, 2, 2)."""
    return torch.tensor(rows, dtype=torch.uint8)[:, :, None, None, None].expand(-1, -1, 1, 2, 2)


def test_only_undecided_images_are_asked_again():
    class Options:
        view = WholeView(resize_px=8, size_px=8)

    one = Counting()
    one.view_options = Options()
    pixels = views_saying([0] * 12, [0, 0, 1, 1] * 3, [2] * 12)
    logits_of_images = ask_until_sure(one.ask, pixels, torch.ones(3, 12), one, 0.0)
    # At the second look 8 of 12 decide, for 7 would do.
    assert [len(logits) for logits in logits_of_images] == [8, 12, 8]
    assert one.asked == [(3, ROUND), (3, ROUND), (1, ROUND)]
    assert logits_of_images[1].argmax(dim=1).tolist() == [0, 0, 1, 1] * 3


@pytest.mark.slow
def test_certain_answers_have_the_majority_of_all_patches(trained_study):
    trained = trained_of_study(trained_study, arms=["patched"])
    (learner,) = trained.learners
    store = Store(trained_study / "store")
    image_ids = list(store.image_ids[:6])
    cpu = torch.device("cpu")
    every = list(ReadyLearner(learner, cpu, patches=10).predict(store, image_ids))
    fewer = list(ReadyLearner(learner, cpu, 10, until_sure=0.0).predict(store, image_ids))
    assert [one.image_id for one in fewer] == image_ids
    for all_asked, some in zip(every, fewer, strict=True):
        assert some.confidences.argmax() == all_asked.confidences.argmax()
        assert len(some.logits) in (8, 10)
        mask = torch.from_numpy(store.lung_mask(some.image_id))
        seen = covered(mask, some.places.centres, some.places.windows_px)
        np.testing.assert_allclose(float(some.places.coverage), seen, rtol=1e-6)
    with pytest.raises(TrainedError, match="patched/small cannot stop early: error is 1"):
        Panel(trained, cpu, until_sure=1.0)
    soft = replace(trained, learners=(replace(learner, vote="mean_softmax"),))
    with pytest.raises(TrainedError, match="of the rule mean_softmax"):
        Panel(soft, cpu, until_sure=0.1)
    Panel(soft, cpu, until_sure=0.0)
    boxed = replace(learner, data={**learner.data, "lung_box": True})
    with pytest.raises(TrainedError, match="the box around the lungs"):
        Panel(replace(trained, learners=(boxed,)), cpu, until_sure=0.0)
