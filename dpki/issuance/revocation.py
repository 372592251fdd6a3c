"""Taking certificates back: which serials, decided on a snapshot; then transactions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from dpki.certificates.ssh import SshCertificate, verify_ssh_signature
from dpki.chain.events import fetch_issued
from dpki.chain.rpc import Reader
from dpki.chain.snapshot import Snapshot
from dpki.errors import CheckedFalse, CouldNotCheck, UsageError
from dpki.issuance.chain import Anchored, Chain
from dpki.issuance.plan import find_ssh_authority
from dpki.model import Address, AuthorityId

MAXIMUM_SERIALS = 400
"""Serials in one transaction: each may touch a word of its own, and a block has so much gas."""


@dataclass(frozen=True)
class RevocationPlan:
    """Which serials of one CA are to be revoked.

    Attributes:
        serials: Those that aren't yet, ascending.
        already: Those that are.
    """

    ca: AuthorityId
    serials: tuple[int, ...]
    already: tuple[int, ...]


def plan_revocation(snapshot: Snapshot, ca: AuthorityId, serials: Iterable[int]) -> RevocationPlan:
    """Sort out what is to be done. Pure.

    Raises:
        UsageError: A serial was never issued, or there is none.
    """
    authority = find_ssh_authority(snapshot, ca)
    wanted = sorted(set(serials))
    if not wanted:
        raise UsageError(
            "there is nothing to revoke", hint="name serials, certificates or a device"
        )
    for serial in wanted:
        if not authority.is_issued(serial):
            raise UsageError(
                f"serial {serial} was never issued by CA {ca}; the next one is"
                f" {authority.next_serial}",
                hint="see what was issued with: dpki ssh list",
            )
    return RevocationPlan(
        ca,
        tuple(s for s in wanted if not authority.is_revoked(s)),
        tuple(s for s in wanted if authority.is_revoked(s)),
    )


def revoke(chain: Chain, plan: RevocationPlan) -> tuple[Anchored, ...]:
    """Revoke what the plan says, in as few transactions as blocks allow.

    Raises:
        TransactionForbidden: The account may not revoke certificates of this CA.
        TransactionFailed, CouldNotCheck: As for any transaction; what was revoked stays revoked,
            and the command can be run again.
    """
    return tuple(chain.revoke(plan.ca, chunk) for chunk in chunks(plan.serials))


def chunks(serials: Sequence[int]) -> Sequence[Sequence[int]]:
    """Split into what fits in one transaction each."""
    return [serials[i : i + MAXIMUM_SERIALS] for i in range(0, len(serials), MAXIMUM_SERIALS)]


def find_serials_of_devices(
    reader: Reader, snapshot: Snapshot, devices: Sequence[Address], now: datetime
) -> dict[AuthorityId, tuple[int, ...]]:
    """Return the devices' certificates that have not expired, by CA, whoever issued them.

    The chain's events say so, not the journal: another operator may have issued some.

    Raises:
        CouldNotCheck: The chain could not be read.
    """
    found: dict[AuthorityId, list[int]] = {}
    domain, wanted = snapshot.domain, frozenset(devices)
    # Of several, everybody's are looked through once instead of once for each.
    only = devices[0] if len(devices) == 1 else None
    for event in fetch_issued(
        reader, domain, domain.block.number, snapshot.block.number, device=only
    ):
        if event.entry.not_after > now and event.entry.device in wanted:
            found.setdefault(event.ca, []).append(event.serial)
    return {ca: tuple(serials) for ca, serials in found.items()}


def find_serial_of_certificate(
    reader: Reader, snapshot: Snapshot, certificate: SshCertificate
) -> tuple[AuthorityId, int]:
    """Return CA and serial of a certificate that was anchored.

    A certificate that somebody signed with a stolen key may carry another one's serial: revoking it
    by its file would hit the wrong one, and is refused.

    Raises:
        SignatureInvalid: Its signature does not verify.
        UsageError: It is no certificate of this domain.
        CheckedFalse: What was anchored under its serial is another certificate, or nothing was.
        CouldNotCheck: The chain does not show what was.
    """
    verify_ssh_signature(certificate)
    ca = certificate.authority_id
    authority = find_ssh_authority(snapshot, ca)
    what = f"the certificate with serial {certificate.serial} of CA {ca}"
    if not authority.is_issued(certificate.serial):
        raise CheckedFalse(f"{what} was never anchored", hint="nothing accepts it as it is")
    domain = snapshot.domain
    events = fetch_issued(
        reader,
        domain,
        domain.block.number,
        snapshot.block.number,
        ca=ca,
        serial=certificate.serial,
    )
    if not events:
        raise CouldNotCheck(
            f"{reader.name} does not show what was anchored as serial {certificate.serial}",
            hint="use another RPC endpoint, or revoke by number: --ca NAME --serial N",
        )
    if all(event.entry.certificate_hash != certificate.hash for event in events):
        raise CheckedFalse(
            f"{what} is not the one that was anchored under this serial",
            hint="it is worth nothing; if its key was stolen, suspend or retire the CA",
        )
    return ca, certificate.serial
