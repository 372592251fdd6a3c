"""T1 and T3, the device as SSH client: it gets in by what is anchored, and trusts so, too.

Real ssh and sshd. One device's client, with a certificate of its own, logs in to another device,
whose host certificate it holds against the chain. The attacks: a thief has the client's device, or
the host CA's key, or a bundle is swapped.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.agent.client import ClientInstaller, install_client
from dpki.agent.decide import decide
from dpki.agent.install import install
from dpki.agent.observation import HostPair
from dpki.certificates.krl import parse_krl
from dpki.model import DeviceState
from dpki.verification.verdict import Finding, Verdict
from tests.device import DEVICE, HOST, open_device, private_key_file
from tests.outbound import Client


@pytest.fixture
def client() -> Iterator[Client]:
    with open_device() as device:
        yield Client(device)


def test_it_gets_in_until_its_certificate_is_revoked(client: Client) -> None:
    client.update()
    assert client.enters
    assert client.pair is not None
    client.server.users.revoked.add(client.pair.certificate.serial)
    install(
        decide(client.server.config, DEVICE, client.observation(), client.server.now),
        client.server.config,
    )
    assert not client.enters, "the other device refuses it, whatever lies on this one"
    client.pair = None
    assert client.update().serials == ()
    assert not list(client.files.directory.glob("client-*")), "and it goes here"
    assert "IdentityFile none" in client.files.config.read_text()
    assert not client.enters


def test_it_gets_in_nowhere_once_it_is_retired(client: Client) -> None:
    client.update()
    assert client.enters
    client.state = DeviceState.RETIRED
    client.update()
    assert not client.enters
    assert client.pair is not None
    assert parse_krl(client.files.krl.read_bytes()) is not None


def test_a_thief_of_the_retired_device_does_not_update_it(client: Client) -> None:
    client.update()
    client.state = DeviceState.RETIRED
    install(
        decide(client.server.config, DEVICE, client.observation(), client.server.now),
        client.server.config,
    )
    assert list(client.files.directory.glob("client-*"))
    assert not client.enters


def middle(client: Client) -> HostPair:
    """Have whoever stole the host CA's key, and no more, take the host's place."""
    stolen, device = Ed25519PrivateKey.generate(), client.server
    forged = device.hosts.sign(
        principals=[HOST],
        subject=stolen,
        valid_after=device.now - timedelta(minutes=5),
        valid_before=device.now + timedelta(days=1),
    )
    device.host = HostPair(forged, private_key_file(stolen), Finding(Verdict.VALID, ""))
    client.update()
    if device.server is not None:
        device.stage.stop_sshd(device.server)
    device.server = device.stage.start_sshd("middle", [], include=device.drop_in)
    return device.host


def test_it_refuses_a_host_whose_certificate_is_not_anchored(client: Client) -> None:
    client.update()
    assert client.enters
    forged = middle(client)
    outcome = client.login()
    assert (outcome.status, outcome.stdout) == (255, "")
    assert "not anchored, or revoked" in outcome.stderr
    client.anchor_host(forged)
    client.update()
    assert client.enters


def test_it_refuses_a_host_whose_certificate_is_revoked(client: Client) -> None:
    client.update()
    assert client.server.host is not None
    client.server.hosts.revoked.add(client.server.host.certificate.serial)
    client.update()
    outcome = client.login()
    assert outcome.status == 255
    assert "revoked" in outcome.stderr
    # Each of the two would do alone: the KRL without the command, too.
    lines = client.files.config.read_text().splitlines()
    client.files.config.write_text(
        "\n".join(line for line in lines if "KnownHostsCommand" not in line) + "\n"
    )
    assert "revoked" in client.login().stderr


def test_without_an_index_it_believes_no_host(client: Client) -> None:
    client.update()
    client.files.index.unlink()
    outcome = client.login()
    assert outcome.status == 255
    assert "could not be checked" in outcome.stderr
    assert "hosts.db" in client.update().changed
    assert client.enters


def test_nobody_else_reads_the_key(client: Client) -> None:
    installed = client.update()
    (key,) = (p for p in client.files.installed() if p.name.startswith("client-") and not p.suffix)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert key.owner() == client.account
    assert len(installed.serials) == 1
    config = client.files.config.read_text()
    assert config.splitlines()[1] == f"Match localuser {client.account}"


def test_another_accounts_ssh_is_as_it_was(client: Client) -> None:
    client.outbound = replace(client.outbound, account="nobody")
    client.installer = ClientInstaller(client.outbound)
    client.update()
    config = client.server.stage.directory / "ssh_config"
    config.write_text(f"Include {client.files.config}\n")
    said = client.server.stage.run(["/usr/bin/ssh", "-G", "-F", config, "host.invalid"]).stdout
    assert str(client.files.directory) not in said


def test_the_one_before_stays_beside_it_while_it_counts(client: Client) -> None:
    """Not every host knows a new certificate at once."""
    client.update()
    first = client.pair
    assert first is not None
    second = client.certify()
    assert client.update().serials == (second.certificate.serial, first.certificate.serial)
    third = client.certify()
    serials = client.update().serials
    assert serials[0] == third.certificate.serial
    assert len(serials) == 2
    client.server.users.revoked |= set(serials[1:])
    assert client.update().serials == (third.certificate.serial,)
    assert client.enters


def test_nothing_is_written_that_says_nothing_new(client: Client) -> None:
    client.update()
    assert client.update().changed == ()
    client.server.now += timedelta(minutes=1)
    assert client.update().changed == ()
    client.server.now += timedelta(minutes=10)
    assert client.update().changed == ("hosts.db",)


def test_what_fails_here_holds_nothing_up(client: Client) -> None:
    plan = client.plan()
    missing = ClientInstaller(replace(client.outbound, account="no-such-account"))
    (problem,) = install_client(missing, plan.outward, plan.krl).problems
    assert "no account no-such-account" in problem
    assert not client.files.directory.exists()


def test_a_folder_that_others_can_change_is_not_used(client: Client) -> None:
    client.files.directory.mkdir()
    client.files.directory.chmod(0o777)
    plan = client.plan()
    (problem,) = install_client(client.installer, plan.outward, plan.krl).problems
    assert "can be changed by others" in problem
    assert client.files.installed() == []


def test_a_krl_that_can_not_be_read_replaces_none(client: Client) -> None:
    client.update()
    before: bytes = client.files.krl.read_bytes()
    plan = client.plan()
    for broken in (b"", b"no KRL"):
        (problem,) = install_client(client.installer, plan.outward, broken).problems
        assert "KRL" in problem
        assert client.files.krl.read_bytes() == before


def folder_names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_it_leaves_nothing_else_in_its_folder(client: Client) -> None:
    client.update()
    own = {path.name for path in client.files.installed()}
    assert folder_names(client.files.directory) == own
