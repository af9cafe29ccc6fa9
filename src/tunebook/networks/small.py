"""Define small networks that are trained from scratch."""

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from tunebook.config.validation import WIDEST, Count, Dropout, SettingError, Width, validate_args

# A number of layers. Each is a module, which takes time and memory even if it is narrow.
Depth = Annotated[int, Field(ge=1, le=1000)]
# A number of stages. Each is twice as wide as the one before it, and at most WIDEST.
Stages = Annotated[int, Field(ge=1, le=20)]


def glorot_(module: nn.Module) -> None:
    """Initialize a layer's weights as Keras does: Glorot uniform weights and zero bias.

    The weights are drawn from U(-a, a), a = sqrt(6 / (fan_in + fan_out)) (Glorot & Bengio 2010).
    """
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class KerasCNN(nn.Module):
    """Classify images with the notebook's network, a small CNN.

    Its layers: two convolutions without padding, max-pooling, dropout, a dense layer, dropout,
    logits. With its defaults it has 600,810 parameters on 28 x 28 greyscale images. The notebook's
    softmax is part of the loss here.
    """

    @validate_args
    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int,
        filters: Width,
        kernel_size: Count,
        pool_size: Count,
        conv_dropout: Dropout,
        dense_units: Width,
        dense_dropout: Dropout,
    ) -> None:
        super().__init__()
        channels, height, width = image_shape
        height, width = _size_after_convolutions(height, width, kernel_size, pool_size)
        self.layers = nn.Sequential(
            nn.Conv2d(channels, filters, kernel_size),
            nn.ReLU(),
            nn.Conv2d(filters, filters, kernel_size),
            # Pooling before ReLU gives the same result, and ReLU then has fewer values to compute.
            nn.MaxPool2d(pool_size),
            nn.ReLU(),
            nn.Dropout(conv_dropout),
            nn.Flatten(),
            nn.Linear(filters * (height // pool_size) * (width // pool_size), dense_units),
            nn.ReLU(),
            nn.Dropout(dense_dropout),
            nn.Linear(dense_units, num_classes),
        )
        self.apply(glorot_)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (B, num_classes) of images (B, C, H, W)."""
        logits: Tensor = self.layers(images)
        return logits


def _size_after_convolutions(
    height: int, width: int, kernel_size: int, pool_size: int
) -> tuple[int, int]:
    """Return the height and width that two convolutions without padding leave.

    Raises SettingError if they or the pooling would leave nothing.
    """
    side = min(height, width)
    if 2 * (kernel_size - 1) >= side:
        message = (
            f"must be at most {(side - 1) // 2 + 1}: "
            f"two convolutions without padding of {height} x {width} images"
        )
        raise SettingError("kernel_size", kernel_size, message)
    height, width = height - 2 * (kernel_size - 1), width - 2 * (kernel_size - 1)
    if pool_size > min(height, width):
        message = (
            f"must be at most {min(height, width)}: "
            f"{height} x {width} is left after the convolutions"
        )
        raise SettingError("pool_size", pool_size, message)
    return height, width


class LeNet(nn.Module):
    """Classify images with a small CNN that pools after each convolution (LeCun et al. 1998).

    Its layers: twice a convolution without padding, max-pooling, batch norm and ReLU; then a dense
    layer, dropout, logits. The second convolution has twice as many filters. Since it sees a pooled
    image, a training step takes a fraction of the time of `KerasCNN`.
    """

    @validate_args
    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int,
        filters: Width,
        kernel_size: Count,
        pool_size: Count,
        dense_units: Width,
        dense_dropout: Dropout,
    ) -> None:
        super().__init__()
        channels, height, width = image_shape
        layers: list[nn.Module] = []
        for width_out in (filters, 2 * filters):
            height, width = _size_after_stage(height, width, kernel_size, pool_size)
            layers += [
                # Batch norm has a bias.
                nn.Conv2d(channels, width_out, kernel_size, bias=False),
                nn.MaxPool2d(pool_size),
                nn.BatchNorm2d(width_out),
                nn.ReLU(),
            ]
            channels = width_out
        self.layers = nn.Sequential(
            *layers,
            nn.Flatten(),
            nn.Linear(channels * height * width, dense_units),
            nn.ReLU(),
            nn.Dropout(dense_dropout),
            nn.Linear(dense_units, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (B, num_classes) of images (B, C, H, W)."""
        logits: Tensor = self.layers(images)
        return logits


def _size_after_stage(height: int, width: int, kernel_size: int, pool_size: int) -> tuple[int, int]:
    """Return the height and width that a convolution without padding and pooling leave.

    Raises SettingError if they would leave nothing.
    """
    side = min(height, width)
    if kernel_size > side:
        message = f"must be at most {side}: {height} x {width} is left before a convolution"
        raise SettingError("kernel_size", kernel_size, message)
    height, width = height - kernel_size + 1, width - kernel_size + 1
    if pool_size > min(height, width):
        message = f"must be at most {min(height, width)}: {height} x {width} is left before pooling"
        raise SettingError("pool_size", pool_size, message)
    return height // pool_size, width // pool_size


class MLP(nn.Module):
    """Classify images with equally wide dense layers and dropout.

    The notebook trains such a network on the same digits in the section before its CNN.
    """

    @validate_args
    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int,
        hidden_layers: Depth,
        dense_units: Width,
        dense_dropout: Dropout,
    ) -> None:
        super().__init__()
        channels, height, width = image_shape
        features = channels * height * width
        layers: list[nn.Module] = [nn.Flatten()]
        for _ in range(hidden_layers):
            layers += [nn.Linear(features, dense_units), nn.ReLU(), nn.Dropout(dense_dropout)]
            features = dense_units
        self.layers = nn.Sequential(*layers, nn.Linear(features, num_classes))
        self.apply(glorot_)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (B, num_classes) of images (B, C, H, W)."""
        logits: Tensor = self.layers(images)
        return logits


def _check_kernel(height: int, width: int, kernel_size: int) -> None:
    """Raise SettingError for a kernel that is even, or too large for the images."""
    if kernel_size % 2 == 0:
        raise SettingError(
            "kernel_size", kernel_size, "must be odd: the convolutions keep the image's size"
        )
    if kernel_size > 2 * max(height, width) - 1:
        message = (
            f"must be at most {2 * max(height, width) - 1}: "
            f"a larger kernel reaches beyond {height} x {width} images from every pixel"
        )
        raise SettingError("kernel_size", kernel_size, message)


def _check_stages(height: int, width: int, filters: int, stages: int, pool_size: int) -> None:
    """Raise SettingError for stages that become too wide, or whose pooling leaves no pixel."""
    if filters * 2 ** (stages - 1) > WIDEST:
        message = (
            f"must be at most {WIDEST // 2 ** (stages - 1)}: "
            f"the last of {stages} stages has {2 ** (stages - 1)} times as many filters"
        )
        raise SettingError("filters", filters, message)
    if pool_size ** (stages - 1) > min(height, width):
        message = (
            f"pooling by {pool_size} between the stages leaves nothing of {height} x {width} images"
        )
        raise SettingError("stages", stages, message)


class BatchNormCNN(nn.Module):
    """Classify images with a small modern CNN.

    Each stage has two convolutions with batch norm (Ioffe & Szegedy 2015). From one stage to the
    next the number of filters doubles and the image is pooled. Global average pooling (Lin et al.
    2014), dropout and logits follow.
    """

    @validate_args
    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int,
        filters: Width,
        kernel_size: Count,
        stages: Stages,
        pool_size: Count,
        dense_dropout: Dropout,
    ) -> None:
        super().__init__()
        channels, height, width = image_shape
        _check_kernel(height, width, kernel_size)
        _check_stages(height, width, filters, stages, pool_size)
        layers: list[nn.Module] = []
        for stage in range(stages):
            if stage > 0:
                layers.append(nn.MaxPool2d(pool_size))
            width_out = filters * 2**stage
            for width_in in (channels, width_out):
                layers += [
                    nn.Conv2d(width_in, width_out, kernel_size, padding="same", bias=False),
                    nn.BatchNorm2d(width_out),
                    nn.ReLU(),
                ]
            channels = width_out
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Dropout(dense_dropout), nn.Linear(channels, num_classes))

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (B, num_classes) of images (B, C, H, W)."""
        # A mean instead of AdaptiveAvgPool2d, whose gradient is not deterministic on a GPU.
        logits: Tensor = self.head(self.features(images).mean(dim=(2, 3)))
        return logits
