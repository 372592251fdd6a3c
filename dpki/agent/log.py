"""What happened, in one line: `event=installed block=7 changed=revoked.krl,login.db`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

_PLAIN = re.compile(r"[^\s\"=]+")


def log_line(event: str, facts: Mapping[str, object]) -> str:
    """Return an event as words with an equals sign; what holds spaces or quotes is a JSON string.

    What is empty is left out.
    """
    said = [("event", event), *((name, _text(value)) for name, value in facts.items())]
    return " ".join(f"{name}={_quoted(text)}" for name, text in said if text)


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, Iterable):
        items = [str(item) for item in value]
        return (", " if any(" " in item for item in items) else ",").join(items)
    return str(value)


def _quoted(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)
