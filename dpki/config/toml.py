"""Strict TOML: every key is known, every value has its type, and what is written reads back.

Reading is the standard library's `tomllib`; `Table` adds that a mistyped key is an error which
names the key and the file, never silently ignored. Writing is a small deterministic subset: the
same configuration always gives the same bytes.
"""

from __future__ import annotations

import re
import stat
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from dpki.errors import ConfigError, DpkiError, MalformedInput, UsageError
from dpki.files import load_bounded

_LIMIT = 1 << 20
_T = TypeVar("_T")

Value = str | int | bool | Sequence[str] | Mapping[str, "Value"]


class Table:
    """One table of a file, read key by key; `close` refuses what nobody asked for."""

    def __init__(self, values: Mapping[str, object], path: Path, prefix: str = "") -> None:
        self._values = dict(values)
        self._path = path
        self._prefix = prefix

    def error(self, key: str, problem: str, *, hint: str = "") -> ConfigError:
        """Return the error that names the file, the key and what is wrong with it."""
        return ConfigError(
            f"{self._path}: {self._prefix}{key} {problem}",
            hint=hint or f"correct {self._prefix}{key} in that file",
        )

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def is_text(self, key: str) -> bool:
        """Whether there is a string: for keys that may have a string or a list."""
        return isinstance(self._values.get(key), str)

    def names(self) -> list[str]:
        """Return the keys not yet read, in the file's order."""
        return list(self._values)

    def text(self, key: str, default: str | None = None) -> str:
        """Take a string."""
        return self._take(key, str, "a string", default)

    def integer(self, key: str, default: int | None = None, *, minimum: int = 0) -> int:
        """Take a whole number of at least `minimum`."""
        value = self._take(key, int, "a whole number", default)
        if value < minimum:
            raise self.error(key, f"is {value}, but must be at least {minimum}")
        return value

    def flag(self, key: str, default: bool | None = None) -> bool:
        """Take true or false."""
        return self._take(key, bool, "true or false", default)

    def texts(self, key: str, default: Sequence[str] | None = None) -> tuple[str, ...]:
        """Take a list of strings."""
        values = self._take(key, list, "a list of strings", None if default is None else [*default])
        if not all(isinstance(value, str) for value in values):
            raise self.error(key, "must be a list of strings")
        return tuple(values)

    def table(self, key: str) -> Table:
        """Take a table; a missing one is empty."""
        values = self._take(key, dict, "a table", {})
        return Table(values, self._path, f"{self._prefix}{key}.")

    def parsed(self, key: str, parse: Callable[[str], _T], default: str | None = None) -> _T:
        """Take a string and turn it into what it stands for."""
        text = self.text(key, default)
        with self.blame(key):
            return parse(text)

    @contextmanager
    def blame(self, key: str) -> Iterator[None]:
        """Turn a parser's complaint inside the block into one that names the file and the key."""
        try:
            yield
        except (UsageError, MalformedInput) as error:
            raise self.error(key, f"is wrong: {error.message}", hint=error.hint) from error

    def close(self) -> None:
        """Refuse every key that was not read.

        Raises:
            ConfigError: The file has a key that does not exist; a guarded setting that is
                mistyped would otherwise be off without anybody noticing.
        """
        for key in self._values:
            raise self.error(key, "is not a known key", hint="remove it, or correct its spelling")

    def _take(self, key: str, kind: type[_T], word: str, default: _T | None) -> _T:
        if key not in self._values:
            if default is None:
                raise self.error(key, "is missing")
            return default
        value = self._values.pop(key)
        # bool is an int in Python, but `confirmations = true` is a mistake.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.error(key, f"must be {word}")
        return value


def load_table(path: Path, *, version: int, missing: str) -> Table:
    """Read a configuration file and check its `version`.

    The file decides who gets in, so nobody but its owner may be able to write it.

    Args:
        version: The only version that is understood.
        missing: Hint for when the file does not exist.

    Raises:
        ConfigError: It is missing, unreadable, writable by others, no TOML, of another version.
    """
    try:
        mode = path.stat().st_mode
        data = load_bounded(path, limit=_LIMIT)
    except FileNotFoundError as error:
        raise ConfigError(f"there is no {path}", hint=missing) from error
    except OSError as error:
        raise ConfigError(f"could not read {path}: {error.strerror}") from error
    except DpkiError as error:
        raise ConfigError(error.message, hint=error.hint) from error
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigError(
            f"{path} can be written by others than its owner",
            hint=f"look at what is in it, then: chmod go-w {path}",
        )
    return parse_table(data, path, version=version)


def parse_table(data: bytes, path: Path, *, version: int) -> Table:
    """Parse a configuration file's content; `path` is for messages.

    Raises:
        ConfigError: It is no TOML, or of another version.
    """
    try:
        values = tomllib.loads(data.decode())
    # Beside its own error: numbers of thousands of digits, brackets nested by the thousand.
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not TOML: {error}", hint="correct that line") from error
    table = Table(values, path)
    found = table.integer("version")
    if found != version:
        raise table.error(
            "version",
            f"is {found}, but this dpki understands only {version}",
            hint="use the dpki that wrote the file",
        )
    return table


def dump_toml(values: Mapping[str, Value]) -> str:
    """Write a table as TOML; the same values always give the same text.

    Plain values come first, then the sub-tables, each in the mapping's order; empty sub-tables
    are left out.
    """
    return "\n".join(_lines(values, ())) + "\n"


def _lines(values: Mapping[str, Value], prefix: tuple[str, ...]) -> Iterator[str]:
    for key, value in values.items():
        if not isinstance(value, Mapping):
            yield f"{_key(key)} = {_value(value)}"
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            path = (*prefix, _key(key))
            yield ""
            yield f"[{'.'.join(path)}]"
            yield from _lines(value, path)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _string(key)


def _value(value: str | int | Sequence[str]) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return _string(value)
    return "[" + ", ".join(_string(item) for item in value) + "]"


def _string(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    # TOML forbids control characters, DEL included, in basic strings.
    return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda m: f"\\u{ord(m[0]):04x}", escaped) + '"'
