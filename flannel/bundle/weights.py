"""The weights of a bundle: numbers under names, and no more memory for a network than they need.

What a network is built with comes from whoever wrote the bundle, and a single number of it could
ask for more memory than there is. So its skeleton, which has shapes but no numbers, is compared
with what the file of weights declares, whose size on the disk bounds everything.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save_file
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from flannel.runs.checkpoints import CheckpointError, read_hashed

Shapes = Mapping[str, tuple[int, ...]]

FLOATING = ("F64", "F32", "F16", "BF16")
COUNTS = ("I64", "I32", "I16", "I8", "U8", "BOOL")
KINDS = FLOATING + COUNTS
"""Types of numbers that are read, by safetensors' names for them."""
MOST_TENSORS = 20_000
SPARE_PARTS = 1_000
SPARE_BYTES = 128 * 2**20
"""What a network may make and give up again while it is built, such as the head of its 1000
ImageNet classes; VGG's takes 16 MB."""


def save_weights(weights: Mapping[str, Tensor], path: Path) -> None:
    """Writes weights as safetensors: numbers under names, and nothing that could be run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Copies, because tensors that share memory are refused.
    save_file({name: value.clone().contiguous() for name, value in weights.items()}, path)
    path.chmod(0o644)  # safetensors lets nobody else read what it writes, which is to be handed on


def read_weights(path: Path, sha256: str) -> dict[str, Tensor]:
    """Reads weights, of the very bytes whose hash is compared.

    Args:
        path: The file.
        sha256: Its hash when the bundle was opened.

    Raises:
        CheckpointError: If the file has changed since, is no safetensors file, or holds what is no
            number.
    """
    try:
        weights = load(read_hashed(path, sha256)[0])
    except SafetensorError as fault:
        raise _no_weights(path, fault) from fault
    for name, value in weights.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise CheckpointError(
                f"{path} holds weights that are no numbers (NaN or infinite, in {name}): its "
                "training must have failed, and nothing it says would mean anything."
            )
    return weights


def declared_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Reads what a file of weights declares, without the weights.

    That the shapes need exactly the bytes that the file has, safetensors itself sees to.

    Raises:
        CheckpointError: If it is no safetensors file, or declares numbers of a type that no
            network of ours has.
    """
    shapes = {}
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118  it is no dictionary
                declared = file.get_slice(name)
                if declared.get_dtype() not in KINDS:
                    raise CheckpointError(
                        f"{path} declares weights of the type {declared.get_dtype()}; expected "
                        f"one of {', '.join(KINDS)}."
                    )
                shapes[name] = tuple(declared.get_shape())
    except (SafetensorError, OSError) as fault:
        raise _no_weights(path, fault) from fault
    if len(shapes) > MOST_TENSORS:
        raise CheckpointError(
            f"{path} declares {len(shapes):,} weights; networks of at most {MOST_TENSORS:,} are "
            "built."
        )
    return shapes


def check_network(build: Callable[[], nn.Module], path: Path, name: str) -> nn.Module:
    """Compares a network with its file of weights, before any memory is taken for either.

    Args:
        build: Builds it, with `flannel.runs.checkpoints.build_module`.
        path: Its file of weights.
        name: Whose it is, for the error.

    Returns:
        Its skeleton, in evaluation mode: of shapes without numbers, on the device "meta", but for
        the few networks that have to look at numbers while they are built.

    Raises:
        CheckpointError: If it cannot be built, or its weights have other names or shapes.
    """
    declared = declared_shapes(path)
    with _bounded(len(declared), path.stat().st_size, name):
        skeleton = _skeleton(build).eval()
    wanted = {key: tuple(value.shape) for key, value in skeleton.state_dict().items()}
    if wanted != declared:
        raise CheckpointError(
            f"The weights of {name} do not fit its network: {_unlike(wanted, declared)}."
        )
    kept = sum(buffer.nbytes for buffer in skeleton.buffers())
    if kept > path.stat().st_size + SPARE_BYTES:
        raise CheckpointError(f"The network of {name} keeps {kept:,} bytes beside its weights.")
    return skeleton


def check_answer(
    skeleton: nn.Module, given: tuple[int, ...], expected: tuple[int, ...], name: str
) -> None:
    """Asks a network without numbers, which costs no memory, for the shape of its answer.

    Args:
        skeleton: As `check_network` gave it.
        given: Shape of its input.
        expected: Shape that its answer has to have.
        name: Whose it is, for the error.

    Raises:
        CheckpointError: If it takes no such input, or answers something else.
    """
    try:
        with torch.inference_mode():
            answer = skeleton.to("meta")(torch.empty(given, device="meta"))
    except Exception as fault:  # whatever the code of a network raises for an input not its own
        raise CheckpointError(
            f"The network of {name} takes no input of the shape {given}: {str(fault)[:200]}"
        ) from fault
    shape = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
    if shape != expected:
        raise CheckpointError(
            f"The network of {name} answers {shape}, where {expected} is expected."
        )


def _skeleton(build: Callable[[], nn.Module]) -> nn.Module:
    """Builds a network without numbers.

    RegNet and MiT ask for numbers while they are built, which the device "meta" has none of. They
    are built of memory that is not touched before `_bounded` has seen its size.
    """
    try:
        with torch.device("meta"):
            return build()
    except CheckpointError as fault:
        if "meta tensor" not in str(fault.__cause__):
            raise
    return build()


@contextmanager
def _bounded(tensors: int, file_bytes: int, name: str) -> Iterator[None]:
    """Ends the building of a network that has more parts, or larger ones, than its weights."""
    parts, size = 0, 0

    def counted(module: nn.Module, name_within: str, part: nn.Module | Tensor | None) -> None:
        nonlocal parts, size
        parts += 1
        if isinstance(part, Tensor) and part.device.type != "meta":
            size += part.nbytes
        if parts > 8 * tensors + SPARE_PARTS or size > 2 * file_bytes + SPARE_BYTES:
            raise CheckpointError(
                f"The weights of {name} do not fit its network, which is far larger than they are."
            )

    with ExitStack() as until:
        for register in (
            register_module_module_registration_hook,
            register_module_parameter_registration_hook,
        ):
            until.callback(register(counted).remove)
        yield


def _unlike(wanted: Shapes, declared: Shapes) -> str:
    """Names the first weight in which they differ."""
    name = min(name for name in {*wanted, *declared} if wanted.get(name) != declared.get(name))
    has, needs = (
        " x ".join(map(str, tensors[name])) or "one number" if name in tensors else "nothing"
        for tensors in (declared, wanted)
    )
    return f"{name[:100]} is {has}, where the network has {needs}"


def _no_weights(path: Path, fault: Exception) -> CheckpointError:
    return CheckpointError(f"{path} holds no weights ({fault}): get the bundle again.")
