"""Apply random changes to the images of a batch, on the batch's device.

An augmentation is called with float images (B, C, H, W) in [0, 1], each sample's index int64 (B,),
and a key made of (seed, epoch). The change to a sample depends only on (key, index). Augmentations
that mix images with each other change the labels too: see `mixing`.

affine      rotation, scaling, shear and shift; none
areas       flip, random resized crop, random erasing
colors      color jitter
policies    RandAugment and TrivialAugment, which draw from a list of operations
mixing      mixup and cutmix
steps       applies several augmentations one after another
operations  the operations on whole batches that the others consist of
"""

from tunebook.data.augmentation.affine import Affine, NoAugmentation
from tunebook.data.augmentation.areas import Flip, RandomErasing, RandomResizedCrop
from tunebook.data.augmentation.colors import ColorJitter
from tunebook.data.augmentation.mixing import CutMix, Mixing, MixUp
from tunebook.data.augmentation.policies import RandAugment, TrivialAugment

__all__ = [
    "Affine",
    "ColorJitter",
    "CutMix",
    "Flip",
    "MixUp",
    "Mixing",
    "NoAugmentation",
    "RandAugment",
    "RandomErasing",
    "RandomResizedCrop",
    "TrivialAugment",
]
