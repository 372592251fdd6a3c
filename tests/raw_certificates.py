"""SSH certificates of any content, rightly signed: what a stolen or careless CA could make."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from dpki.certificates.keys import ssh_blob
from dpki.certificates.wire import string, uint32, uint64


def strings(*values: bytes) -> bytes:
    """Return the values as wire strings, one after the other."""
    return b"".join(string(value) for value in values)


def options(*pairs: tuple[bytes, bytes]) -> bytes:
    """Return the inside of a critical options or extensions field; an empty value is a flag."""
    return b"".join(string(name) + string(string(value) if value else b"") for name, value in pairs)


def fido_blob(kind: str, application: bytes = b"ssh:") -> bytes:
    """Return the public key blob of a new FIDO key; `kind` is ed25519 or p256."""
    if kind == "ed25519":
        public = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
        return strings(b"sk-ssh-ed25519@openssh.com", public, application)
    point = (
        ec.generate_private_key(ec.SECP256R1())
        .public_key()
        .public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    )
    return strings(b"sk-ecdsa-sha2-nistp256@openssh.com", b"nistp256", point, application)


@dataclass(frozen=True)
class RawCertificate:
    """The fields of PROTOCOL.certkeys, unchecked."""

    ca: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    type: bytes = b"ssh-ed25519-cert-v01@openssh.com"
    nonce: bytes = bytes(32)
    subject: bytes = field(
        default_factory=lambda: string(Ed25519PrivateKey.generate().public_key().public_bytes_raw())
    )
    serial: int = 1
    kind: int = 1
    key_id: bytes = b"alice"
    principals: bytes = strings(b"alice")
    valid_after: int = 1_700_000_000
    valid_before: int = 1_700_003_600
    critical_options: bytes = b""
    extensions: bytes = options((b"permit-pty", b""))
    reserved: bytes = b""
    signature_type: bytes = b"ssh-ed25519"

    def with_(self, **changes: object) -> RawCertificate:
        """Return a copy with other fields."""
        return replace(self, **changes)  # type: ignore[arg-type]

    @property
    def blob(self) -> bytes:
        """The certificate, signed."""
        body = b"".join(
            [
                string(self.type),
                string(self.nonce),
                self.subject,
                uint64(self.serial),
                uint32(self.kind),
                string(self.key_id),
                string(self.principals),
                uint64(self.valid_after),
                uint64(self.valid_before),
                string(self.critical_options),
                string(self.extensions),
                string(self.reserved),
                string(ssh_blob(self.ca.public_key())),
            ]
        )
        return body + string(strings(self.signature_type, self.ca.sign(body)))
