"""How a device's agent follows the chain, and where it tells its figures."""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from dpki.config.durations import format_duration, parse_duration
from dpki.config.toml import Table, Value
from dpki.errors import UsageError


@dataclass(frozen=True)
class Following:
    """How the agent follows the chain.

    Attributes:
        interval: Between two looks while nobody hints that there is something new.
        clock_limit: How far clock and newest block may lie apart before the agent says so.
    """

    interval: timedelta = timedelta(seconds=12)
    clock_limit: timedelta = timedelta(minutes=10)


@dataclass(frozen=True)
class Metrics:
    """Where the agent's figures can be had, in Prometheus' text format.

    Attributes:
        listen: Loopback address and port; None for none.
        textfile: A file for node_exporter's textfile collector; None for none.
    """

    listen: tuple[str, int] | None = None
    textfile: Path | None = None


def parse_following(table: Table) -> Following:
    """Take `interval` and `clock_limit`, and nothing else."""
    default = Following()
    following = Following(
        interval=table.parsed("interval", parse_duration, format_duration(default.interval)),
        clock_limit=table.parsed(
            "clock_limit", parse_duration, format_duration(default.clock_limit)
        ),
    )
    table.close()
    return following


def parse_metrics(table: Table) -> Metrics:
    """Take `listen` and `textfile`, and nothing else."""
    metrics = Metrics(
        listen=table.parsed("listen", _parse_loopback) if "listen" in table else None,
        textfile=Path(table.text("textfile")) if "textfile" in table else None,
    )
    table.close()
    if metrics.textfile is not None and not metrics.textfile.is_absolute():
        raise table.error("textfile", "must be an absolute path")
    return metrics


def _parse_loopback(text: str) -> tuple[str, int]:
    """Parse `127.0.0.1:PORT` or `[::1]:PORT`: what the figures say is nobody else's business.

    Raises:
        UsageError: It is something else.
    """
    host, _, port = text.rpartition(":")
    with suppress(ValueError):
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
        if address.is_loopback and port.isascii() and port.isdecimal() and int(port) < 2**16:
            return str(address), int(port)
    raise UsageError(
        f"{text[:80]!r} is no loopback address with a port", hint="such as 127.0.0.1:9477"
    )


def dump_following(following: Following) -> dict[str, Value]:
    """Return the keys that `parse_following` reads."""
    return {
        "interval": format_duration(following.interval),
        "clock_limit": format_duration(following.clock_limit),
    }


def dump_metrics(metrics: Metrics) -> dict[str, Value]:
    """Return the keys that `parse_metrics` reads."""
    values: dict[str, Value] = {}
    if metrics.listen is not None:
        host, port = metrics.listen
        values["listen"] = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if metrics.textfile is not None:
        values["textfile"] = str(metrics.textfile)
    return values
