"""The handover: what a CA's admin, who has the HSM, gives the operator, who has the wallet.

The two machines share nothing but the chain and this file (docs/formats.md, Handover). The admin's
signs, seals and publishes; the operator's checks everything against the chain and a profile of its
own, and anchors. Neither can issue alone: without the HSM there is nothing to anchor that a device
would take, and without the wallet nothing that was signed counts. There is no secret in it.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import datetime

from dpki.bundle.cid import digest_of
from dpki.bundle.codec import dumps, fields_of, loads_strict, verify_version
from dpki.certificates.profile import Profile
from dpki.certificates.ssh import SshCertificate, parse_ssh_certificate
from dpki.chain import merkle
from dpki.chain.domain import Domain
from dpki.chain.snapshot import Snapshot
from dpki.errors import CheckedFalse, DpkiError, MalformedInput, WrongContext
from dpki.issuance.batch import JournaledBatch
from dpki.issuance.plan import find_ssh_authority, profile_of, verify_can_issue
from dpki.issuance.sealing import batch_tree
from dpki.model import (
    MAXIMUM_BATCH,
    Address,
    AuthorityId,
    DeviceState,
    DomainId,
    Entry,
    Hash32,
)
from dpki.verification.inspection import inspect_batch

HANDOVER_LIMIT = 8 << 20
"""Bytes of a handover file, at most."""

_VERSION = 1
_WHAT = "handover"
_FIELDS = {"v": int, "type": str, "domain": str, "ca": bytes, "first": int, "certificates": list}
_ONE = {"certificate": bytes, "device": bytes, "locator": bytes}
_MAXIMUM_SERIAL = 2**32 - 1


@dataclass(frozen=True)
class HandedCertificate:
    """One certificate of a handover.

    Attributes:
        blob: The SSH certificate.
        device: The device that it is for; zero for none.
        locator: What goes on chain with it; zero where it has no bundle.
        bundle: The sealed bundle's digest; None where it has none.
    """

    blob: bytes = field(repr=False)
    device: Address
    locator: Hash32
    bundle: Hash32 | None


@dataclass(frozen=True)
class Handover:
    """A signed, sealed and published batch that lacks nothing but its anchor."""

    domain: DomainId
    ca: AuthorityId
    first_serial: int
    certificates: tuple[HandedCertificate, ...]

    @property
    def last_serial(self) -> int:
        """The serial of the last certificate."""
        return self.first_serial + len(self.certificates) - 1

    @property
    def blobs(self) -> tuple[bytes, ...]:
        """The certificates, in order."""
        return tuple(one.blob for one in self.certificates)

    @property
    def bundles(self) -> tuple[Hash32, ...]:
        """The digests of the sealed bundles."""
        return tuple(one.bundle for one in self.certificates if one.bundle is not None)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """What goes on chain.

        Raises:
            MalformedInput: One of the certificates is none.
        """
        return tuple(
            Entry(parsed.hash, one.device, parsed.valid_before, one.locator)
            for one in self.certificates
            for parsed in [parse_ssh_certificate(one.blob)]
        )

    def tree(self, domain: Domain) -> merkle.Tree:
        """Return the tree that the contract will compute; raises like `entries`."""
        return batch_tree(domain, self.ca, self.first_serial, self.entries)


def hand_over(domain: DomainId, batch: JournaledBatch) -> Handover:
    """Return the handover of a sealed batch.

    Raises:
        DpkiError: It is not sealed.
    """
    return Handover(
        domain,
        batch.authority,
        batch.first_serial,
        tuple(
            HandedCertificate(
                certificate.blob,
                entry.device,
                entry.locator,
                None if certificate.bundle is None else digest_of(certificate.bundle),
            )
            for certificate, entry in zip(batch.certificates, batch.entries, strict=True)
        ),
    )


def encode_handover(handover: Handover) -> bytes:
    """Return the handover's file.

    Raises:
        DpkiError: It is too large for one.
    """
    certificates: list[dict[str, bytes]] = []
    for one in handover.certificates:
        value = {
            "certificate": one.blob,
            "device": bytes(one.device),
            "locator": bytes(one.locator),
        }
        if one.bundle is not None:
            value["bundle"] = bytes(one.bundle)
        certificates.append(value)
    data = dumps(
        {
            "v": _VERSION,
            "type": _WHAT,
            "domain": str(handover.domain),
            "ca": bytes(handover.ca),
            "first": handover.first_serial,
            "certificates": certificates,
        }
    )
    if len(data) > HANDOVER_LIMIT:
        raise DpkiError(
            f"the handover has {len(data)} bytes, and a file holds {HANDOVER_LIMIT}",
            hint="issue smaller batches",
        )
    return data


def parse_handover(data: bytes) -> Handover:
    """Parse a handover's file. Its certificates are still unchecked.

    Raises:
        MalformedInput: It is anything else than what `encode_handover` writes.
    """
    value = loads_strict(data, HANDOVER_LIMIT)
    verify_version(value, _WHAT, _VERSION)
    fields = fields_of(value, _WHAT, required=_FIELDS, optional={})
    if fields["type"] != _WHAT:
        raise MalformedInput(f"this is a {fields['type'][:40]!r}, not a {_WHAT}")
    first, items = fields["first"], fields["certificates"]
    if not (
        1 <= len(items) <= MAXIMUM_BATCH
        and first >= 1
        and first + len(items) - 1 <= _MAXIMUM_SERIAL
    ):
        raise MalformedInput("the handover's batch is empty, too large, or beyond the last serial")
    return Handover(
        DomainId.parse(fields["domain"]),
        AuthorityId(fields["ca"]),
        first,
        tuple(_parse_one(item) for item in items),
    )


def _parse_one(item: object) -> HandedCertificate:
    fields = fields_of(item, f"{_WHAT}'s entry", required=_ONE, optional={"bundle": bytes})
    device, locator = Address(fields["device"]), Hash32(fields["locator"])
    bundle = Hash32(fields["bundle"]) if "bundle" in fields else None
    has_bundle = {device != Address.zero(), locator != Hash32.zero(), bundle is not None}
    if len(has_bundle) != 1:
        raise MalformedInput("a handover's entry has device, locator and bundle, or none of them")
    return HandedCertificate(fields["certificate"], device, locator, bundle)


class Standing(enum.Enum):
    """Where a handover's batch is."""

    READY = "ready"
    EARLY = "early"
    """Batches before it are not on chain yet."""
    ANCHORED = "anchored"


