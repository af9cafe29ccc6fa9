"""Compute random numbers as a pure function of (seed, epoch, step or sample).

There is no state that has to be saved. The same keys give the same numbers after a run is resumed,
with any number of DataLoader workers, and on any device.
"""

import numpy as np
import torch
from torch import Tensor


def mix(*keys: int) -> int:
    """Return one 63-bit seed for several non-negative integers.

    It comes from NumPy's SeedSequence, so that similar keys give unrelated seeds.
    """
    return int(np.random.SeedSequence(keys).generate_state(1, np.uint64)[0] >> np.uint64(1))


def generator(*keys: int) -> torch.Generator:
    """Return a CPU generator that is seeded with `mix(*keys)`."""
    return torch.Generator().manual_seed(mix(*keys))


def reseed(seed: int, device: torch.device) -> None:
    """Seed torch's global generators of the CPU and of `device`.

    torch.manual_seed would also queue a call for each kind of device that is not in use, which
    takes a millisecond per step.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def uniform(key: int, index: Tensor, columns: int) -> Tensor:
    """Return uniform random numbers in [0, 1), float32 (B, columns).

    index: int64 (B,), on any device. Row b is a function of (key, index[b]) alone. The generator is
    SplitMix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators"), used as
    a hash of a counter.
    """
    counter = index[:, None] * columns + torch.arange(columns, device=index.device)
    bits = _splitmix64(_splitmix64(counter) ^ _signed(key))
    return _shift_right(bits, 40).to(torch.float32) * 2.0**-24


def _signed(word: int) -> int:
    """Return the int64 with the bits of a 64-bit word; torch multiplies int64 modulo 2**64."""
    word %= 2**64
    return word - 2**64 if word >= 2**63 else word


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Shift right logically; the `>>` of int64 would copy the sign bit."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _splitmix64(x: Tensor) -> Tensor:
    x = x + _signed(0x9E3779B97F4A7C15)
    x = (x ^ _shift_right(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shift_right(x, 27)) * _signed(0x94D049BB133111EB)
    return x ^ _shift_right(x, 31)
