"""The tables `[acknowledge]` and `[doorbell]`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dpki.agent.unit import writable_paths
from dpki.bundle.seal import SealingSecrets
from dpki.config.device import (
    DeviceConfig,
    DomainConfig,
    dump_device_config,
    parse_device_config,
)
from dpki.config.news import Acknowledge, News
from dpki.errors import ConfigError
from dpki.transport.address import Broker, BrokerAddress
from tests.unit.config.test_device import FULL

KEY = SealingSecrets.generate().public.x25519
BROKER = Broker(BrokerAddress("broker.example.org", 8883, "acme"), "gate-1", "env:PASSWORD")
CONFIG = replace(FULL, broker=BROKER)


@pytest.mark.parametrize(
    "news",
    [
        News(),
        News(Acknowledge("broker", KEY), doorbell=True),
        News(Acknowledge("/var/lib/dpki-outbox", KEY)),
    ],
)
def test_what_is_written_reads_back(news: News) -> None:
    config = replace(CONFIG, news=news)
    assert parse_device_config(dump_device_config(config)) == config


@pytest.mark.parametrize(
    ("table", "key"),
    [
        (f'[acknowledge]\nto = "outbox"\nkey = "0x{KEY.hex()}"', "acknowledge.to"),
        (f'[acknowledge]\nto = "/a\\nb"\nkey = "0x{KEY.hex()}"', "acknowledge.to"),
        ('[acknowledge]\nto = "/outbox"', "acknowledge.key"),
        (f'[acknowledge]\nto = "/outbox"\nkey = "{KEY.hex()}"', "acknowledge.key"),
        (f'[acknowledge]\nto = "/outbox"\nkey = "0x{"00" * 32}"', "acknowledge.key"),
        (f'[acknowledge]\nto = "broker"\nkey = "0x{KEY.hex()}"', "acknowledge.to"),
        ("[doorbell]\nlisten = true", "doorbell.listen"),
        ("[doorbell]\nlisten = 1", "doorbell.listen"),
        ("[doorbell]\ntopic = 1", "doorbell.topic"),
    ],
)
def test_mistakes_are_named(table: str, key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        parse_device_config(f"{dump_device_config(FULL)}\n{table}\n")


def test_the_service_may_write_where_it_leaves_them() -> None:
    folder = Path("/var/lib/dpki-outbox")
    config = replace(CONFIG, news=News(Acknowledge(str(folder), KEY)))
    assert folder in writable_paths(Path("/etc/dpki"), config)
    config = replace(CONFIG, news=News(Acknowledge("broker", KEY)))
    assert folder not in writable_paths(Path("/etc/dpki"), config)


class TestSeveralDomains:
    """Each has admins of its own, with a key of their own; the device has one identity in all."""

    def config(self, first: News, second: News) -> DeviceConfig:
        partner = DomainConfig(domain=replace(FULL.domain, chain_id=10), rpc=FULL.rpc, news=second)
        return replace(CONFIG, news=first, domains={"partner": partner})

    def test_each_is_told_what_is_its_own(self) -> None:
        first = News(Acknowledge("broker", KEY), doorbell=True)
        second = News(Acknowledge("/var/lib/partner", KEY))
        config = self.config(first, second)
        assert parse_device_config(dump_device_config(config)) == config
        seen = config.each()
        assert (seen["first"].news, seen["partner"].news) == (first, second)
        assert Path("/var/lib/partner") in writable_paths(Path("/etc/dpki"), config)

    @pytest.mark.parametrize("place", ["broker", "/var/lib/outbox"])
    def test_two_in_one_place_would_hide_each_other(self, place: str) -> None:
        both = News(Acknowledge(place, KEY))
        with pytest.raises(ConfigError, match="told in one place"):
            parse_device_config(dump_device_config(self.config(both, both)))

    def test_the_doorbell_is_the_device_s(self) -> None:
        text = dump_device_config(self.config(News(), News(doorbell=True)))
        with pytest.raises(ConfigError, match=r"domains\.partner\.doorbell"):
            parse_device_config(text)
