"""Grants: one account of one device, for a while, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.certificates.keys import ssh_blob
from dpki.certificates.profile import END_SESSIONS, Profile
from dpki.certificates.ssh import SshCertificate
from dpki.errors import CheckedFalse, NotAllowed, UsageError
from dpki.issuance.authority import sign_batch
from dpki.issuance.grant import Grant, find_user_authority, granted_extensions, verify_grant
from dpki.issuance.plan import CertificateRequest, plan_batch
from dpki.model import Address, AuthorityState, DeviceState
from dpki.signer.software import SoftwareSigner
from tests.fakes.issuing import OPERATOR
from tests.world import NOW, Ca, snapshot

DEVICE = Address(b"\xaa" * 20)
WIDE = replace(
    Profile.user(timedelta(days=1)),
    extensions=frozenset({"permit-pty", "permit-port-forwarding", "permit-user-rc"}),
)
USERS = Ca.users()


def verify(
    grant: Grant,
    *,
    state: DeviceState = DeviceState.ACTIVE,
    ca: Ca = USERS,
    profile: Profile = WIDE,
) -> None:
    seen = snapshot(ca, devices={DEVICE: state})
    verify_grant(grant, ca.on_chain(), seen, profile)


class TestWhatIsRefused:
    def test_nothing_of_an_ordinary_one(self) -> None:
        verify(Grant(DEVICE, "ops"))
        verify(Grant(DEVICE, "ops", frozenset({"permit-port-forwarding"}), ends_sessions=True))

    @pytest.mark.parametrize("account", ["", "Ops", "ops@home", "ops root", "0ps", "../ops"])
    def test_what_is_no_account(self, account: str) -> None:
        with pytest.raises(UsageError, match="is not an account name"):
            verify(Grant(DEVICE, account))

    @pytest.mark.parametrize(
        ("state", "word"),
        [(DeviceState.RETIRED, "retired"), (DeviceState.UNREGISTERED, "not enrolled")],
    )
    def test_a_device_that_lets_nobody_in(self, state: DeviceState, word: str) -> None:
        with pytest.raises(CheckedFalse, match=f"is {word}, and lets nobody in"):
            verify(Grant(DEVICE, "ops"), state=state)

    def test_what_the_ca_does_not_give(self) -> None:
        with pytest.raises(NotAllowed, match="'permit-agent-forwarding'"):
            verify(Grant(DEVICE, "ops", frozenset({"permit-agent-forwarding"})))

    def test_a_host_ca(self) -> None:
        with pytest.raises(UsageError, match="not people's"):
            verify(Grant(DEVICE, "ops"), ca=Ca.hosts())


class TestTheCertificate:
    def sign(self, grant: Grant) -> SshCertificate:
        request = CertificateRequest(
            "eve",
            (grant.principal,),
            NOW + timedelta(minutes=5),
            ssh_blob(Ed25519PrivateKey.generate().public_key()),
            extensions=grant.extensions,
        )
        plan = plan_batch(
            snapshot(USERS), USERS.id, [request], operator=OPERATOR, now=NOW, profile=WIDE
        )
        (certificate,) = sign_batch(SoftwareSigner(USERS.key), plan, lambda _: None)
        return certificate

    def test_opens_one_account_of_one_device_and_has_a_terminal(self) -> None:
        certificate = self.sign(Grant(DEVICE, "ops"))
        assert certificate.principals == (f"ops@device:0x{'aa' * 20}",)
        assert certificate.extensions == (("permit-pty", ""),)
        assert certificate.valid_before == NOW + timedelta(minutes=5)

    def test_has_what_was_asked_for(self) -> None:
        certificate = self.sign(
            Grant(DEVICE, "ops", frozenset({"permit-port-forwarding"}), ends_sessions=True)
        )
        assert dict(certificate.extensions).keys() == {
            "permit-pty",
            "permit-port-forwarding",
            END_SESSIONS,
        }

    def test_stays_as_narrow_when_it_is_signed_again(self) -> None:
        """Its serial was taken, or its CA is succeeded: the profile's other rights stay away."""
        grant = Grant(DEVICE, "ops", ends_sessions=True)
        assert granted_extensions(self.sign(grant)) == grant.extensions

    def test_an_ordinary_one_follows_its_profile(self) -> None:
        assert granted_extensions(USERS.sign(1)) is None


class TestWhichCa:
    def test_the_only_one_that_issues_for_people(self) -> None:
        closed = Ca.users()
        closed.state = AuthorityState.CLOSED
        hosts, foreign = Ca.hosts(), Ca.users()
        seen = snapshot(USERS, closed, hosts, foreign)
        assert find_user_authority(seen, [USERS.id, closed.id, hosts.id]) == USERS.id

    def test_several_or_none_must_be_told_apart(self) -> None:
        other = Ca.users()
        with pytest.raises(UsageError, match="several user CAs"):
            find_user_authority(snapshot(USERS, other), [USERS.id, other.id])
        with pytest.raises(UsageError, match="no user CA"):
            find_user_authority(snapshot(USERS), [])
