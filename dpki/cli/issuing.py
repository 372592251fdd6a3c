"""What the `dpki ssh` commands do: from what was typed to requests, a bench, and a report."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from dpki.certificates.keys import parse_ssh_public_key
from dpki.certificates.ssh import SshCertificate, parse_ssh_certificate
from dpki.chain.snapshot import Snapshot, fetch_snapshot
from dpki.cli.options import argument
from dpki.cli.output import Output
from dpki.cli.session import Desk, now, publisher_of, signer_source
from dpki.cli.spending import turn
from dpki.cli.wish import IssueWish
from dpki.config.durations import parse_duration
from dpki.config.profile import load_profile
from dpki.devices.acknowledgement import Stage
from dpki.devices.document import KeyDocument
from dpki.errors import UsageError
from dpki.files import load_bounded, make_private_directory, verify_writable
from dpki.issuance.batch import BatchState, JournaledBatch, JournaledCertificate
from dpki.issuance.bench import Bench
from dpki.issuance.chain import LiveChain
from dpki.issuance.index import NamedDevice
from dpki.issuance.next_key import NextKey, lasting_keys, next_key
from dpki.issuance.outcome import Outcome, Released
from dpki.issuance.plan import (
    DEFAULT_DEVICE_LIFETIME,
    DEFAULT_USER_LIFETIME,
    BatchPlan,
    CertificateRequest,
    find_recipient,
    find_ssh_authority,
)
from dpki.issuance.progress import Progress
from dpki.issuance.registration import load_issuer_key
from dpki.issuance.standing import Standing
from dpki.model import Address, AuthorityId, AuthorityKind, Entry, Hash32
from dpki.verification.proof import proof_file

if TYPE_CHECKING:
    # web3 takes half a second to import: whoever only lists needn't wait for it.
    from dpki.transactions.flight import Rehearsal
    from dpki.transactions.writer import DomainWriter

FILE_LIMIT = 64 * 1024


def request_for_key(wish: IssueWish, ca: AuthorityId, snapshot: Snapshot) -> CertificateRequest:
    """Return the request for an existing public key; the certificate goes beside it.

    Raises:
        DpkiError: The key can't be read, or is none.
    """
    if wish.key is None or wish.identity is None:
        raise UsageError("a key and an identity are needed")
    key = argument(parse_ssh_public_key, load_bounded(wish.key, limit=FILE_LIMIT))
    beside = wish.key.with_name(wish.key.name.removesuffix(".pub") + "-cert.pub")
    return CertificateRequest(
        subject=wish.identity,
        principals=wish.principals,
        until=_until(wish.lifetime, _default_lifetime(find_ssh_authority(snapshot, ca).kind)),
        public_key=key.blob,
        reason=wish.reason,
        release=writable(wish.out or beside),
    )


def request_for_device(
    desk: Desk,
    wish: IssueWish,
    ca: AuthorityId,
    device: NamedDevice,
    snapshot: Snapshot,
) -> CertificateRequest:
    """Return the request for a device's SSH key: its next one, or one made here.

    A host CA's is for its SSH server, a user CA's for its SSH client.

    Raises:
        UsageError: The CA signs another kind of certificate than the wish is for.
        CheckedFalse: The device is not enrolled, or has a newer key document.
    """
    kind = find_ssh_authority(snapshot, ca).kind
    is_host = kind is AuthorityKind.SSH_HOST
    principals = wish.hostnames if is_host else wish.principals
    if not principals:
        raise UsageError(
            f"CA {wish.ca} signs {kind.label} certificates, and this asks for another kind",
            hint="name the device's server with --hostname"
            if is_host
            else "name what the device's client may be with --principal, or use a host CA",
        )
    make_private_directory(desk.home.certificates)
    file = desk.home.certificates / f"{device.name}-{wish.ca}-cert.pub"
    key = _key_of_device(desk, wish, device, kind)
    return CertificateRequest(
        subject=device.name,
        principals=principals,
        until=_until(wish.lifetime, DEFAULT_DEVICE_LIFETIME),
        public_key=None if key is None else key.blob,
        recipient=find_recipient(snapshot, device.address, device.document, device.name),
        reason=wish.reason,
        release=writable(wish.out or file),
        prekey=None if key is None else key.prekey,
    )


def _key_of_device(
    desk: Desk, wish: IssueWish, device: NamedDevice, kind: AuthorityKind
) -> NextKey | None:
    """Return the key that a certificate is for; None where the pair is made here."""
    if wish.keygen == "admin":
        return None
    if wish.keygen == "same" and wish.same is not None:
        return NextKey(wish.same)
    lasting = lasting_keys(device.document, kind)
    if lasting and (wish.keygen == "same" or wish.same is None):
        # The first of a CA, which may well be for the key that another CA's is for.
        return NextKey(lasting[-1])
    certified = desk.journal.subject_keys(device.address)
    return next_key(device.document, kind, certified, device.name)


def make_bench(
    desk: Desk,
    writer: DomainWriter | None,
    name: str,
    ca: AuthorityId,
    pin: str | None,
    output: Output,
    progress: Progress,
) -> Bench:
    """Return everything that issuing with this CA needs.

    Args:
        writer: None where the operator's wallet is elsewhere.
    """
    index = desk.index

    def find_document(address: Address) -> KeyDocument | None:
        device = index.device_at(address)
        return None if device is None else device.document

    return Bench(
        chain=LiveChain(desk.reader, desk.domain, writer),
        ca=ca,
        issuer_key=load_issuer_key(desk.home.issuer_key(name)),
        open_signer=signer_source(desk, name, pin, output),
        journal=desk.journal,
        publisher=publisher_of(desk, output),
        find_document=find_document,
        lock=desk.home.lock,
        clock=now,
        progress=progress,
        profile=load_profile(desk.home.profile(name)),
        turn=turn(output),
    )


def report(output: Output, outcome: Outcome) -> None:
    """Tell what of an earlier run was finished, what became void, and what stays undone."""
    for released in outcome.finished:
        output.say(f"finished from an earlier run: serial {released.serial}")
    for batch in outcome.void:
        output.say(
            f"serials {batch.first_serial} to {batch.last_serial} are void: {batch.reason};"
            " what was signed for them is worth nothing"
        )
    for line in outcome.dropped:
        output.say(f"not signed again: {line}")


def rehearse_anchor(writer: DomainWriter, plan: BatchPlan) -> Rehearsal:
    """Return what anchoring the planned batch would cost; hashes and locators are made up."""
    entries = [
        Entry(
            Hash32(secrets.token_bytes(32)),
            _device_of(planned.request),
            planned.valid_before,
            Hash32(secrets.token_bytes(32)) if planned.request.recipient else Hash32.zero(),
        )
        for planned in plan.certificates
    ]
    return writer.rehearsal().issue(plan.authority.id, plan.first_serial, entries)


def say_shortened(output: Output, wished: datetime, granted: datetime) -> None:
    """Tell when a CA's maximum made a validity shorter than wished."""
    if wished - granted > timedelta(minutes=1):
        output.say(f"its CA's maximum makes it end earlier: {granted:%Y-%m-%d %H:%M:%S} UTC")


