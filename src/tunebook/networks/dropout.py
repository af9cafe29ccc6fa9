"""Make dropout fast on a CPU, where torch draws its masks one number at a time."""

import torch
from torch import Tensor, nn

# Bits for each value of a mask -> the type that holds them.
WIDTHS = {8: torch.int8, 16: torch.int16, 32: torch.int32}
WORD = 64  # bits that the generator draws at once


class Dropout(nn.Dropout):
    """Zero each value with probability p and divide the others by 1 - p, as `nn.Dropout` does.

    On a CPU, masks are cut out of the random words of torch's generator instead of being drawn
    value by value, which takes about a tenth of the time. The probability is exact for multiples of
    1/65536, and within 2**-33 of p otherwise.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return values of the same shape and type."""
        if not self.training or not 0 < self.p < 1 or input.device.type not in ("cpu", "meta"):
            return super().forward(input)
        if 1 / (1 - self.p) > torch.finfo(input.dtype).max:  # 0 times infinity is not 0
            return super().forward(input)
        keep, share = random_mask(input, self.p)
        kept = keep.to(input.dtype)
        # In two steps, since a type such as bfloat16 can't hold the factor exactly.
        return (input.mul_(kept) if self.inplace else input * kept).mul_(1 / share)


def random_mask(like: Tensor, p: float) -> tuple[Tensor, float]:
    """Return a mask (bool) in which each value is False with probability p, and the share of True.

    like: a tensor of the mask's shape, device and memory format. p: above 0 and below 1. The
    numbers are drawn from torch's generator.
    """
    bits = next((bits for bits in WIDTHS if float(p * 2**bits).is_integer()), max(WIDTHS))
    false = min(max(round(p * 2**bits), 1), 2**bits - 1)  # of 2**bits equally probable numbers
    count = -(-like.numel() * bits // WORD)
    words = torch.randint(-(2**63), 2**63 - 1, (count,), dtype=torch.int64, device=like.device)
    numbers = words.view(WIDTHS[bits])
    # Multiplying is slow if one tensor is channels_last and the other is not.
    strides = torch.empty_like(like, device="meta").stride()
    keep = numbers.as_strided(like.shape, strides) >= false - 2 ** (bits - 1)
    return keep, 1 - false / 2**bits


def with_fast_dropout(network: nn.Module) -> nn.Module:
    """Return a network in which `Dropout` takes the place of each `nn.Dropout`.

    Modules of other classes, such as subclasses of `nn.Dropout`, stay as they are.
    """
    if type(network) is nn.Dropout:
        return Dropout(network.p, network.inplace).train(network.training)
    for name, module in list(network.named_modules(remove_duplicate=False)):
        if type(module) is nn.Dropout:
            owner, _, attribute = name.rpartition(".")
            fast = Dropout(module.p, module.inplace).train(module.training)
            setattr(network.get_submodule(owner), attribute, fast)
    return network
