"""Show where the time of a training step, and of the imports of a command, goes."""

import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence

import torch
from torch.profiler import ProfilerActivity, profile

from tunebook import program
from tunebook.bench.plain_loop import PlainLoop, parts_of
from tunebook.bench.tables import machine

STEPS, WARM_UP, SHOWN = 40, 10, 20
IMPORT = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)")


def step_profile(overrides: Sequence[str]) -> str:
    """Return a table of the operators of a training step, by the time that they take themselves."""
    parts = parts_of(["tracking=off", *overrides])
    loop = PlainLoop(parts)
    loop.start_epoch(STEPS + WARM_UP)
    loop.train(WARM_UP)
    with profile(activities=[ProfilerActivity.CPU]) as found:
        seconds = loop.train(STEPS)
    lines = [
        f"### a training step ({parts.settings['trainer']['precision']})", "", machine(), "",
        "| operator | calls | ms | % |", "| --- | --- | --- | --- |",
    ]  # fmt: skip
    events = sorted(found.key_averages(), key=lambda one: -one.self_cpu_time_total)
    for one in events[:SHOWN]:
        ms = one.self_cpu_time_total / 1000 / STEPS
        share = 100 * one.self_cpu_time_total / 1e6 / seconds
        lines.append(f"| {one.key} | {one.count / STEPS:.3g} | {ms:.2f} | {share:.0f} |")
    lines.append(f"| all, with the profiler | | {1000 * seconds / STEPS:.2f} | 100 |")
    return "\n".join(lines) + "\n"


def import_profile(command: str, words: Sequence[str]) -> str:
    """Return a table of the packages that a command imports, by the time that they take."""
    script = program.process(command)
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *script[1:], *words], capture_output=True, text=True
    )
    seconds: dict[str, float] = defaultdict(float)
    modules: Counter[str] = Counter()
    for microseconds, name in IMPORT.findall(done.stderr):
        package = name.partition(".")[0]
        seconds[package] += int(microseconds) / 1e6
        modules[package] += 1
    lines = [
        f"### imports of {command} {' '.join(words)}", "", f"torch {torch.__version__}", "",
        "| package | modules | s |", "| --- | --- | --- |",
    ]  # fmt: skip
    for package, taken in sorted(seconds.items(), key=lambda one: -one[1])[:SHOWN]:
        lines.append(f"| {package} | {modules[package]} | {taken:.2f} |")
    lines.append(f"| all | {modules.total()} | {sum(seconds.values()):.2f} |")
    return "\n".join(lines) + "\n"