def describe_plan(plan: BatchPlan) -> list[dict[str, object]]:
    """Return what would be signed, as plain data."""
    return [
        {
            "serial": planned.serial,
            "subject": planned.request.subject,
            "principals": list(planned.request.principals),
            "valid_after": planned.valid_after.isoformat(),
            "valid_before": planned.valid_before.isoformat(),
        }
        for planned in plan.certificates
    ]


def describe_released(released: Released) -> dict[str, object]:
    """Return a certificate that may be used, as plain data."""
    batch, serial = released.batch, released.serial
    journaled = batch.certificates[serial - batch.first_serial]
    certificate = journaled.certificate
    return {
        "ca": str(batch.authority),
        "serial": serial,
        "subject": journaled.subject,
        "principals": list(certificate.principals),
        "valid_before": certificate.valid_before.isoformat(),
        "certificate_hash": str(certificate.hash),
        "certificate": None if released.file is None else str(released.file),
        "proof": None if released.file is None else str(proof_file(released.file)),
        "transaction": None if batch.transaction is None else str(batch.transaction),
        "block": batch.block_number,
    }


def describe_journaled(
    ca: str,
    certificate: JournaledCertificate,
    standing: Standing,
    stage: Stage | None,
) -> dict[str, object]:
    """Return one line of `dpki ssh list`.

    Args:
        stage: What its device said of it; None for nothing.
    """
    parsed = certificate.certificate
    return {
        "ca": ca,
        "serial": certificate.serial,
        "subject": certificate.subject,
        "principals": ",".join(parsed.principals),
        "valid_before": parsed.valid_before.isoformat(),
        "state": standing.value,
        "device": _delivery(certificate, standing, stage),
    }


