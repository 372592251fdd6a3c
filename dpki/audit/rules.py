"""What each event of the domain and its registries may follow from, and what it changes. Pure.

The rules are those of the contracts (docs/contracts.md), told once more: an event that their
functions could not have emitted in the state that the events before it lead to is a contradiction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from dpki.audit.acts import Act, find_authority, read_word
from dpki.audit.evidence import broken, require
from dpki.audit.occurrence import Occurrence
from dpki.audit.state import (
    Authority,
    BatchRecord,
    Book,
    CertificateRecord,
    State,
)
from dpki.chain import merkle
from dpki.chain.domain import Domain
from dpki.chain.layout import MAXIMUM_PUBLIC_KEY
from dpki.model import (
    MAXIMUM_BATCH,
    Address,
    AuthorityId,
    AuthorityKind,
    AuthorityState,
    Hash32,
    to_timestamp,
)

_UINT32 = 2**32 - 1
_NOBODY = Address.zero()

_SUSPENDING = {
    AuthorityState.ACTIVE: AuthorityState.SUSPENDED,
    AuthorityState.CLOSED: AuthorityState.CLOSED_SUSPENDED,
}
_LIFTING = {after: before for before, after in _SUSPENDING.items()}
_CLOSING = {
    AuthorityState.ACTIVE: AuthorityState.CLOSED,
    AuthorityState.SUSPENDED: AuthorityState.CLOSED_SUSPENDED,
}


@dataclass
class Pending:
    """A batch whose certificates were announced, and whose own event has to follow."""

    authority: Authority
    context: Hash32
    leaves: list[Hash32] = field(default_factory=list)
    records: list[CertificateRecord] = field(default_factory=list)


@dataclass
class DomainRules:
    """Rules of the domain's and the three older registries' events.

    Attributes:
        pending: A batch that was begun and has to be finished by the next events.
        opening: A CA that was registered and has to be opened by the next event.
    """

    domain: Domain
    state: State
    book: Book
    pending: Pending | None = None
    opening: Authority | None = None

    def apply(self, occurrence: Occurrence) -> Act | None:
        """Change the state as the event says, and return who has to have caused it.

        Raises:
            Broken: The event can't follow from the state.
        """
        handler = _HANDLERS.get((occurrence.contract, occurrence.name))
        if handler is None:
            broken("an event is one that the contract emits", "another event", occurrence.name)
        return handler(self, occurrence)

    def finish(self, occurrence: Occurrence) -> None:
        """Check that nothing was begun by a transaction and not finished.

        Raises:
            HistoryContradicted: Something was.
        """
        if self.opening is not None:
            raise occurrence.contradiction(
                "a registered CA is opened in the same transaction", "IssuerOpened", "nothing more"
            )
        if self.pending is not None:
            raise occurrence.contradiction(
                "certificates are anchored in batches", "BatchIssued", "nothing more"
            )

    def verify_order(self, occurrence: Occurrence) -> None:
        """Check that an event of the domain does not come between two that belong together.

        Raises:
            Broken: It does.
        """
        name = occurrence.name
        if self.opening is not None:
            require(
                name == "IssuerOpened",
                "a registered CA is opened in the same transaction",
                "IssuerOpened",
                name,
            )
        if self.pending is not None:
            require(
                name in ("CertificateIssued", "BatchIssued"),
                "certificates are anchored in batches",
                "BatchIssued",
                name,
            )
        state = self.state
        if not state.is_created:
            require(
                name in ("DomainCreated", "RegistrarChanged"),
                "a domain begins with its creation",
                "DomainCreated",
                name,
            )
        elif not state.is_founded:
            require(
                name == "GuardianChanged",
                "a domain's creation ends with its guardian",
                "GuardianChanged",
                name,
            )

    def _by_governor(self, occurrence: Occurrence, *functions: str) -> Act:
        argument = occurrence.values.get("ca")
        return Act(occurrence, self.state.governor, functions, argument)

    def _revoking(self, authority: Authority, by: Address) -> Address:
        may = by in (authority.operator, self.state.governor) or authority.named.get(by, False)
        who = f"{authority.operator}, a revoker or {self.state.governor}"
        require(may, "the operator, a revoker or the governor revokes", who, by)
        return by

    # -- TrustDomain -------------------------------------------------------------------------------

    def _created(self, event: Occurrence) -> None:
        values, state, domain = event.values, self.state, self.domain
        require(not state.is_created, "a domain is created once", "no second creation", event.name)
        names = ("authorities", "certificates", "devices", "watchdogs")
        for name in names:
            right, told = getattr(domain, name), Address.parse(values[name])
            require(told == right, "a domain's registries are its own", right, told)
        governor = Address.parse(values["governor"])
        require(governor != _NOBODY, "there is always a governor", "an account", governor)
        state.governor, state.is_created = governor, True

    def _offered(self, event: Occurrence) -> Act:
        current = Address.parse(event.values["current"])
        right = self.state.governor
        require(current == right, "only the governor offers its role", right, current)
        self.state.offered = Address.parse(event.values["offered"])
        return Act(event, current, ("offerGovernor",))

    def _governor_changed(self, event: Occurrence) -> Act:
        state, current = self.state, Address.parse(event.values["current"])
        previous = Address.parse(event.values["previous"])
        require(previous == state.governor, "the governor hands over", state.governor, previous)
        require(
            current == state.offered != _NOBODY,
            "the role goes to the one whom it was offered",
            state.offered,
            current,
        )
        state.governor, state.offered = current, _NOBODY
        return Act(event, current, ("acceptGovernor",))

    def _guardian_changed(self, event: Occurrence) -> Act | None:
        state, previous = self.state, Address.parse(event.values["previous"])
        require(previous == state.guardian, "the guardian changes", state.guardian, previous)
        state.guardian = Address.parse(event.values["current"])
        if not state.is_founded:
            state.is_founded = True
            return None
        return self._by_governor(event, "setGuardian")

    # -- AuthorityRegistry -------------------------------------------------------------------------

    def _registered(self, event: Occurrence) -> Act:
        values, known = event.values, self.state.authorities
        ca, key, parent = AuthorityId(values["ca"]), values["publicKey"], values["parent"]
        right = hashlib.sha256(key).digest()
        require(ca == right, "a CA's id is the hash of its key", f"0x{right.hex()}", ca)
        require(ca not in known, "a key is registered once, for ever", "another key", ca)
        require(
            1 <= len(key) <= MAXIMUM_PUBLIC_KEY,
            "a public key has a length",
            f"1 to {MAXIMUM_PUBLIC_KEY} bytes",
            len(key),
        )
        kind = read_word(AuthorityKind, values["kind"], "a CA is of a kind")
        issuer_key = Hash32(values["issuerKey"])
        require(any(issuer_key), "a CA has a key for locators", "a key", issuer_key)
        above = known.get(AuthorityId(parent))
        require(
            not any(parent) or (above is not None and above.kind is kind),
            "a CA's parent is an older one of its kind",
            f"a registered {kind.label} CA, or none",
            f"0x{parent.hex()}",
        )
        self.opening = known[ca] = Authority(
            ca, len(known), kind, key, issuer_key, AuthorityId(parent), event.place.time
        )
        # Its id is nowhere in the call: it is the hash of what is.
        return Act(event, self.state.governor, ("register",))

    # -- CertificateRegistry -----------------------------------------------------------------------

    def _opened(self, event: Occurrence) -> None:
        values, opening = event.values, self.opening
        ca = AuthorityId(values["ca"])
        if opening is None or opening.id != ca:
            broken("a CA is opened when it is registered", "a CA just registered", ca)
        operator, lifetime = Address.parse(values["operator"]), values["maximumLifetime"]
        require(operator != _NOBODY, "a CA has an operator", "an account", operator)
        require(lifetime > 0, "a CA has a maximum lifetime", "a minute or more", lifetime)
        opening.operator, opening.lifetime = operator, lifetime
        opening.state = AuthorityState.ACTIVE
        self.opening = None

    def _certificate_issued(self, event: Occurrence) -> None:
        certificate = event.certificate
        assert certificate is not None
        pending = self.pending
        if pending is None:
            authority = find_authority(self.state, {"ca": certificate.ca})
            require(
                authority.state is AuthorityState.ACTIVE,
                "only an active CA issues",
                AuthorityState.ACTIVE.label,
                authority.state.label,
            )
            context = merkle.leaf_context(
                self.domain.id.chain_id, self.domain.certificates, authority.id
            )
            pending = self.pending = Pending(authority, context)
        authority = pending.authority
        ca = certificate.ca
        require(ca == authority.id, "a batch is of one CA", authority.id, ca)
        serial = authority.next_serial + len(pending.leaves)
        require(certificate.serial == serial, "serials follow", serial, certificate.serial)
        entry = certificate.entry
        told = entry.certificate_hash
        require(any(told), "a certificate has a hash", "a hash", told)
        end, latest = to_timestamp(entry.not_after), event.place.time + 60 * authority.lifetime
        require(end <= latest, "a certificate lives at most as long as its CA allows", latest, end)
        pending.leaves.append(merkle.leaf(pending.context, serial, entry))
        pending.records.append(
            CertificateRecord(authority.number, serial, entry.certificate_hash, entry.device, end)
        )

    def _batch_issued(self, event: Occurrence) -> Act:
        values, pending = event.values, self.pending
        ca, first, count = AuthorityId(values["ca"]), values["firstSerial"], values["count"]
        if pending is None:
            broken("a batch follows its certificates", "certificates before it", "none")
        authority = pending.authority
        require(ca == authority.id, "a batch is of one CA", authority.id, ca)
        require(first == authority.next_serial, "serials follow", authority.next_serial, first)
        announced = len(pending.leaves)
        require(count == announced, "a batch holds what was announced", announced, count)
        require(
            count <= min(MAXIMUM_BATCH, _UINT32 - first),
            "a batch is of a size",
            f"at most {MAXIMUM_BATCH}",
            count,
        )
        root, told = merkle.Tree(pending.leaves).root, Hash32(values["root"])
        require(told == root, "a batch's root is its certificates'", root, told)
        authority.next_serial = first + count
        self.book.put_certificates(pending.records)
        word = merkle.commitment(root, count)
        self.book.put_batch(BatchRecord(authority.number, first, count, word, authority.lifetime))
        self.pending = None
        return Act(event, authority.operator, ("issue",), ca)

    def _revoked(self, event: Occurrence) -> Act:
        values = event.values
        authority, serial, by = find_authority(self.state, values), values["serial"], values["by"]
        caller = self._revoking(authority, Address.parse(by))
        require(
            0 < serial < authority.next_serial,
            "only issued serials are revoked",
            f"1 to {authority.next_serial - 1}",
            serial,
        )
        index, bit = serial >> 8, 1 << (serial & 255)
        word = self.book.word(authority.number, index)
        require(not word & bit, "a serial is revoked once", "a serial not revoked yet", serial)
        self.book.put_word(authority.number, index, word | bit)
        authority.revoked_count += 1
        return Act(event, caller, ("revoke",), authority.id)

    def _revoked_below(self, event: Occurrence) -> Act:
        values = event.values
        authority, serial = find_authority(self.state, values), values["serial"]
        caller = self._revoking(authority, Address.parse(values["by"]))
        lowest, highest = authority.revoked_below + 1, authority.next_serial
        require(
            lowest <= serial <= highest,
            "the watermark only rises, to what is issued",
            f"{lowest} to {highest}",
            serial,
        )
        authority.revoked_below = serial
        return Act(event, caller, ("revokeBelow",), authority.id)

    def _state_changed(self, event: Occurrence) -> Act:
        values, authority = event.values, find_authority(self.state, event.values)
        before = read_word(AuthorityState, values["from"], "a CA is in a state")
        after = read_word(AuthorityState, values["to"], "a CA is in a state")
        state, by = authority.state, Address.parse(values["by"])
        require(before is state, "a CA leaves the state that it is in", state.label, before.label)
        ways = {
            "suspend": _SUSPENDING.get(before),
            "lift": _LIFTING.get(before),
            "close": _CLOSING.get(before),
            "retire": AuthorityState.RETIRED if before is not AuthorityState.RETIRED else None,
        }
        way = next((name for name, end in ways.items() if end is after), None)
        if way is None:
            allowed = ", ".join(end.label for end in ways.values() if end is not None)
            broken("a CA goes only the ways that there are", allowed or "no change", after.label)
        allowed_to = [self.state.governor]
        if way == "suspend":
            allowed_to.append(self.state.guardian)
        require(
            by in allowed_to,
            "the governor changes a CA's state; the guardian suspends",
            " or ".join(map(str, allowed_to)),
            by,
        )
        authority.state = after
        return Act(event, by, (way,), authority.id)

    def _operator_changed(self, event: Occurrence) -> Act:
        values, authority = event.values, self._changeable(event)
        previous, current = (Address.parse(values[name]) for name in ("previous", "current"))
        right = authority.operator
        require(previous == right, "the operator hands over", right, previous)
        require(current != _NOBODY, "a CA has an operator", "an account", current)
        authority.operator = current
        return self._by_governor(event, "setOperator")

    def _revoker_changed(self, event: Occurrence) -> Act:
        authority = find_authority(self.state, event.values)
        authority.named[Address.parse(event.values["revoker"])] = event.values["allowed"]
        return self._by_governor(event, "setRevoker")

    def _lifetime_changed(self, event: Occurrence) -> Act:
        authority, minutes = self._changeable(event), event.values["minutes_"]
        require(minutes > 0, "a CA has a maximum lifetime", "a minute or more", minutes)
        authority.lifetime = minutes
        return self._by_governor(event, "setMaximumLifetime")

    def _changeable(self, event: Occurrence) -> Authority:
        authority = find_authority(self.state, event.values)
        require(
            authority.state is not AuthorityState.RETIRED,
            "nothing of a retired CA changes",
            "a CA that is not retired",
            authority.state.label,
        )
        return authority


Handler = Callable[[DomainRules, Occurrence], Act | None]

_HANDLERS: Mapping[tuple[str, str], Handler] = {
    ("TrustDomain", "DomainCreated"): DomainRules._created,
    ("TrustDomain", "GovernorOffered"): DomainRules._offered,
    ("TrustDomain", "GovernorChanged"): DomainRules._governor_changed,
    ("TrustDomain", "GuardianChanged"): DomainRules._guardian_changed,
    ("AuthorityRegistry", "AuthorityRegistered"): DomainRules._registered,
    ("CertificateRegistry", "IssuerOpened"): DomainRules._opened,
    ("CertificateRegistry", "CertificateIssued"): DomainRules._certificate_issued,
    ("CertificateRegistry", "BatchIssued"): DomainRules._batch_issued,
    ("CertificateRegistry", "CertificateRevoked"): DomainRules._revoked,
    ("CertificateRegistry", "RevokedBelow"): DomainRules._revoked_below,
    ("CertificateRegistry", "StateChanged"): DomainRules._state_changed,
    ("CertificateRegistry", "OperatorChanged"): DomainRules._operator_changed,
    ("CertificateRegistry", "RevokerChanged"): DomainRules._revoker_changed,
    ("CertificateRegistry", "MaximumLifetimeChanged"): DomainRules._lifetime_changed,
}
