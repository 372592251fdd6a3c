"""Where a transport is, as people write it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpki.errors import UsageError
from dpki.transport.address import Broker, BrokerAddress, SshAddress
from dpki.transport.connect import open_transport
from dpki.transport.directory import DirectoryTransport
from dpki.transport.ssh import SshTransport

BROKER = Broker(BrokerAddress("broker.example.org", 8883, "acme"), "admin", "env:PASSWORD")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("mqtts://broker.example.org/acme", BROKER.address),
        ("mqtts://127.0.0.1:1883/a/b", BrokerAddress("127.0.0.1", 1883, "a/b")),
        ("mqtts://[::1]:9/x", BrokerAddress("::1", 9, "x")),
    ],
)
def test_a_brokers_address_reads_back(text: str, address: BrokerAddress) -> None:
    assert BrokerAddress.parse(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "mqtt://broker.example.org/acme",
        "mqtts://broker.example.org",
        "mqtts://broker.example.org/",
        "mqtts://broker.example.org/a//b",
        "mqtts://broker.example.org/#",
        "mqtts://broker.example.org/+/x",
        "mqtts://broker.example.org:0/x",
        "mqtts://broker.example.org:65536/x",
        "mqtts://admin:hunter2@broker.example.org/x",
        f"mqtts://broker.example.org/{'x' * 129}",
    ],
)
def test_what_is_no_address_of_a_broker(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        BrokerAddress.parse(text)
    # It may hold a password (claim T10).
    assert "hunter2" not in f"{caught.value}{caught.value.hint}"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ssh://gate-1/x", SshAddress("gate-1", "/x")),
        ("ssh://root@gate-1:22/a b", SshAddress("gate-1", "/a b", "root", 22)),
        ("ssh://[fe80::1]:2222/x", SshAddress("fe80::1", "/x", "", 2222)),
    ],
)
def test_a_hosts_folder_reads_back(text: str, address: SshAddress) -> None:
    assert SshAddress.parse(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    [
        "ssh://gate-1",
        "ssh://gate-1/",
        "ssh://-oProxyCommand=id/x",
        "ssh://-lroot@gate-1/x",
        "ssh://gate 1/x",
        "ssh://gate-1:65536/x",
        "ssh://gate-1/a\nb",
    ],
)
def test_what_is_no_folder_on_a_host(text: str) -> None:
    with pytest.raises(UsageError):
        SshAddress.parse(text)


def test_which_transport_that_is(tmp_path: Path) -> None:
    assert open_transport(str(tmp_path), None) == DirectoryTransport(tmp_path)
    ssh = open_transport("ssh://gate-1/x", None, tmp_path)
    assert ssh == SshTransport(SshAddress("gate-1", "/x"), tmp_path)
    assert open_transport("broker", BROKER).name == "broker mqtts://broker.example.org/acme"


@pytest.mark.parametrize("text", ["broker", "stick", "mqtts://x/y", "../x", ""])
def test_what_is_no_transport(text: str) -> None:
    with pytest.raises(UsageError):
        open_transport(text, None)
