"""What the papers' whole study costs on this machine's device, beside the team's 944 hours.

python benchmarks/study_hours.py

Each network trains and predicts on ready-made batches; the time of the study is reckoned from that:
five networks, global and patched, five folds, every epoch, and K patches of every image. It is an
upper bound, for early stopping ends the patched arm before its last epoch.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from base_learners import NETWORKS, side_px
from measuring import machine
from torch.utils.flop_counter import FlopCounterMode

from flannel.learners.inference import for_inference, inference_dtype
from flannel.networks import ImageNetNetwork
from flannel.runs.arithmetic import device_name

TEAM_HOURS = 144 + 800
"""Global and patched, on V100s (the team's report)."""
BATCHES = {"global": 10, "patched": 16}
"""Images in a training step, as in the recipes."""


@dataclass(frozen=True)
class Rates:
    """Images or patches a second.

    Attributes:
        training: By arm.
        prediction: Of the network made for inference.
        peak_share: The part of the measured peak that prediction reaches, in [0, 1].
    """

    training: dict[str, float]
    prediction: float
    peak_share: float


def seconds_of(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Measures one repeat of a work, after one that is not counted."""
    started = 0.0
    for number in range(repeats + 1):
        if number <= 1:
            _finish(device)
            started = time.perf_counter()
        work()
    _finish(device)
    return (time.perf_counter() - started) / max(1, repeats)


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_flops(dtype: torch.dtype, device: torch.device, side: int) -> float:
    """Measures the operations a second of a large matrix product."""
    left, right = (torch.rand(side, side, device=device).to(dtype) for _ in range(2))
    return 2 * side**3 / seconds_of(lambda: left @ right, device, 5)


def training_rate(
    architecture: str, batch: int, precision: str, device: torch.device, repeats: int
) -> float:
    """Measures forward, backward and Adam."""
    network = ImageNetNetwork(architecture, weights="random").to(device).train()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    adam = torch.optim.Adam(network.parameters(), lr=1e-5, fused=True)
    side = side_px(architecture)
    images = torch.rand(batch, 3, side, side, device=device)
    target = torch.randint(4, (batch,), device=device)
    dtype = inference_dtype(precision, network)
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)

    def step() -> None:
        adam.zero_grad()
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            logits = network(images)
        scaler.scale(F.cross_entropy(logits.float(), target)).backward()
        scaler.step(adam)
        scaler.update()

    return batch / seconds_of(step, device, repeats)


def measured(
    architecture: str, precision: str, device: torch.device, arguments: argparse.Namespace
) -> Rates:
    """Measures one network."""
    network = ImageNetNetwork(architecture, weights="random").to(device)
    dtype, side = inference_dtype(precision, network), side_px(architecture)
    ready = for_inference(network, dtype)
    views = torch.rand(arguments.views_at_once, 3, side, side, device=device)
    views = views.to(dtype, memory_format=torch.channels_last)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        ready(views[:1])

    def predict() -> None:
        with torch.inference_mode():
            ready(views)

    rate = len(views) / seconds_of(predict, device, arguments.repeats)
    peak = peak_flops(dtype, device, arguments.product_side)
    training = {
        arm: training_rate(architecture, batch, precision, device, arguments.repeats)
        for arm, batch in BATCHES.items()
    }
    return Rates(training, rate, rate * counter.get_total_flops() / peak)


def hours(rates: Rates, arguments: argparse.Namespace) -> float:
    """Reckons one network's training and prediction, in both arms and all folds."""
    seconds = 0.0
    for arm, views, val_views in (("global", 1, 1), ("patched", arguments.k, 4)):
        epoch = arguments.train / rates.training[arm]
        epoch += val_views * arguments.val / rates.prediction
        seconds += arguments.epochs * epoch + views * arguments.images / rates.prediction
    return arguments.folds * seconds / 3600


def main() -> None:
    parser = argparse.ArgumentParser(description="What the papers' whole study costs.")
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--precisions", default="bf16-mixed,16-mixed")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--images", type=int, default=6411, help="of the cohort")
    parser.add_argument("--train", type=int, default=4104, help="of them in a fold's training")
    parser.add_argument("--val", type=int, default=1026, help="and in its validation")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--views_at_once", type=int, default=256)
    parser.add_argument("--product_side", type=int, default=8192, help="of the peak's matrices")
    parser.add_argument("--repeats", type=int, default=10)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    name = device_name(device) if device.type == "cuda" else machine("as below")
    print(f"{name}, torch {torch.__version__}, {arguments.views_at_once} patches at once")
    for precision in arguments.precisions.split(","):
        print(f"\n{precision}\n")
        print("| network | training, images/s | patches/s | of the peak | the study, hours |")
        print("|---|---|---|---|---|")
        total = 0.0
        for architecture in arguments.networks.split(","):
            rates = measured(architecture, precision, device, arguments)
            total += (spent := hours(rates, arguments))
            print(
                f"| {architecture} | {rates.training['global']:.0f} / "
                f"{rates.training['patched']:.0f} | {rates.prediction:.0f} "
                f"| {rates.peak_share:.0%} | {spent:.1f} |",
                flush=True,
            )
        print(f"\nthe whole study: {total:.0f} hours; the team's: {TEAM_HOURS}")


if __name__ == "__main__":
    main()
