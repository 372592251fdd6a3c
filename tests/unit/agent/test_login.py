"""The login command: who gets principals, and who gets nothing."""

from __future__ import annotations

import base64
import subprocess
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from dpki.agent import login
from dpki.agent.index import (
    Access,
    IndexedAuthority,
    IndexedCertificate,
    LoginIndex,
    encode_index,
    load_index,
)
from dpki.certificates.profile import END_SESSIONS
from dpki.certificates.ssh import SshCertificate
from dpki.model import AuthorityKind, to_timestamp
from tests.raw_certificates import fido_blob
from tests.world import NOW, Ca


@dataclass
class Desk:
    """An index on disk, and the command that reads it."""

    path: Path
    users: Ca
    certificate: SshCertificate
    index: LoginIndex

    @property
    def sessions(self) -> Path:
        return self.path.with_name("sessions")

    def change(self, **fields: object) -> None:
        self.index = replace(self.index, **fields)  # type: ignore[arg-type]
        self.path.write_bytes(encode_index(self.index))

    def change_ca(self, **fields: object) -> None:
        (ca,) = self.index.authorities
        self.change(authorities=(replace(ca, **fields),))  # type: ignore[arg-type]

    def ask(
        self, monkeypatch: pytest.MonkeyPatch, blob: bytes | None = None, account: str = "ops"
    ) -> int:
        monkeypatch.setattr(login.time, "time", lambda: NOW.timestamp())
        encoded = base64.b64encode(self.certificate.blob if blob is None else blob).decode()
        return login.main([str(self.path), account, encoded])


def indexed(certificate: SshCertificate) -> IndexedCertificate:
    return IndexedCertificate(
        certificate.hash,
        certificate.authority_id,
        certificate.serial,
        certificate.valid_before,
    )


def indexed_ca(users: Ca) -> IndexedAuthority:
    return IndexedAuthority(
        users.id, users.blob, users.maximum_lifetime, NOW, NOW + timedelta(hours=24)
    )


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    users = Ca.users()
    certificate = users.sign()
    index = LoginIndex(
        authorities=(indexed_ca(users),),
        certificates=(indexed(certificate),),
        access=(Access("ops", users.id, "ops"), Access("ops", users.id, "device:0x01")),
    )
    (tmp_path / "sessions").mkdir()
    made = Desk(tmp_path / "login.db", users, certificate, index)
    made.change()
    return made


