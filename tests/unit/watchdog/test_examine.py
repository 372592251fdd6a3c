"""A watchdog's opinion: it objects to what it saw, and to nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from dpki.bundle.cid import digest_of
from dpki.bundle.parcel import make_parcels, parcel_context
from dpki.bundle.seal import SealingSecrets
from dpki.certificates.profile import PrincipalRule, Profile
from dpki.certificates.ssh import SshCertificate
from dpki.chain.events import Batch
from dpki.chain.layout import Progress, Watchdog
from dpki.model import Address, AuthorityKind, AuthorityState, Entry, Hash32
from dpki.store.directory import DirectoryStore
from dpki.watchdog.examine import Opinion, View, examine, shorten
from dpki.watchdog.lookout import Review, Said
from tests.world import DOMAIN, NOBODY, NOW, Ca, snapshot

SECRET = SealingSecrets(SealingSecrets.generate().x25519, None)
OTHER = SealingSecrets(SealingSecrets.generate().x25519, None)
PROFILE = Profile(
    AuthorityKind.SSH_USER,
    timedelta(hours=9),
    Profile.DEFAULT_USER_EXTENSIONS,
    principals=PrincipalRule(allow=("ops",)),
)
ME = Address(b"\x31" * 20)


@dataclass
class Desk:
    """A watched CA, and a folder for parcels."""

    store: DirectoryStore
    ca: Ca = field(default_factory=Ca.users)

    def __post_init__(self) -> None:
        self.ca.watched(1)

    def review(
        self,
        certificates: Sequence[SshCertificate],
        shown: Sequence[bytes] | None = None,
        *,
        secret: SealingSecrets = SECRET,
        not_after: datetime | None = None,
    ) -> Review:
        """Anchor certificates as one batch, and show these blobs, or the same."""
        first = self.ca.next_serial
        entries = tuple(
            Entry(c.hash, NOBODY, not_after or c.valid_before, Hash32.zero()) for c in certificates
        )
        self.ca.anchor(certificates)
        commitment = self.ca.commitments[first]
        context = parcel_context(DOMAIN.id, self.ca.id, first, commitment)
        blobs = [c.blob for c in certificates] if shown is None else shown
        parcels = make_parcels(blobs, context, [secret.public.x25519])
        found = snapshot(self.ca)
        assert self.ca.watch is not None
        return Review(
            batch=Batch(self.ca.id, first, len(entries), Hash32.zero(), entries, 50, Hash32.zero()),
            authority=found.authorities[self.ca.id],
            watch=self.ca.watch,
            watchdogs=(Watchdog(ME, 60, Hash32(secret.public.x25519)),),
            commitment=commitment,
            progress=Progress(1, 0, 0, 0),
            parcels=tuple(self.store.put(parcel) for parcel in parcels),
            awaited="awaiting watchdogs: 0 of 1",
        )

    def opinion(
        self, review: Review, profile: Profile | None = PROFILE, now: datetime = NOW
    ) -> Opinion:
        return examine(DOMAIN, review, SECRET, profile, [self.store], now)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(DirectoryStore(tmp_path / "store"))


def test_what_is_in_order(desk: Desk) -> None:
    certificates = [desk.ca.sign(1), desk.ca.sign(2), desk.ca.sign(3)]
    assert desk.opinion(desk.review(certificates)) == Opinion(View.CONFIRM)


@pytest.mark.parametrize(
    ("signed", "because"),
    [
        ({"principals": ["root"]}, "does not allow the principal 'root'"),
        ({"valid_before": NOW + timedelta(hours=10)}, "is valid for"),
        ({"serial": 2}, "it has serial 2"),
        ({"kind": AuthorityKind.SSH_HOST}, "is an ssh-host certificate"),
    ],
)
def test_what_the_ca_signed_and_may_not_issue(
    desk: Desk, signed: dict[str, object], because: str
) -> None:
    certificate = desk.ca.sign(**signed)  # type: ignore[arg-type]
    opinion = desk.opinion(desk.review([certificate]))
    assert opinion.view is View.OBJECT
    assert because in opinion.reason
    assert opinion.reason.startswith("certificate 1: ")


def test_one_bad_one_among_many(desk: Desk) -> None:
    bad = desk.ca.sign(2, principals=["ops", "root"])
    opinion = desk.opinion(desk.review([desk.ca.sign(1), bad, desk.ca.sign(3)]))
    assert opinion.view is View.OBJECT
    assert opinion.reason.startswith("certificate 2: ")


def test_of_another_key(desk: Desk) -> None:
    opinion = desk.opinion(desk.review([Ca.users().sign(1)]))
    assert opinion == Opinion(View.OBJECT, "certificate 1: it names another key than the CA's")


def test_a_forged_signature(desk: Desk) -> None:
    forger = replace(desk.ca, key=ec.generate_private_key(ec.SECP256R1()))
    forged = forger.sign(1).blob
    own = desk.ca.sign(1)
    blob = own.blob[: -len(own.signature)] + forged[-len(own.signature) :]
    entry_of = replace(own, blob=blob)
    opinion = desk.opinion(desk.review([entry_of]))
    assert opinion.view is View.OBJECT


def test_missing_critical_option_and_reason(desk: Desk) -> None:
    strict = replace(PROFILE, critical_options=(("source-address", "192.0.2.0/24"),))
    review = desk.review([desk.ca.sign(1)])
    assert "source-address" in desk.opinion(review, strict).reason
    reasoned = replace(PROFILE, reason_required=True)
    assert "gives no reason" in desk.opinion(review, reasoned).reason
    bare = replace(PROFILE, extensions=frozenset())
    assert desk.opinion(review, bare).view is View.CONFIRM


def test_an_end_that_is_not_the_anchored_one(desk: Desk) -> None:
    certificate = desk.ca.sign(1)
    opinion = desk.opinion(desk.review([certificate], not_after=NOW + timedelta(hours=1)))
    assert opinion.view is View.OBJECT
    assert "not the anchored one" in opinion.reason


def test_what_is_no_opinion(desk: Desk, tmp_path: Path) -> None:
    """The operator can still show the right ones."""
    ca = desk.ca
    one, other = ca.sign(1), ca.sign(1)
    review = desk.review([one])
    elsewhere = DirectoryStore(tmp_path / "empty")
    waits = {
        "no parcel": desk.opinion(replace(review, parcels=())),
        "not there": examine(DOMAIN, review, SECRET, PROFILE, [elsewhere], NOW),
        "expired": desk.opinion(review, now=NOW + timedelta(days=1)),
        "suspended": desk.opinion(
            replace(review, authority=replace(review.authority, state=AuthorityState.SUSPENDED))
        ),
        "no parcel at all": desk.opinion(
            replace(review, parcels=(desk.store.put(b"something else"),))
        ),
        "wrong kind of profile": desk.opinion(review, Profile.host(timedelta(days=1))),
    }
    desk = replace(desk, ca=Ca.users())
    waits["others"] = desk.opinion(desk.review([desk.ca.sign(1)], [other.blob]))
    waits["sealed for others"] = desk.opinion(desk.review([desk.ca.sign(2)], secret=OTHER))
    three = [desk.ca.sign(serial) for serial in (3, 4, 5)]
    waits["another order"] = desk.opinion(desk.review(three, [c.blob for c in three[::-1]]))
    assert {name: found.view for name, found in waits.items()} == dict.fromkeys(waits, View.WAIT)
    assert all(found.reason for found in waits.values())


def test_a_parcel_of_another_batch(desk: Desk) -> None:
    first, second = desk.review([desk.ca.sign(1)]), desk.review([desk.ca.sign(2)])
    assert desk.opinion(replace(second, parcels=first.parcels)).view is View.WAIT


def test_without_a_profile_of_its_own(desk: Desk) -> None:
    certificate = desk.ca.sign(1, principals=["root"])
    assert desk.opinion(desk.review([certificate]), None).view is View.CONFIRM


def test_a_block_that_is_not_what_it_says(desk: Desk) -> None:
    review = desk.review([desk.ca.sign(1)])
    assert desk.opinion(replace(review, parcels=(digest_of(b"x"),))).view is View.WAIT


def test_reasons_fit_and_stay_text() -> None:
    assert shorten("é" * 200) == "é" * 128
    assert shorten("short") == "short"


def test_who_owes_what(desk: Desk) -> None:
    review = desk.review([desk.ca.sign(1)])
    assert review.is_owed_by(ME)
    assert not review.is_owed_by(NOBODY)
    assert not replace(review, awaited=None).is_owed_by(ME)
    confirmed = replace(review, progress=Progress(1, 60, 1, 0))
    assert (confirmed.said_by(0), confirmed.is_owed_by(ME)) == (Said.CONFIRMED, False)
    objected = replace(review, progress=Progress(1, 0, 0, 1))
    assert (objected.said_by(0), objected.is_owed_by(ME)) == (Said.OBJECTED, False)
    # Under other watchdogs: void.
    assert replace(review, progress=Progress(7, 60, 1, 0)).is_owed_by(ME)
