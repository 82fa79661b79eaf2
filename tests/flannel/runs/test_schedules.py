"""The one-cycle schedule: its values by hand, and that a run lays it over its own steps."""

import math
from types import SimpleNamespace

import pytest
import torch

from flannel.errors import RunError
from flannel.runs.schedules import OneCycle, over_all_steps


def cycle(steps, **options):
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([weight], lr=1.0, betas=(0.9, 0.99), weight_decay=1e-2)
    schedule = OneCycle(optimizer, 3e-3, **options)
    schedule.lay_over(steps)
    rates, momenta = [], []
    for _ in range(steps):
        group = optimizer.param_groups[0]
        rates.append(group["lr"])
        momenta.append(group["betas"][0])
        assert group["betas"][1] == 0.99
        optimizer.step()
        if len(rates) < steps:
            schedule.step()
    return rates, momenta


def test_rate_and_momentum_of_fastai_s_cycle():
    rates, momenta = cycle(100)
    assert rates[0] == pytest.approx(3e-3 / 25)
    assert max(rates) == rates[29] == pytest.approx(3e-3)
    assert rates[-1] == pytest.approx(3e-3 / 25e4)
    assert (momenta[0], momenta[29], momenta[-1]) == pytest.approx((0.95, 0.85, 0.95))
    halfway = 3e-3 / 25 + (3e-3 - 3e-3 / 25) * (1 - math.cos(math.pi * 10 / 29)) / 2
    assert rates[10] == pytest.approx(halfway)


def test_a_cycle_of_one_step_and_of_other_shape():
    assert len(cycle(1)[0]) == 1
    rates, _ = cycle(10, pct_start=0.5, div_factor=10, final_div_factor=10)
    assert (rates[0], max(rates), rates[-1]) == pytest.approx((3e-4, 3e-3, 3e-5))
    assert rates[4] == max(rates)


@pytest.mark.parametrize(("steps", "automatic"), [(float("inf"), True), (12, False)])
def test_a_training_without_a_number_of_steps_is_refused(steps, automatic):
    trainer = SimpleNamespace(estimated_stepping_batches=steps, max_epochs=-1)
    module = SimpleNamespace(trainer=trainer, automatic_optimization=automatic)
    with pytest.raises(RunError, match="OneCycle needs a number of steps"):
        over_all_steps(None, module)
