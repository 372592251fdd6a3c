"""Who of several endpoints is asked first, from how each has behaved.

It outlives the process where there is a file for it: one that lied to the last command is not asked
first by the next. It is a convenience and no more: a file that is missing, damaged, foreign or
can't be written costs a question to an endpoint that is down, and never an error.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from dpki.chain.quorum import LONGEST_PENALTY, Fault, Standing, preference
from dpki.errors import DpkiError, MalformedInput
from dpki.files import load_bounded, make_private_directory, state_folder, write_atomic

FILE = "endpoints.json"

REMEMBERED = timedelta(days=1)
"""How long after its time is served an endpoint's faults are known."""

ENDPOINTS = 256
"""Endpoints in a file, at most."""

_VERSION = 1
_LIMIT = 256 * 1024
_FAULTS = 16


@dataclass(frozen=True)
class Named:
    """An endpoint's standing, with what to call it: scheme, host and port."""

    name: str
    standing: Standing


class StandingsFile:
    """Where standings are kept between runs, by the hash of each endpoint's URL.

    The URL itself may hold a key, and is not written. Of several processes the last one that writes
    wins; what it does not ask it leaves as it is.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def of_user(cls) -> StandingsFile:
        """Return the file of this user's commands."""
        return cls(state_folder("endpoints") / FILE)

    def load(self) -> Mapping[str, Named]:
        """Return what is known, by the URLs' hashes; nothing where there is no proper file."""
        try:
            return parse_standings(load_bounded(self._path, limit=_LIMIT))
        except DpkiError:
            return {}

    def save(self, changed: Mapping[str, Named], now: float) -> None:
        """Enter what changed, and forget what is long over."""
        long_ago = now - REMEMBERED.total_seconds()
        entries = {
            key: named
            for key, named in ({**self.load(), **changed}).items()
            if named.standing.fault is not None and named.standing.until > long_ago
        }
        newest = sorted(entries, key=lambda key: entries[key].standing.until)[-ENDPOINTS:]
        with suppress(DpkiError):
            make_private_directory(self._path.parent)
            write_atomic(self._path, encode_standings({key: entries[key] for key in newest}))


class Standings:
    """How endpoints have behaved, by their places.

    Args:
        names: What they are called in messages.
        clock: Seconds, for how long they are set aside; the same for every process if there is a
            file. It may jump: nobody is set aside for longer than the longest penalty from now.
        urls: Their URLs, as keys of the file.
        file: Where their standings are kept; None keeps them in memory.
    """

    def __init__(
        self,
        names: Sequence[str],
        clock: Callable[[], float] = time.time,
        *,
        urls: Sequence[str] = (),
        file: StandingsFile | None = None,
    ) -> None:
        self._names = tuple(names)
        self._clock = clock
        self._file = file
        self._keys = [key_of(url) for url in urls]
        known = {} if file is None else file.load()
        self._standings = [
            known[key].standing if key in known else Standing()
            for key in self._keys or [""] * len(names)
        ]
        self._now()

    def order(self) -> list[int]:
        """Return the places in the order to ask them in: those set aside last."""
        return preference(self._standings, self._now())

    def is_aside(self, place: int) -> bool:
        """Whether one is to be asked only when the others do not suffice."""
        return self._standings[place].is_aside(self._now())

    def punish(self, place: int, fault: Fault) -> None:
        """Set one aside for a while."""
        self._change({place: self._standings[place].after(fault, self._now())})

    def forgive(self, place: int) -> None:
        """Take note of a good answer."""
        self._change({place: self._standings[place].forgiven(self._now())})

    def aside(self) -> tuple[str, ...]:
        """Return those that are set aside, each with the reason."""
        return tuple(
            f"{name}: {standing.fault.value}"
            for place, (name, standing) in enumerate(zip(self._names, self._standings, strict=True))
            if standing.fault is not None and self.is_aside(place)
        )

    def _now(self) -> float:
        """Return the time, by which nobody is set aside for longer than there is a penalty for."""
        now = self._clock()
        latest = now + LONGEST_PENALTY.total_seconds()
        self._change(
            {
                place: replace(standing, until=latest)
                for place, standing in enumerate(self._standings)
                if standing.until > latest
            }
        )
        return now

    def _change(self, changes: Mapping[int, Standing]) -> None:
        changed = {p: new for p, new in changes.items() if new != self._standings[p]}
        for place, standing in changed.items():
            self._standings[place] = standing
        if changed and self._file is not None:
            entries = {self._keys[p]: Named(self._names[p], new) for p, new in changed.items()}
            self._file.save(entries, self._clock())


def key_of(url: str) -> str:
    """Return what an endpoint is known by in a file: the SHA-256 of its URL, hexadecimal."""
    return hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()


def encode_standings(standings: Mapping[str, Named]) -> bytes:
    """Return the bytes of a file with these standings, by the URLs' hashes."""
    entries = {
        key: {
            "name": named.name,
            "faults": named.standing.faults,
            "until": named.standing.until,
            "fault": named.standing.fault.name,
        }
        for key, named in standings.items()
        if named.standing.fault is not None
    }
    return json.dumps({"version": _VERSION, "endpoints": entries}, indent=1).encode()


def parse_standings(data: bytes) -> Mapping[str, Named]:
    """Return the standings that a file holds, by the URLs' hashes.

    Raises:
        MalformedInput: It is no such file.
    """
    try:
        document = json.loads(data)
        if document["version"] != _VERSION:
            raise ValueError("another version")
        return {key: _parse_entry(key, fields) for key, fields in document["endpoints"].items()}
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise MalformedInput(
            "it holds no standings of endpoints", hint="remove it: it is made anew"
        ) from error


def _parse_entry(key: str, fields: Mapping[str, object]) -> Named:
    name, faults, until = fields["name"], fields["faults"], fields["until"]
    if (
        len(bytes.fromhex(key)) != hashlib.sha256().digest_size
        or not isinstance(name, str)
        or not isinstance(faults, int)
        or not isinstance(until, int | float)
        or not 1 <= faults <= _FAULTS
        or not math.isfinite(until)
        or until < 0
    ):
        raise ValueError("no standing")
    return Named(name, Standing(faults, float(until), Fault[str(fields["fault"])]))
