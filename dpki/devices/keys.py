"""A device's private keys: born here, kept here, never overwritten (claim T6).

In a folder of their own: `identity.key` (secp256k1, hexadecimal; its address is the device's name),
`sealing.key` (CBOR, see `SealingSecrets.dump`), `ssh_host/<n>.key` and `ssh_user/<n>.key` (Ed25519,
OpenSSH format, so that sshd and ssh use them where they are). Several SSH keys of a kind, because
the next one has to exist while the old one's certificate still works.

And `prekeys/<n>.key`, the supply of one-time keys: an SSH key and the X25519 key that opens the one
bundle with the one certificate for it. `prekeys/given` holds the highest number ever given.
"""

from __future__ import annotations

import re
import secrets
import stat
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_ssh_private_key,
)
from eth_keys.backends.coincurve import CoinCurveECCBackend
from eth_keys.datatypes import PrivateKey
from eth_keys.main import KeyAPI
from eth_utils.exceptions import ValidationError

from dpki.bundle.codec import dumps, fields_of, loads_strict, verify_version
from dpki.bundle.seal import SealingSecrets
from dpki.certificates.keys import ssh_blob
from dpki.errors import DpkiError, MalformedInput
from dpki.files import (
    create_atomic,
    fsync_directory,
    load_bounded,
    make_private_directory,
    settle,
    staged,
    translated,
    write_atomic,
)
from dpki.model import Address

IDENTITY_FILE = "identity.key"
SEALING_FILE = "sealing.key"
HOST_DIRECTORY = "ssh_host"
USER_DIRECTORY = "ssh_user"
PREKEY_DIRECTORY = "prekeys"
GIVEN_FILE = "given"

_FILE_LIMIT = 4096
# Named here and not left to the environment: eth-keys would fall back to slow Python silently.
_CURVE = KeyAPI(CoinCurveECCBackend)


@dataclass(frozen=True)
class PrekeySecret:
    """A one-time key, whole.

    Attributes:
        number: From 1, never given twice.
        ssh: For one certificate.
        x25519: 32 bytes; opens that certificate's bundle, once.
    """

    number: int
    ssh: Ed25519PrivateKey = field(repr=False)
    x25519: bytes = field(repr=False)

    @classmethod
    def generate(cls, number: int) -> PrekeySecret:
        """Make one from the system's randomness."""
        x25519 = X25519PrivateKey.generate().private_bytes_raw()
        return cls(number, Ed25519PrivateKey.generate(), x25519)

    @property
    def ssh_public(self) -> bytes:
        """The SSH public key, 32 bytes."""
        return self.ssh.public_key().public_bytes_raw()

    @property
    def x25519_public(self) -> bytes:
        """The X25519 public key, 32 bytes."""
        return X25519PrivateKey.from_private_bytes(self.x25519).public_key().public_bytes_raw()

    def dump(self) -> bytes:
        """Return the secret content of its file."""
        return dumps({"v": 1, "ssh": self.ssh.private_bytes_raw(), "x25519": self.x25519})

    @classmethod
    def load(cls, number: int, data: bytes) -> PrekeySecret:
        """Parse what `dump` wrote.

        Raises:
            MalformedInput: It is something else.
        """
        what = "prekey file"
        value = loads_strict(data, 256)
        verify_version(value, what, 1)
        required = {"v": int, "ssh": bytes, "x25519": bytes}
        fields = fields_of(value, what, required=required, optional={})
        if len(fields["ssh"]) != 32 or len(fields["x25519"]) != 32:
            raise MalformedInput("a key in the prekey file has the wrong length")
        return cls(number, Ed25519PrivateKey.from_private_bytes(fields["ssh"]), fields["x25519"])


@dataclass(frozen=True)
class DeviceKeys:
    """Everything secret of one device.

    Attributes:
        identity: secp256k1; signs the key document, requests and acknowledgements, nothing else.
        sealing: Opens bundles.
        ssh_host: The SSH server's keys, newest last, at least one.
        ssh_user: The SSH client's keys, newest last.
        prekeys: The supply of one-time keys, by number.
    """

    identity: PrivateKey = field(repr=False)
    sealing: SealingSecrets = field(repr=False)
    ssh_host: tuple[Ed25519PrivateKey, ...] = field(repr=False)
    ssh_user: tuple[Ed25519PrivateKey, ...] = field(repr=False)
    prekeys: tuple[PrekeySecret, ...] = field(default=(), repr=False)

    @property
    def address(self) -> Address:
        """The device's name: its identity's Ethereum address."""
        return Address(self.identity.public_key.to_canonical_address())

    @property
    def host_blobs(self) -> tuple[bytes, ...]:
        """Public key blobs of the SSH server's keys, newest last."""
        return tuple(ssh_blob(key.public_key()) for key in self.ssh_host)

    @property
    def user_blobs(self) -> tuple[bytes, ...]:
        """Public key blobs of the SSH client's keys, newest last."""
        return tuple(ssh_blob(key.public_key()) for key in self.ssh_user)

    def host_key_for(self, public_blob: bytes) -> bytes | None:
        """Return the SSH server's private key with this public key blob, as an OpenSSH file.

        None when it is not this device's.
        """
        return _find(self.ssh_host, public_blob)

    def user_key_for(self, public_blob: bytes) -> bytes | None:
        """Return the SSH client's private key with this public key blob, as an OpenSSH file.

        None when it is not this device's.
        """
        return _find(self.ssh_user, public_blob)

    def __repr__(self) -> str:
        """Return the device's address and nothing secret."""
        return f"DeviceKeys({self.address})"


