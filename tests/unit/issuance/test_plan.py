from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.certificates.keys import ssh_blob
from dpki.certificates.profile import PrincipalRule, Profile
from dpki.devices.document import make_key_document
from dpki.errors import CheckedFalse, InvalidPrincipal, NotAllowed, UsageError
from dpki.issuance.plan import (
    CLOCK_SKEW,
    MAXIMUM_SERIAL,
    CertificateRequest,
    Recipient,
    decide_validity,
    find_recipient,
    find_ssh_authority,
    plan_batch,
    profile_of,
)
from dpki.model import AuthorityId, AuthorityKind, DeviceState
from tests.fakes.issuing import OPERATOR, FakeDevice, FakeDomain
from tests.raw_certificates import fido_blob
from tests.world import NOW, Ca, block, snapshot

DAY = timedelta(days=1)
KEY = ssh_blob(Ed25519PrivateKey.generate().public_key())
USERS, HOSTS = Ca.users(), Ca.hosts()


def request(**changes: object) -> CertificateRequest:
    plain = CertificateRequest("alice", ("ops",), NOW + timedelta(hours=8), KEY)
    return replace(plain, **changes)  # type: ignore[arg-type]


def plan(*requests: CertificateRequest, ca: Ca = USERS, profile: Profile | None = None):
    return plan_batch(snapshot(ca), ca.id, requests, operator=OPERATOR, now=NOW, profile=profile)


class TestValidity:
    """As short as wished, and never longer than the CA, a verifier and the contract allow."""

    @pytest.mark.parametrize(
        ("until", "maximum", "block_time", "expected"),
        [
            (NOW + timedelta(hours=8), 30 * DAY, NOW, NOW + timedelta(hours=8)),
            (NOW + 90 * DAY, 30 * DAY, NOW, NOW + 30 * DAY - CLOCK_SKEW),
            (NOW + 90 * DAY, 30 * DAY, NOW - DAY, NOW + 29 * DAY),
            (NOW + 90 * DAY, 30 * DAY, NOW + DAY, NOW + 30 * DAY - CLOCK_SKEW),
        ],
    )
    def test_ends_at_the_earliest(
        self, until: datetime, maximum: timedelta, block_time: datetime, expected: datetime
    ) -> None:
        found = decide_validity(until, maximum, NOW, snapshot(at=block(9, block_time)))
        assert found == (NOW - CLOCK_SKEW, expected)

    def test_is_in_whole_seconds_and_never_rounded_up(self) -> None:
        now = NOW + timedelta(microseconds=900_000)
        found = decide_validity(now + timedelta(hours=1), DAY, now, snapshot())
        assert found == (NOW - CLOCK_SKEW, NOW + timedelta(hours=1))

    @pytest.mark.parametrize("until", [NOW, NOW - DAY, NOW + timedelta(microseconds=1)])
    def test_must_not_be_over(self, until: datetime) -> None:
        with pytest.raises(UsageError, match="already have expired"):
            decide_validity(until, DAY, NOW, snapshot())

    def test_a_chain_that_stands_still_is_told(self) -> None:
        stale = snapshot(at=block(9, NOW - 2 * DAY))
        with pytest.raises(UsageError) as caught:
            decide_validity(NOW + DAY, DAY, NOW, stale)
        assert "newest block's time" in caught.value.hint


class TestPlan:
    def test_serials_are_the_next_ones_in_order(self) -> None:
        ca = Ca.users()
        ca.next_serial = 17
        found = plan(request(), request(subject="bob"), ca=ca)
        assert found.first_serial == 17
        assert [(p.serial, p.request.subject) for p in found.certificates] == [
            (17, "alice"),
            (18, "bob"),
        ]

    def test_profiles_are_deny_by_default(self) -> None:
        assert profile_of(Ca.users().on_chain()) == Profile.user(timedelta(days=30))
        assert profile_of(Ca.hosts().on_chain()).extensions == frozenset()

    def test_the_last_serial_is_used_and_none_beyond(self) -> None:
        ca = Ca.users()
        ca.next_serial = MAXIMUM_SERIAL
        assert plan(request(), ca=ca).first_serial == MAXIMUM_SERIAL
        with pytest.raises(UsageError, match="no serials left"):
            plan(request(), request(), ca=ca)

    def test_unknown_ca(self) -> None:
        with pytest.raises(UsageError, match="has no CA"):
            plan_batch(
                snapshot(USERS), AuthorityId(bytes(32)), [request()], operator=OPERATOR, now=NOW
            )

    def test_ca_of_another_kind(self) -> None:
        ca = Ca.users()
        ca.kind = AuthorityKind.TLS
        with pytest.raises(UsageError, match="signs tls certificates"):
            find_ssh_authority(snapshot(ca), ca.id)

    @pytest.mark.parametrize("subject", ["", "a b", "a,b", "x\n"])
    def test_a_subject_is_spelled_like_a_principal(self, subject: str) -> None:
        with pytest.raises(InvalidPrincipal):
            plan(request(subject=subject))

    def test_a_pair_made_here_needs_a_bundle(self) -> None:
        with pytest.raises(UsageError, match="sealed bundle"):
            plan(request(public_key=None))

    def test_private_matters_do_not_show(self) -> None:
        assert repr(KEY) not in repr(plan(request()))


