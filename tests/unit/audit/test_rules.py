"""Each rule of a replay: a history that breaks exactly it is refused, and says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dpki.audit.evidence import HistoryContradicted
from dpki.audit.index import Index
from dpki.audit.run import AuditReport
from dpki.model import Address, AuthorityId, Entry, Hash32, from_timestamp
from tests.fakes.chronicle import (
    CAT,
    DOG,
    GOVERNOR,
    GUARDIAN,
    ISSUER_KEY,
    LIFETIME,
    NEXT,
    OPERATOR,
    REGISTRAR,
    REVOKER,
    STRANGER,
    Chronicle,
    everything,
)

ZERO, NOBODY = bytes(32), Address.zero()
DEVICE, OTHER = Address(b"\xd1" * 20), Address(b"\xd2" * 20)
DOCUMENT = b"\x03" * 32
CERTIFICATES, DEVICES, WATCHDOGS = "CertificateRegistry", "DeviceRegistry", "WatchdogRegistry"
AUTHORITIES, DOMAIN = "AuthorityRegistry", "TrustDomain"


def audited(chronicle: Chronicle, folder: Path) -> AuditReport:
    with Index(folder / "index.sqlite", chronicle.domain.id) as index:
        return chronicle.audit(index)


def test_a_history_with_everything_in_it(tmp_path: Path) -> None:
    chronicle = Chronicle()
    ca = everything(chronicle)
    report = audited(chronicle.settle(tmp_path), tmp_path)
    found = report.state.authorities[ca]
    assert (found.next_serial, found.revoked_count, found.revoked_below) == (6, 1, 2)
    assert (found.lifetime, found.operator) == (30, OPERATOR)
    assert [one.state.label for one in report.state.authorities.values()] == ["active", "retired"]
    assert report.state.offered == NEXT
    assert report.state.registrars == {REGISTRAR: True, NEXT: True}
    assert report.versions == ()
    assert report.is_final


Forge = Callable[[Chronicle, AuthorityId], None]


def one(sender: Address, contract: str, name: str, *values: object, to: str = "") -> Forge:
    """Forge one transaction with one event; `CA` stands for the CA's id."""

    def forge(c: Chronicle, ca: AuthorityId) -> None:
        told = [ca if value is CA else value for value in values]
        c.tell(sender, contract, name, *told, to=to or None)

    return forge


CA = object()
UNKNOWN = b"\x99" * 32


def registered(
    key: bytes = b"n" * 44,
    *,
    id: bytes | None = None,
    kind: int = 1,
    parent: object = ZERO,
    issuer_key: bytes = ISSUER_KEY,
    operator: Address = OPERATOR,
    lifetime: int = LIFETIME,
    opens: bool = True,
    sender: Address = GOVERNOR,
) -> Forge:
    def forge(c: Chronicle, ca: AuthorityId) -> None:
        import hashlib

        new = hashlib.sha256(key).digest() if id is None else id
        above = ca if parent is CA else parent
        with c.sent(sender, AUTHORITIES):
            c.event(AUTHORITIES, "AuthorityRegistered", new, kind, above, key, issuer_key)
            if opens:
                c.event(CERTIFICATES, "IssuerOpened", new, operator, lifetime)

    return forge


def batch(
    change: Callable[[Entry], Entry] = lambda entry: entry,
    *,
    count: int | None = None,
    first: int | None = None,
    skip: int = 0,
    root: Hash32 | None = None,
    sender: Address = OPERATOR,
    ends: bool = True,
) -> Forge:
    def forge(c: Chronicle, ca: AuthorityId) -> None:
        c.serials[ca] += skip
        with c.sent(sender, CERTIFICATES):
            made = c.announce(ca, [change(entry) for entry in c.entries(ca, 2)])
            if ends:
                start = c.serials[ca] if first is None else first
                c.event(
                    CERTIFICATES,
                    "BatchIssued",
                    ca,
                    start,
                    2 if count is None else count,
                    root or made,
                )

    return forge


def after(*steps: Forge) -> Forge:
    def forge(c: Chronicle, ca: AuthorityId) -> None:
        for step in steps:
            step(c, ca)

    return forge


def without_hash(entry: Entry) -> Entry:
    return Entry(Hash32.zero(), entry.device, entry.not_after, entry.locator)


