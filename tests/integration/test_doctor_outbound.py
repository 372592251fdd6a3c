"""`dpki doctor` on a device that logs in elsewhere, whose every part is broken in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from dpki.chain.snapshot import Snapshot
from dpki.doctor.finding import Finding, Level
from dpki.doctor.outbound import look_at_outbound
from dpki.model import AuthorityState
from tests.device import open_device
from tests.outbound import Client

MEND = "dpki agent once"


@pytest.fixture(scope="module")
def installed() -> Iterator[Client]:
    with open_device() as device:
        yield Client(device)


@pytest.fixture
def client(installed: Client) -> Client:
    """The client's files as installed; whatever a test breaks is put right by the next."""
    for path in installed.files.directory.glob("*"):
        path.unlink()
    installed.update()
    return installed


def examine(
    client: Client, later: timedelta = timedelta(), snapshot: Snapshot | None = None
) -> dict[str, Finding]:
    """Return what is not well, by part."""
    now = client.server.now + later
    found = look_at_outbound(client.outbound, snapshot, now, mend=MEND)
    return {each.part: each for each in found if each.level is not Level.OK}


def certificate_file(client: Client) -> str:
    (path,) = client.files.directory.glob("client-*-cert.pub")
    return path.name


def test_what_the_agent_installed_is_well(client: Client) -> None:
    assert examine(client) == {}
    assert examine(client, snapshot=client.observation().snapshot) == {}


def key_open(client: Client) -> None:
    (client.files.directory / certificate_file(client).removesuffix("-cert.pub")).chmod(0o640)


def key_gone(client: Client) -> None:
    (client.files.directory / certificate_file(client).removesuffix("-cert.pub")).unlink()


BREAK: dict[str, tuple[Callable[[Client], object], str]] = {
    "KRL missing": (lambda c: c.files.krl.unlink(), "ssh client's KRL"),
    "KRL damaged": (lambda c: c.files.krl.write_bytes(b"SSHKRL"), "ssh client's KRL"),
    "settings open": (lambda c: c.files.config.chmod(0o666), "ssh client's settings"),
    "lookup missing": (lambda c: c.files.lookup.unlink(), "ssh client's host lookup"),
    "index damaged": (lambda c: c.files.index.write_bytes(b"SQLite"), "ssh client's host lookup"),
    "index open": (lambda c: c.files.index.chmod(0o646), "ssh client's host index"),
    "key open": (key_open, "client key's file"),
    "key gone": (key_gone, "client key's file"),
    "certificate damaged": (
        lambda c: (c.files.directory / certificate_file(c)).write_text("ssh-ed25519 AAAA"),
        "client certificate",
    ),
}


@pytest.mark.parametrize("name", BREAK)
def test_each_part_that_is_broken_is_named(client: Client, name: str) -> None:
    spoil, part = BREAK[name]
    spoil(client)
    assert [f.part for f in examine(client).values() if f.level is Level.PROBLEM] == [part]


def test_nothing_is_run_that_somebody_may_have_put_there(client: Client) -> None:
    """The attack: who may write into the folder waits until root asks what is wrong with it."""
    ran = client.files.directory / "ran"
    client.files.lookup.write_text(f"open({str(ran)!r}, 'w')\n")
    client.files.lookup.chmod(0o666)
    assert examine(client)["ssh client's host lookup"].level is Level.PROBLEM
    assert not ran.exists()


def test_an_account_that_is_not_there(client: Client) -> None:
    outbound = replace(client.outbound, account="nobody-of-this-name")
    (found,) = look_at_outbound(outbound, None, client.server.now, mend=MEND)
    assert (found.level, found.part) == (Level.PROBLEM, "ssh client's account")


class TestTheCertificate:
    def level(self, client: Client, later: timedelta = timedelta()) -> Level:
        return examine(client, later)["client certificate"].level

    def test_that_ends_soon(self, client: Client) -> None:
        assert self.level(client, timedelta(minutes=50)) is Level.WARNING

    def test_that_has_ended(self, client: Client) -> None:
        assert self.level(client, timedelta(hours=1)) is Level.PROBLEM

    def test_that_never_came(self, client: Client) -> None:
        for path in client.files.directory.glob("client-*"):
            path.unlink()
        assert self.level(client) is Level.WARNING

    def test_that_the_chain_revoked(self, client: Client) -> None:
        assert client.pair is not None
        seen = client.observation().snapshot
        ca = seen.authorities[client.pair.certificate.authority_id]
        suspended = replace(ca, state=AuthorityState.SUSPENDED)
        gone = {id: one for id, one in seen.authorities.items() if id != ca.id}
        for authorities in ({**seen.authorities, ca.id: suspended}, gone):
            changed = replace(seen, authorities=authorities)
            found = examine(client, snapshot=changed)["client certificate"]
            assert (found.level, "not trusted any more" in found.said) == (Level.PROBLEM, True)
