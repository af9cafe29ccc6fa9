"""Draw which parts of images a network's decision depends on, with Grad-CAM.

Source: Selvaraju et al., Grad-CAM, 2017; computed by the package captum, which is an extra.
"""

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor, nn

from tunebook.tracking.pictures import predicted_images


def feature_map_of(network: nn.Module, image_shape: tuple[int, int, int]) -> nn.Module | None:
    """Return the last layer whose output still has places: (B, C, H, W) with more than one place.

    None if there is none, as in a perceptron, or if tokens follow it, as in a vision transformer.
    A network on the meta device will do.
    """
    found: list[tuple[nn.Module, Tensor]] = []

    def note(module: nn.Module, given: object, made: object) -> None:
        if isinstance(made, Tensor) and made.ndim >= 3 and made[0, 0].numel() > 1:
            found.append((module, made))

    layers = [module for module in network.modules() if not list(module.children())]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    device = next((one.device for one in network.parameters()), torch.device("cpu"))
    network.eval()
    with torch.no_grad():
        network(torch.zeros(1, *image_shape, device=device))
    for hook in hooks:
        hook.remove()
    return found[-1][0] if found and found[-1][1].ndim == 4 else None


def grad_cam(network: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """Return how much each place speaks for a class: float32 (N, H, W), from 0 to 1 in each image.

    images: float (N, C, H, W) as the network takes them. classes: int64 (N,).
    Raises ValueError if the network has no feature map.
    """
    from captum.attr import LayerAttribution, LayerGradCam

    layer = feature_map_of(network, (images.shape[1], images.shape[2], images.shape[3]))
    if layer is None:
        raise ValueError("the network has no feature map")
    found = LayerGradCam(network.eval(), layer).attribute(
        images.requires_grad_(), target=classes, relu_attributions=True
    )
    maps: Tensor = LayerAttribution.interpolate(found.detach(), images.shape[2:], "bilinear")[:, 0]
    highest = maps.amax(dim=(1, 2), keepdim=True)
    return maps.div(highest.clamp(min=1e-12))


def grad_cam_picture(
    images: Tensor, maps: Tensor, labels: Tensor, logits: Tensor, class_names: Sequence[str]
) -> Image.Image:
    """Draw images as `worst_images` does, with what speaks for the predicted class in color.

    images: uint8 (N, C, H, W). maps: (N, H, W) from 0 to 1.
    """
    title = "test images with the highest loss: what speaks for the predicted class (Grad-CAM)"
    return predicted_images(title, images, labels, logits, class_names, heat=maps)
