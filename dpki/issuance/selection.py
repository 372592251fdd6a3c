"""Which devices somebody means: by name, pattern, fleet or label. Pure.

All of this is local: on chain stands an address, and nothing that says what or where it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Protocol, TypeVar

from dpki.errors import UsageError

FLEET = "fleet"
"""The label that says which fleet a device belongs to."""

_KEY = re.compile(r"[a-z][a-z0-9._-]{0,31}")
_VALUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_WILDCARDS = frozenset("*?[")


class Labelled(Protocol):
    """What has a name and labels."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def labels(self) -> Mapping[str, str]:
        """Its labels."""
        ...


Device = TypeVar("Device", bound=Labelled)


@dataclass(frozen=True)
class Selection:
    """Devices as somebody asked for them.

    Attributes:
        names: Names and patterns (`gate-*`, `pump-1[0-9]`); a device that one of them fits is
            meant. None at all means any name.
        labels: What a device must be labelled with, all of it.
    """

    names: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def is_everything(self) -> bool:
        """Whether nothing was asked for, so that every device is meant."""
        return not self.names and not self.labels

    @property
    def one(self) -> str | None:
        """The name, where nothing but one device was named."""
        if self.labels or len(self.names) != 1 or _WILDCARDS & set(self.names[0]):
            return None
        return self.names[0]

    def pick(self, devices: Iterable[Device]) -> tuple[Device, ...]:
        """Return the devices that are meant, in the order given, each once.

        Raises:
            UsageError: A name or pattern fits none of them, or nothing is left: what was meant is
                not there, and doing less than that would look like success.
        """
        known = tuple(devices)
        for name in self.names:
            if not any(fnmatchcase(device.name, name) for device in known):
                what = "fits the pattern" if _WILDCARDS & set(name) else "is named"
                raise UsageError(
                    f"no device {what} {name[:80]!r} here",
                    hint="see the names with: dpki device list; quote patterns: 'gate-*'",
                )
        found = tuple(device for device in known if self._fits(device))
        if not found:
            raise UsageError(
                f"no device is meant by {self}",
                hint="see names, fleets and labels with: dpki device list",
            )
        return found

    def _fits(self, device: Labelled) -> bool:
        is_named = not self.names or any(fnmatchcase(device.name, name) for name in self.names)
        return is_named and all(device.labels.get(k) == v for k, v in self.labels.items())

    def __str__(self) -> str:
        """Return it in words."""
        words = [*self.names, *(f"{key}={value}" for key, value in self.labels.items())]
        return ", ".join(words) or "every device"


def parse_selection(
    names: Sequence[str] = (), fleet: str | None = None, labels: Sequence[str] = ()
) -> Selection:
    """Return what was asked for on a command line.

    Args:
        labels: `KEY=VALUE` each.

    Raises:
        UsageError: A label is none, or one key is asked for twice.
    """
    wanted = parse_labels(labels, fleet)
    return Selection(tuple(dict.fromkeys(names)), MappingProxyType(wanted))


def parse_labels(texts: Sequence[str], fleet: str | None = None) -> dict[str, str]:
    """Return labels from `KEY=VALUE`, and the fleet among them.

    Raises:
        UsageError: One is none, or a key stands there twice.
    """
    pairs = [] if fleet is None else [(FLEET, fleet)]
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(
                f"{text[:80]!r} is no label", hint="write KEY=VALUE, such as --label site=hh"
            )
        pairs.append((key, value))
    labels = dict(pairs)
    if len(labels) != len(pairs):
        raise UsageError("a label is given twice", hint="--fleet is the label fleet")
    verify_labels(labels)
    return labels


def verify_labels(labels: Mapping[str, str]) -> None:
    """Refuse labels that would not survive a shell, a file's name or a table.

    Raises:
        UsageError: One is empty, too long, or holds something else than plain characters.
    """
    for key, value in labels.items():
        if not _KEY.fullmatch(key) or not _VALUE.fullmatch(value):
            raise UsageError(
                f"{f'{key}={value}'[:120]!r} can't be a label",
                hint="KEY: up to 32 lower-case letters, digits, . _ and -, beginning with a letter;"
                " VALUE: up to 64 letters, digits, . _ and -, beginning with a letter or digit",
            )
