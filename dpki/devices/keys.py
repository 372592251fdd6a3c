"""A device's private keys: born here, kept here, never overwritten (claim T6).

In a folder of their own: `identity.key` (secp256k1, hexadecimal; its address is the device's name),
`sealing.key` (CBOR, see `SealingSecrets.dump`), `ssh_host/<n>.key` and `ssh_user/<n>.key` (Ed25519,
OpenSSH format, so that sshd and ssh use them where they are). Several SSH keys of a kind, because
the next one has to exist while the old one's certificate still works.

And `prekeys/<n>.key`, the supply of one-time keys (`prekeys`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from coincurve import PrivateKey
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_ssh_private_key,
)

from dpki.bundle.seal import SealingSecrets
from dpki.certificates.keys import ssh_blob
from dpki.devices.folder import load_private, numbered
from dpki.devices.prekeys import PrekeySecret, erase_prekey, load_prekeys
from dpki.errors import DpkiError, MalformedInput
from dpki.files import (
    create_atomic,
    erase,
    fsync_directory,
    make_private_directory,
    settle,
    staged,
    translated,
)
from dpki.model import Address
from dpki.secp256k1 import address_of

IDENTITY_FILE = "identity.key"
SEALING_FILE = "sealing.key"
HOST_DIRECTORY = "ssh_host"
USER_DIRECTORY = "ssh_user"


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
        return address_of(self.identity.public_key)

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

        One-time keys are the server's, too, and the client's. None when it is not this device's.
        """
        return _find((*self.ssh_host, *self._one_time), public_blob)

    def user_key_for(self, public_blob: bytes) -> bytes | None:
        """Return the SSH client's private key with this public key blob, as an OpenSSH file.

        None when it is not this device's.
        """
        return _find((*self.ssh_user, *self._one_time), public_blob)

    def prekey_for(self, public_blob: bytes) -> PrekeySecret | None:
        """Return the one-time key with this SSH public key blob; None where there is none."""
        for prekey in self.prekeys:
            if ssh_blob(prekey.ssh.public_key()) == public_blob:
                return prekey
        return None

    @property
    def _one_time(self) -> tuple[Ed25519PrivateKey, ...]:
        return tuple(prekey.ssh for prekey in self.prekeys)

    def __repr__(self) -> str:
        """Return the device's address and nothing secret."""
        return f"DeviceKeys({self.address})"


def generate_device_keys() -> DeviceKeys:
    """Make all keys of a new device from the system's randomness; nothing is saved."""
    return DeviceKeys(
        identity=PrivateKey(),
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
        prekeys=load_prekeys(directory),
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


def adopt_prekey(directory: Path, prekey: PrekeySecret, kind: str) -> None:
    """Keep the SSH key of a one-time key as a lasting one, and erase the one-time key.

    In that order: a crash between the two is made up for by doing it again.

    Args:
        kind: `HOST_DIRECTORY` or `USER_DIRECTORY`.

    Raises:
        DpkiError: It could not be written or erased.
    """
    folder = directory / kind
    wanted = prekey.ssh.private_bytes_raw()
    if wanted not in {_load_ssh_key(path).private_bytes_raw() for _, path in numbered(folder)}:
        _save(folder, prekey.ssh)
    erase_prekey(directory, prekey.number)


def erase_keys(directory: Path, kind: str, public_blobs: Collection[bytes]) -> None:
    """Remove the SSH private keys of a kind with these public key blobs, for good.

    Their names go. On flash, and on file systems with a journal, overwriting would erase nothing
    more: the old blocks stay until the device takes them back.

    Args:
        kind: `HOST_DIRECTORY` or `USER_DIRECTORY`.

    Raises:
        DpkiError: One could not be removed.
    """
    for _, path in numbered(directory / kind):
        if public_blobs and ssh_blob(_load_ssh_key(path).public_key()) in public_blobs:
            with translated(path, "it is still there"):
                erase(path)


def _write_all(directory: Path, keys: DeviceKeys) -> None:
    create_atomic(directory / IDENTITY_FILE, keys.identity.to_hex().encode() + b"\n")
    create_atomic(directory / SEALING_FILE, keys.sealing.dump())
    for name, private_keys in ((HOST_DIRECTORY, keys.ssh_host), (USER_DIRECTORY, keys.ssh_user)):
        make_private_directory(directory / name)
        for number, key in enumerate(private_keys, 1):
            create_atomic(directory / name / f"{number}.key", _openssh(key))
    with translated(directory, "no keys were kept"):
        fsync_directory(directory)


def _add(directory: Path) -> Ed25519PrivateKey:
    key = Ed25519PrivateKey.generate()
    _save(directory, key)
    return key


def _save(directory: Path, key: Ed25519PrivateKey) -> None:
    newest = max((number for number, _ in numbered(directory)), default=0)
    create_atomic(directory / f"{newest + 1}.key", _openssh(key))


def _find(keys: Iterable[Ed25519PrivateKey], public_blob: bytes) -> bytes | None:
    for key in keys:
        if ssh_blob(key.public_key()) == public_blob:
            return _openssh(key)
    return None


def _load_identity(path: Path) -> PrivateKey:
    text = load_private(path)
    if re.fullmatch(rb"[0-9a-f]{64}\n", text) is None:
        raise MalformedInput(f"{path} is not an identity key: 64 hexadecimal digits and a line end")
    try:
        return PrivateKey(bytes.fromhex(text.decode()))
    except ValueError:
        # Without the cause, whose text could hold the number.
        raise MalformedInput(f"{path} is not a valid secp256k1 key") from None


def _load_sealing(path: Path) -> SealingSecrets:
    try:
        return SealingSecrets.load(load_private(path))
    except MalformedInput as error:
        raise MalformedInput(f"{path} is damaged: {error.message}") from None


def _load_ssh_keys(directory: Path) -> tuple[Ed25519PrivateKey, ...]:
    return tuple(_load_ssh_key(path) for _, path in numbered(directory))


def _load_ssh_key(path: Path) -> Ed25519PrivateKey:
    try:
        key = load_ssh_private_key(load_private(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise MalformedInput(
            f"{path} is not an unencrypted private key in OpenSSH's format"
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise MalformedInput(f"{path} is not an Ed25519 key")
    return key


def _openssh(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
