"""Hold what was measured, and write it as a table and as JSON."""

import json
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import torch

from tunebook.run_folder import write_atomically
from tunebook.tracking.describe import cpu_name

PACKAGES = ("tunebook", "torch", "pytorch-lightning", "mlflow", "hydra-core", "optuna")


@dataclass(frozen=True)
class Row:
    """Hold repeated measurements of one quantity; unit: "" for a ratio."""

    name: str
    unit: str
    values: Sequence[float]


@dataclass
class Table:
    """Hold the rows of one comparison, or the reason why it was skipped."""

    title: str
    rows: list[Row] = field(default_factory=list)
    skipped: str = ""

    def to_text(self) -> str:
        """Return the table in Markdown: the median of each row, its range, and n."""
        if self.skipped:
            return f"### {self.title}\n\nskipped: {self.skipped}\n"
        lines = [
            f"### {self.title}",
            "",
            "| | median (lowest to highest) | n |",
            "| --- | --- | --- |",
        ]
        lines += [
            f"| {row.name}{', ' if row.unit else ''}{row.unit} | "
            f"{median_and_range(row.values)} | {len(row.values)} |"
            for row in self.rows
        ]
        return "\n".join(lines) + "\n"


def median_and_range(values: Sequence[float]) -> str:
    """Return the values' summary as text: `median (lowest to highest)`."""
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Return the ratio of each pair of measurements that were taken in turn."""
    return [one / other for one, other in zip(ours, theirs, strict=True)]


def machine() -> str:
    """Return the processors and the number of threads."""
    return f"{cpu_name()}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def write_json(tables: Sequence[Table], file: Path) -> None:
    """Write the machine, the versions and all measurements."""
    found = {
        "machine": machine(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "tables": [
            {
                "title": table.title,
                "skipped": table.skipped,
                "rows": [
                    {
                        "name": row.name,
                        "unit": row.unit,
                        "n": len(row.values),
                        "median": statistics.median(row.values),
                        "lowest": min(row.values),
                        "highest": max(row.values),
                        "values": list(row.values),
                    }
                    for row in table.rows
                ],
            }
            for table in tables
        ],
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, (json.dumps(found, indent=1) + "\n").encode())
