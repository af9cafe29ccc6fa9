"""Report the path of an ablation: in the terminal, as JSON and as a picture."""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tunebook.analysis.ablation import StepEffect, Verdict, step_effects, whole_effect
from tunebook.analysis.pairs import MIN_SEEDS
from tunebook.analysis.sentences import difference_text, p_text, value_text
from tunebook.metrics.facts import Direction, facts_of
from tunebook.redaction import redact
from tunebook.report.compare import upload
from tunebook.report.pictures import ablation_picture
from tunebook.report.terminal import PLAIN_WIDTH
from tunebook.run_folder import write_atomically
from tunebook.text_output import counted, printable
from tunebook.tracking.run_lookup import find_sweep
from tunebook.tracking.store import folder_name

log = logging.getLogger(__name__)

FOLDER = "ablation"  # in the folder of the sweep's report, which compare.py writes as well
DATA, PICTURE = "ablation.json", "ablation.png"
DEFAULTS, WINNER = "defaults", "winner"  # names of the first and the last configuration


@dataclass(frozen=True)
class Configuration:
    """Hold one configuration on the path.

    keys: the changes that led to it; () for the defaults. texts: the same changes with their
    values, such as `optimizer.lr: 1.0 -> 0.5`. words: the overrides that differ on the path.
    values: seed -> objective.
    """

    keys: tuple[str, ...]
    texts: tuple[str, ...]
    words: tuple[str, ...]
    values: Mapping[int, float]


@dataclass(frozen=True)
class Failure:
    """Hold changes that were not chosen because runs with them failed.

    before: the changes that were already applied. errors: what the runs say.
    """

    keys: tuple[str, ...]
    before: tuple[str, ...]
    errors: tuple[str, ...]


@dataclass(frozen=True)
class Ablation:
    """Hold an ablation as far as it has come.

    of: the sweep whose winner is explained. shared: the overrides that all configurations have.
    path: from the defaults on; empty if they failed. ended: why the path ends.
    """

    name: str
    of: str
    objective: str
    direction: Direction
    shared: tuple[str, ...]
    path: tuple[Configuration, ...]
    failures: tuple[Failure, ...]
    ended: str

    @property
    def effects(self) -> tuple[StepEffect, ...]:
        """Return the effect of each step."""
        return step_effects(self._values, self.direction)

    @property
    def whole(self) -> StepEffect | None:
        """Return the effect of all steps together, or None if there are fewer than two."""
        return whole_effect(self._values, self.direction) if len(self.path) > 2 else None

    @property
    def _values(self) -> list[tuple[tuple[str, ...], Mapping[int, float]]]:
        return [(one.keys, one.values) for one in self.path]


def report(found: Ablation, outputs: Path, uri: str) -> None:
    """Print the path, and write the report to `outputs` and to the sweep's parent run in MLflow.

    uri: the address of the tracking store, or "" for none.
    """
    print_ablation(found)
    folder = outputs / "reports" / folder_name(found.name) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(as_plain(found), indent=1, allow_nan=False)
    write_atomically(folder / DATA, redact(text).encode(errors="replace"))
    if len(found.path) > 1:
        texts = [" + ".join(one.texts) or DEFAULTS for one in found.path]
        values = [one.values for one in found.path]
        picture = ablation_picture(found.objective, texts, values, found.effects)
        write_atomically(folder / PICTURE, picture.png())
    print(f"report         {folder / DATA}")
    if uri:
        upload(uri, lambda: find_sweep(uri, found.name).run_id, folder, FOLDER)


def print_ablation(found: Ablation) -> None:
    """Print the path in one line, a table of its steps, and what failed."""
    print(f"\n{'path':<14} {printable(line(found))}")
    if found.path:
        console = Console(highlight=False, markup=False)
        if not console.is_terminal:
            console.width = PLAIN_WIDTH
        console.print(_table(found))
        seeds = len(found.path[0].values)
        if seeds < MIN_SEEDS:
            print(f"with {counted(seeds, 'seed')} nothing can be shown: it takes {MIN_SEEDS}")
    for one in found.failures:
        after = f" after {', '.join(one.before)}" if one.before else ""
        what = ", ".join(one.keys) or DEFAULTS
        print(f"failed         {printable(f'{what}{after}: {_joined(one.errors)}')}")


