"""Trained networks for other programs: a file of ONNX each, compared with the network itself.

A file holds one network and what it needs to know: numbers go in as the learner's view normalises
them, logits come out. Drawing patches, voting and cleaning masks stay with this project.
"""

import contextlib
import importlib.util
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from flannel.errors import FlannelError
from flannel.files import whole_file
from flannel.prediction.trained import NOTICE, Trained, TrainedEnsemble, TrainedLearner
from segmentation.checkpoint import Segmenter

NEEDED = ("onnx", "onnxscript", "onnxruntime")
TOLERANCE = 1e-3
"""By how much outputs may differ from the network's, relative to the largest of them."""


class OnnxError(FlannelError):
    """Raised when a network cannot be exported."""


@dataclass(frozen=True)
class Exported:
    """A network that was written, and read again by ONNX Runtime.

    Attributes:
        path: The file.
        difference: The largest difference of an output from the network's own, relative to the
            largest output.
    """

    path: Path
    difference: float


def export_trained(trained: Trained, folder: Path) -> Iterator[Exported]:
    """Writes the segmenter and every learner and ensemble, one after the other.

    Args:
        trained: Of a study or bundle.
        folder: Gets `segmenter.onnx` and `<arm>.<learner>.onnx`.

    Raises:
        OnnxError: If the extra is not installed, or ONNX Runtime gives other numbers.
        TrainedError: If weights cannot be read.
    """
    _check_installed()
    if trained.segmenter is not None:
        yield _export_segmenter(trained.segmenter, folder / "segmenter.onnx")
    for learner in trained.learners:
        path = folder / f"{learner.arm}.{learner.learner}.onnx"
        yield _export_learner(learner, trained.diagnoses, path)
    for ensemble in trained.ensembles:
        path = folder / f"{ensemble.arm}.{ensemble.learner}.onnx"
        yield _export_ensemble(ensemble, trained.diagnoses, path)


def export_network(
    network: nn.Module,
    example: Float[Tensor, "..."],
    path: Path,
    described: Mapping[str, object],
) -> Exported:
    """Writes a network, and compares what ONNX Runtime makes of the file with its own answer.

    Args:
        network: In evaluation mode, in float32 on the CPU; one tensor in, one out.
        example: An input of at least 2 examples; the file takes any number of them.
        path: The file, which appears only if the numbers agree.
        described: Plain values that go into the file's metadata.

    Raises:
        OnnxError: If the numbers do not agree.
    """
    with _hushed():
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            verbose=False,
            input_names=["input"],
            output_names=["output"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )
    assert program is not None
    for name, value in described.items():
        program.model.metadata_props[name] = json.dumps(value)
    with whole_file(path) as beside:
        program.save(beside, external_data=False)
        difference = _difference(network, torch.cat([example, example[:1]]), beside)
        if not difference <= TOLERANCE:
            raise OnnxError(
                f"ONNX Runtime's answer differs from the network's by {difference:.2g} of it, more "
                f"than {TOLERANCE:g}; {path} is not written. Try another version of onnxscript."
            )
    return Exported(path, difference)


def _export_segmenter(segmenter: Segmenter, path: Path) -> Exported:
    side = segmenter.size_px
    described = {
        "classes": segmenter.classes,
        "input": "histogram-equalised grey levels in 0..255, lungs dark (batch, 1, side, side)",
        "output": "logits (batch, classes, side, side)",
        "notice": NOTICE,
    }
    return export_network(segmenter.network, 255 * _noise(1, side, side), path, described)


def _export_learner(learner: TrainedLearner, diagnoses: tuple[str, ...], path: Path) -> Exported:
    options = learner.view_options
    side = options.view.size_px
    described = {
        "classes": diagnoses,
        "input": f"views (batch, 3, side, side), normalised as {options.normalisation}",
        "output": "logits (batch, classes)",
        "arm": learner.arm,
        "options": {name: value for name, value in learner.data.items() if value is not None},
        "vote": learner.vote,
        "notice": NOTICE,
    }
    return export_network(learner.build(), _noise(3, side, side), path, described)


def _export_ensemble(ensemble: TrainedEnsemble, diagnoses: tuple[str, ...], path: Path) -> Exported:
    described = {
        "classes": diagnoses,
        "input": "probabilities of the learners (batch, learners, classes)",
        "output": "scores before the softmax (batch, classes)",
        "learners": ensemble.learners,
        "notice": NOTICE,
    }
    example = _noise(len(ensemble.learners), ensemble.classes)
    return export_network(ensemble.build(), example.softmax(dim=2), path, described)


def _noise(*shape: int) -> Float[Tensor, "..."]:
    return torch.rand(2, *shape, generator=torch.Generator().manual_seed(1))


def _difference(network: nn.Module, inputs: Tensor, path: Path) -> float:
    """Compares on one example more than was exported with, so that the batch is seen to be free."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (actual,) = session.run(None, {"input": inputs.numpy()})
    with torch.inference_mode():
        expected = network(inputs).numpy()
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


def _check_installed() -> None:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise OnnxError(
            f"{', '.join(missing)} is not installed: pip install 'patched-flannel[onnx]', or "
            "pip install -e '.[onnx]' here."
        )


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Keeps from the screen what the exporter's libraries say to each other."""
    for name in ("torch.onnx", "onnxscript"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
