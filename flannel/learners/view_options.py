"""The options by which a learner sees radiographs, checked once for training and prediction."""

from collections.abc import Mapping
from dataclasses import dataclass

from flannel.errors import OptionError
from flannel.learners.views import (
    Arm,
    Greyscale,
    Normalisation,
    PatchView,
    PatchWeights,
    View,
    WholeView,
)
from patching.sampling import Border, Strategy


@dataclass(frozen=True)
class ViewOptions:
    """What a learner sees of a radiograph, and of how many at once: plain options, no file.

    Attributes:
        arm: The study arm.
        view: How a radiograph becomes views.
        normalisation: By whose mean and deviation grey values are normalised.
        patches: Patches an image in training, validation and prediction: "train", "val", "predict".
        predict_batch_size: Images a step without gradients, on one device.
        seed: Of order, crops, flips and patch centres.
    """

    arm: Arm
    view: View
    normalisation: Normalisation
    patches: Mapping[str, int]
    predict_batch_size: int
    seed: int


def view_options(
    *,
    arm: Arm,
    batch_size: int,
    predict_batch_size: int | None,
    size_px: int,
    resize_px: int,
    crop_margin_px: int,
    window_px: int | list[int],
    lung_box: bool,
    train_patches: int,
    val_patches: int,
    predict_patches: int,
    centres: Strategy,
    border: Border,
    mask_patches: bool,
    patch_weights: PatchWeights,
    greyscale: Greyscale,
    normalisation: Normalisation,
    seed: int,
) -> ViewOptions:
    """Returns what the options of a `RadiographDataModule` say about views, once checked.

    Raises:
        OptionError: If a radiograph is to be cropped to more than it is resized to, the margin is
            negative, or a side or a number of images or patches is below 1.
    """
    counts = {
        "batch_size": batch_size,
        "predict_batch_size": predict_batch_size or batch_size,
        "size_px": size_px,
        "resize_px": resize_px,
        "train_patches": train_patches,
        "val_patches": val_patches,
        "predict_patches": predict_patches,
    }
    for name, value in counts.items():
        if value < 1:
            raise OptionError(f"{name} is {value}; expected at least 1.")
    if arm != "patched" and resize_px < size_px:
        raise OptionError(
            f"resize_px is {resize_px} and size_px {size_px}: a radiograph cannot be cropped to "
            "more than it is resized to. Raise data.resize_px."
        )
    if crop_margin_px < 0:
        raise OptionError(
            f"crop_margin_px is {crop_margin_px}; expected 0 or more pixels around the lungs."
        )
    windows_px = (window_px,) if isinstance(window_px, int) else tuple(window_px)
    if not windows_px or min(windows_px) < 1:
        raise OptionError(
            f"window_px is {window_px}: a patch needs a side of at least 1 pixel. Give a side, or "
            "several in a list, as data.window_px."
        )
    view: View
    if arm == "patched":
        view = PatchView(
            windows_px, size_px, centres, border, mask_patches, greyscale, patch_weights, lung_box
        )
    else:
        view = WholeView(resize_px, size_px, arm, greyscale, crop_margin_px)
    patches = {"train": train_patches, "val": val_patches, "predict": predict_patches}
    return ViewOptions(arm, view, normalisation, patches, predict_batch_size or batch_size, seed)
