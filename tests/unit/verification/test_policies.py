"""Each verdict, and the one reason for it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from dpki.certificates.ssh import parse_ssh_certificate
from dpki.model import Address, AuthorityKind, AuthorityState, DeviceState, Hash32
from dpki.signer.base import KeyType
from dpki.signer.software import make_private_key
from dpki.verification.policies import judge
from dpki.verification.verdict import Finding, Verdict
from tests.world import NOW, Ca, block, moved, snapshot

DEVICE = Address(b"\xaa" * 20)


@pytest.fixture
def users() -> Ca:
    return Ca.users()


def test_anchored_signed_and_in_time_is_valid(users: Ca) -> None:
    certificate, anchoring = users.issue()
    finding = judge(certificate, anchoring, snapshot(users), NOW)
    assert finding.verdict is Verdict.VALID
    assert (finding.authority, finding.serial, finding.exit_status) == (users.id, 1, 0)


@pytest.mark.parametrize("key_type", KeyType)
def test_every_type_of_ca_key_will_do(key_type: KeyType) -> None:
    ca = Ca(AuthorityKind.SSH_USER, make_private_key(key_type))
    certificate, anchoring = ca.issue()
    assert judge(certificate, anchoring, snapshot(ca), NOW).verdict is Verdict.VALID


@pytest.mark.parametrize(
    "key",
    [rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP521R1())],
    ids=["RSA-2048", "P-521"],
)
def test_a_ca_whose_key_no_ca_may_have_is_refused(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
) -> None:
    """The contract can't see inside a key: a governor may have registered anything."""
    ca = Ca(AuthorityKind.SSH_USER, key)
    certificate, anchoring = ca.issue()
    finding = judge(certificate, anchoring, snapshot(ca), NOW)
    assert finding.verdict is Verdict.REFUSED
    assert "too weak" in finding.reason


@pytest.mark.parametrize("position", range(5))
def test_every_place_of_a_batch_is_valid(users: Ca, position: int) -> None:
    certificates = [users.sign(serial) for serial in range(1, 6)]
    anchorings = users.anchor(certificates)
    finding = judge(certificates[position], anchorings[position], snapshot(users), NOW)
    assert finding.verdict is Verdict.VALID


def test_what_watchdogs_have_yet_to_confirm_is_not_anchored(users: Ca) -> None:
    before, old = users.issue()
    users.watched()
    certificate, anchoring = users.issue()
    assert judge(before, old, snapshot(users), NOW).verdict is Verdict.VALID
    users.confirm(2, 20)
    finding = judge(certificate, anchoring, snapshot(users), NOW)
    assert finding.verdict is Verdict.NOT_ANCHORED
    assert (finding.reason, finding.exit_status) == ("awaiting watchdogs: 20 of 40", 3)
    users.confirm(2, 40)
    assert judge(certificate, anchoring, snapshot(users), NOW).verdict is Verdict.VALID


def test_another_domains_ca_is_unknown(users: Ca) -> None:
    certificate, anchoring = Ca.users().issue()
    finding = judge(certificate, anchoring, snapshot(users), NOW)
    assert finding.verdict is Verdict.UNKNOWN
    assert finding.exit_status == 3


def test_a_forged_signature_is_refused(users: Ca) -> None:
    certificate, _ = users.issue()
    blob = bytearray(certificate.blob)
    blob[certificate.blob.index(b"test")] = ord("b")  # its key id
    forged = parse_ssh_certificate(bytes(blob))
    other = Ca.users()
    other.key = users.key
    anchoring = other.anchor([forged])[0]
    assert judge(forged, anchoring, snapshot(other), NOW).verdict is Verdict.REFUSED


def test_a_host_certificate_of_a_user_ca_is_refused(users: Ca) -> None:
    certificate, anchoring = users.issue(kind=AuthorityKind.SSH_HOST)
    assert judge(certificate, anchoring, snapshot(users), NOW).verdict is Verdict.REFUSED


def test_longer_than_the_ca_may_issue_is_refused(users: Ca) -> None:
    certificate, anchoring = users.issue(valid_before=NOW + timedelta(days=31))
    assert judge(certificate, anchoring, snapshot(users), NOW).verdict is Verdict.REFUSED


def test_signed_and_never_anchored(users: Ca) -> None:
    assert judge(users.sign(), None, snapshot(users), NOW).verdict is Verdict.NOT_ANCHORED


def test_a_place_that_the_chain_does_not_hold(users: Ca) -> None:
    certificate, anchoring = users.issue()
    users.commitments.clear()
    seen = snapshot(users, missing=[(users.id, 1)])
    assert judge(certificate, anchoring, seen, NOW).verdict is Verdict.NOT_ANCHORED


