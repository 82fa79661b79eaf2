"""A base learner's network in the form that predicts fastest, and many views through it."""

import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models import DenseNet

from flannel.learners.views import Normalisation, normalise

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
IMAGES_IN_CACHE = 8
"""On a CPU a DenseNet works on so many images at once: the features that it concatenates for every
layer stay in the last cache. 32 images of 224 px take a fifth longer each."""

_MIXED = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def inference_dtype(precision: str, network: nn.Module) -> torch.dtype:
    """Returns the type in which a network trained at one of Lightning's precisions predicts.

    Mixed precision rounds the weights anew in every forward pass; for prediction that is done once.

    Args:
        precision: A trainer's, such as "32-true" or "bf16-mixed".
        network: Whose parameters already have the type of any precision that is not mixed.
    """
    return _MIXED.get(precision, next(network.parameters()).dtype)


def for_inference(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Returns a copy of a network that only predicts: evaluation mode, channels last, in `dtype`.

    A BatchNorm that alone reads a convolution becomes part of it. One that stands before its
    convolution (DenseNet's first of each layer) stays, and keeps float32 or better for its
    statistics, as under automatic mixed precision.

    Args:
        network: Maps (batch, 3, side, side) to logits (batch, classes); it is left alone.
        dtype: Of weights and features.
    """
    copy = deepcopy(network).eval().requires_grad_(False)
    fold_batch_norms(copy)
    for module in list(copy.modules()):
        if isinstance(module, DenseNet):
            module.features = _FewAtOnce(OrderedDict(module.features.named_children()))
    norms = {
        name: deepcopy(module).to(torch.promote_types(dtype, torch.float32))
        for name, module in copy.named_modules()
        if isinstance(module, _BatchNorm)
    }
    copy.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    for name, norm in norms.items():
        copy.set_submodule(name, norm)
    return copy


class _FewAtOnce(nn.Sequential):
    """A trunk that works on a few images at once, where that is quicker: the result is the same."""

    def forward(
        self, images: Float[Tensor, "batch channels side side"]
    ) -> Float[Tensor, "batch features rows columns"]:
        """Returns the feature maps."""
        if images.device.type != "cpu" or torch.is_grad_enabled():
            return self._all(images)
        return torch.cat([self._all(part) for part in images.split(IMAGES_IN_CACHE)])

    def _all(self, images: Tensor) -> Tensor:
        maps: Tensor = super().forward(images)
        return maps


def fold_batch_norms(network: nn.Module) -> None:
    """Makes each BatchNorm that alone reads a convolution part of it, in place.

    The convolution's weights take up the norm's scale and shift, and `Identity` takes the norm's
    place; the network's own code runs on, so nothing else about it can change. The order of the
    modules is found by tracing that code; a network that cannot be traced stays as it is.

    Args:
        network: In evaluation mode, with running statistics.
    """
    for convolution_name, norm_name in _folding_pairs(network):
        convolution, norm = map(network.get_submodule, (convolution_name, norm_name))
        assert isinstance(convolution, _CONVOLUTIONS)
        assert isinstance(norm, _BatchNorm)
        fused = fuse_conv_bn_eval(convolution, norm)
        network.set_submodule(convolution_name, fused.requires_grad_(False))
        network.set_submodule(norm_name, nn.Identity())


def logits_in_parts(
    network: nn.Module,
    pixels: UInt8[Tensor, "images views 1 side side"],
    normalisation: Normalisation,
    views_at_once: int,
) -> Float[Tensor, "images views classes"]:
    """Sends the views of several images through a network, so many at once; float32 logits.

    Only the views of one forward pass are normalised at a time, so memory does not grow with K. On
    a CPU they are shared out, and each thread sends its own through all layers: threads that meet
    after every layer wait for each other (benchmarks/README.md).

    Args:
        network: Maps (batch, 3, side, side) to logits, or to a pair that begins with them.
        pixels: Grey levels 0..255 on the network's device.
        normalisation: As the network was trained with.
        views_at_once: Views in a forward pass, of one image or of several.
    """
    dtype = next(network.parameters()).dtype

    def logits_of(views: UInt8[Tensor, "views 1 side side"]) -> Float[Tensor, "views classes"]:
        out = network(normalise(views, normalisation, dtype))
        return (out[0] if isinstance(out, tuple) else out).float()

    views = pixels.flatten(0, 1)
    at_once = min(views_at_once, len(views))
    threads = min(torch.get_num_threads(), at_once)
    if pixels.device.type != "cpu" or network.training or torch.is_grad_enabled() or threads == 1:
        parts = [logits_of(part) for part in views.split(at_once)]
    else:
        parts = _in_threads(logits_of, views.split(math.ceil(at_once / threads)), threads)
    return torch.cat(parts).unflatten(0, pixels.shape[:2])


def _in_threads(
    work: Callable[[Tensor], Tensor], parts: Sequence[Tensor], threads: int
) -> list[Tensor]:
    """Does a work without gradients on all parts, each in a thread that no other one helps."""
    inference, mixed = torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")
    mixed_dtype = torch.get_autocast_dtype("cpu")

    def alone(part: Tensor) -> Tensor:
        torch.set_num_threads(1)  # of this thread
        precision = torch.autocast("cpu", mixed_dtype, enabled=mixed)
        with torch.inference_mode(inference), torch.no_grad(), precision:
            return work(part)

    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(alone, parts))
    finally:
        torch.set_num_threads(before)  # what threads begin with that come later


def _folding_pairs(network: nn.Module) -> list[tuple[str, str]]:
    """Finds the names of convolutions and of the BatchNorms that alone read them."""
    try:
        nodes = list(fx.Tracer().trace(network).nodes)
    except Exception:  # whatever the code of a network may raise when it is handed no tensor
        return []
    modules = dict(network.named_modules())
    calls = Counter(node.target for node in nodes if node.op == "call_module")
    pairs = []
    for node in nodes:
        norm = modules.get(str(node.target)) if node.op == "call_module" else None
        if not isinstance(norm, _BatchNorm) or norm.running_mean is None:
            continue
        source = node.args[0]
        if (
            isinstance(source, fx.Node)
            and source.op == "call_module"
            and isinstance(modules[str(source.target)], _CONVOLUTIONS)
            and len(source.users) == 1
            and calls[source.target] == calls[node.target] == 1
        ):
            pairs.append((str(source.target), str(node.target)))
    return pairs
