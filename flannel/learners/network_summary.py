"""What a network is made of: its layers, what comes out of them, and their parameters."""

from pathlib import Path

import pandas as pd
import torch
from lightning.pytorch.utilities.model_summary.model_summary import LayerSummary
from torch import nn

from flannel.files import whole_file

COLUMNS = ("name", "depth", "layers", "type", "output", "parameters", "trainable")


def summarise_network(network: nn.Module, size_px: int) -> pd.DataFrame:
    """Lists a network's modules in the order in which they were written, as papers print them.

    One grey image goes through in evaluation; neither the network nor any generator changes.

    Args:
        network: From (batch, 3, side, side) to logits (batch, classes).
        size_px: Side of its input.

    Returns:
        One row per module, the whole network last with an empty name: `name`; `depth`, 0 for the
        parts of the network itself; `layers`, the leaves that it is made of, 1 for a layer;
        `type`; `output`, the shape for one image, such as 64 x 32 x 32, empty where the module
        was not asked; `parameters`, and how many of them are `trainable`.
    """
    modes = {module: module.training for module in network.modules()}
    modules = [*list(network.named_modules())[1:], ("", network)]
    watched = [LayerSummary(module) for _, module in modules]
    first = next(network.parameters(), torch.zeros(()))
    network.eval()
    with torch.no_grad():
        network(torch.zeros(1, 3, size_px, size_px, device=first.device, dtype=first.dtype))
    for module, training in modes.items():
        module.training = training
    rows = []
    for (name, module), summary in zip(modules, watched, strict=True):
        summary.detach_hook()
        rows.append(
            (
                name,
                name.count("."),
                sum(not list(part.children()) for part in module.modules()),
                type(module).__name__,
                _shape(summary.out_size),
                *_parameters(module),
            )
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def write_network(network: nn.Module, size_px: int, path: Path) -> None:
    """Writes `summarise_network` as CSV, whole or not at all."""
    with whole_file(path) as beside:
        summarise_network(network, size_px).to_csv(beside, index=False)


def _parameters(module: nn.Module) -> tuple[int, int]:
    """Counts all parameters, and those that learn."""
    each = [(p.numel(), p.requires_grad) for p in module.parameters()]
    return sum(n for n, _ in each), sum(n for n, learns in each if learns)


def _shape(size: object) -> str:
    """Writes what came out for one image; nothing for a module that gives no single tensor."""
    if not isinstance(size, list) or not all(isinstance(side, int) for side in size):
        return ""
    return " x ".join(str(side) for side in size[1:])
