"""A council's parameters in a file: TOML, every key optional, times as people write them.

version = 1
delay = "2d"
against = 10

[root]
initial = 100
minimum = 50
maximum = 150
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from dpki.config.durations import parse_duration
from dpki.config.toml import Table, load_table
from dpki.council.parameters import DEFAULTS, Bounds, Parameters
from dpki.council.threshold import Rule

VERSION = 1

RULES = {"more-than-two-thirds": Rule.MORE_THAN_TWO_THIRDS, "slide": Rule.SLIDE}

_ROLES = ("ordinary", "intermediate", "root")
_STEPS = ("gain", "against", "absent", "seniority", "faults")
_TIMES = ("senior_after", "epoch", "attendance", "delay", "cooling", "longest")


def load_parameters(path: Path, base: Parameters = DEFAULTS) -> Parameters:
    """Return the parameters of a file; what it leaves out is as in `base`.

    Raises:
        ConfigError: It is missing, malformed, or holds an unknown key.
        UsageError: No council would take them.
    """
    table = load_table(path, version=VERSION, missing="docs/council.md shows what it may hold")
    changed: dict[str, Any] = {}
    for name in _ROLES:
        if name in table:
            changed[name] = _bounds(table.table(name), getattr(base, name))
    for name in _STEPS:
        if name in table:
            changed[name] = table.integer(name)
    for name in _TIMES:
        if name in table:
            changed[name] = int(table.parsed(name, parse_seconds).total_seconds())
    if "rule" in table:
        rule = table.text("rule")
        if rule not in RULES:
            raise table.error("rule", f"must be {' or '.join(RULES)}")
        changed["rule"] = RULES[rule]
    table.close()
    parameters = replace(base, **changed)
    parameters.check()
    return parameters


def _bounds(table: Table, base: Bounds) -> Bounds:
    bounds = Bounds(
        table.integer("initial", base.initial),
        table.integer("minimum", base.minimum),
        table.integer("maximum", base.maximum),
    )
    table.close()
    return bounds


def parse_seconds(text: str) -> timedelta:
    """Return a duration; unlike elsewhere it may be none: `0s`.

    Raises:
        UsageError: It is no duration.
    """
    return timedelta(0) if text == "0s" else parse_duration(text)