def _joined(errors: Sequence[str]) -> str:
    return "; ".join(errors)


def line(found: Ablation) -> str:
    """Return the path in one line: the steps that make a difference, the winner, then the others.

    The steps up to the last one that makes a difference are named. For example:
    `defaults 98.90 % -> optimizer.lr 99.10 % -> winner 99.15 %; model.dropout: nothing shown`.
    """
    if not found.path:
        return found.ended
    effects, objective = found.effects, found.objective
    first = found.path[0].values
    words = [f"{DEFAULTS} {value_text(objective, sum(first.values()) / len(first))}"]
    last = max((n for n, one in enumerate(effects) if one.verdict != "nothing shown"), default=-1)
    words += [
        f"{' + '.join(one.keys)} {value_text(objective, one.after)}"
        + (" (hurts)" if one.verdict == "hurts" else "")
        for one in effects[: last + 1]
    ]
    if last + 1 < len(effects):
        words.append(f"{WINNER} {value_text(objective, effects[-1].after)}")
    rest = [" + ".join(one.keys) for one in effects if one.verdict == "nothing shown"]
    parts = [" -> ".join(words), *([f"{', '.join(rest)}: nothing shown"] if rest else [])]
    return "; ".join(parts)


def _table(found: Ablation) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("change", overflow="fold")
    for name in ("before", "after", "difference", "95 % interval", "p"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    rows = zip(found.path[1:], found.effects, strict=True)
    for configuration, effect in rows:
        table.add_row(printable(" + ".join(configuration.texts)), *_cells(found, effect))
    if found.whole is not None:
        table.add_row("all of them", *_cells(found, found.whole))
    return table


def _cells(found: Ablation, effect: StepEffect) -> list[str]:
    name, width = found.objective, effect.half_width
    ends = (effect.difference - width, effect.difference + width)
    interval = "" if math.isnan(width) else f"{_signed(name, ends[0])} to {_signed(name, ends[1])}"
    unit = " points" if facts_of(name).in_percent else ""
    return [
        value_text(name, effect.before),
        value_text(name, effect.after),
        f"{_signed(name, effect.difference)}{unit}",
        interval,
        "" if effect.p is None else p_text(effect.p).removeprefix("p = ").removeprefix("p "),
        effect.verdict,
    ]


def _signed(objective: str, difference: float) -> str:
    """Return a difference with its sign, in points for a metric in percent, without the unit."""
    text = difference_text(objective, difference).removesuffix(" points")
    return text if text.startswith("-") else f"+{text}"


def as_plain(found: Ablation) -> dict[str, Any]:
    """Return the ablation as values that JSON can hold."""
    effects = [None, *found.effects]
    return {
        "name": found.name,
        "of": found.of,
        "objective": found.objective,
        "direction": found.direction,
        "shared": list(found.shared),
        "line": line(found),
        "path": [
            {
                "changes": list(one.keys),
                "texts": list(one.texts),
                "overrides": list(one.words),
                "values": {str(seed): value for seed, value in one.values.items()},
                "effect": None if effect is None else _effect(effect),
            }
            for one, effect in zip(found.path, effects, strict=False)
        ],
        "all_steps": None if found.whole is None else _effect(found.whole),
        "failed": [
            {"changes": list(one.keys), "after": list(one.before), "errors": list(one.errors)}
            for one in found.failures
        ],
        "ended": found.ended,
    }


def _effect(one: StepEffect) -> dict[str, float | Verdict | None]:
    return {
        "before": one.before,
        "after": one.after,
        "difference": one.difference,
        "half_width_95": None if math.isnan(one.half_width) else one.half_width,
        "p": one.p,
        "verdict": one.verdict,
    }