def test_an_anchored_certificate_gets_the_accounts_principals(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.ask(monkeypatch) == 0
    assert capsys.readouterr().out == "device:0x01\nops\n"


@pytest.mark.parametrize("kind", ["ed25519", "p256"])
def test_of_a_fido_key_the_certificate_says_whether_it_wants_a_touch(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    """sshd takes the option only where the certificate has it, too (test_security_keys.py)."""
    certificate = desk.users.sign(subject=fido_blob(kind))
    desk.change(certificates=(indexed(certificate),))
    assert desk.ask(monkeypatch, certificate.blob) == 0
    assert capsys.readouterr().out == "no-touch-required device:0x01\nno-touch-required ops\n"


def refused(
    desk: Desk,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    because: str,
    blob: bytes | None = None,
) -> None:
    assert desk.ask(monkeypatch, blob) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert because in said.err


def test_an_account_without_principals_gets_none(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.ask(monkeypatch, account="root")
    assert capsys.readouterr().out.strip() == ""


def test_signed_and_never_anchored(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(desk, monkeypatch, capsys, "not anchored", desk.users.sign(2).blob)


def test_anchored_by_one_ca_and_signed_by_another(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stolen wallet of CA 1 and a stolen key of CA 2 together open nothing."""
    other = Ca.users().sign()
    desk.change(
        certificates=(replace(indexed(other), authority=desk.users.id),),
    )
    refused(desk, monkeypatch, capsys, "CA is not trusted here", other.blob)
    second = Ca.users()
    certificate = second.sign()
    desk.change(
        authorities=(indexed_ca(desk.users), indexed_ca(second)),
        certificates=(replace(indexed(certificate), authority=desk.users.id),),
    )
    refused(desk, monkeypatch, capsys, "not anchored", certificate.blob)


def test_another_serial_than_the_anchored_one(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else revoking the anchored serial would not reach the certificate."""
    desk.change(certificates=(replace(indexed(desk.certificate), serial=7),))
    refused(desk, monkeypatch, capsys, "not anchored")


def test_anchored_again_by_the_thief_of_a_wallet(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under a second serial, or by a second CA: that neither revives what is revoked, nor harms."""
    other = Ca.users()
    own = indexed(desk.certificate)
    again = (replace(own, serial=9), replace(own, authority=other.id))
    authorities = (indexed_ca(desk.users), indexed_ca(other))
    desk.change(authorities=authorities, certificates=(own, *again))
    assert desk.ask(monkeypatch) == 0
    capsys.readouterr()
    desk.change(certificates=again)
    refused(desk, monkeypatch, capsys, "not anchored")


def test_one_of_many(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each is found wherever it stands, and nothing between them is."""
    certificates = [desk.users.sign(serial) for serial in range(1, 12)]
    for count in range(len(certificates)):
        desk.change(certificates=tuple(map(indexed, certificates[:count])))
        for place, certificate in enumerate(certificates):
            assert desk.ask(monkeypatch, certificate.blob) == (0 if place < count else 1)
            assert (capsys.readouterr().out != "") is (place < count)


def test_another_expiry_than_the_anchored_one(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    early = desk.certificate.valid_before - timedelta(hours=1)
    desk.change(certificates=(replace(indexed(desk.certificate), not_after=early),))
    refused(desk, monkeypatch, capsys, "validity")


def test_longer_than_the_ca_may_issue(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.change_ca(maximum_lifetime=timedelta(hours=1))
    refused(desk, monkeypatch, capsys, "validity")


@pytest.mark.parametrize(
    "chain_time", [NOW + timedelta(hours=8), NOW + timedelta(days=400)], ids=["then", "later"]
)
def test_expired_by_the_chains_clock(
    desk: Desk,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    chain_time: datetime,
) -> None:
    desk.change_ca(chain_time=chain_time, fresh_until=None)
    refused(desk, monkeypatch, capsys, "expired")


def test_an_index_that_is_too_old_admits_nobody(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.change_ca(fresh_until=NOW - timedelta(seconds=1))
    refused(desk, monkeypatch, capsys, "too old")


def test_an_operator_who_chose_to_stay_open(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.change_ca(chain_time=NOW - timedelta(days=300), fresh_until=None)
    assert desk.ask(monkeypatch) == 0


def test_each_ca_has_its_own_outage_policy(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One CA's users are locked out by an outage, another's are not."""
    stale = NOW - timedelta(hours=25)
    closed = replace(indexed_ca(desk.users), chain_time=stale, fresh_until=NOW - timedelta(hours=1))
    other = Ca.users()
    opened = replace(indexed_ca(other), chain_time=stale, fresh_until=None)
    certificate = other.sign()
    desk.change(
        authorities=(closed, opened),
        certificates=(indexed(desk.certificate), indexed(certificate)),
        access=(Access("ops", desk.users.id, "ops"), Access("ops", other.id, "ops")),
    )
    refused(desk, monkeypatch, capsys, "too old")
    assert desk.ask(monkeypatch, certificate.blob) == 0


def test_the_index_of_another_version_admits_nobody(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(login, "INDEX_VERSION", login.INDEX_VERSION + 1)
    refused(desk, monkeypatch, capsys, "another version")


def test_what_is_written_is_what_is_read(desk: Desk, tmp_path: Path) -> None:
    found = load_index(desk.path)
    assert found is not None
    assert encode_index(found) == desk.path.read_bytes()
    assert (found.authorities, found.certificates) == (
        desk.index.authorities,
        desk.index.certificates,
    )
    assert set(found.access) == set(desk.index.access)
    whole = desk.path.read_bytes()
    for damage in (b"", b"text", *(whole[:end] for end in range(len(whole)))):
        desk.path.write_bytes(damage)
        assert load_index(desk.path) is None
    assert load_index(tmp_path / "none") is None


def test_a_host_certificate_is_no_users(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    host = desk.users.sign(kind=AuthorityKind.SSH_HOST)
    desk.change(certificates=(indexed(host),))
    refused(desk, monkeypatch, capsys, "not a user certificate", host.blob)


def test_every_truncation_is_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    for length in range(len(desk.certificate.blob)):
        with pytest.raises(login.Refused):
            login.parse_certificate(desk.certificate.blob[:length])


def test_the_parser_agrees_with_the_strict_one(desk: Desk) -> None:
    certificate = desk.certificate
    assert login.parse_certificate(certificate.blob) == (
        certificate.serial,
        to_timestamp(certificate.valid_after),
        to_timestamp(certificate.valid_before),
        b"",
        certificate.authority_key,
    )


def test_which_certificates_end_their_sessions() -> None:
    users = Ca.users()
    for extensions in ((END_SESSIONS,), (END_SESSIONS, "permit-pty"), ("permit-pty",), ()):
        certificate = users.sign(extensions=extensions)
        assert login.ends_sessions(certificate.blob) is (END_SESSIONS in extensions)
    assert END_SESSIONS.encode() == login.END_SESSIONS


def test_a_record_that_can_not_be_left_refuses_only_who_must_leave_one(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    marked = desk.users.sign(2, extensions=(END_SESSIONS,))
    desk.change(certificates=(indexed(desk.certificate), indexed(marked)))
    assert desk.ask(monkeypatch, marked.blob) == 0
    desk.sessions.rename(desk.path.with_name("elsewhere"))
    assert desk.ask(monkeypatch) == 0
    assert "can't be ended" in capsys.readouterr().err
    refused(desk, monkeypatch, capsys, "the session could not be ended later", marked.blob)


@pytest.mark.parametrize(
    "damage",
    [b"", b"text", bytes(24), b"dpki login index" + b"\0\0\0\3\xff\xff\xff\xff"],
    ids=["empty", "text", "zeros", "head only"],
)
def test_a_damaged_index_admits_nobody(
    desk: Desk,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    damage: bytes,
) -> None:
    desk.path.write_bytes(damage)
    assert desk.ask(monkeypatch) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "could not be checked" in said.err


def test_a_missing_index_admits_nobody_and_is_not_created(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.path.unlink()
    assert desk.ask(monkeypatch) == 1
    assert not desk.path.exists()


def test_arguments_that_are_none(
    capsys: pytest.CaptureFixture[str], desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for arguments in ([], ["x"], [str(desk.path), "ops", "not base64!"]):
        assert login.main(arguments) == 1
        assert capsys.readouterr().out == ""


def test_it_runs_under_the_systems_python_with_nothing_but_itself(desk: Desk) -> None:
    script = Path(login.__file__)
    desk.change_ca(fresh_until=None)
    encoded = base64.b64encode(desk.certificate.blob).decode()
    done = subprocess.run(
        ["/usr/bin/python3", "-I", "-S", "-E", script, desk.path, "ops", encoded],
        capture_output=True,
        text=True,
        check=False,
    )
    # The certificate's time is the tests', so the real clock may refuse it; nothing else may.
    assert (done.returncode, done.stderr) in {
        (0, ""),
        (1, "dpki: login refused: the certificate has expired\n"),
    }