class TestProfile:
    """What the profile refuses is refused before anything is signed."""

    STRICT = Profile(
        AuthorityKind.SSH_USER,
        timedelta(hours=2),
        principals=PrincipalRule(("ops",)),
        key_types=frozenset({"ssh-ed25519"}),
        reason_required=True,
    )

    def test_shortens_validity_and_so_does_the_chain(self) -> None:
        (planned,) = plan(request(reason="T-1"), profile=self.STRICT).certificates
        assert planned.valid_before == NOW - CLOCK_SKEW + timedelta(hours=2)
        long = replace(self.STRICT, maximum_validity=90 * DAY)
        assert plan(request(reason="T-1"), profile=long).profile.maximum_validity == 30 * DAY

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"principals": ("ops", "root")}, "'root'"),
            ({"reason": ""}, "requires a reason"),
            ({"public_key": fido_blob("ed25519")}, "sk-ssh-ed25519"),
        ],
    )
    def test_refuses(self, changes: dict[str, object], reason: str) -> None:
        good = request(reason="T-1")
        with pytest.raises(NotAllowed, match=reason):
            plan(good, replace(good, **changes), profile=self.STRICT)  # type: ignore[arg-type]

    def test_is_for_one_kind_of_ca(self) -> None:
        with pytest.raises(UsageError, match="profile is for ssh-user"):
            plan(request(reason="T-1"), ca=Ca.hosts(), profile=self.STRICT)

    def test_a_pair_made_here_has_a_type_too(self) -> None:
        device, chain = FakeDevice.make("gate-1"), FakeDomain.of(HOSTS)
        chain.devices[device.address] = device.record()
        wish = request(
            public_key=None, recipient=Recipient(device.address, device.document.sealing)
        )
        rsa_only = replace(Profile.host(DAY), key_types=frozenset({"ssh-rsa"}))
        arguments = {"operator": OPERATOR, "now": NOW}
        assert plan_batch(chain.snapshot(), HOSTS.id, [wish], **arguments)
        with pytest.raises(NotAllowed, match="ssh-ed25519"):
            plan_batch(chain.snapshot(), HOSTS.id, [wish], profile=rsa_only, **arguments)


class TestRecipient:
    def test_has_the_sealing_keys_of_the_document_on_chain(self) -> None:
        device, chain = FakeDevice.make("gate-1"), FakeDomain.of(USERS)
        chain.devices[device.address] = device.record()
        found = find_recipient(chain.snapshot(), device.address, device.document, "gate-1")
        assert found.sealing == device.keys.sealing.public

    def test_another_document_than_on_chain_is_refused(self) -> None:
        device, chain = FakeDevice.make("gate-1"), FakeDomain.of(USERS)
        chain.devices[device.address] = device.record()
        other = make_key_document(device.keys)
        with pytest.raises(CheckedFalse, match="is not the one that is known here") as caught:
            find_recipient(chain.snapshot(), device.address, other, "gate-1")
        assert "dpki device update" in caught.value.hint

    @pytest.mark.parametrize(
        ("state", "word"),
        [(DeviceState.UNREGISTERED, "not enrolled"), (DeviceState.RETIRED, "retired")],
    )
    def test_must_be_enrolled(self, state: DeviceState, word: str) -> None:
        device, chain = FakeDevice.make("gate-1"), FakeDomain.of(USERS)
        chain.devices[device.address] = device.record(state)
        with pytest.raises(CheckedFalse, match=word):
            find_recipient(chain.snapshot(), device.address, device.document, "gate-1")
