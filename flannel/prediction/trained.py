"""What has been trained, ready to predict: segmenter, base learners and ensembles of one fold.

Everything here is made of plain options and of weights that are read when they are wanted, from a
study's folder (`flannel.prediction.trained_study`) or from a bundle. Networks are built only of
`NETWORKS` and `COMBINATIONS`, so that neither runs any other code.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from flannel.data.diagnosis import coloured
from flannel.data.store.layout import Settings
from flannel.ensemble.baselines import Combine
from flannel.ensemble.combinations import combined
from flannel.errors import FlannelError
from flannel.files import digest_of
from flannel.learners.datamodule import view_options_of
from flannel.learners.view_options import ViewOptions
from flannel.metrics.calibration import Temperature
from flannel.prediction.doubts import Norms
from flannel.runs.arithmetic import answering_precision, device_name, emulation
from flannel.runs.checkpoints import CheckpointError, build_module, load_weights
from flannel.runs.run import Answering
from patching.vote import Rule
from segmentation.checkpoint import Segmenter
from segmentation.inference import Precision
from segmentation.masks.pipeline import PLAIN, MaskOptions

NOTICE = (
    "Research software, no medical device: what it says of a radiograph is no diagnosis, and must "
    "not guide the treatment of anybody."
)
NETWORKS = ("flannel.networks.", "torchvision.models.")
"""Base learners are built only of classes from here."""
COMBINATIONS = ("flannel.ensemble.combinations.",)
"""Ensembles are built only of classes from here."""

FEW_PATCHES, MEASURED_PATCHES = 40, 100
"""Relaxed patches weighed by area, and uniform ones: equally near to a dense lattice's vote."""

Weights = Callable[[], Mapping[str, Tensor]]
"""Reads the weights of one network, by their names within it."""


class TrainedError(FlannelError):
    """Raised when something trained cannot predict."""


@dataclass(frozen=True)
class TrainedLearner:
    """A base learner of one arm.

    Attributes:
        arm: Its study arm.
        learner: Its name.
        network: `class_path` and `init_args`, as in the run's config.yaml.
        data: The options of its `RadiographDataModule`, without study and fold.
        vote: How its patches vote.
        views_at_once: Views in a forward pass.
        precision: Lightning's name for the arithmetic that it was trained and measured in.
        weights: Reads the network's weights.
        temperature: Fitted on the fold's validation radiographs; None where those allow none.
        identity: Hash of all that decides its answers.
    """

    arm: str
    learner: str
    network: Mapping[str, object]
    data: Mapping[str, object]
    vote: Rule
    views_at_once: int
    precision: str
    weights: Weights
    temperature: Temperature | None
    identity: str

    @property
    def name(self) -> str:
        """Its name in an ensemble: `<arm>/<learner>`."""
        return f"{self.arm}/{self.learner}"

    @property
    def needs_mask(self) -> bool:
        """Whether it sees nothing without a lung mask."""
        return self.arm != "global"

    @cached_property
    def view_options(self) -> ViewOptions:
        """What it sees of a radiograph.

        Raises:
            TrainedError: If an option is none of this version's.
            OptionError: If one has a value that cannot be used.
        """
        try:
            return view_options_of(self.data)
        except TypeError as fault:
            raise TrainedError(
                f"The data options of {self.name} are not those of this version ({fault}): ask it "
                "with the version that trained it, or train it again."
            ) from fault

    def unfilled(self) -> nn.Module:
        """Builds the network without its weights.

        Raises:
            CheckpointError: If it cannot be built.
        """
        return build_module(self.network, NETWORKS, {"weights": "later"})

    def build(self) -> nn.Module:
        """Builds the network with its weights: in evaluation mode, on the CPU.

        Raises:
            TrainedError: If it cannot be built, or its weights cannot be read.
        """
        return _filled(self)


