"""The table `[broker]`, of a device and of an admin."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dpki.config.admin import dump_admin_config, parse_admin_config
from dpki.config.device import dump_device_config, parse_device_config
from dpki.errors import ConfigError
from dpki.transport.address import Broker, BrokerAddress
from tests.unit.config.test_admin import CONFIG as ADMIN
from tests.unit.config.test_device import FULL as DEVICE

ADDRESS = BrokerAddress("broker.example.org", 8883, "acme/gates")
BROKERS = [
    Broker(ADDRESS, "gate-1", "file:/etc/dpki/password", Path("/etc/dpki/broker.pem")),
    Broker(ADDRESS, "gate-1", "env:PASSWORD"),
    None,
]


@pytest.mark.parametrize("broker", BROKERS)
def test_what_is_written_reads_back(broker: Broker | None) -> None:
    device = replace(DEVICE, broker=broker)
    assert parse_device_config(dump_device_config(device)) == device
    admin = replace(ADMIN, broker=broker)
    assert parse_admin_config(dump_admin_config(admin), Path("config.toml")) == admin


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("address", "mqtt://broker.example.org/x"),
        ("address", "mqtts://admin:hunter2@broker.example.org/x"),
        ("user", ""),
        ("user", "a\\nb"),
        ("password", "hunter2"),
        ("authority", "broker.pem"),
        ("passwort", "hunter2"),
    ],
)
def test_mistakes_are_named_and_secrets_are_not(key: str, value: str) -> None:
    fields = {"address": str(ADDRESS), "user": "x", "password": "env:PASSWORD", key: value}
    table = "\n".join(f'{name} = "{text}"' for name, text in fields.items())
    with pytest.raises(ConfigError, match=rf"broker\.{key}") as caught:
        parse_device_config(f"{dump_device_config(DEVICE)}\n[broker]\n{table}\n")
    assert "hunter2" not in f"{caught.value}{caught.value.hint}"


@pytest.mark.parametrize("key", ["address", "user", "password"])
def test_nothing_may_be_missing(key: str) -> None:
    fields = {"address": str(ADDRESS), "user": "x", "password": "env:PASSWORD"}
    del fields[key]
    table = "\n".join(f'{name} = "{text}"' for name, text in fields.items())
    with pytest.raises(ConfigError, match=rf"broker\.{key} is missing"):
        parse_device_config(f"{dump_device_config(DEVICE)}\n[broker]\n{table}\n")
