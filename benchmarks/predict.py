"""How much of the network's throughput `lungs predict` reaches on files of real size.

python benchmarks/predict.py --count 60 --side_px 1500

Phantom radiographs, PNG and JPEG in turn, are written to a temporary folder. First the network
alone works through ready-made batches, then `predict_masks` through the files, then the network
alone again. FC-DenseNet103 has random weights, whose answer is noise; so that cleaning and writing
masks cost what they cost on lungs, its answer is replaced by a phantom's lungs.

Beside the clock, the processor's time is printed, which other programs on the machine disturb less.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from measuring import machine, resolved
from PIL import Image
from torch import Tensor, nn

from flannel.data.diagnosis import FLANNEL
from flannel.data.phantom import draw_phantom, varied_size
from segmentation.checkpoint import Segmenter, channels_last
from segmentation.fc_densenet import FCDenseNet103
from segmentation.inference import class_probabilities, ready_network
from segmentation.masks.devices import device_of
from segmentation.masks.pipeline import MaskOptions
from segmentation.masks.predict import predict_masks
from segmentation.masks.radiograph_files import radiographs_of
from segmentation.preprocessing import prepare_target

DRAWN = 12
"""Different phantoms; more files are copies of them."""
SIZE_PX = 256


class LungsWhateverItSees(nn.Module):
    """Computes a network's logits, and answers with the same lungs for every radiograph."""

    def __init__(self, network: nn.Module, lungs: Float[Tensor, "height width"]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("answer", torch.stack([-4 * lungs, 4 * lungs]))

    def forward(self, radiographs: Tensor) -> Tensor:
        """Returns the logits of background and lungs."""
        return self.answer + 0 * self.network(radiographs)


def write_radiographs(folder: Path, count: int, side_px: int) -> Float[Tensor, "height width"]:
    """Writes phantoms, and gives the lungs of one: 1 inside, -1 outside."""
    for number in range(min(count, DRAWN)):
        generator = np.random.default_rng([1, number])
        size = varied_size(generator, side_px)
        phantom = draw_phantom(FLANNEL[number % len(FLANNEL)], generator, size)
        picture = Image.fromarray(phantom.image)
        for copy in range(number, count, DRAWN):
            suffix = "png" if copy // DRAWN % 2 == 0 else "jpg"
            picture.save(folder / f"phantom-{copy:04d}.{suffix}", quality=90)
    lungs = prepare_target([phantom.left_lung | phantom.right_lung], SIZE_PX)
    return torch.from_numpy(lungs).float() * 2 - 1


class Cost(NamedTuple):
    """What an image takes."""

    seconds: float
    cpu_seconds: float

    def __str__(self) -> str:
        return f"{1 / self.seconds:6.2f} images/s, {1000 * self.cpu_seconds:5.0f} ms of processor"


def clocks() -> Cost:
    return Cost(time.perf_counter(), time.process_time())


def cost_since(before: Cost, images: int) -> Cost:
    now = clocks()
    return Cost(
        (now.seconds - before.seconds) / images, (now.cpu_seconds - before.cpu_seconds) / images
    )


def network_alone(segmenter: Segmenter, options: MaskOptions, batch_size: int, count: int) -> Cost:
    """Measures the network on ready-made batches."""
    device = device_of(0)
    network = ready_network(segmenter.network, options.precision, device)
    batch = 255 * torch.rand(batch_size, 1, SIZE_PX, SIZE_PX, device=device)
    batches = max(1, count // batch_size)
    for measured in (1, batches):
        before = clocks()
        for _ in range(measured):
            found = class_probabilities(network, batch, segmenter.classes)
            found[:, 1].cpu().numpy()
    return cost_since(before, batches * batch_size)


def main() -> None:
    parser = argparse.ArgumentParser(description="How near `lungs predict` is to its network.")
    parser.add_argument("--count", type=int, default=60, help="radiographs")
    parser.add_argument("--side_px", type=int, default=1500, help="their side, give or take 12 %%")
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--precision", type=resolved, default="auto")
    arguments = parser.parse_args()
    options = MaskOptions(precision=arguments.precision)
    with tempfile.TemporaryDirectory() as place:
        images, masks = Path(place) / "images", Path(place) / "masks"
        images.mkdir()
        lungs = write_radiographs(images, arguments.count, arguments.side_px)
        network = channels_last(LungsWhateverItSees(FCDenseNet103(), lungs)).eval()
        segmenter = Segmenter(network, SIZE_PX, sha256="random")
        settings = segmenter, options, arguments.batch_size, arguments.count
        alone = [network_alone(*settings)]
        before = clocks()
        report = predict_masks(
            radiographs_of([images], masks).files, segmenter, masks, arguments.batch_size, options
        )
        predicted = cost_since(before, report.made)
        alone.append(network_alone(*settings))
    print(machine(arguments.precision))
    print(f"{report.made} radiographs of about {arguments.side_px} px")
    print(f"network alone  {alone[0]}\n               {alone[1]}\nlungs predict  {predicted}")
    seconds, processor = (sum(costs) / 2 for costs in zip(*alone, strict=True))
    print(
        f"lungs predict reaches {seconds / predicted.seconds:.0%} of the network alone by the "
        f"clock, {processor / predicted.cpu_seconds:.0%} by processor time"
    )


if __name__ == "__main__":
    main()
