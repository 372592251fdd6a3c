"""Where a transport is, as people write it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from dpki.errors import UsageError

MQTT_PORT = 8883
"""MQTT over TLS (IANA: secure-mqtt)."""

_HOST = r"(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])"
_MQTT = re.compile(
    rf"mqtts://{_HOST}(?::(?P<port>[0-9]{{1,5}}))?/(?P<prefix>[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)*)"
)
_SSH = re.compile(
    rf"ssh://(?:(?P<user>[a-z_][a-z0-9_.-]{{0,31}})@)?{_HOST}(?::(?P<port>[0-9]{{1,5}}))?(?P<path>/.{{1,1024}})"
)
_LONGEST_PREFIX = 128


@dataclass(frozen=True)
class BrokerAddress:
    """Where a broker is.

    Attributes:
        prefix: What its topics begin with.
    """

    host: str
    port: int
    prefix: str

    @classmethod
    def parse(cls, text: str) -> BrokerAddress:
        """Parse `mqtts://HOST[:PORT]/PREFIX`: there is no way without TLS.

        Raises:
            UsageError: It reads otherwise.
        """
        match = _MQTT.fullmatch(text)
        port = 0 if match is None else int(match["port"] or MQTT_PORT)
        if match is None or not 0 < port < 1 << 16 or len(match["prefix"]) > _LONGEST_PREFIX:
            # It may hold a password.
            raise UsageError(
                "this is not the address of a broker",
                hint="it reads like mqtts://broker.example.org/acme, without user and password;"
                " acme is what its topics begin with",
            )
        return cls(match["host"].strip("[]"), port, match["prefix"])

    def __str__(self) -> str:
        """Return the written form."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == MQTT_PORT else f":{self.port}"
        return f"mqtts://{host}{port}/{self.prefix}"


@dataclass(frozen=True)
class Broker:
    """A broker, and how one shows who one is.

    Attributes:
        user: As whom to log in.
        password: Where the password comes from (`dpki.signer.pin.pin_source`); never the password.
        authority: The certificate of the authority that vouches for the broker, PEM; None for those
            that the system trusts.
    """

    address: BrokerAddress
    user: str
    password: str
    authority: Path | None = None


@dataclass(frozen=True)
class SshAddress:
    """A folder on a host that an admin reaches through SSH.

    Attributes:
        user: As whom; empty where ssh's own configuration says.
        port: 0 where ssh's own configuration says.
    """

    host: str
    path: str
    user: str = ""
    port: int = 0

    @classmethod
    def parse(cls, text: str) -> SshAddress:
        """Parse `ssh://[USER@]HOST[:PORT]/FOLDER`.

        Raises:
            UsageError: It reads otherwise.
        """
        match = _SSH.fullmatch(text)
        port = 0 if match is None else int(match["port"] or 0)
        if match is None or port >= 1 << 16 or not match["path"].isprintable():
            raise UsageError(
                f"{text[:120]!r} is not a folder on a host",
                hint="it reads like ssh://root@gate-1.example.org/var/lib/dpki/outbox",
            )
        return cls(match["host"].strip("[]"), match["path"], match["user"] or "", port)

    def __str__(self) -> str:
        """Return the written form."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = f"{self.user}@" if self.user else ""
        port = f":{self.port}" if self.port else ""
        return f"ssh://{user}{host}{port}{self.path}"