def too_long(entry: Entry) -> Entry:
    # The last history's lifetime is 30 minutes.
    late = from_timestamp(int(entry.not_after.timestamp()) + 3600)
    return Entry(entry.certificate_hash, entry.device, late, entry.locator)


def two_cas(c: Chronicle, ca: AuthorityId) -> None:
    other = c.register(b"2" * 44)
    with c.sent(OPERATOR, CERTIFICATES):
        c.announce(ca, c.entries(ca, 1))
        c.announce(other, c.entries(other, 1))


def other_ca_s_batch(c: Chronicle, ca: AuthorityId) -> None:
    other = c.register(b"2" * 44)
    with c.sent(OPERATOR, CERTIFICATES):
        root = c.announce(ca, c.entries(ca, 1))
        c.event(CERTIFICATES, "BatchIssued", other, c.serials[ca], 1, root)


def interrupted(c: Chronicle, ca: AuthorityId) -> None:
    with c.sent(OPERATOR, CERTIFICATES):
        root = c.announce(ca, c.entries(ca, 1))
        c.event(CERTIFICATES, "CertificateRevoked", ca, 3, OPERATOR)
        c.event(CERTIFICATES, "BatchIssued", ca, c.serials[ca], 1, root)


def registered_and_then_something(c: Chronicle, ca: AuthorityId) -> None:
    with c.sent(GOVERNOR, AUTHORITIES):
        import hashlib

        new = hashlib.sha256(b"n" * 44).digest()
        c.event(AUTHORITIES, "AuthorityRegistered", new, 1, ZERO, b"n" * 44, ISSUER_KEY)
        c.event(CERTIFICATES, "RevokerChanged", ca, NEXT, True)
        c.event(CERTIFICATES, "IssuerOpened", new, OPERATOR, LIFETIME)


def watch(version: int = 3, first: int = 4, threshold: int = 2, dogs: object = None) -> Forge:
    given = [(str(DOG), 2, DOCUMENT)] if dogs is None else dogs
    return one(GOVERNOR, WATCHDOGS, "WatchChanged", CA, version, first, threshold, given)


def confirmed_and_then(*names: str) -> Forge:
    def forge(c: Chronicle, ca: AuthorityId) -> None:
        first = c.issue(ca)
        with c.sent(DOG, WATCHDOGS):
            c.event(WATCHDOGS, "BatchConfirmed", ca, first, DOG, 2)
            for name in names:
                c.event(WATCHDOGS, name, ca, first, CAT, "too late")

    return forge


def fresh(name: str, *values: object, sender: Address = DOG) -> Forge:
    """Forge an event about a batch that was just anchored, which is watched."""

    def forge(c: Chronicle, ca: AuthorityId) -> None:
        c.tell(sender, WATCHDOGS, name, ca, c.issue(ca), *values)

    return forge


def retired(c: Chronicle, ca: AuthorityId) -> None:
    c.tell(GOVERNOR, CERTIFICATES, "StateChanged", ca, 1, 5, GOVERNOR)


def suspended(c: Chronicle, ca: AuthorityId) -> None:
    c.tell(GUARDIAN, CERTIFICATES, "StateChanged", ca, 1, 3, GUARDIAN)


def empty_dog(account: Address = DOG, weight: int = 2, key: bytes = DOCUMENT) -> Forge:
    return watch(dogs=[(str(account), weight, key)], threshold=1)


