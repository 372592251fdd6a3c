"""CA keys in encrypted files, for people without an HSM: weaker than a token, and marked so.

The file is PEM, PKCS#8 (RFC 5958), encrypted by PBES2 (RFC 8018), as `openssl pkcs8 -topk8` writes
it. Ours take scrypt (RFC 7914): cryptography itself writes PBKDF2 with 2,048 rounds only.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import stat
import textwrap
from pathlib import Path
from typing import cast

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from dpki.certificates.keys import AuthorityPublicKey, parse_public_key, spki_of
from dpki.certificates.signature import AuthorityPrivateKey
from dpki.errors import (
    AmbiguousKey,
    ConfigError,
    KeyNotFound,
    MalformedInput,
    PassphraseIncorrect,
    UsageError,
)
from dpki.files import create_atomic, load_bounded, make_private_directory
from dpki.signer.base import KeyType
from dpki.signer.pin import PinSource
from dpki.signer.software import SoftwareSigner, make_private_key
from dpki.signer.uri import FileUri

SCRYPT_WORK = 2**17
"""scrypt's n: half a second and 128 MiB a try."""

WEAKER = "its key is in a file: weaker than a token, as whoever copies it may guess its passphrase"
"""What is said wherever such a key shows."""

_LIMIT = 64 * 1024
_MARK = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"


def open_file_signer(uri: FileUri, passphrase: PinSource) -> SoftwareSigner:
    """Open a key in a file; close it after use, best by `with`.

    Raises:
        KeyNotFound: There is no file.
        ConfigError: It is not private to its owner, not encrypted, or no such key.
        PassphraseIncorrect: The passphrase does not open it.
    """
    path = Path(uri.path)
    if not path.exists():
        raise KeyNotFound(f"there is no key at {path}", hint="make one with: dpki ca create --key")
    _verify_private(path)
    data = load_bounded(path, limit=_LIMIT)
    if _MARK not in data:
        raise ConfigError(
            f"{path} is no encrypted private key (PEM, PKCS#8)",
            hint="encrypt it with: openssl pkcs8 -topk8 -scrypt",
        )
    return SoftwareSigner(_decrypt(path, data, passphrase), uri)


def create_key_file(
    uri: FileUri, key_type: KeyType, passphrase: PinSource, *, work: int = SCRYPT_WORK
) -> AuthorityPublicKey:
    """Make a key in an encrypted file, private to its owner.

    Raises:
        AmbiguousKey: The file exists; it is left as it is.
        UsageError: The passphrase is shorter than 12 characters; nothing was written.
    """
    path = Path(uri.path)
    if path.exists():
        raise AmbiguousKey(
            f"{path} exists already", hint="a key is never overwritten: choose another path"
        )
    secret = passphrase(f"passphrase for the new key {path.name}")
    if len(secret) < 12:
        raise UsageError(
            "the passphrase of a CA's key has at least 12 characters",
            hint="nothing was written; it is all that protects the key",
        )
    key = make_private_key(key_type)
    plain = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    make_private_directory(path.parent)
    create_atomic(path, _pem(_encrypt(plain, secret.encode(), work)))
    return key.public_key()


def _decrypt(path: Path, data: bytes, passphrase: PinSource) -> AuthorityPrivateKey:
    secret = passphrase(f"passphrase of the key {path.name}")
    try:
        key = load_pem_private_key(data, secret.encode())
    except ValueError:
        # Nothing of the parser's message, nor the exception: they have seen the key.
        key = None
    except (TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path} is encrypted in a way that is not known") from error
    if key is None:
        raise PassphraseIncorrect(
            f"the passphrase does not open {path}, or the file is damaged",
            hint="nothing was signed; try again",
        )
    try:
        # What can't be registered is no CA's key: another type, or too short.
        parse_public_key(spki_of(cast(AuthorityPrivateKey, key).public_key()))
    except MalformedInput as error:
        raise ConfigError(f"{path} holds a key that no CA may have", hint=error.hint) from error
    return cast(AuthorityPrivateKey, key)


def _verify_private(path: Path) -> None:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"{path} is not a plain file")
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o077:
        raise ConfigError(
            f"others than its owner may read or write {path}",
            hint=f"chown it to yourself, and: chmod 600 {path}",
        )


def _pem(data: bytes) -> bytes:
    body = "\n".join(textwrap.wrap(base64.b64encode(data).decode(), 64))
    return _MARK + f"\n{body}\n-----END ENCRYPTED PRIVATE KEY-----\n".encode()


def _encrypt(plain: bytes, secret: bytes, work: int) -> bytes:
    """Return an EncryptedPrivateKeyInfo: PBES2 with scrypt and AES-256-CBC."""
    salt, iv = secrets.token_bytes(16), secrets.token_bytes(16)
    key = hashlib.scrypt(secret, salt=salt, n=work, r=8, p=1, dklen=32, maxmem=2 * 128 * 8 * work)
    padder, encryptor = PKCS7(128).padder(), Cipher(AES(key), CBC(iv)).encryptor()
    padded = padder.update(plain) + padder.finalize()
    # Object identifiers: RFC 8018, appendices A.4 and B.2.5; RFC 7914, section 7.
    pbes2, scrypt, aes = (
        bytes.fromhex(text)
        for text in (
            "06092a864886f70d01050d",
            "06092b06010401da47040b",
            "060960864801650304012a",
        )
    )
    numbers = b"".join(
        _der(2, number.to_bytes(number.bit_length() // 8 + 1)) for number in (work, 8, 1)
    )
    derivation = _der(0x30, scrypt + _der(0x30, _der(4, salt) + numbers))
    scheme = _der(0x30, aes + _der(4, iv))
    algorithm = _der(0x30, pbes2 + _der(0x30, derivation + scheme))
    encrypted = encryptor.update(padded) + encryptor.finalize()
    return _der(0x30, algorithm + _der(4, encrypted))


def _der(tag: int, content: bytes) -> bytes:
    """Return a DER element (X.690, section 8.1)."""
    if len(content) < 0x80:
        return bytes([tag, len(content)]) + content
    length = len(content).to_bytes((len(content).bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(length)]) + length + content
