"""Saying what was installed: once, in rising numbers, until it is left somewhere."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dpki.agent.acknowledge import (
    AGAIN,
    FILE_NAME,
    acknowledge,
    leave,
    leave_each,
    load_kept_acknowledgement,
)
from dpki.agent.follow import folder_of
from dpki.bundle.seal import SealingSecrets
from dpki.config.device import DeviceConfig, DomainConfig
from dpki.config.news import Acknowledge, News
from dpki.devices.acknowledgement import Statement, verify_acknowledgement
from dpki.devices.keys import generate_device_keys
from dpki.errors import CheckedFalse, DpkiError, TransportUnavailable
from dpki.model import Hash32, to_timestamp
from dpki.transport.base import Kind
from dpki.transport.directory import DirectoryTransport
from tests.world import DOMAIN as WORLD

DOMAIN = WORLD.id
KEYS = generate_device_keys()
HOME = SealingSecrets(SealingSecrets.generate().x25519, None)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SAID = Statement(DOMAIN, KEYS.address, 0, 7, Hash32(b"\x03" * 32), "strict", 5, ())


@pytest.fixture
def config(tmp_path: Path) -> DeviceConfig:
    news = News(Acknowledge(str(tmp_path / "outbox"), HOME.public.x25519))
    return DeviceConfig(domain=DOMAIN, rpc=("http://127.0.0.1:1",), news=news)


def received(folder: Path) -> list[Statement]:
    messages = DirectoryTransport(folder).receive(Kind.ACKNOWLEDGEMENT, timedelta(seconds=5))
    return [verify_acknowledgement(message.data, HOME, DOMAIN) for message in messages]


def test_what_is_new_is_said_and_left_once(tmp_path: Path, config: DeviceConfig) -> None:
    acknowledge(tmp_path, config, KEYS, SAID, NOW)
    assert leave(tmp_path, config, NOW)
    assert received(tmp_path / "outbox") == [replace(SAID, sequence=to_timestamp(NOW))]
    # Another block says nothing new, and a card is not written for it.
    before = (tmp_path / FILE_NAME).stat().st_mtime_ns
    acknowledge(tmp_path, config, KEYS, replace(SAID, block=8), NOW + timedelta(minutes=1))
    assert (tmp_path / FILE_NAME).stat().st_mtime_ns == before
    assert not leave(tmp_path, config, NOW + timedelta(minutes=1))


def test_numbers_rise_whatever_the_clock_does(tmp_path: Path, config: DeviceConfig) -> None:
    first = to_timestamp(NOW)
    for prekeys, moment in enumerate((NOW, NOW, NOW - timedelta(days=999))):
        acknowledge(tmp_path, config, KEYS, replace(SAID, prekeys=prekeys), moment)
        kept = load_kept_acknowledgement(tmp_path)
        assert kept is not None
        assert kept.sequence == first + prekeys
    # And a device that lost its folder goes on above, by the clock.
    (tmp_path / FILE_NAME).write_bytes(b"damaged")
    assert load_kept_acknowledgement(tmp_path) is None
    acknowledge(tmp_path, config, KEYS, SAID, NOW + timedelta(hours=1))
    leave(tmp_path, config, NOW)
    assert received(tmp_path / "outbox")[0].sequence == first + 3600


def test_it_is_left_again_after_a_day(tmp_path: Path, config: DeviceConfig) -> None:
    acknowledge(tmp_path, config, KEYS, SAID, NOW)
    leave(tmp_path, config, NOW)
    (message,) = (tmp_path / "outbox").iterdir()
    sent = message.read_bytes()
    message.unlink()
    assert not leave(tmp_path, config, NOW + AGAIN - timedelta(seconds=1))
    assert leave(tmp_path, config, NOW + AGAIN)
    # The very same: under one number nothing else was ever said.
    assert message.read_bytes() == sent


def test_where_it_can_t_be_left_it_stays_due(tmp_path: Path, config: DeviceConfig) -> None:
    (tmp_path / "outbox").touch()
    acknowledge(tmp_path, config, KEYS, SAID, NOW)
    with pytest.raises(TransportUnavailable):
        leave(tmp_path, config, NOW)
    kept = load_kept_acknowledgement(tmp_path)
    assert "waits to be left" in str(kept)
    (tmp_path / "outbox").unlink()
    assert leave(tmp_path, config, NOW)
    assert "left on 2026-01-01 00:00 UTC" in str(load_kept_acknowledgement(tmp_path))


def test_another_reader_or_place_is_told_anew(tmp_path: Path, config: DeviceConfig) -> None:
    acknowledge(tmp_path, config, KEYS, SAID, NOW)
    leave(tmp_path, config, NOW)
    moved = replace(config, news=News(Acknowledge(str(tmp_path / "b"), HOME.public.x25519)))
    # Not the old message at the new place, nor the other way round.
    assert not leave(tmp_path, moved, NOW + AGAIN)
    acknowledge(tmp_path, moved, KEYS, SAID, NOW)
    assert leave(tmp_path, moved, NOW)
    assert received(tmp_path / "b")[0].sequence == to_timestamp(NOW) + 1


def test_a_device_that_is_told_nothing_says_nothing(tmp_path: Path, config: DeviceConfig) -> None:
    quiet = replace(config, news=News())
    acknowledge(tmp_path, quiet, KEYS, SAID, NOW)
    assert not leave(tmp_path, quiet, NOW)
    assert list(tmp_path.iterdir()) == []


class TestSeveralDomains:
    """What one domain's admins can't be told holds up nothing that others are to be told."""

    @pytest.fixture
    def both(self, tmp_path: Path, config: DeviceConfig) -> DeviceConfig:
        news = News(Acknowledge(str(tmp_path / "partner"), HOME.public.x25519))
        partner = DomainConfig(domain=replace(DOMAIN, chain_id=10), rpc=config.rpc, news=news)
        config = replace(config, domains={"partner": partner})
        for name, each in config.each().items():
            folder = folder_of(tmp_path, name)
            folder.mkdir(parents=True, exist_ok=True)
            acknowledge(folder, each, KEYS, replace(SAID, domain=each.domain), NOW)
        return config

    def test_each_is_told_what_is_of_it(self, tmp_path: Path, both: DeviceConfig) -> None:
        assert leave_each(tmp_path, both, NOW) == ("first", "partner")
        assert leave_each(tmp_path, both, NOW) == ()
        assert received(tmp_path / "outbox")[0].domain == DOMAIN
        with pytest.raises(CheckedFalse):
            received(tmp_path / "partner")  # it is another domain's

    def test_where_one_fails_the_other_is_told(self, tmp_path: Path, both: DeviceConfig) -> None:
        (tmp_path / "outbox").touch()
        with pytest.raises(TransportUnavailable):
            leave_each(tmp_path, both, NOW)
        assert len(list((tmp_path / "partner").iterdir())) == 1
        (tmp_path / "outbox").unlink()
        assert leave_each(tmp_path, both, NOW) == ("first",)

    def test_where_several_fail_each_is_named(self, tmp_path: Path, both: DeviceConfig) -> None:
        for name in ("outbox", "partner"):
            (tmp_path / name).touch()
        with pytest.raises(DpkiError, match=r"^first: .*; partner: "):
            leave_each(tmp_path, both, NOW)
