"""What other engines bring for prediction on a CPU: PyTorch's compiler, ONNX Runtime, OpenVINO.

OMP_WAIT_POLICY=passive python benchmarks/engines.py

Each network, with random weights and the BatchNorms folded, predicts one batch of patches again and
again: as `flannel.learners.inference` has it, compiled by `torch.compile`, and exported to ONNX for
ONNX Runtime and, where it is installed, OpenVINO. The engines take turns. The seconds until an
engine's first answer are reported apart: a network is read anew for every folder of radiographs.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from base_learners import NETWORKS, side_px
from measuring import alternated, machine, resolved
from torch import nn

from flannel.bundle.onnx import export_network
from flannel.data.diagnosis import FLANNEL
from flannel.learners.inference import for_inference, inference_dtype
from flannel.networks import ImageNetNetwork

PATCHES = 16
Work = Callable[[], object]


def torchs(network: nn.Module, images: torch.Tensor) -> object:
    """Predicts with PyTorch, its compiler included."""
    with torch.inference_mode():
        return network(images)


def onnx_runtimes(path: Path, images: torch.Tensor) -> Work:
    """Builds a prediction of ONNX Runtime, with as many threads as PyTorch has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    name, array = session.get_inputs()[0].name, images.numpy()
    return lambda: session.run(None, {name: array})


def openvinos(path: Path, images: torch.Tensor, precision: str) -> Work | None:
    """Builds a prediction of OpenVINO; None where it is not installed."""
    try:
        import openvino
    except ImportError:
        return None
    hint = "bf16" if precision == "bf16-mixed" else "f32"
    options = {
        "INFERENCE_PRECISION_HINT": hint,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = openvino.Core().compile_model(path, "CPU", options)
    array = images.numpy()
    return lambda: compiled(array)


def compare(architecture: str, precision: str, rounds: int, folder: Path) -> list[str]:
    """Returns the table's rows of one network."""
    torch.manual_seed(0)
    network = ImageNetNetwork(architecture, weights="random", classes=len(FLANNEL)).eval()
    side = side_px(architecture)
    images = torch.rand(PATCHES, 3, side, side)
    dtype = inference_dtype(precision, network)
    ours = for_inference(network, dtype)
    batch = images.to(dtype, memory_format=torch.channels_last)
    path = folder / f"{architecture}.onnx"
    export_network(for_inference(network, torch.float32), images[:2], path, {})
    builders: dict[str, Callable[[], Work | None]] = {
        "ours": lambda: partial(torchs, ours, batch),
        "torch.compile": lambda: partial(torchs, torch.compile(ours), batch),
        "ONNX Runtime, float32": lambda: onnx_runtimes(path, images),
        "OpenVINO": lambda: openvinos(path, images, precision),
    }
    works: dict[str, Work] = {}
    first: dict[str, float] = {}
    for name, build in builders.items():
        started = time.perf_counter()
        work = build()
        if work is not None:
            work()
            works[name], first[name] = work, time.perf_counter() - started
    seconds = alternated(works, rounds)
    return [
        f"| {architecture} | {name} | {PATCHES / taken:.1f} | {seconds['ours'] / taken:.2f} "
        f"| {first[name]:.1f} s |"
        for name, taken in seconds.items()
    ]


def main() -> None:
    """Measures each network in turn."""
    parser = argparse.ArgumentParser(description="Engines for prediction on a CPU.")
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--precision", type=resolved, default="auto")
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    print(f"{machine(arguments.precision)}, batches of {PATCHES} patches")
    print("\n| network | engine | patches/s | of ours | until the first answer |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for architecture in arguments.networks.split(","):
            for row in compare(architecture, arguments.precision, arguments.rounds, Path(folder)):
                print(row, flush=True)


if __name__ == "__main__":
    main()
