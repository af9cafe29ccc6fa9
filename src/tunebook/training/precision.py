"""Choose the precision in which this machine computes a network's training step fastest."""

import copy
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tunebook.config.validation import validate_value

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
PAIRS = 5  # timed steps of each kind, alternating
CLEARLY_FASTER = 1.25  # far enough from 1 that the probe's noise does not decide
# Floating-point operations of a forward pass. With fewer, bf16 gains nothing and a probe is noise.
SMALLEST_STEP = 2e8


class Choice(NamedTuple):
    """Hold a precision and, for the log, the reason for it."""

    precision: Precision
    reason: str


def choose(
    accelerator: str,
    network: nn.Module,
    image_shape: tuple[int, int, int],
    batch_size: int,
    kept: Path,
) -> Choice:
    """Return the precision for `trainer.precision=auto`.

    accelerator: "cpu" or "gpu". kept: this machine's folder for the results of probes. A result is
    saved because timings vary, and the same command must give the same run.
    """
    if accelerator == "gpu":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Choice("bf16-mixed", "the GPU supports bf16")
        return Choice("16-mixed", "the GPU does not support bf16")
    if not cpu_has_bf16():
        return Choice("32-true", "the CPU has no bf16 instructions (AVX512_BF16 or AMX)")
    images = torch.zeros(batch_size, *image_shape)
    if _operations(network, images) < SMALLEST_STEP:
        return Choice("32-true", "a step is too small to gain from bf16")
    file = kept / f"{_key(network, image_shape, batch_size)}.json"
    return _read(file) or _keep(file, _probed(network, images))


def _operations(network: nn.Module, images: torch.Tensor) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        copy.deepcopy(network).eval()(images)
    return int(counter.get_total_flops())


def _key(network: nn.Module, image_shape: tuple[int, int, int], batch_size: int) -> str:
    """Return a hash of everything that a probe's result depends on."""
    known = [
        str(network),
        image_shape,
        batch_size,
        torch.__version__,
        torch.get_num_threads(),
        torch.backends.cpu.get_cpu_capability(),
    ]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]


def _read(file: Path) -> Choice | None:
    try:
        found: dict[str, Any] = json.loads(file.read_text())
        return Choice(
            validate_value("precision", found["precision"], Precision), str(found["reason"])
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keep(file: Path, choice: Choice) -> Choice:
    """Save a choice and return it; if several processes probe at once, the first one decides."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(
            json.dumps(
                {"precision": choice.precision, "reason": f"{choice.reason} (stored in {file})"}
            )
        )
        os.link(temporary, file)
    except OSError:
        return _read(file) or choice
    finally:
        temporary.unlink(missing_ok=True)
    return choice


def _probed(network: nn.Module, images: torch.Tensor) -> Choice:
    ratio = _fp32_over_bf16(network, images)
    if ratio >= CLEARLY_FASTER:
        return Choice(
            "bf16-mixed", f"a probe of {PAIRS} steps shows bf16 {ratio:.1f} times as fast"
        )
    return Choice("32-true", f"a probe of {PAIRS} steps shows bf16 only {ratio:.1f} times as fast")


def cpu_has_bf16() -> bool:
    """Return whether the CPU has instructions for bf16.

    Without them bf16 is emulated, and several times slower than fp32.
    """
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def _fp32_over_bf16(network: nn.Module, images: torch.Tensor) -> float:
    """Return the shortest time of an fp32 step divided by that of a bf16 step.

    The shortest times are compared, because other load on the machine can only lengthen a step.
    The network is copied, and torch's generator is not changed.
    """
    with torch.random.fork_rng(devices=[]):
        network = copy.deepcopy(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        labels = torch.zeros(len(images), dtype=torch.long)

        def seconds(bf16: bool) -> float:
            start = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                logits = network(images)
                loss = F.cross_entropy(logits, labels)
            loss.backward()  # type: ignore[no-untyped-call]
            return time.perf_counter() - start

        seconds(True), seconds(False)  # the first call of each prepares its kernels
        times = [(seconds(False), seconds(True)) for _ in range(PAIRS)]
        return min(fp32 for fp32, _ in times) / min(bf16 for _, bf16 in times)