def generate_device_keys() -> DeviceKeys:
    """Make all keys of a new device from the system's randomness; nothing is saved."""
    return DeviceKeys(
        identity=_generate_identity(),
        sealing=SealingSecrets.generate(),
        ssh_host=(Ed25519PrivateKey.generate(),),
        ssh_user=(Ed25519PrivateKey.generate(),),
    )


def save_device_keys(directory: Path, keys: DeviceKeys) -> None:
    """Write the keys into a new folder: all of them or none, for the owner only.

    Raises:
        DpkiError: There are keys already (they are untouched), or they could not be written.
    """
    if directory.exists() or directory.is_symlink():
        raise DpkiError(
            f"{directory} exists already and is not overwritten",
            hint="a device keeps its keys for life; for another device use another folder",
        )
    with staged(directory, "tmp") as stage:
        _write_all(stage, keys)
        with translated(directory, "no keys were kept"):
            # Fails when somebody else was quicker: a rename replaces no folder that holds files.
            settle(stage, directory)


def load_device_keys(directory: Path) -> DeviceKeys:
    """Load the keys from the folder that `save_device_keys` made.

    Raises:
        DpkiError: They are missing, or others than the owner may read them.
        MalformedInput: One is damaged; the message says which file, nothing of its content.
    """
    if not directory.is_dir():
        raise DpkiError(
            f"there are no device keys in {directory}", hint="make them with: dpki device init"
        )
    host = _load_ssh_keys(directory / HOST_DIRECTORY)
    if not host:
        raise DpkiError(f"there is no SSH host key in {directory / HOST_DIRECTORY}")
    return DeviceKeys(
        identity=_load_identity(directory / IDENTITY_FILE),
        sealing=_load_sealing(directory / SEALING_FILE),
        ssh_host=host,
        ssh_user=_load_ssh_keys(directory / USER_DIRECTORY),
        prekeys=_load_prekeys(directory / PREKEY_DIRECTORY),
    )


def add_host_key(directory: Path) -> Ed25519PrivateKey:
    """Make one more SSH host key beside those that are there, and save it.

    Raises:
        DpkiError: It could not be written.
    """
    return _add(directory / HOST_DIRECTORY)


def add_user_key(directory: Path) -> Ed25519PrivateKey:
    """Make one more SSH client key beside those that are there, and save it.

    Raises:
        DpkiError: It could not be written.
    """
    return _add(directory / USER_DIRECTORY)


def erase_host_keys(directory: Path, public_blobs: Collection[bytes]) -> None:
    """Remove the SSH server's private keys with these public key blobs, for good.

    Their names go. On flash, and on file systems with a journal, overwriting would erase nothing
    more: the old blocks stay until the device takes them back.

    Raises:
        DpkiError: One could not be removed.
    """
    for _, path in _numbered(directory / HOST_DIRECTORY):
        if public_blobs and ssh_blob(_load_ssh_key(path).public_key()) in public_blobs:
            with translated(path, "it is still there"):
                path.unlink()
                fsync_directory(path.parent)


def add_prekeys(directory: Path, count: int) -> tuple[PrekeySecret, ...]:
    """Make one-time keys until the supply has `count`, and return the new ones.

    Their numbers are recorded as given before the keys are written: a crash may waste some, and no
    number is ever two keys'.

    Raises:
        DpkiError: They could not be written.
    """
    folder = directory / PREKEY_DIRECTORY
    make_private_directory(folder)
    missing = count - len(_numbered(folder))
    if missing <= 0:
        return ()
    first = _given(folder) + 1
    write_atomic(folder / GIVEN_FILE, f"{first + missing - 1}\n".encode())
    new = tuple(PrekeySecret.generate(first + i) for i in range(missing))
    for prekey in new:
        create_atomic(folder / f"{prekey.number}.key", prekey.dump())
    return new


