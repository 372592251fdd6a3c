"""What one machine checks of certificates that another signed, before it stands up for them.

The operator before anchoring a handover, a watchdog before confirming a batch: both have a profile
of their own, so that neither has to believe the CA's admin. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from dpki.certificates.key_id import reason_of
from dpki.certificates.keys import parse_ssh_public_key
from dpki.certificates.profile import END_SESSIONS, Profile
from dpki.certificates.ssh import SshCertificate, parse_ssh_certificate, verify_ssh_signature
from dpki.chain.snapshot import Authority
from dpki.errors import BatchRefused, DpkiError
from dpki.model import Entry


def inspect_batch(
    authority: Authority,
    first_serial: int,
    blobs: Sequence[bytes],
    profile: Profile,
    now: datetime | None,
) -> tuple[SshCertificate, ...]:
    """Return the certificates of a batch, each of which its CA signed and the profile allows.

    Args:
        blobs: SSH certificate blobs, in the order of the batch.
        profile: One's own; its maximum validity is at most the CA's on chain.
        now: One's own clock, where nothing may have expired; None where that is no matter.

    Raises:
        BatchRefused: One of them is not in order; the message names it and says why.
    """
    found = []
    for serial, blob in enumerate(blobs, start=first_serial):
        try:
            certificate = parse_ssh_certificate(blob)
            if certificate.blob != blob:
                raise BatchRefused("it is not the binary form of a certificate")
            _inspect(certificate, authority, serial, profile, now)
        except DpkiError as error:
            raise BatchRefused(f"certificate {serial}: {error.message}") from error
        found.append(certificate)
    return tuple(found)


def verify_entries(certificates: Sequence[SshCertificate], entries: Sequence[Entry]) -> None:
    """Check that certificates are the ones that stand, or will stand, on chain.

    Raises:
        BatchRefused: They are others, or say another end of validity than the chain.
    """
    for certificate, entry in zip(certificates, entries, strict=True):
        if (certificate.hash, certificate.valid_before) != (
            entry.certificate_hash,
            entry.not_after,
        ):
            raise BatchRefused(
                f"certificate {certificate.serial}: its hash or end is not the anchored one"
            )


def _inspect(
    certificate: SshCertificate,
    authority: Authority,
    serial: int,
    profile: Profile,
    now: datetime | None,
) -> None:
    if certificate.serial != serial:
        raise BatchRefused(f"it has serial {certificate.serial}")
    if certificate.authority_spki != authority.public_key:
        raise BatchRefused("it names another key than the CA's")
    verify_ssh_signature(certificate)
    if certificate.kind is not authority.kind:
        raise BatchRefused(f"it is an {certificate.kind.label} certificate")
    length = certificate.valid_before - certificate.valid_after
    longest = min(profile.maximum_validity, authority.maximum_lifetime)
    if length > longest:
        raise BatchRefused(f"it is valid for {length}, and {longest} is allowed")
    if now is not None and certificate.valid_before <= now:
        raise BatchRefused(f"it expired at {certificate.valid_before:%Y-%m-%d %H:%M:%S} UTC")
    profile.verify_principals(certificate.principals)
    profile.verify_key_type(parse_ssh_public_key(certificate.subject_key).type)
    _inspect_options(certificate, profile)


def _inspect_options(certificate: SshCertificate, profile: Profile) -> None:
    # END_SESSIONS only takes away.
    unasked = {name for name, _ in certificate.extensions} - profile.extensions - {END_SESSIONS}
    if unasked:
        raise BatchRefused(f"the profile does not allow the extension {min(unasked)[:60]!r}")
    for name, value in profile.critical_options:
        # Another option only narrows what the certificate may do; one that is missing widens it.
        if (name, value) not in certificate.critical_options:
            raise BatchRefused(f"it lacks the profile's critical option {name}")
    if profile.reason_required and not reason_of(certificate.key_id):
        raise BatchRefused("its key id gives no reason, and the profile requires one")
