"""Where one learner finds a diagnosis in a radiograph, in the store's pixels."""

import torch
from jaxtyping import Bool, Float, Float32, UInt8
from torch import Tensor, nn
from torch.nn.modules import pooling

from flannel.errors import FlannelError
from flannel.learners.views import Normalisation, PatchLocations, View, normalise
from patching.saliency import grad_cam, stretched_to_one

_POOLING = (
    pooling._MaxPoolNd,
    pooling._AvgPoolNd,
    pooling._AdaptiveAvgPoolNd,
    pooling._AdaptiveMaxPoolNd,
)


class SaliencyError(FlannelError):
    """Raised when a network or layer has no saliency map."""


class GradCam:
    """Grad-CAM of one learner: plain for whole radiographs, probabilistic for patches.

    The map of a whole radiograph is that of Selvaraju et al. 2017 (Section 3), stretched to 0..1;
    that of patches is Oh, Park and Ye's (`patching.saliency`). Their code knows ResNet's `layer4`
    only; here it is the last feature map of any network, which in ResNets is `layer4`.

    Attributes:
        layer: Name of the module whose output is the feature map.

    Args:
        network: From (batch, 3, side, side) to logits, or a pair that begins with them; in
            evaluation mode, for instance `flannel.learners.inference.for_inference`'s copy.
        view: What the learner sees of a radiograph.
        normalisation: As the network was trained with.
        store_px: Side of the store's radiographs.
        views_at_once: Views in a forward pass.
        layer: A module of the network whose output is a map; the last one when empty.

    Raises:
        SaliencyError: If the network has no feature map at the view's size, or not that layer.
    """

    def __init__(
        self,
        network: nn.Module,
        view: View,
        normalisation: Normalisation,
        store_px: int,
        views_at_once: int = 16,
        layer: str = "",
    ) -> None:
        self.network, self.view, self.store_px = network, view, store_px
        self.normalisation: Normalisation = normalisation
        self.views_at_once = views_at_once
        maps = feature_maps(network, view.size_px)
        if layer and layer not in maps:
            raise SaliencyError(
                f"The layer {layer!r} gives no feature map of a view of {view.size_px} px; those "
                f"that do are {', '.join(maps) or 'none'}."
            )
        self.layer = layer or last_feature_map(network, maps)

    def map_of(
        self, pixels: UInt8[Tensor, "views 1 side side"], places: PatchLocations, diagnosis: int
    ) -> Float32[Tensor, "store store"]:
        """Returns how much each place of a radiograph speaks for a diagnosis.

        Args:
            pixels: The views of one radiograph, as its view gives them.
            places: Where they lie.
            diagnosis: The index of the class.

        Returns:
            Values in [0, 1], on the CPU; 0 also where no view looked.
        """
        device = next(self.network.parameters()).device
        cams, probabilities = [], []
        for views in pixels.to(device).split(self.views_at_once):
            cam, logits = self._cams(views, diagnosis)
            cams.append(stretched_to_one(cam, self.view.size_px).cpu())
            probabilities.append(logits.softmax(dim=1)[:, diagnosis].cpu())
        return self.view.heat(torch.cat(cams), torch.cat(probabilities), places, self.store_px)

    def seen(self, places: PatchLocations) -> Bool[Tensor, "store store"]:
        """Returns where the views lie: True where at least one of them looked."""
        ones = torch.ones(len(places.centres))
        return self.view.heat(ones[:, None, None], ones, places, self.store_px) > 0

    def _cams(
        self, views: UInt8[Tensor, "views 1 side side"], diagnosis: int
    ) -> tuple[Float32[Tensor, "views height width"], Float32[Tensor, "views classes"]]:
        """Runs views forward, and one class's logit back to the feature map and no further."""
        kept: list[Tensor] = []

        def keep(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
            torch.set_grad_enabled(True)  # from here on; what led here needs no gradient
            # A copy that later layers may change in place (as DenseNet does), for it is no leaf.
            kept.append(output.detach().requires_grad_().clone())
            return kept[-1]

        dtype = next(self.network.parameters()).dtype
        hook = self.network.get_submodule(self.layer).register_forward_hook(keep)
        try:
            with torch.no_grad():
                out = self.network(normalise(views, self.normalisation, dtype))
        finally:
            hook.remove()
        logits = out[0] if isinstance(out, tuple) else out
        # Views do not touch each other, so the gradient of the sum is that of each.
        (gradients,) = torch.autograd.grad(logits[:, diagnosis].sum(), kept[-1])
        return grad_cam(kept[-1].detach().float(), gradients.float()), logits.detach().float()


def feature_maps(network: nn.Module, size_px: int) -> list[str]:
    """Lists the modules through which the whole of a view goes as a map, in the order of running.

    A branch inside a block is none, for only a part of the view goes through it: a module counts
    if no module around it but `Sequential`s gives a map itself. Nor does a pooling layer, nor what
    one made of the last convolution's map, such as the whole of VGG's features, whose 14 x 14
    places became 7 x 7; and nor does a map of a single place.

    Args:
        network: From (batch, 3, side, side) to logits.
        size_px: Side of the view.
    """
    shapes: dict[str, torch.Size] = {}
    names = {module: name for name, module in network.named_modules()}

    def note(module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4:
            shapes.pop(names[module], None)  # called again, it moves to the end
            shapes[names[module]] = output.shape

    hooks = [module.register_forward_hook(note) for module in names]
    parameter = next(network.parameters())
    try:
        with torch.no_grad():
            network(parameter.new_zeros(1, 3, size_px, size_px))
    finally:
        for hook in hooks:
            hook.remove()
    return [
        name
        for name, shape in _unpooled(network, shapes).items()
        if shape[2:].numel() > 1
        and not isinstance(network.get_submodule(name), _POOLING)
        and not any(
            around in shapes and not isinstance(network.get_submodule(around), nn.Sequential)
            for around in _around(name)
        )
    ]


def _unpooled(network: nn.Module, shapes: dict[str, torch.Size]) -> dict[str, torch.Size]:
    """Keeps what came before the pooling that follows the last convolution of a map."""
    ran = [(network.get_submodule(name), shape[2:].numel()) for name, shape in shapes.items()]
    last = max(
        (
            at
            for at, (layer, places) in enumerate(ran)
            if isinstance(layer, nn.Conv2d) and places > 1
        ),
        default=len(ran),
    )
    pooled = (at for at, (layer, _) in enumerate(ran) if at > last and isinstance(layer, _POOLING))
    return dict(list(shapes.items())[: next(pooled, None)])


def last_feature_map(network: nn.Module, maps: list[str]) -> str:
    """Chooses the last of a network's feature maps.

    Raises:
        SaliencyError: If there is none.
    """
    if not maps:
        raise SaliencyError(
            f"{type(network).__name__} has no feature map of more than one place for views of this "
            "size, so there is no Grad-CAM of it: take larger views (data.size_px) or another "
            "learner."
        )
    return maps[-1]


def inside_lungs(
    saliency: Float[Tensor, "height width"], lungs: Bool[Tensor, "height width"]
) -> float:
    """Measures the share of a map that lies inside the lungs, 0 to 1; NaN of an empty map."""
    return float(saliency[lungs].double().sum() / saliency.double().sum())


def _around(name: str) -> list[str]:
    """Names the modules around a module, from the network itself inwards."""
    parts = name.split(".")
    return ["", *(".".join(parts[:n]) for n in range(1, len(parts)))] if name else []
