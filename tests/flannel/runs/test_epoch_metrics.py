"""What a learner measures after every epoch."""

import numpy as np
import pytest
import torch

from flannel.data.diagnosis import FLANNEL
from flannel.metrics.classification import scores
from flannel.runs.epoch_metrics import classification_metrics


def test_the_metrics_of_an_epoch_equal_the_scores_of_the_comparison():
    generator = np.random.default_rng(4)
    probabilities = generator.random((60, 4)).astype(np.float32)
    target = generator.integers(0, 4, 60)
    metrics = classification_metrics("val/", FLANNEL)
    for part in (slice(0, 16), slice(16, 60)):  # in batches, as an epoch comes
        metrics.update(torch.from_numpy(probabilities[part]), torch.from_numpy(target[part]))
    measured = scores([FLANNEL[i] for i in target], probabilities, FLANNEL)
    expected = {f"val/f1_{name}": measured.by_class[name].f1 for name in FLANNEL}
    expected |= {"val/macro_f1": measured.by_class["macro"].f1, "val/accuracy": measured.accuracy}
    logged = {name: float(value) for name, value in metrics.compute().items()}
    assert logged == pytest.approx(expected)
    metrics.reset()
    metrics.update(torch.eye(4), torch.arange(4))
    assert {float(value) for value in metrics.compute().values()} == {1.0}