@dataclass(frozen=True)
class TrainedEnsemble:
    """FLANNEL of one arm: what combines its base learners.

    Attributes:
        arm: The ensemble's arm, such as "patched" or "fused".
        learner: Its name in tables.
        learners: The base learners in its order, as `<arm>/<learner>`.
        combination: `class_path` and `init_args` of the combining module.
        classes: Number of diagnoses.
        weights: Reads the module's weights.
        temperature: Fitted on the fold's validation radiographs; None where those allow none.
        identity: Hash of all that decides its answers.
    """

    arm: str
    learner: str
    learners: tuple[str, ...]
    combination: Mapping[str, object]
    classes: int
    weights: Weights
    temperature: Temperature | None
    identity: str

    @property
    def name(self) -> str:
        """Its name beside the base learners': `<arm>/<learner>`."""
        return f"{self.arm}/{self.learner}"

    @cached_property
    def module(self) -> nn.Module:
        """The module, built once: a few thousand parameters."""
        return self.build()

    def confidences(
        self, probabilities: Float[np.ndarray, "images learners classes"]
    ) -> Float32[np.ndarray, "images classes"]:
        """Combines what the learners say, in the ensemble's order of them.

        Raises:
            TrainedError: As `build`.
        """
        return combined(self.module, probabilities.astype(np.float32))[0]

    def unfilled(self) -> nn.Module:
        """Builds the module without its weights.

        Raises:
            CheckpointError: If it cannot be built.
        """
        arguments = self.combination.get("init_args") or {}
        assert isinstance(arguments, Mapping)
        counted = {"learners": len(self.learners), "classes": self.classes}
        specification = {**self.combination, "init_args": {**arguments, **counted}}
        return build_module(specification, COMBINATIONS)

    def build(self) -> nn.Module:
        """Builds the module, from (batch, learners, classes) to scores before the softmax.

        Raises:
            TrainedError: If it cannot be built, or its weights cannot be read.
        """
        return _filled(self)


@dataclass(frozen=True)
class TrainedBaseline:
    """What combines the base learners of one arm without a network (`flannel.ensemble.baselines`).

    Attributes:
        arm: Its arm, as an ensemble's.
        learner: Its name in tables, such as "mean".
        learners: The base learners in its order, as `<arm>/<learner>`.
        combine: Returns the confidence of each diagnosis from their probabilities.
        temperature: Fitted on the fold's validation radiographs; None where those allow none.
        identity: Hash of all that decides its answers.
    """

    arm: str
    learner: str
    learners: tuple[str, ...]
    combine: Combine
    temperature: Temperature | None
    identity: str

    def confidences(
        self, probabilities: Float[np.ndarray, "images learners classes"]
    ) -> Float32[np.ndarray, "images classes"]:
        """Combines what the learners say, in the baseline's order of them."""
        return np.asarray(self.combine(probabilities), np.float32)


def _filled(part: TrainedLearner | TrainedEnsemble) -> nn.Module:
    """Builds a network and reads its weights into it.

    Raises:
        TrainedError: If it cannot be built, or its weights cannot be read.
    """
    try:
        network = part.unfilled()
        load_weights(network, part.weights(), part.name)
    except CheckpointError as fault:
        raise TrainedError(str(fault)) from fault
    return network


Form = TrainedEnsemble | TrainedBaseline
"""Whatever combines base learners."""


@dataclass(frozen=True)
class Known:
    """A radiograph of the study's own manifest, and what it was for in the fold."""

    image_id: str
    split: str


