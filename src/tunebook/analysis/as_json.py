"""Describe findings as plain values, for programs that read them.

The format is documented in docs/answers.md.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from tunebook.analysis.effects import Effect, Joint
from tunebook.analysis.findings import Findings
from tunebook.analysis.importance import Importance
from tunebook.analysis.results import Setting, family
from tunebook.analysis.sampling import Failing

VERSION = 1  # of the format


def as_json(findings: Findings) -> dict[str, Any]:
    """Return the findings as values that JSON has: no NaN, and null for what is unknown."""
    found: dict[str, Any] = _finite(_described(findings))
    return found


def _finite(value: Any) -> Any:
    """Return the value with None in place of numbers that JSON lacks: NaN and infinity.

    Values of NumPy become Python's.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        return {str(key): _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _described(findings: Findings) -> dict[str, Any]:
    return {
        "version": VERSION,
        "name": findings.results.name,
        "objective": findings.results.objective,
        "direction": findings.results.direction,
        "settings": [
            *(_joint(findings, one) for one in findings.joint),
            *(_setting(findings, one) for one in findings.effects),
        ],
        "pairs": [
            {"first": one.first.name, "second": one.second.name, "p": one.p, "epoch": one.epoch}
            for one in findings.interactions
        ],
        "edges": [
            {**key_of(one.setting), "direction": "up" if one.upwards else "down", "end": one.end,
             "p": one.p}
            for one in findings.edges
        ],
        "not_learning": [_failing(one) for one in findings.failing if not one.learns],
        "failing": [_failing(one) for one in findings.failing if one.learns],
        "pairs_of_configurations": [
            {
                "first": dict(one.leader.values),
                "second": dict(one.other.values),
                "difference": one.difference,
                "p": one.p,
                "verdict": one.verdict,
                "n": len(one.repeats),
            }
            for one in findings.pairs
        ],
        "next": [asdict(one) for one in findings.next],
        "warnings": list(findings.warnings),
    }  # fmt: skip


def key_of(setting: Setting) -> dict[str, str | None]:
    """Return a setting's key, and the option that it applies with: `optimizer=adam`, or None."""
    _, _, when = setting.name.partition(" (")
    return {"key": family(setting.name), "when": when.removesuffix(")") or None}


def _joint(findings: Findings, joint: Joint) -> dict[str, Any]:
    """Return a family as a setting that always applies, without a best value."""
    return {
        "key": joint.name,
        "when": None,
        "matters": joint.matters,
        "p": joint.p,
        "best": None,
        "importance": _importance(findings.importances, joint.name),
    }


def _setting(findings: Findings, effect: Effect) -> dict[str, Any]:
    return {
        **key_of(effect.setting),
        "matters": effect.matters,
        "p": effect.p,
        "epoch": effect.epoch,
        "best": _best(findings, effect),
        "importance": _importance(findings.importances, effect.setting.name),
    }


def _best(findings: Findings, effect: Effect) -> Mapping[str, Any] | None:
    """Return the best level, and the range of its values if it is a third of a range.

    None if the setting does not matter, or if pruning selected the compared runs.
    """
    if not effect.matters or not effect.levels or findings.compared.selected:
        return None
    best = effect.levels[0]
    runs, name = findings.compared.runs, effect.setting.name
    values = [runs[member].values[name] for member in best.level.members]
    alike = len({repr(value) for value in values}) == 1
    return {
        "level": best.level.text,
        "value": values[0] if alike else None,
        "low": best.level.low,
        "high": best.level.high,
        "typical": best.median,
    }


def _importance(found: Sequence[Importance], name: str) -> dict[str, float] | None:
    return next(
        (
            {"share": one.share, "low": one.low, "high": one.high}
            for one in found
            if one.setting.name == name
        ),
        None,
    )


def _failing(one: Failing) -> dict[str, Any]:
    return {
        **key_of(one.setting),
        "level": one.level.text,
        "failed": one.failed,
        "of": one.of,
        "elsewhere": one.elsewhere,
        "of_elsewhere": one.of_elsewhere,
        "p": one.p,
    }