FORGED: dict[str, tuple[Forge, str]] = {
    # TrustDomain
    "a second creation": (
        one(STRANGER, DOMAIN, "DomainCreated", GOVERNOR, *[NOBODY] * 4),
        "a domain is created once",
    ),
    "an offer by a stranger": (
        one(STRANGER, DOMAIN, "GovernorOffered", STRANGER, STRANGER),
        "only the governor offers its role",
    ),
    "an offer that the governor did not send": (
        one(STRANGER, DOMAIN, "GovernorOffered", GOVERNOR, STRANGER),
        "only who holds the role may do this",
    ),
    "another predecessor": (
        one(NEXT, DOMAIN, "GovernorChanged", STRANGER, NEXT),
        "the governor hands over",
    ),
    "a governor to whom nothing was offered": (
        one(STRANGER, DOMAIN, "GovernorChanged", GOVERNOR, STRANGER),
        "the role goes to the one whom it was offered",
    ),
    "nobody as governor": (
        after(
            one(GOVERNOR, DOMAIN, "GovernorOffered", GOVERNOR, NOBODY),
            one(STRANGER, DOMAIN, "GovernorChanged", GOVERNOR, NOBODY),
        ),
        "the role goes to the one whom it was offered",
    ),
    "another guardian before": (
        one(GOVERNOR, DOMAIN, "GuardianChanged", STRANGER, NEXT),
        "the guardian changes",
    ),
    "a guardian by a stranger": (
        one(STRANGER, DOMAIN, "GuardianChanged", GUARDIAN, STRANGER),
        "only who holds the role may do this",
    ),
    # AuthorityRegistry
    "an id that is not the key's hash": (registered(id=UNKNOWN), "a CA's id is the hash"),
    "a key once more": (registered(b"k" * 44), "a key is registered once"),
    "an empty key": (registered(b""), "a public key has a length"),
    "an endless key": (registered(b"n" * 1025), "a public key has a length"),
    "no kind": (registered(kind=0), "a CA is of a kind"),
    "an unknown kind": (registered(kind=9), "a CA is of a kind"),
    "no issuer key": (registered(issuer_key=ZERO), "a CA has a key for locators"),
    "an unknown parent": (registered(parent=UNKNOWN), "a CA's parent is an older one"),
    "a parent of another kind": (registered(kind=2, parent=CA), "a CA's parent is an older one"),
    "a CA by a stranger": (registered(sender=STRANGER), "only who holds the role may do this"),
    "a CA that is never opened": (registered(opens=False), "a registered CA is opened"),
    "something before it is opened": (registered_and_then_something, "a registered CA is opened"),
    "an opening by itself": (
        one(GOVERNOR, CERTIFICATES, "IssuerOpened", UNKNOWN, OPERATOR, 1),
        "a CA is opened when it is registered",
    ),
    "no operator": (registered(operator=NOBODY), "a CA has an operator"),
    "no lifetime": (registered(lifetime=0), "a CA has a maximum lifetime"),
    # CertificateRegistry: issuing
    "a skipped serial": (batch(skip=1), "serials follow"),
    "a serial once more": (batch(skip=-1), "serials follow"),
    "a batch that begins elsewhere": (batch(first=1), "serials follow"),
    "no certificate hash": (batch(without_hash), "a certificate has a hash"),
    "too long a life": (batch(too_long), "a certificate lives at most as long"),
    "another count": (batch(count=3), "a batch holds what was announced"),
    "another root": (batch(root=Hash32(UNKNOWN)), "a batch's root is its certificates'"),
    "certificates of no batch": (batch(ends=False), "certificates are anchored in batches"),
    "a batch of no certificates": (
        one(OPERATOR, CERTIFICATES, "BatchIssued", CA, 6, 1, UNKNOWN),
        "a batch follows its certificates",
    ),
    "a batch of two CAs": (two_cas, "a batch is of one CA"),
    "a batch of the other CA": (other_ca_s_batch, "a batch is of one CA"),
    "something between": (interrupted, "certificates are anchored in batches"),
    "a batch by a stranger": (batch(sender=STRANGER), "only who holds the role may do this"),
    "a batch by the governor": (batch(sender=GOVERNOR), "only who holds the role may do this"),
    "a batch of a suspended CA": (after(suspended, batch()), "only an active CA issues"),
    "a batch of a retired CA": (after(retired, batch()), "only an active CA issues"),
    # CertificateRegistry: revoking
    "serial 0 revoked": (
        one(OPERATOR, CERTIFICATES, "CertificateRevoked", CA, 0, OPERATOR),
        "only issued serials are revoked",
    ),
    "an unissued serial revoked": (
        one(OPERATOR, CERTIFICATES, "CertificateRevoked", CA, 6, OPERATOR),
        "only issued serials are revoked",
    ),
    "a serial revoked again": (
        one(OPERATOR, CERTIFICATES, "CertificateRevoked", CA, 2, OPERATOR),
        "a serial is revoked once",
    ),
    "a revocation by a stranger": (
        one(STRANGER, CERTIFICATES, "CertificateRevoked", CA, 3, STRANGER),
        "the operator, a revoker or the governor revokes",
    ),
    "a revocation by a revoker who is none any more": (
        after(
            one(GOVERNOR, CERTIFICATES, "RevokerChanged", CA, REVOKER, False),
            one(REVOKER, CERTIFICATES, "CertificateRevoked", CA, 3, REVOKER),
        ),
        "the operator, a revoker or the governor revokes",
    ),
    "a revocation that its revoker did not send": (
        one(STRANGER, CERTIFICATES, "CertificateRevoked", CA, 3, REVOKER),
        "only who holds the role may do this",
    ),
    "a revocation of an unknown CA": (
        one(OPERATOR, CERTIFICATES, "CertificateRevoked", UNKNOWN, 3, OPERATOR),
        "an event names a registered CA",
    ),
    "a watermark that stands": (
        one(OPERATOR, CERTIFICATES, "RevokedBelow", CA, 2, OPERATOR),
        "the watermark only rises",
    ),
    "a watermark beyond": (
        one(OPERATOR, CERTIFICATES, "RevokedBelow", CA, 7, OPERATOR),
        "the watermark only rises",
    ),
    "a watermark by a stranger": (
        one(STRANGER, CERTIFICATES, "RevokedBelow", CA, 3, STRANGER),
        "the operator, a revoker or the governor revokes",
    ),
    # CertificateRegistry: states and roles
    "from another state": (
        one(GOVERNOR, CERTIFICATES, "StateChanged", CA, 2, 4, GOVERNOR),
        "a CA leaves the state that it is in",
    ),
    "no such state": (
        one(GOVERNOR, CERTIFICATES, "StateChanged", CA, 1, 9, GOVERNOR),
        "a CA is in a state",
    ),
    "no such way": (
        one(GOVERNOR, CERTIFICATES, "StateChanged", CA, 1, 4, GOVERNOR),
        "a CA goes only the ways that there are",
    ),
    "back from retirement": (
        after(retired, one(GOVERNOR, CERTIFICATES, "StateChanged", CA, 5, 1, GOVERNOR)),
        "a CA goes only the ways that there are",
    ),
    "a suspension by a stranger": (
        one(STRANGER, CERTIFICATES, "StateChanged", CA, 1, 3, STRANGER),
        "the governor changes a CA's state",
    ),
    "a lift by the guardian": (
        after(suspended, one(GUARDIAN, CERTIFICATES, "StateChanged", CA, 3, 1, GUARDIAN)),
        "the governor changes a CA's state",
    ),
    "a suspension that the guardian did not send": (
        one(STRANGER, CERTIFICATES, "StateChanged", CA, 1, 3, GUARDIAN),
        "only who holds the role may do this",
    ),
    "another operator before": (
        one(GOVERNOR, CERTIFICATES, "OperatorChanged", CA, STRANGER, NEXT),
        "the operator hands over",
    ),
    "nobody as operator": (
        one(GOVERNOR, CERTIFICATES, "OperatorChanged", CA, OPERATOR, NOBODY),
        "a CA has an operator",
    ),
    "an operator by the operator": (
        one(OPERATOR, CERTIFICATES, "OperatorChanged", CA, OPERATOR, NEXT),
        "only who holds the role may do this",
    ),
    "an operator of a retired CA": (
        after(retired, one(GOVERNOR, CERTIFICATES, "OperatorChanged", CA, OPERATOR, NEXT)),
        "nothing of a retired CA changes",
    ),
    "a revoker by a stranger": (
        one(STRANGER, CERTIFICATES, "RevokerChanged", CA, STRANGER, True),
        "only who holds the role may do this",
    ),
    "no lifetime any more": (
        one(GOVERNOR, CERTIFICATES, "MaximumLifetimeChanged", CA, 0),
        "a CA has a maximum lifetime",
    ),
    "a lifetime of a retired CA": (
        after(retired, one(GOVERNOR, CERTIFICATES, "MaximumLifetimeChanged", CA, 5)),
        "nothing of a retired CA changes",
    ),
    "a lifetime by the operator": (
        one(OPERATOR, CERTIFICATES, "MaximumLifetimeChanged", CA, 5),
        "only who holds the role may do this",
    ),
    # DeviceRegistry
    "a device enrolled again": (
        one(REGISTRAR, DEVICES, "DeviceEnrolled", DEVICE, DOCUMENT, REGISTRAR),
        "a device is enrolled once",
    ),
    "a device without a document": (
        one(REGISTRAR, DEVICES, "DeviceEnrolled", OTHER, ZERO, REGISTRAR),
        "a device has a key document",
    ),
    "a device by a stranger": (
        one(STRANGER, DEVICES, "DeviceEnrolled", OTHER, DOCUMENT, STRANGER),
        "a registrar enrols and retires devices",
    ),
    "a device that its registrar did not send": (
        one(STRANGER, DEVICES, "DeviceEnrolled", OTHER, DOCUMENT, REGISTRAR),
        "only who holds the role may do this",
    ),
    "a document of a retired device": (
        one(STRANGER, DEVICES, "KeyDocumentUpdated", DEVICE, DOCUMENT, 2),
        "only an active device changes",
    ),
    "a signature used again": (
        after(
            one(REGISTRAR, DEVICES, "DeviceEnrolled", OTHER, DOCUMENT, REGISTRAR),
            one(STRANGER, DEVICES, "KeyDocumentUpdated", OTHER, DOCUMENT, 0),
        ),
        "a device's signatures follow",
    ),
    "a device retired again": (
        one(REGISTRAR, DEVICES, "DeviceRetired", DEVICE, REGISTRAR),
        "only an active device changes",
    ),
    "a registrar by a registrar": (
        one(REGISTRAR, DEVICES, "RegistrarChanged", STRANGER, True),
        "only who holds the role may do this",
    ),
    # WatchdogRegistry
    "a version skipped": (watch(version=4), "a watch's versions follow"),
    "another beginning": (watch(first=6), "what has to be confirmed begins once for all"),
    "no threshold": (watch(threshold=0), "the threshold can be reached"),
    "too high a threshold": (watch(threshold=3), "the threshold can be reached"),
    "no watchdogs": (watch(dogs=[]), "watchdogs are accounts"),
    "a watchdog twice": (watch(dogs=[(str(DOG), 1, DOCUMENT)] * 2), "watchdogs are accounts"),
    "nobody as watchdog": (empty_dog(NOBODY), "watchdogs are accounts"),
    "a watchdog without weight": (empty_dog(weight=0), "watchdogs are accounts"),
    "a watchdog without a key": (empty_dog(key=ZERO), "watchdogs are accounts"),
    "a batch that is not watched": (
        one(OPERATOR, WATCHDOGS, "ReviewRequested", CA, 1, [DOCUMENT]),
        "watchdogs look at batches that are watched",
    ),
    "a batch that is not there": (
        one(OPERATOR, WATCHDOGS, "ReviewRequested", CA, 5, [DOCUMENT]),
        "watchdogs look at batches that are watched",
    ),
    "no parcels": (
        one(OPERATOR, WATCHDOGS, "ReviewRequested", CA, 4, []),
        "a batch is laid out in parcels",
    ),
    "parcels by a stranger": (
        one(STRANGER, WATCHDOGS, "ReviewRequested", CA, 4, [DOCUMENT]),
        "only who holds the role may do this",
    ),
    "a stranger confirms": (
        fresh("BatchConfirmed", STRANGER, 2),
        "a CA's watchdogs confirm and object",
    ),
    "another weight": (fresh("BatchConfirmed", DOG, 3), "a watchdog weighs what the governor gave"),
    "confirmed when accepted": (
        one(CAT, WATCHDOGS, "BatchConfirmed", CA, 4, CAT, 1),
        "a watchdog confirms once",
    ),
    "confirmed after an objection": (
        after(
            one(CAT, WATCHDOGS, "BatchObjected", CA, 4, CAT, "of what counts: only heard"),
            fresh("BatchObjected", CAT, "no", sender=CAT),
            one(CAT, WATCHDOGS, "BatchConfirmed", CA, 6, CAT, 1),
        ),
        "a watchdog confirms once",
    ),
    "objected twice": (
        after(
            fresh("BatchObjected", CAT, "no", sender=CAT),
            one(CAT, WATCHDOGS, "BatchObjected", CA, 6, CAT, "no!"),
        ),
        "a watchdog objects once",
    ),
    "an objection that it did not send": (
        fresh("BatchObjected", CAT, "no", sender=STRANGER),
        "only who holds the role may do this",
    ),
    "a long reason": (fresh("BatchObjected", CAT, "n" * 257, sender=CAT), "a reason is short"),
    "confirmed and not accepted": (
        confirmed_and_then(),
        "what enough watchdogs confirmed is accepted",
    ),
    "something before it is accepted": (
        confirmed_and_then("BatchObjected"),
        "what enough watchdogs confirmed is accepted",
    ),
    "accepted by nobody": (fresh("BatchAccepted"), "a batch is accepted when enough confirmed it"),
    "a watchdog skipped as none": (
        one(STRANGER, WATCHDOGS, "ConfirmationSkipped", CA, 4, DOG, 0),
        "a confirmation is skipped for a reason",
    ),
    "a stranger skipped as late": (
        one(STRANGER, WATCHDOGS, "ConfirmationSkipped", CA, 4, STRANGER, 2),
        "a confirmation is skipped for a reason",
    ),
    "an event that nobody emits": (
        one(STRANGER, WATCHDOGS, "EIP712DomainChanged"),
        "an event is one that the contract emits",
    ),
    # Callers
    "a call through a contract by an account": (
        one(STRANGER, CERTIFICATES, "RevokerChanged", CA, STRANGER, True, to=DEVICES),
        "an account without a program of its own calls directly",
    ),
}


