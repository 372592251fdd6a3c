"""The rules that a certificate must meet, one function and one reason to fail each.

What any certificate must look like (principals, an end of validity, known options) its parser has
checked already: a certificate that breaks those rules does not become an `SshCertificate`.

`judge` runs them in order over a certificate, its place on chain and the domain's state, and is
pure: the agent, `dpki verify`, with a chain or a proof bundle, and the tests all decide with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from dpki.certificates.keys import parse_public_key
from dpki.certificates.ssh import SshCertificate, verify_ssh_signature
from dpki.chain import merkle
from dpki.chain.authority import AuthorityRecord
from dpki.chain.domain import Contracts
from dpki.chain.snapshot import DeviceRecord
from dpki.errors import DpkiError, MalformedInput
from dpki.model import (
    Address,
    AuthorityId,
    AuthorityState,
    Block,
    DeviceState,
    Entry,
    Hash32,
    Path,
)
from dpki.verification.verdict import Finding, Verdict


@dataclass(frozen=True)
class Anchoring:
    """Where a certificate claims to stand on chain.

    Attributes:
        device: The device that it was anchored for; zero for nobody's.
        path: Its batch and Merkle path.
    """

    device: Address
    path: Path


class State(Protocol):
    """What is judged against: a `Snapshot`, or an `Excerpt` for this very certificate."""

    @property
    def domain(self) -> Contracts:
        """Return the trust domain."""
        ...

    @property
    def block(self) -> Block:
        """Return the block whose state it is."""
        ...

    @property
    def devices(self) -> Mapping[Address, DeviceRecord]:
        """Return the devices that were asked for."""
        ...

    @property
    def commitments(self) -> Mapping[tuple[AuthorityId, int], Hash32]:
        """Return the commitments of the batches that were asked for, by CA and first serial."""
        ...

    def find(self, ca: AuthorityId) -> AuthorityRecord | None:
        """Return the CA of this id, if it was ever registered."""
        ...

    def awaited(self, ca: AuthorityId, first_serial: int) -> str | None:
        """Return what a batch waits for before it counts, in words; None where for nothing."""
        ...


@dataclass(frozen=True)
class Case:
    """Everything that a rule may look at."""

    certificate: SshCertificate
    anchoring: Anchoring | None
    snapshot: State
    authority: AuthorityRecord
    now: datetime


Failure = tuple[Verdict, str]
Rule = Callable[[Case], Failure | None]


def judge(
    certificate: SshCertificate,
    anchoring: Anchoring | None,
    snapshot: State,
    now: datetime,
) -> Finding:
    """Return the verdict on a certificate at the snapshot's block.

    Args:
        anchoring: Its claimed place on chain; None where a complete search found none.
        snapshot: The domain's state, or as much of it as this certificate needs. It must
            hold the batch's commitment and the device, if it is not zero.
        now: The verifier's clock. Time is judged by the later of it and the block's time, so that
            a clock that was set back revives nothing.
    """
    authority = find_authority(certificate, snapshot)
    if authority is None:
        return Finding(
            Verdict.UNKNOWN,
            "it was signed by a key that is no CA of this domain",
            serial=certificate.serial,
            block=snapshot.block,
        )
    case = Case(certificate, anchoring, snapshot, authority, max(now, snapshot.block.time))
    for rule in RULES:
        failure = rule(case)
        if failure is not None:
            verdict, reason = failure
            break
    else:
        verdict, reason = Verdict.VALID, "signed, anchored, not revoked, in its time"
    return Finding(verdict, reason, authority.id, certificate.serial, snapshot.block)


def find_authority(certificate: SshCertificate, snapshot: State) -> AuthorityRecord | None:
    """Return the domain's CA whose key the certificate names, if there is one."""
    return snapshot.find(certificate.authority_id)


def authority_key(case: Case) -> Failure | None:
    """Refuse a certificate of a CA whose key no CA may have, such as RSA of 2,048 bits."""
    try:
        parse_public_key(case.authority.public_key)
    except MalformedInput:
        return Verdict.REFUSED, "its CA's key is too weak, or of a type that no CA may have"
    return None