def test_another_certificates_place(users: Ca) -> None:
    first, _ = users.issue()
    _, anchoring = users.issue()
    assert judge(first, anchoring, snapshot(users), NOW).verdict is Verdict.NOT_ANCHORED


@pytest.mark.parametrize(
    "change",
    [{"count": 3}, {"siblings": ()}, {"siblings": (Hash32(b"\x01" * 32),)}],
    ids=["another count", "no siblings", "another sibling"],
)
def test_an_altered_path(users: Ca, change: dict[str, object]) -> None:
    certificates = [users.sign(1), users.sign(2)]
    anchoring = users.anchor(certificates)[0]
    finding = judge(certificates[0], moved(anchoring, **change), snapshot(users), NOW)
    assert finding.verdict is Verdict.NOT_ANCHORED


def test_anchored_for_a_device_is_not_anchored_for_nobody(users: Ca) -> None:
    certificate, anchoring = users.issue(DEVICE)
    seen = snapshot(users, devices={DEVICE: DeviceState.ACTIVE})
    assert judge(certificate, anchoring, seen, NOW).verdict is Verdict.VALID
    nobodys = replace(anchoring, device=Address.zero())
    assert judge(certificate, nobodys, seen, NOW).verdict is Verdict.NOT_ANCHORED


@pytest.mark.parametrize(
    ("state", "verdict"),
    [
        (DeviceState.ACTIVE, Verdict.VALID),
        (DeviceState.RETIRED, Verdict.REVOKED),
        (DeviceState.UNREGISTERED, Verdict.REFUSED),
    ],
)
def test_the_device_counts(users: Ca, state: DeviceState, verdict: Verdict) -> None:
    certificate, anchoring = users.issue(DEVICE)
    seen = snapshot(users, devices={DEVICE: state})
    assert judge(certificate, anchoring, seen, NOW).verdict is verdict


@pytest.mark.parametrize(
    ("state", "verdict"),
    [
        (AuthorityState.ACTIVE, Verdict.VALID),
        (AuthorityState.CLOSED, Verdict.VALID),
        (AuthorityState.SUSPENDED, Verdict.SUSPENDED),
        (AuthorityState.CLOSED_SUSPENDED, Verdict.SUSPENDED),
        (AuthorityState.RETIRED, Verdict.REVOKED),
    ],
)
def test_the_cas_state_counts(users: Ca, state: AuthorityState, verdict: Verdict) -> None:
    certificate, anchoring = users.issue()
    users.state = state
    assert judge(certificate, anchoring, snapshot(users), NOW).verdict is verdict


def test_revoked_one_by_one(users: Ca) -> None:
    revoked, place = users.issue()
    other, other_place = users.issue()
    users.revoked.add(1)
    assert judge(revoked, place, snapshot(users), NOW).verdict is Verdict.REVOKED
    assert judge(other, other_place, snapshot(users), NOW).verdict is Verdict.VALID


def test_revoked_by_the_watermark(users: Ca) -> None:
    first, place = users.issue()
    second, second_place = users.issue()
    users.revoked_below = 2
    assert judge(first, place, snapshot(users), NOW).verdict is Verdict.REVOKED
    assert judge(second, second_place, snapshot(users), NOW).verdict is Verdict.VALID


def test_the_last_second_of_validity(users: Ca) -> None:
    certificate, anchoring = users.issue()
    end = certificate.valid_before
    seen = snapshot(users)
    assert judge(certificate, anchoring, seen, end - timedelta(seconds=1)).verdict is Verdict.VALID
    assert judge(certificate, anchoring, seen, end).verdict is Verdict.EXPIRED


def test_a_clock_set_back_revives_nothing(users: Ca) -> None:
    certificate, anchoring = users.issue()
    seen = snapshot(users, at=block(100, certificate.valid_before))
    assert judge(certificate, anchoring, seen, NOW).verdict is Verdict.EXPIRED


def test_before_its_time(users: Ca) -> None:
    certificate, anchoring = users.issue(valid_after=NOW + timedelta(minutes=1))
    assert judge(certificate, anchoring, snapshot(users), NOW).verdict is Verdict.NOT_YET_VALID


def test_no_and_could_not_check_have_different_exit_statuses() -> None:
    statuses = {verdict: Finding(verdict, "").exit_status for verdict in Verdict}
    assert statuses.pop(Verdict.VALID) == 0
    assert statuses.pop(Verdict.COULD_NOT_CHECK) == 5
    assert set(statuses.values()) == {3}
