"""The weights of the lung segmenter that comes with the package (docs/shipped_segmenter.md)."""

from pathlib import Path
from types import MappingProxyType

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from flannel.runs.checkpoints import CheckpointError, read_hashed

WEIGHTS = Path(__file__).parent / "weights" / "unet_lite0.safetensors"
SHA256 = "3437a84eb5117f0b66e6cb2ce3fce74aeb4a50796465b5167db0e68e37e46fab"
NETWORK = MappingProxyType(
    {
        "class_path": "segmentation.unet.LiteUNet",
        "init_args": {
            "encoder": "efficientnet_lite0",
            "encoder_weights": None,
            "decoder_channels": [128, 64, 32, 16, 16],
            "classes": 2,
        },
    }
)
SIZE_PX = 256
LOW_CONFIDENCE = 0.93
"""Mean probability below which a mask of these weights is flagged: in benchmarks/README.md, 71 % of
the masks with a Jaccard index below 0.8 and 8 % of the others; 1 of 352 real radiographs."""
NOTE = (
    "Lungs are segmented by the network that comes with the package: U-Net on EfficientNet-Lite0, "
    "docs/shipped_segmenter.md."
)


def is_shipped(checkpoint: Path) -> bool:
    """Returns whether a path names the weights that come with the package."""
    return checkpoint.resolve() == WEIGHTS.resolve()


def read_weights() -> dict[str, Tensor]:
    """Reads the weights, half precision, of the very bytes whose hash is the pinned one.

    Raises:
        CheckpointError: If the file is missing, or is not the one that this version was made with.
    """
    content, sha256 = read_hashed(WEIGHTS)
    if sha256 != SHA256:
        raise CheckpointError(
            f"{WEIGHTS} is not the file that this version of the package was made with: its "
            f"SHA-256 begins with {sha256[:8]}, expected {SHA256[:8]}. Install the package again."
        )
    try:
        return load(content)
    except SafetensorError as fault:
        raise CheckpointError(f"{WEIGHTS} holds no weights: {fault}.") from fault
