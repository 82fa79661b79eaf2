"""FC-DenseNet103 against the same network written the plain way (plain.py), as ratios.

OMP_WAIT_POLICY=passive python benchmarks/fc_densenet.py

The plain network computes in float32, channels first, with Adam as PyTorch builds it; ours in
float32 too, and in bfloat16 where the processor has it. Both take turns; the table has medians. The
memory of a training step is the growth of the process's highest resident memory over what it held
with the network built, after two steps in a process of its own; it holds gradients and Adam's
moments. Linux only, for the memory.
"""

import argparse
import multiprocessing
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from measuring import alternated, machine, resident_mb, resolved
from plain import PlainFCDenseNet103
from torch import nn

from segmentation.checkpoint import channels_last
from segmentation.fc_densenet import FCDenseNet103
from segmentation.inference import for_inference

IMAGES = 4
TRAINING_IMAGES = 2
ARITHMETIC = {
    "float32": torch.float32,
    **({"bfloat16": torch.bfloat16} if resolved("auto") == "bf16-mixed" else {}),
}
"""What this processor computes natively."""
FORMS = {
    "plain": (False, torch.float32, False),
    **{name: (True, dtype, False) for name, dtype in ARITHMETIC.items()},
    **{f"checkpointing, {name}": (True, dtype, True) for name, dtype in ARITHMETIC.items()},
}
"""Of a training step: whether the network is ours, its arithmetic, with checkpointing."""


def predictions(size_px: int) -> dict[str, Callable[[], object]]:
    """Builds a prediction of a batch in each form, after seeing that they agree."""
    plain, radiographs = PlainFCDenseNet103().eval(), 255 * torch.rand(IMAGES, 1, size_px, size_px)
    ours = FCDenseNet103()
    ours.load_state_dict(plain.state_dict())
    forms = {
        "plain": plain,
        **{name: for_inference(ours, dtype) for name, dtype in ARITHMETIC.items()},
    }

    def predict(network: nn.Module) -> torch.Tensor:
        with torch.inference_mode():
            return network(radiographs)

    torch.testing.assert_close(predict(forms["float32"]), predict(plain), rtol=1e-3, atol=1e-4)
    return {name: partial(predict, network) for name, network in forms.items()}


def training_step(form: str, size_px: int) -> Callable[[], object]:
    """Builds a step: forward, backward and Adam."""
    is_ours, dtype, checkpointing = FORMS[form]
    torch.manual_seed(0)
    network: nn.Module = PlainFCDenseNet103()
    if is_ours:
        network = channels_last(FCDenseNet103(checkpointing=checkpointing))
    radiographs = 255 * torch.rand(TRAINING_IMAGES, 1, size_px, size_px)
    target = torch.randint(2, (TRAINING_IMAGES, size_px, size_px))
    adam = torch.optim.Adam(network.parameters(), lr=1e-4, fused=True if is_ours else None)

    def step() -> None:
        adam.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            logits = network(radiographs)
        F.cross_entropy(logits.float(), target).backward()
        adam.step()

    return step


def memory_of_step(form: str, size_px: int) -> float:
    """Returns the growth in MB; for a process of its own."""
    step = training_step(form, size_px)
    before = resident_mb("VmRSS")
    step()
    step()
    return resident_mb("VmHWM") - before


def main() -> None:
    parser = argparse.ArgumentParser(description="FC-DenseNet103 against the plain way.")
    parser.add_argument("--size_px", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    size_px, rounds = arguments.size_px, arguments.rounds
    print(f"{machine('each as named')}, {size_px} px, median of {rounds} rounds")
    print("\n| what | plain | ours | ratio |\n|---|---|---|---|")

    seconds = alternated(predictions(size_px), rounds)
    rates = {form: IMAGES / taken for form, taken in seconds.items()}
    for form in ARITHMETIC:
        print(
            f"| prediction, batch {IMAGES}, {form} | {rates['plain']:.2f} images/s "
            f"| {rates[form]:.2f} images/s | {rates[form] / rates['plain']:.1f} |",
            flush=True,
        )
    quickest = list(ARITHMETIC)[-1]
    forms = ("plain", quickest, f"checkpointing, {quickest}")
    seconds = alternated({form: training_step(form, size_px) for form in forms}, rounds)
    for form in forms[1:]:
        print(
            f"| training step, batch {TRAINING_IMAGES}, {form} | {1000 * seconds['plain']:.0f} ms "
            f"| {1000 * seconds[form]:.0f} ms | {seconds['plain'] / seconds[form]:.1f} |",
            flush=True,
        )
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as one:
        memory = {form: one.apply(memory_of_step, (form, size_px)) for form in FORMS}
    for form in list(FORMS)[1:]:
        print(
            f"| memory of a step, {form} | {memory['plain']:.0f} MB | {memory[form]:.0f} MB "
            f"| {memory[form] / memory['plain']:.2f} |"
        )


if __name__ == "__main__":
    main()