def erase_prekey(directory: Path, number: int) -> None:
    """Erase a one-time key; where it is gone already, nothing happens.

    What was sealed for it can't be opened any more. On flash the medium may keep a copy until it
    erases the block by itself.

    Raises:
        DpkiError: It could not be erased.
    """
    path = directory / PREKEY_DIRECTORY / f"{number}.key"
    with translated(path, "the one-time key is still there"):
        path.unlink(missing_ok=True)
        if path.parent.is_dir():
            fsync_directory(path.parent)


def _load_prekeys(directory: Path) -> tuple[PrekeySecret, ...]:
    found: list[PrekeySecret] = []
    for number, path in _numbered(directory):
        try:
            found.append(PrekeySecret.load(number, _load_private(path)))
        except MalformedInput as error:
            raise MalformedInput(f"{path} is damaged: {error.message}") from None
    return tuple(found)


def _given(directory: Path) -> int:
    """Return the highest number that was ever given, from the record and from what is there."""
    path = directory / GIVEN_FILE
    recorded = 0
    if path.exists():
        text = load_bounded(path, limit=16)
        if re.fullmatch(rb"[1-9][0-9]{0,9}\n", text) is None:
            raise MalformedInput(f"{path} is damaged: it holds no number")
        recorded = int(text)
    return max(recorded, *(number for number, _ in _numbered(directory)), 0)


def _write_all(directory: Path, keys: DeviceKeys) -> None:
    create_atomic(directory / IDENTITY_FILE, keys.identity.to_hex()[2:].encode() + b"\n")
    create_atomic(directory / SEALING_FILE, keys.sealing.dump())
    for name, private_keys in ((HOST_DIRECTORY, keys.ssh_host), (USER_DIRECTORY, keys.ssh_user)):
        make_private_directory(directory / name)
        for number, key in enumerate(private_keys, 1):
            create_atomic(directory / name / f"{number}.key", _openssh(key))
    with translated(directory, "no keys were kept"):
        fsync_directory(directory)


def _add(directory: Path) -> Ed25519PrivateKey:
    key = Ed25519PrivateKey.generate()
    newest = max((number for number, _ in _numbered(directory)), default=0)
    create_atomic(directory / f"{newest + 1}.key", _openssh(key))
    return key


def _find(keys: Iterable[Ed25519PrivateKey], public_blob: bytes) -> bytes | None:
    for key in keys:
        if ssh_blob(key.public_key()) == public_blob:
            return _openssh(key)
    return None


def _generate_identity() -> PrivateKey:
    while True:
        try:
            return _CURVE.PrivateKey(secrets.token_bytes(32))
        except ValidationError:
            continue  # zero or beyond the curve's order: once in 2^128


def _load_identity(path: Path) -> PrivateKey:
    text = _load_private(path)
    if re.fullmatch(rb"[0-9a-f]{64}\n", text) is None:
        raise MalformedInput(f"{path} is not an identity key: 64 hexadecimal digits and a line end")
    try:
        return _CURVE.PrivateKey(bytes.fromhex(text.decode()))
    except ValidationError:
        # Without the cause: its text holds the number.
        raise MalformedInput(f"{path} is not a valid secp256k1 key") from None


def _load_sealing(path: Path) -> SealingSecrets:
    try:
        return SealingSecrets.load(_load_private(path))
    except MalformedInput as error:
        raise MalformedInput(f"{path} is damaged: {error.message}") from None


def _load_ssh_keys(directory: Path) -> tuple[Ed25519PrivateKey, ...]:
    return tuple(_load_ssh_key(path) for _, path in _numbered(directory))


def _load_ssh_key(path: Path) -> Ed25519PrivateKey:
    try:
        key = load_ssh_private_key(_load_private(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise MalformedInput(
            f"{path} is not an unencrypted private key in OpenSSH's format"
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise MalformedInput(f"{path} is not an Ed25519 key")
    return key


def _numbered(directory: Path) -> list[tuple[int, Path]]:
    """Return the key files of a folder by number, oldest first."""
    found = [
        (int(path.stem), path)
        for path in (directory.iterdir() if directory.is_dir() else ())
        if re.fullmatch(r"[1-9][0-9]{0,8}\.key", path.name)
    ]
    return sorted(found)


def _load_private(path: Path) -> bytes:
    data = load_bounded(path, limit=_FILE_LIMIT)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise DpkiError(
            f"{path} can be read by others than its owner",
            hint=f"chmod 600 {path}; and if somebody may have read it, enrol a new device",
        )
    return data


def _openssh(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