def _delivery(
    certificate: JournaledCertificate, standing: Standing, stage: Stage | None
) -> str | None:
    """Return how far a device's certificate has come; None for people's, and what is no more."""
    if certificate.device == Address.zero() or not standing.is_live:
        return None
    return "issued" if stage is None else stage.value


def journal_snapshot(desk: Desk, batches: Sequence[JournaledBatch]) -> Snapshot:
    """Return the newest state, with every batch that is anchored, or may be by now."""
    return fetch_snapshot(
        desk.reader,
        desk.domain,
        batches=[
            (batch.authority, batch.first_serial)
            for batch in batches
            if batch.state in (BatchState.PUBLISHED, BatchState.ANCHORED)
        ],
    )


def newest_of(
    desk: Desk, cas: Sequence[AuthorityId], devices: Sequence[NamedDevice]
) -> dict[Address, SshCertificate]:
    """Return what devices got last, each from the first of the CAs that gave it any.

    Args:
        cas: A CA, and those that it succeeds.

    Returns:
        By device; without those that never got one.
    """
    found: dict[Address, SshCertificate] = {}
    wanted = {device.address for device in devices}
    for ca in cas:
        newest = {
            journaled.device: journaled.certificate
            for batch in desk.journal.load_all(ca)
            if batch.state is BatchState.ANCHORED
            for journaled in batch.certificates
            if journaled.device in wanted
        }
        found = newest | found
    return found


def never_issued(device: NamedDevice) -> UsageError:
    """Return what to say of a device that has nothing to be rotated."""
    return UsageError(
        f"{device.name} has no certificate of this CA yet, nor of one that it succeeds",
        hint="issue the first with: dpki ssh issue",
    )


def load_certificates(files: Sequence[Path]) -> list[SshCertificate]:
    """Load certificates to be revoked.

    Raises:
        DpkiError: A file can't be read.
        MalformedInput: One is no certificate.
    """
    return [parse_ssh_certificate(load_bounded(file, limit=FILE_LIMIT)) for file in files]


def device_snapshot(desk: Desk, devices: Sequence[NamedDevice]) -> Snapshot:
    """Return the newest state, with these devices."""
    return fetch_snapshot(desk.reader, desk.domain, devices=[d.address for d in devices])


def _device_of(request: CertificateRequest) -> Address:
    return Address.zero() if request.recipient is None else request.recipient.address


def _default_lifetime(kind: AuthorityKind) -> timedelta:
    return DEFAULT_USER_LIFETIME if kind is AuthorityKind.SSH_USER else DEFAULT_DEVICE_LIFETIME


def _until(lifetime: str | None, default: timedelta) -> datetime:
    length: timedelta = default if lifetime is None else parse_duration(lifetime)
    return now() + length


def writable(file: Path) -> Path:
    """Refuse now what would fail after the certificate is anchored."""
    file = file.absolute()
    if not file.parent.is_dir():
        raise UsageError(f"there is no folder {file.parent} to write the certificate to")
    if file.is_dir():
        raise UsageError(f"{file} is a folder", hint="name a file with --out")
    verify_writable(file)
    return file
