"""The command behind KnownHostsCommand: which hosts ssh may believe."""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from dpki.agent import host_lookup
from dpki.agent.host_index import (
    COMMAND,
    INDEX,
    command_line,
    encode_host_index,
    make_host_index,
    write_lookup,
)
from dpki.agent.login import LENGTH
from dpki.certificates.ssh import SshCertificate
from dpki.errors import UsageError
from dpki.model import AuthorityState
from dpki.verification.anchored_hosts import AnchoredHost
from dpki.verification.known_hosts import known_hosts_line
from tests.world import NOW, Ca, snapshot

HOST = "gate-1.example"


@dataclass
class Desk:
    """An index on disk, and the command that reads it."""

    path: Path
    hosts: Ca
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def write(self, *anchored: SshCertificate, age: timedelta = timedelta(hours=24)) -> None:
        self.take(
            *(AnchoredHost(c.hash, self.hosts.id, c.serial, c.valid_before) for c in anchored),
            age=age,
        )

    def take(self, *entries: AnchoredHost, age: timedelta = timedelta(hours=24)) -> None:
        seen = snapshot(self.hosts, Ca.users())
        index = make_host_index(seen, entries, "*.example", NOW + age)
        self.path.write_bytes(encode_host_index(index))

    def ask(
        self, key: bytes, reason: str = "HOSTNAME", after: timedelta = timedelta(0)
    ) -> tuple[int, str, str]:
        self.monkeypatch.setattr(host_lookup.time, "time", (NOW + after).timestamp)
        encoded = base64.b64encode(key).decode() or "NONE"
        status = host_lookup.main([str(self.path), reason, HOST, encoded])
        said = self.capsys.readouterr()
        return status, said.out, said.err


@pytest.fixture
def desk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Desk:
    return Desk(tmp_path / INDEX, Ca.hosts(), monkeypatch, capsys)


def line(ca: Ca) -> str:
    found = known_hosts_line(ca.on_chain(), "*.example")
    assert found is not None
    return found


def test_an_anchored_certificate_is_believed(desk: Desk) -> None:
    certificate = desk.hosts.sign(principals=[HOST])
    desk.write(certificate)
    assert desk.ask(certificate.blob) == (0, line(desk.hosts), "")
    assert desk.ask(certificate.blob, "ADDRESS") == (0, line(desk.hosts), "")


def test_before_the_hosts_key_is_known_ssh_learns_that_there_are_certificates(desk: Desk) -> None:
    desk.write()
    assert desk.ask(b"", "ORDER") == (0, line(desk.hosts), "")


def test_signed_and_not_anchored_ends_the_connection(desk: Desk) -> None:
    certificate, thief = desk.hosts.sign(1), desk.hosts.sign(2)
    desk.write(certificate)
    status, out, err = desk.ask(thief.blob)
    assert (status, out) == (1, "")
    assert "gate-1.example shows a certificate that is not anchored, or revoked" in err


def test_anchored_again_by_the_thief_of_a_wallet(desk: Desk) -> None:
    """Under a second serial, or by a second CA: that neither revives what is revoked, nor harms."""
    certificate = desk.hosts.sign(1)
    own = AnchoredHost(certificate.hash, desk.hosts.id, 1, certificate.valid_before)
    again = (replace(own, serial=2**64 - 1), replace(own, authority=Ca.hosts().id))
    desk.take(own, *again)
    assert desk.ask(certificate.blob)[0] == 0
    desk.take(*again)
    assert desk.ask(certificate.blob)[:2] == (1, "")


def test_a_certificate_that_only_its_ca_s_key_could_make(desk: Desk) -> None:
    """Of a type that nobody knows, or cut off: it is not left to ssh's other files."""
    whole = desk.hosts.sign().blob
    desk.write()
    signer = LENGTH.pack(len(desk.hosts.blob)) + desk.hosts.blob
    for blob in (signer, LENGTH.pack(1) + b"x" + signer, whole[:40] + signer):
        assert desk.ask(blob)[:2] == (1, "")


def test_of_a_ca_that_counts_no_more(desk: Desk) -> None:
    desk.hosts.state = AuthorityState.SUSPENDED
    desk.write()
    assert desk.ask(desk.hosts.sign().blob)[:2] == (1, "")


def test_an_anchored_certificate_ends(desk: Desk) -> None:
    certificate = desk.hosts.sign(valid_before=NOW + timedelta(hours=1))
    desk.write(certificate)
    assert desk.ask(certificate.blob, after=timedelta(hours=1) - timedelta(seconds=1))[0] == 0
    status, _, err = desk.ask(certificate.blob, after=timedelta(hours=1))
    assert status == 1
    assert "has expired" in err


def test_an_old_index_knows_nothing_and_says_so(desk: Desk) -> None:
    certificate = desk.hosts.sign(valid_before=NOW + timedelta(days=9))
    desk.write(certificate)
    status, out, err = desk.ask(certificate.blob, after=timedelta(hours=25))
    assert (status, out) == (1, "")
    assert "could not check" in err


def test_a_clock_that_was_set_back_revives_nothing(desk: Desk) -> None:
    certificate = desk.hosts.sign(valid_before=NOW - timedelta(minutes=1))
    desk.write(certificate)
    assert desk.ask(certificate.blob, after=-timedelta(days=1))[0] == 1


def test_what_is_no_ca_s_of_this_domain_is_left_to_ssh(desk: Desk) -> None:
    desk.write()
    assert desk.ask(Ca.hosts().sign().blob) == (0, "", "")
    assert desk.ask(desk.hosts.sign().subject_key) == (0, "", "")


@pytest.mark.parametrize("damage", [b"", b"not a database", b"SQLite format 3\0" + bytes(84)])
def test_a_damaged_index_believes_nobody(desk: Desk, damage: bytes) -> None:
    desk.path.write_bytes(damage)
    status, out, err = desk.ask(desk.hosts.sign().blob)
    assert (status, out) == (1, "")
    assert "could not be checked" in err


def test_a_missing_index_and_words_that_are_none(desk: Desk) -> None:
    assert desk.ask(desk.hosts.sign().blob)[0] == 1
    assert not desk.path.exists()
    for words in ([], ["x"], [str(desk.path), "HOSTNAME", HOST, "not base64!"]):
        assert host_lookup.main(words) == 1


def test_another_versions_index(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.write()
    monkeypatch.setattr(host_lookup, "INDEX_VERSION", host_lookup.INDEX_VERSION + 1)
    assert "another version" in desk.ask(b"", "ORDER")[2]


def test_a_folder_that_ssh_would_read_otherwise(tmp_path: Path) -> None:
    for name in ("a b", "a%h", "a'b"):
        with pytest.raises(UsageError, match="can't be given the path"):
            write_lookup(tmp_path / name, b"")
    write_lookup(tmp_path / "ssh", b"index")
    assert (tmp_path / "ssh" / INDEX).read_bytes() == b"index"
    assert command_line(tmp_path / "ssh").split()[5:7] == [
        str(tmp_path / "ssh" / name) for name in (COMMAND, INDEX)
    ]
