"""Writes a run's weights as those that come with the package: half precision, safetensors.

python experiments/segmentation/ship_weights.py STUDY/segmentation/unet_lite0_tuned/best.ckpt

Then pin the printed hash in segmentation/shipped.py.
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file

from flannel.files import sha256_of, whole_file
from flannel.runs.checkpoints import checkpoint_weights
from segmentation.shipped import WEIGHTS


def main() -> None:
    """Writes the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    arguments = parser.parse_args()
    weights = checkpoint_weights(arguments.checkpoint, "network.")
    halved = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in weights.items()
    }
    lost = [name for name, value in halved.items() if not torch.isfinite(value).all()]
    if lost:
        raise SystemExit(f"{', '.join(lost)} do not fit in half precision.")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(arguments.out) as beside:
        save_file(halved, beside)
    print(f"{arguments.out}: {arguments.out.stat().st_size:,} bytes, {sha256_of(arguments.out)}")


if __name__ == "__main__":
    main()