@pytest.mark.parametrize("what", FORGED)
def test_a_forged_event(what: str, tmp_path: Path) -> None:
    forge, rule = FORGED[what]
    chronicle = Chronicle()
    ca = everything(chronicle)
    first = chronicle.number
    forge(chronicle, ca)
    with pytest.raises(HistoryContradicted, match=rule.replace("(", r"\(")) as caught:
        audited(chronicle, tmp_path)
    evidence = caught.value.evidence
    assert first <= evidence.block < chronicle.number
    assert str(evidence.transaction) in chronicle.transactions
    assert caught.value.exit_status == 3


CREATIONS: dict[str, tuple[Callable[[Chronicle], None], str]] = {
    "something else first": (
        lambda c: c.tell(GOVERNOR, DOMAIN, "GovernorOffered", GOVERNOR, NEXT),
        "a domain begins with its creation",
    ),
    "nobody as governor": (
        lambda c: c.tell(
            STRANGER, DOMAIN, "DomainCreated", NOBODY, *list(c.addresses.values())[1:]
        ),
        "there is always a governor",
    ),
    "other registries": (
        lambda c: c.tell(STRANGER, DOMAIN, "DomainCreated", GOVERNOR, *[NOBODY] * 4),
        "a domain's registries are its own",
    ),
    "a registrar who may not": (
        lambda c: c.tell(STRANGER, DEVICES, "RegistrarChanged", REGISTRAR, False),
        "a domain begins with registrars",
    ),
    "no guardian": (
        lambda c: (
            c.tell(STRANGER, DOMAIN, "DomainCreated", GOVERNOR, *list(c.addresses.values())[1:]),
            c.tell(GOVERNOR, DEVICES, "RegistrarChanged", NEXT, True),
        )[0],
        "a domain's creation ends with its guardian",
    ),
}


@pytest.mark.parametrize("what", CREATIONS)
def test_a_forged_creation(what: str, tmp_path: Path) -> None:
    tell, rule = CREATIONS[what]
    chronicle = Chronicle()
    tell(chronicle)
    with pytest.raises(HistoryContradicted, match=rule):
        audited(chronicle, tmp_path)


def test_a_contract_that_holds_the_role_is_believed_and_counted(tmp_path: Path) -> None:
    chronicle = Chronicle()
    ca = everything(chronicle)
    chronicle.codes[GOVERNOR] = b"a multi-signature wallet"
    chronicle.tell(STRANGER, CERTIFICATES, "RevokerChanged", ca, NEXT, True, to=DEVICES)
    report = audited(chronicle.settle(tmp_path), tmp_path)
    assert report.counts["calls through a contract"] == 1
