"""Random numbers as a pure function of (seed, epoch, step or sample).

Nothing here has a state that would have to be saved: the same keys give the same numbers after a resume, with any number of
loader workers, on any device.
"""

import numpy as np
import torch
from torch import Tensor


def mix(*keys: int) -> int:
    """One 63-bit seed out of several non-negative integers (NumPy's SeedSequence: near keys give unrelated seeds)."""
    return int(np.random.SeedSequence(keys).generate_state(1, np.uint64)[0] >> np.uint64(1))


def generator(*keys: int) -> torch.Generator:
    """A CPU generator seeded by `mix`."""
    return torch.Generator().manual_seed(mix(*keys))


def reseed(seed: int, device: torch.device) -> None:
    """torch's global generators, the CPU's and `device`'s. (torch.manual_seed also queues a call, with the stack that it came from,
    for each kind of device that is not in use: a millisecond a step.)"""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def uniform(key: int, index: Tensor, columns: int) -> Tensor:
    """(B, columns) float32 in [0, 1), row b a function of (key, index[b]) alone. index: (B,) int64, on any device.

    SplitMix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators") as a hash of a counter.
    """
    counter = index[:, None] * columns + torch.arange(columns, device=index.device)
    bits = _splitmix64(_splitmix64(counter) ^ _signed(key))
    return _shift_right(bits, 40).to(torch.float32) * 2.0**-24


def _signed(word: int) -> int:
    """A 64-bit word as the int64 of the same bits: torch multiplies int64 modulo 2**64."""
    word %= 2**64
    return word - 2**64 if word >= 2**63 else word


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Logical shift: int64's own `>>` would copy the sign down."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _splitmix64(x: Tensor) -> Tensor:
    x = x + _signed(0x9E3779B97F4A7C15)
    x = (x ^ _shift_right(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shift_right(x, 27)) * _signed(0x94D049BB133111EB)
    return x ^ _shift_right(x, 31)