@dataclass(frozen=True)
class Inspected:
    """A handover that is in order.

    Attributes:
        certificates: Parsed, in order.
    """

    handover: Handover
    certificates: tuple[SshCertificate, ...]
    standing: Standing


def inspect_handover(
    handover: Handover,
    snapshot: Snapshot,
    *,
    operator: Address,
    profile: Profile | None,
    now: datetime,
) -> Inspected:
    """Check everything about a handover that can be checked without fetching its bundles.

    Args:
        snapshot: The newest state, with this batch and all of the handover's devices.
        operator: The account that would anchor it.
        profile: The operator's own for this CA; None for the default.

    Raises:
        WrongContext: It is for another domain.
        UsageError: The domain has no such CA, or it is not active.
        NotAllowed: The account is not the CA's operator.
        BatchRefused: A certificate is not in order, or not what the profile allows.
        CheckedFalse: Other certificates have these serials.
    """
    if handover.domain != snapshot.domain.id:
        raise WrongContext(
            f"the handover is for the trust domain {handover.domain}",
            hint="use the home of that domain: --home",
        )
    authority = find_ssh_authority(snapshot, handover.ca)
    ours = snapshot.commitments[handover.ca, handover.first_serial]
    if ours == handover.tree(snapshot.domain).commitment:
        # Nothing is left to be decided, whatever became of CA and certificates since.
        parsed = tuple(parse_ssh_certificate(blob) for blob in handover.blobs)
        return Inspected(handover, parsed, Standing.ANCHORED)
    verify_can_issue(authority, operator)
    if authority.next_serial > handover.first_serial:
        raise CheckedFalse(
            f"other certificates have the serials from {handover.first_serial} on; the next one is"
            f" {authority.next_serial}",
            hint="let the CA's admin sign them anew: dpki ssh resume --handover FOLDER",
        )
    certificates = inspect_batch(
        authority, handover.first_serial, handover.blobs, profile_of(authority, profile), now
    )
    _verify_devices(handover, snapshot)
    is_next = authority.next_serial == handover.first_serial
    return Inspected(handover, certificates, Standing.READY if is_next else Standing.EARLY)


def _verify_devices(handover: Handover, snapshot: Snapshot) -> None:
    for one in handover.certificates:
        if one.device != Address.zero() and (
            snapshot.devices[one.device].state is not DeviceState.ACTIVE
        ):
            raise CheckedFalse(
                f"device {one.device} is not enrolled, or retired",
                hint="see the devices with: dpki device list",
            )
