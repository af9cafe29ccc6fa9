"""Which arithmetic a machine computes a network's training step fastest in."""

import copy
import statistics
import time
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
PAIRS = 5  # timed steps of each kind, alternating
CLEARLY_FASTER = 1.15  # the probe's noise must not decide: the same machine has to choose the same every time


class Choice(NamedTuple):
    """A precision and, for the log, why."""

    precision: Precision
    reason: str


def choose(accelerator: str, network: nn.Module, image_shape: tuple[int, int, int], batch_size: int) -> Choice:
    """The precision for `trainer.precision=auto`. accelerator: "cpu" or "gpu"."""
    if accelerator == "gpu":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Choice("bf16-mixed", "the GPU computes in bf16")
        return Choice("16-mixed", "the GPU has no bf16")
    if not cpu_has_bf16():
        return Choice("32-true", "the CPU has no bf16 of its own (AVX512_BF16 or AMX)")
    ratio = _fp32_over_bf16(network, image_shape, batch_size)
    if ratio >= CLEARLY_FASTER:
        return Choice("bf16-mixed", f"a probe of {PAIRS} steps shows bf16 {ratio:.1f} times as fast")
    return Choice("32-true", f"a probe of {PAIRS} steps shows bf16 only {ratio:.1f} times as fast")


def cpu_has_bf16() -> bool:
    """True where the CPU multiplies bf16 itself. Elsewhere it is emulated, and several times slower than fp32."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def _fp32_over_bf16(network: nn.Module, image_shape: tuple[int, int, int], batch_size: int) -> float:
    """Median over pairs of the time of an fp32 step over that of a bf16 step. Works on a copy and leaves torch's generator as it was."""
    with torch.random.fork_rng(devices=[]):
        network = copy.deepcopy(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        images = torch.rand(batch_size, *image_shape)

        def seconds(bf16: bool) -> float:
            start = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                logits = network(images)
                loss = F.cross_entropy(logits, torch.zeros(batch_size, dtype=torch.long))
            loss.backward()  # type: ignore[no-untyped-call]
            return time.perf_counter() - start

        seconds(True), seconds(False)  # the first call of each prepares its kernels
        return statistics.median(seconds(False) / seconds(True) for _ in range(PAIRS))
