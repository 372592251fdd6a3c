"""The table `[broker]`, in device.toml and in config.toml: a broker for small messages (MQTT)."""

from __future__ import annotations

from pathlib import Path

from dpki.config.toml import Table, Value
from dpki.config.values import verify_secret_source
from dpki.errors import UsageError
from dpki.transport.address import Broker, BrokerAddress


def parse_broker(table: Table) -> Broker | None:
    """Take `address`, `user`, `password` and `authority`; None where the table is empty."""
    if not table.names():
        return None
    broker = Broker(
        address=table.parsed("address", BrokerAddress.parse),
        user=table.parsed("user", _verify_user),
        password=table.parsed("password", verify_secret_source),
        authority=table.parsed("authority", _parse_path) if "authority" in table else None,
    )
    table.close()
    return broker


def dump_broker(broker: Broker) -> dict[str, Value]:
    """Return the keys that `parse_broker` reads."""
    return {
        "address": str(broker.address),
        "user": broker.user,
        "password": broker.password,
        **({} if broker.authority is None else {"authority": str(broker.authority)}),
    }


def _verify_user(text: str) -> str:
    if not 0 < len(text) <= 256 or not text.isprintable():
        raise UsageError("a user of a broker is a printable name")
    return text


def _parse_path(text: str) -> Path:
    if not text.startswith("/") or not text.isprintable():
        raise UsageError(f"{text[:120]!r} is not an absolute path")
    return Path(text)
