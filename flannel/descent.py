"""How an ensemble learns from the rows of an epoch: batch by batch, and little beside the steps."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from flannel.closed_form import focal_slopes
from flannel.combinations import OneLayer
from flannel.losses import FocalLoss

AT_ONCE = 64
"""Batches whose features are made in one call: 64 of 20 rows with 1,600 products take 8 MB."""


def learn_epoch(
    combination: nn.Module,
    loss: FocalLoss,
    probabilities: Float[Tensor, "rows learners classes"],
    target: Int[Tensor, " rows"],
    batch_size: int,
    optimizer: LightningOptimizer,
) -> Float[Tensor, ""]:
    """Learns from all rows in the order in which they come.

    On a CPU, the forms of `flannel.combinations` have their gradient in closed form. That of any
    other combination comes from autograd, and so does theirs on a GPU or in less than float32.

    Args:
        combination: What makes scores of the probabilities.
        loss: Its reduction, over a batch, is "sum" or "mean".
        probabilities: The learners' outputs.
        target: Class indices.
        batch_size: Rows a step.
        optimizer: Of the combination's parameters. An epoch's first step is taken through the
            Trainer, which so counts epochs as its steps.

    Returns:
        The mean loss of the rows, each as it was before the step of its batch.
    """
    if isinstance(combination, OneLayer) and _is_numpys(combination.linear.weight):
        batches = in_closed_form(combination, loss, probabilities, target, batch_size)
    else:
        batches = by_autograd(combination, loss, probabilities, target, batch_size)
    step: Callable[[], object] = optimizer.step
    seen: list[Tensor] = []
    for log_p in batches:
        step()
        if not seen:
            step = straight_step(optimizer.optimizer)
        seen.append(log_p)
    whole = loss.of_log_p(torch.cat(seen), target)
    return whole / (len(target) if loss.reduction == "sum" else 1)


def _is_numpys(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype in (torch.float32, torch.float64)


def by_autograd(
    combination: nn.Module,
    loss: FocalLoss,
    probabilities: Float[Tensor, "rows learners classes"],
    target: Int[Tensor, " rows"],
    batch_size: int,
) -> Iterator[Float[Tensor, " batch"]]:
    """Leaves the gradients of one batch after the other in the parameters, for any combination.

    Yields:
        log p of the batch's true diagnoses.
    """
    for given, true in zip(probabilities.split(batch_size), target.split(batch_size), strict=True):
        combination.zero_grad(set_to_none=False)  # the same tensors in every step
        log_p = loss.log_p(combination(given), true)
        loss.of_log_p(log_p, true).backward()
        yield log_p.detach()


def in_closed_form(
    combination: OneLayer,
    loss: FocalLoss,
    probabilities: Float[Tensor, "rows learners classes"],
    target: Int[Tensor, " rows"],
    batch_size: int,
) -> Iterator[Float[Tensor, " batch"]]:
    """Does what `by_autograd` does, by the derivative of `flannel.closed_form`.

    Yields:
        log p of the batch's true diagnoses.
    """
    weight, bias = (one.detach().numpy() for one in combination.linear.parameters())
    gradients = [torch.zeros_like(one) for one in combination.linear.parameters()]
    for parameter, gradient in zip(combination.linear.parameters(), gradients, strict=True):
        parameter.grad = gradient
    of_weight, of_bias = (gradient.numpy() for gradient in gradients)

    given, true, row = probabilities.numpy(), target.numpy(), np.arange(len(target))
    truth = np.eye(combination.classes, dtype=weight.dtype)[true]
    places = (row % batch_size * combination.classes + true)[:, None]
    scale = np.ones(1) if loss.alpha is None else loss.alpha.numpy()
    scale = np.broadcast_to(scale, combination.classes)[true]
    if loss.reduction == "mean":
        scale = scale / np.bincount(row // batch_size)[row // batch_size]
    scale = scale.astype(weight.dtype)[:, None]

    for number, features in enumerate(_features(combination, probabilities, batch_size)):
        batch = slice(number * batch_size, (number + 1) * batch_size)
        scores, pull_back = combination.rule(features @ weight.T + bias, given[batch])
        log_p, slopes = focal_slopes(scores, truth[batch], places[batch], scale[batch], loss.gamma)
        of_raw = pull_back(slopes)
        np.matmul(of_raw.T, features, out=of_weight)
        np.add.reduce(of_raw, axis=0, out=of_bias)
        yield torch.from_numpy(log_p[:, 0])


def _features(
    combination: OneLayer, probabilities: Float[Tensor, "rows learners classes"], batch_size: int
) -> Iterator[Float[np.ndarray, "batch features"]]:
    """Gives the features batch by batch, and makes those of many batches in one call."""
    for some in probabilities.split(AT_ONCE * batch_size):
        yield from (part.numpy() for part in combination.features(some).split(batch_size))


def straight_step(optimizer: Optimizer) -> Callable[[], object]:
    """Gives the optimizer's step; that of a fused Adam without the Python around its kernel.

    A step of `torch.optim.Adam` with `fused=True` ends in a kernel, which takes a tenth of its time
    where parameters are few. The rest is a record for the profiler, hooks, and lists of parameters,
    gradients and moments, which are made once here. What comes out is the same, bit for bit.

    Args:
        optimizer: Has taken a step, has no hooks, and finds its gradients in the same tensors from
            then on.
    """
    groups = optimizer.param_groups
    if type(optimizer) is not Adam or not all(_is_plain(group) for group in groups):
        return optimizer.step
    kernels = [_kernel(optimizer, group) for group in groups]

    def step() -> None:
        for kernel in kernels:
            kernel()

    return step


def _is_plain(group: Mapping[str, object]) -> bool:
    unusual = ("amsgrad", "decoupled_weight_decay", "capturable")
    return bool(group["fused"]) and not any(group[name] for name in unusual)


def _kernel(optimizer: Adam, group: Mapping[str, Any]) -> Callable[[], None]:
    parameters = [one for one in group["params"] if one.grad is not None]
    states = [optimizer.state[one] for one in parameters]
    counts = [state["step"] for state in states]
    update = partial(
        torch._fused_adam_,
        [one.detach() for one in parameters],
        [one.grad for one in parameters],
        [state["exp_avg"] for state in states],
        [state["exp_avg_sq"] for state in states],
        [],
        counts,
        lr=group["lr"],
        beta1=group["betas"][0],
        beta2=group["betas"][1],
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        amsgrad=False,
        maximize=group["maximize"],
    )

    def run() -> None:
        torch._foreach_add_(counts, 1)
        update()

    return run
