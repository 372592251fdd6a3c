"""A plan and a CA's key make certificates."""

from __future__ import annotations

from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from dpki.certificates.key_id import key_id
from dpki.certificates.keys import spki_of, ssh_blob
from dpki.certificates.profile import Subject
from dpki.certificates.ssh import SshCertificate, build_ssh_certificate
from dpki.errors import UsageError
from dpki.issuance.plan import BatchPlan
from dpki.signer.base import Signer


def make_pair() -> tuple[bytes, bytes]:
    """Return a new Ed25519 pair for somebody else: SSH public key blob, OpenSSH private key file.

    The private half is to be sealed at once and written nowhere.
    """
    private = Ed25519PrivateKey.generate()
    return ssh_blob(private.public_key()), private.private_bytes(
        Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()
    )


def verify_signer(signer: Signer, plan: BatchPlan) -> None:
    """Refuse to sign with another key than the one that is registered.

    Raises:
        UsageError: The token's key of this name is not the CA's.
    """
    if spki_of(signer.public_key) != plan.authority.public_key:
        raise UsageError(
            f"the key {signer.uri} is not the one that is registered for CA {plan.authority.id}",
            hint="check --token and the CA's name; compare with: dpki ca list",
        )


def sign_batch(
    signer: Signer, plan: BatchPlan, progress: Callable[[int], None]
) -> tuple[SshCertificate, ...]:
    """Sign every certificate of a plan whose public keys are all there.

    Args:
        progress: Told how many are signed, after each.

    Raises:
        UsageError: The key is not the CA's, or a request asks for what no certificate may have;
            nothing was signed.
        NotAllowed: The profile does not allow a request; nothing was signed for it.
        MalformedInput: A holder's public key is not a proper one.
        TokenError: The token failed.
    """
    verify_signer(signer, plan)
    signed = []
    for planned in plan.certificates:
        request = planned.request
        if request.public_key is None:
            raise UsageError(f"there is no public key for {request.subject}")
        profile = plan.profile
        if request.extensions is not None:
            profile = profile.narrowed(request.extensions)
        signed.append(
            build_ssh_certificate(
                signer.private_key,
                profile,
                Subject(request.public_key, request.principals, request.subject),
                serial=planned.serial,
                key_id=key_id(
                    plan.snapshot.domain.id,
                    plan.authority.id,
                    planned.serial,
                    request.subject,
                    request.reason,
                    plan.profile.key_id,
                ),
                valid_after=planned.valid_after,
                valid_before=planned.valid_before,
            )
        )
        progress(len(signed))
    return tuple(signed)
