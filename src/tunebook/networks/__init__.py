"""Define the networks that map images to logits.

Images are float tensors (B, C, H, W), logits are (B, num_classes). `image_shape` (C, H, W) and
`num_classes` come from the data. Every other argument is a setting of conf/model/.

small        the notebook's network and other small networks that are trained from scratch
fine_tuned   a network of a library with a new head: its parameter groups, and what is frozen
libraries    the networks of torchvision and of timm
dropout      dropout that is fast on a CPU, which takes the place of torch's
weights      reads files of pretrained weights, and fits them to a network
"""

from tunebook.networks.fine_tuned import FineTunedNetwork
from tunebook.networks.libraries import TimmNetwork, TorchvisionNetwork
from tunebook.networks.small import MLP, BatchNormCNN, KerasCNN, LeNet

__all__ = [
    "MLP",
    "BatchNormCNN",
    "FineTunedNetwork",
    "KerasCNN",
    "LeNet",
    "TimmNetwork",
    "TorchvisionNetwork",
]
