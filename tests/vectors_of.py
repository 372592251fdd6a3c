"""The golden vectors in tests/vectors, with their byte strings decoded."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent / "vectors"


def load_vectors(name: str) -> Any:
    """Return the content of `tests/vectors/<name>.json`; every hexadecimal string as bytes."""
    return _decode(json.loads((_FOLDER / f"{name}.json").read_text()))


def _decode(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _decode(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_decode(item) for item in value]
    if isinstance(value, str) and re.fullmatch(r"([0-9a-f]{2})*", value):
        return bytes.fromhex(value)
    return value
