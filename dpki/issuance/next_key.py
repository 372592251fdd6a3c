"""Which of a device's own keys its next certificate is for. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from dpki.devices.document import KeyDocument, Prekey
from dpki.errors import UsageError
from dpki.model import AuthorityKind


@dataclass(frozen=True)
class NextKey:
    """A device's key without a certificate.

    Attributes:
        blob: The SSH public key blob.
        prekey: The one-time key that it is of; None for a key that the device made by `rekey`.
    """

    blob: bytes
    prekey: Prekey | None = None


def supply(document: KeyDocument, certified: Collection[bytes]) -> tuple[Prekey, ...]:
    """Return the one-time keys that are left.

    Args:
        certified: The SSH public key blobs that a certificate was ever signed for.
    """
    return tuple(prekey for prekey in document.prekeys if prekey.blob not in certified)


def lasting_keys(document: KeyDocument, kind: AuthorityKind) -> tuple[bytes, ...]:
    """Return the blobs of the keys that a device's certificates of this kind are for, newest last.

    Its SSH server's for a host certificate, its SSH client's for a user certificate.
    """
    return document.ssh_host if kind is AuthorityKind.SSH_HOST else document.ssh_user


def next_key(
    document: KeyDocument, kind: AuthorityKind, certified: Collection[bytes], name: str
) -> NextKey:
    """Return the key for a device's next certificate.

    The newest lasting key where it never had one: somebody asked for it. Else the next one-time
    key.

    Args:
        kind: What kind of certificate.
        certified: The SSH public key blobs that a certificate was ever signed for.
        name: What to call the device in messages.

    Raises:
        UsageError: The supply is used up.
    """
    for newest in lasting_keys(document, kind)[-1:]:
        if newest not in certified:
            return NextKey(newest)
    for prekey in supply(document, certified):
        return NextKey(prekey.blob, prekey)
    raise UsageError(
        f"device {name} has no key left that never had a certificate",
        hint="let it make some (dpki device topup there, dpki device update here); or --keygen"
        " admin for a pair made here, --keygen same for a certificate of the same key",
    )
