"""Learning rates that change with every step of a training."""

from typing import Any

from lightning.pytorch import LightningModule
from torch.optim import Optimizer
from torch.optim.lr_scheduler import OneCycleLR

from flannel.errors import RunError


class OneCycle(OneCycleLR):
    """One cycle of learning rate and momentum over the whole training, as fastai has it.

    The rate rises along a cosine from `max_lr / div_factor` to `max_lr`, then falls to
    `max_lr / (div_factor * final_div_factor)`; momentum (Adam's first beta) falls and rises against
    it. The defaults are those of fastai v1 and of PyTorch, which agree but for the rounding of the
    phases to whole steps. PyTorch's own class wants the number of steps in the recipe, where nobody
    knows it: `StudyCLI` passes it here, from epochs, batch and fold.

    Args:
        optimizer: Whose learning rate the cycle replaces.
        max_lr: Learning rate at the top.
        pct_start: Share of the steps on the way up.
        div_factor: The top divided by the beginning.
        final_div_factor: The beginning divided by the end.
        base_momentum: Momentum at the top.
        max_momentum: Momentum at the beginning and at the end.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float,
        pct_start: float = 0.3,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
    ) -> None:
        self.max_lr, self.pct_start = max_lr, pct_start
        self.div_factor, self.final_div_factor = div_factor, final_div_factor
        self.base_momentum, self.max_momentum = base_momentum, max_momentum
        self.optimizer = optimizer
        self.lay_over(1)

    def lay_over(self, steps: int) -> None:
        """Begins anew, with the cycle laid over so many optimiser steps.

        Args:
            steps: At least 1.
        """
        super().__init__(
            self.optimizer,
            self.max_lr,
            total_steps=steps,
            pct_start=self.pct_start,
            base_momentum=self.base_momentum,
            max_momentum=self.max_momentum,
            div_factor=self.div_factor,
            final_div_factor=self.final_div_factor,
        )


def over_all_steps(schedule: OneCycle, module: LightningModule) -> dict[str, Any]:
    """Lays a cycle over the steps that a module's Trainer has before it.

    Args:
        schedule: As its recipe describes it.
        module: In its Trainer.

    Returns:
        What Lightning wants of a schedule that moves on with every step.

    Raises:
        RunError: If the training has no end, or the module steps by itself, so that nobody knows.
    """
    steps = module.trainer.estimated_stepping_batches
    if steps == float("inf") or not module.automatic_optimization:
        raise RunError(
            f"OneCycle needs a number of steps to lay its cycle over; {type(module).__name__} has "
            f"none with trainer.max_epochs {module.trainer.max_epochs}. Give a base learner a "
            "number of epochs, or choose another lr_scheduler."
        )
    schedule.lay_over(int(steps))
    return {"scheduler": schedule, "interval": "step"}