def signature(case: Case) -> Failure | None:
    """Refuse a certificate that its CA's key did not sign."""
    try:
        verify_ssh_signature(case.certificate)
    except DpkiError:
        return Verdict.REFUSED, "its signature does not verify under the CA key that it names"
    return None


def kind(case: Case) -> Failure | None:
    """Refuse a host certificate of a user CA, and the other way round."""
    if case.certificate.kind == case.authority.kind:
        return None
    return Verdict.REFUSED, (
        f"it is an {case.certificate.kind.label} certificate of an {case.authority.kind.label} CA"
    )


def validity(case: Case) -> Failure | None:
    """Refuse validity that is longer than the CA may issue."""
    certificate, maximum = case.certificate, case.authority.maximum_lifetime
    length = certificate.valid_before - certificate.valid_after
    if length > maximum:
        return Verdict.REFUSED, f"it is valid for {length}, and its CA may issue at most {maximum}"
    return None


def anchored(case: Case) -> Failure | None:
    """Refuse what the CA's operator did not put on chain in exactly this form (claim T1).

    Where the CA is watched, also what its watchdogs have yet to confirm.

    The leaf is made from the certificate itself, so its CA, serial and expiry can't differ from the
    anchored ones.
    """
    if case.anchoring is None:
        return Verdict.NOT_ANCHORED, "its CA's operator never put it on chain"
    if not is_anchored(case.certificate, case.authority, case.anchoring, case.snapshot):
        return Verdict.NOT_ANCHORED, "what stands on chain is not this certificate"
    first = case.anchoring.path.first_serial
    awaited = case.snapshot.awaited(case.authority.id, first)
    return None if awaited is None else (Verdict.NOT_ANCHORED, awaited)


def is_anchored(
    certificate: SshCertificate, authority: AuthorityRecord, anchoring: Anchoring, snapshot: State
) -> bool:
    """Return whether the path leads from this certificate to the commitment in the snapshot."""
    path, stored = anchoring.path, snapshot.commitments
    entry = Entry(certificate.hash, anchoring.device, certificate.valid_before, Hash32.zero())
    context = merkle.leaf_context(
        snapshot.domain.id.chain_id, snapshot.domain.certificates, authority.id
    )
    try:
        root = merkle.verify_path(
            merkle.leaf(context, certificate.serial, entry), certificate.serial, path
        )
    except DpkiError:
        return False
    return stored[authority.id, path.first_serial] == merkle.commitment(root, path.count)


def device(case: Case) -> Failure | None:
    """Refuse what belongs to a device that is retired or was never enrolled."""
    if case.anchoring is None or case.anchoring.device == Address.zero():
        return None
    state = case.snapshot.devices[case.anchoring.device].state
    if state is DeviceState.RETIRED:
        return Verdict.REVOKED, f"its device {case.anchoring.device} is retired"
    if state is DeviceState.UNREGISTERED:
        return Verdict.REFUSED, f"its device {case.anchoring.device} was never enrolled"
    return None


def authority_state(case: Case) -> Failure | None:
    """Refuse everything of a suspended or retired CA, whenever it was anchored."""
    if case.authority.state.is_trusted:
        return None
    if case.authority.state is AuthorityState.RETIRED:
        return Verdict.REVOKED, "its CA is retired"
    return Verdict.SUSPENDED, "its CA is suspended"


def revocation(case: Case) -> Failure | None:
    """Refuse a revoked serial, single or below the watermark (claim T3)."""
    if case.authority.is_revoked(case.certificate.serial):
        return Verdict.REVOKED, f"serial {case.certificate.serial} is revoked"
    return None


def time(case: Case) -> Failure | None:
    """Refuse a certificate outside its validity."""
    if case.now >= case.certificate.valid_before:
        return Verdict.EXPIRED, f"it expired at {case.certificate.valid_before}"
    if case.now < case.certificate.valid_after:
        return Verdict.NOT_YET_VALID, f"it begins at {case.certificate.valid_after}"
    return None


RULES: tuple[Rule, ...] = (
    authority_key,
    signature,
    kind,
    validity,
    anchored,
    device,
    authority_state,
    revocation,
    time,
)
"""In this order: what it is, whether it counts, whether it still does."""
