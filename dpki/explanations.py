"""Every error explained: why it happens and what to do. One text for every place that shows it.

The text is `errors.toml` beside this module. `dpki explain` reads it, docs/errors.md is made of it,
and a contract's refusal takes its hint from it.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from dpki.errors import UsageError


@dataclass(frozen=True)
class Explanation:
    """One error, explained.

    Attributes:
        name: Its class, or the contract's name for it.
        is_revert: Whether a contract says it.
        exit_status: What a command that meets it ends with.
        why: What it means and how it comes about.
        next: What to do.
    """

    name: str
    is_revert: bool
    exit_status: int
    why: str
    next: str


@cache
def explanations() -> Mapping[str, Explanation]:
    """Return all explanations by name, in the order in which they are told."""
    text = resources.files("dpki").joinpath("errors.toml").read_text("utf-8")
    groups = tomllib.loads(text)
    return {
        name: Explanation(name, group == "revert", entry["status"], entry["why"], entry["next"])
        for group in ("error", "revert")
        for name, entry in groups[group].items()
    }


def find_explanation(name: str) -> Explanation:
    """Return the explanation of an error, whatever the case of its name.

    Raises:
        UsageError: There is no such error; names the closest ones.
    """
    by_name = {known.lower(): explanation for known, explanation in explanations().items()}
    found = by_name.get(name.strip().lower())
    if found is not None:
        return found
    close = difflib.get_close_matches(name.strip().lower(), by_name, n=3)
    meant = " or ".join(by_name[match].name for match in close)
    raise UsageError(
        f"no error is called {name[:80]!r}",
        hint=f"did you mean {meant}?" if meant else "all of them: dpki explain",
    )


def revert_hint(name: str) -> str:
    """Return what to do about a contract's refusal; empty for an error that nobody knows."""
    explanation = explanations().get(name)
    return explanation.next if explanation is not None and explanation.is_revert else ""
