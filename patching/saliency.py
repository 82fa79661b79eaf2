"""Where in a radiograph a network finds a diagnosis: Grad-CAM, and its mean over patches.

Grad-CAM is that of Selvaraju et al. 2017 (Equations 1 and 2). The probabilistic map over patches is
that of Oh, Park and Ye 2020, whose patches paper 004 takes over: the mean over all patches that see
a pixel of their maps, each weighed by how probable its patch holds the diagnosis.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from flannel.errors import OptionError
from patching.sampling import Border, corners_inside


def grad_cam(
    maps: Float[Tensor, "views channels height width"],
    gradients: Float[Tensor, "views channels height width"],
) -> Float[Tensor, "views height width"]:
    """Sums the channels of a feature map, each weighed by the mean of its gradient, above 0.

    Args:
        maps: What a layer gives for each view.
        gradients: Of one class's logit in these maps.

    Returns:
        Values of 0 or more, of any scale.
    """
    weights = gradients.mean(dim=(2, 3), keepdim=True)
    return (weights * maps).sum(dim=1).relu()


def stretched_to_one(
    cams: Float[Tensor, "views height width"], size: int
) -> Float[Tensor, "views size size"]:
    """Enlarges each map (bilinear, as the authors' code) and stretches it from its least to 1.

    A map that is the same everywhere says nothing of where, and becomes 0. In the authors' code it
    becomes 0 / 0, and no pixel of the radiograph that it touches has a value any more.

    Args:
        cams: Values of 0 or more.
        size: Side of the view that the network saw.

    Returns:
        Maps whose least value is 0 and whose greatest is 1, or 0 where there is nothing to tell.
    """
    large = F.interpolate(cams[:, None], size=(size, size), mode="bilinear", align_corners=False)[
        :, 0
    ]
    least = large.amin(dim=(1, 2), keepdim=True)
    extent = large.amax(dim=(1, 2), keepdim=True) - least
    # Dividing by 1 where the map is flat leaves its zeros alone.
    return (large - least) / torch.where(extent > 0, extent, 1.0)


def probabilistic_cam(
    maps: Float[Tensor, "k size size"],
    probabilities: Float[Tensor, " k"],
    centres: Int64[Tensor, "k 2"],
    windows_px: Int64[Tensor, " k"],
    image_px: tuple[int, int],
    border: Border = "inside",
) -> Float[Tensor, "height width"]:
    """Averages the maps of the patches that see a pixel, each times its patch's probability.

    S(x) = sum over k of p_k M_k(x), divided by the number of windows that hold x; 0 where no window
    does. The authors' code adds 1e-7 to that number lest it be 0; here it is at least 1.

    Args:
        maps: M_k, in [0, 1], as `stretched_to_one` gives them.
        probabilities: p_k, the softmax of each patch for the diagnosis.
        centres: Row and column of each patch's centre.
        windows_px: Side of each patch in the image; its map is resized to that.
        image_px: Height and width of the image.
        border: What became of windows that reach over the image's edge (`crop_patches`): their maps
            go where their pixels came from.

    Returns:
        Values in [0, 1].

    Raises:
        OptionError: If a window does not fit inside the image and `border` is `inside`, or if the
            border rule is unknown.
    """
    height, width = image_px
    total, windows = maps.new_zeros(image_px), maps.new_zeros(image_px)
    match border:
        case "inside":
            corners = corners_inside(centres, windows_px, height, width)
        case "padded" | "stretched":
            corners = centres - windows_px[:, None] // 2
        case _:
            raise OptionError(f"border is {border!r}: expected inside, padded or stretched.")
    places = zip(maps, probabilities, corners.tolist(), windows_px.tolist(), strict=True)
    for cam, probability, (row, column), side in places:
        top, bottom = max(row, 0), min(row + side, height)
        left, right = max(column, 0), min(column + side, width)
        if border == "stretched":
            seen = resized(cam, bottom - top, right - left)
        else:
            seen = resized(cam, side, side)[
                top - row : bottom - row, left - column : right - column
            ]
        total[top:bottom, left:right] += probability * seen
        windows[top:bottom, left:right] += 1
    return total / windows.clamp(min=1)


def resized(
    cam: Float[Tensor, "size size"], height: int, width: int
) -> Float[Tensor, "height width"]:
    """Resizes one map (bilinear); one of that size already is given back as it is."""
    if cam.shape == (height, width):
        return cam
    large = F.interpolate(
        cam[None, None], size=(height, width), mode="bilinear", align_corners=False
    )
    return large[0, 0]
