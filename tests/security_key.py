"""A FIDO key in memory behind the ssh-agent protocol: what ssh asks of a token, ssh asks of it.

Sources: OpenSSH's PROTOCOL.u2f (signatures), draft-miller-ssh-agent (the agent's messages).
"""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.raw_certificates import strings

TOUCHED = 0x01
VERIFIED = 0x04

_FAILURE = b"\x05"
_REQUEST_IDENTITIES, _IDENTITIES = 11, b"\x0c"
_SIGN_REQUEST, _SIGNATURE = 13, b"\x0e"


@dataclass
class SecurityKey:
    """A key as a token has it.

    Attributes:
        flags: What its owner does when it is asked: touches it, types its PIN.
        relying_party: What it was asked to sign for; the key's own application unless it is fooled.
        counter: How often it has signed.
    """

    key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey
    flags: int = TOUCHED | VERIFIED
    relying_party: bytes = b"ssh:"
    counter: int = 0

    @property
    def type(self) -> bytes:
        """The name of its type."""
        if isinstance(self.key, Ed25519PrivateKey):
            return b"sk-ssh-ed25519@openssh.com"
        return b"sk-ecdsa-sha2-nistp256@openssh.com"

    @property
    def blob(self) -> bytes:
        """Its public half; the application is what it was made for."""
        public = self.key.public_key()
        if isinstance(self.key, Ed25519PrivateKey):
            return strings(self.type, public.public_bytes(Encoding.Raw, PublicFormat.Raw), b"ssh:")
        point = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return strings(self.type, b"nistp256", point, b"ssh:")

    def sign(self, message: bytes) -> bytes:
        """Return a signature as SSH carries it."""
        self.counter += 1
        said = bytes([self.flags]) + self.counter.to_bytes(4)
        party, digest = (hashlib.sha256(each).digest() for each in (self.relying_party, message))
        if isinstance(self.key, Ed25519PrivateKey):
            raw = self.key.sign(party + said + digest)
        else:
            pair = decode_dss_signature(self.key.sign(party + said + digest, ec.ECDSA(SHA256())))
            # An mpint has a leading zero where its first bit is set.
            raw = strings(*(each.to_bytes(each.bit_length() // 8 + 1) for each in pair))
        return strings(self.type, raw) + said

    def answer(self, request: bytes) -> bytes:
        """Return the agent's answer to a request; both without their lengths."""
        if request[0] == _REQUEST_IDENTITIES:
            return _IDENTITIES + (1).to_bytes(4) + strings(self.blob, b"a security key")
        if request[0] != _SIGN_REQUEST:
            return _FAILURE
        blob, rest = _take(request[1:])
        message, _ = _take(rest)
        return _SIGNATURE + strings(self.sign(message)) if blob == self.blob else _FAILURE


@contextmanager
def agent_of(key: SecurityKey, path: Path) -> Iterator[Path]:
    """Run an ssh-agent that has this key, at a socket of this name."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=_serve, args=(key, listener))
        thread.start()
        try:
            yield path
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _serve(key: SecurityKey, listener: socket.socket) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection, connection.makefile("rb") as stream:
            while head := stream.read(4):
                answer = key.answer(stream.read(int.from_bytes(head)))
                connection.sendall(strings(answer))


def _take(data: bytes) -> tuple[bytes, bytes]:
    length = 4 + int.from_bytes(data[:4])
    return data[4:length], data[length:]