@dataclass(frozen=True)
class Trained:
    """What one fold of a study has trained.

    Attributes:
        name: Where it comes from, for people.
        fold: The fold.
        diagnoses: The label set, in order.
        store: How a radiograph becomes a square.
        segmenter: Finds the lungs; None where no learner needs them and there is none.
        masks: How the study's lung masks were made.
        learners: The base learners.
        ensembles: The ensembles all of whose learners are among them.
        norms: What the fold's training radiographs look like; None where they are too few.
        known: The study's own radiographs, by the hash of their file; a bundle knows none.
        hashes: Reads the perceptual hashes of its training and validation radiographs, without
            names; None where they are not known, as of older bundles.
        notes: Sentences on what is missing or unusual.
        baselines: What else combines them, likewise; none unless asked for.
        colours: Of the diagnoses, in their order; empty where none are known, as of older bundles.
    """

    name: str
    fold: int
    diagnoses: tuple[str, ...]
    store: Settings
    segmenter: Segmenter | None
    masks: MaskOptions = PLAIN
    learners: tuple[TrainedLearner, ...] = ()
    ensembles: tuple[TrainedEnsemble, ...] = ()
    norms: Norms | None = None
    known: Mapping[str, tuple[Known, ...]] = field(default_factory=dict)
    hashes: Callable[[], tuple[bytes, ...]] | None = None
    notes: tuple[str, ...] = ()
    baselines: tuple[TrainedBaseline, ...] = ()
    colours: tuple[str, ...] = ()

    @property
    def palette(self) -> dict[str, str]:
        """The label set in order, each diagnosis with its colour."""
        return coloured(self.diagnoses, dict(zip(self.diagnoses, self.colours, strict=False)))

    def used(self, sha256: str) -> bool:
        """Returns whether the fold was trained or selected on this very file."""
        return any(known.split in ("train", "val") for known in self.known.get(sha256, ()))

    def asked_in(self, precision: Answering, device: torch.device) -> "Trained":
        """Returns the same learners and masks, in the precisions in which a device is asked.

        Notes say what is asked otherwise than it was trained, and what is only emulated.
        """

        def asked(trained: str) -> str:
            return answering_precision(trained, precision, device)

        learners = tuple(
            replace(learner, precision=asked(learner.precision)) for learner in self.learners
        )
        masks = replace(self.masks, precision=cast("Precision", asked(self.masks.precision)))
        trained_in = sorted(
            {self.masks.precision, *(learner.precision for learner in self.learners)}
        )
        slow = sorted({emulation(asked(precision), device) for precision in trained_in} - {""})
        notes = [
            f"Trained in {precision}, predicting in {asked(precision)} on {device_name(device)}: "
            "the last digits differ from the study's own, which --precision as_trained gives."
            for precision in trained_in
            if asked(precision) != precision
        ]
        return replace(self, learners=learners, masks=masks, notes=(*self.notes, *notes, *slow))

    def with_few_patches(self) -> "Trained":
        """Returns the same learners, asked fewer patches where that costs no accuracy.

        40 patches whose centres keep apart, weighed by area, have the error of 100 uniform ones
        (benchmarks/README.md): learners of more than 40 and at most 100 uniform patches get those.
        """
        few = {"centres": "relaxed", "patch_weights": "area", "predict_patches": FEW_PATCHES}

        def spared(learner: TrainedLearner) -> TrainedLearner:
            view, patches = learner.view_options.view, learner.view_options.patches["predict"]
            if view.centres != "uniform" or not FEW_PATCHES < patches <= MEASURED_PATCHES:
                return learner
            identity = digest_of([learner.identity, FEW_PATCHES])
            return replace(learner, data={**learner.data, **few}, identity=identity)

        learners = tuple(map(spared, self.learners))
        if learners == self.learners:
            return self
        note = (
            f"{FEW_PATCHES} patches that keep apart are evaluated instead of uniform ones, with "
            "the same error in less time; --quick false follows the recipes."
        )
        return replace(self, learners=learners, notes=(*self.notes, note))

    @property
    def forms(self) -> tuple[Form, ...]:
        """All that combines learners."""
        return (*self.ensembles, *self.baselines)

    @property
    def identity(self) -> str:
        """Hash of all that decides an answer."""
        return digest_of(
            [
                self.diagnoses,
                self.store.identity,
                self.segmenter.sha256 if self.segmenter else "",
                str(self.masks),
                [part.identity for part in self.learners],
                [part.identity for part in self.forms],
                self.norms.identity if self.norms else "",
            ]
        )
