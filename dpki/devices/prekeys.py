"""A device's one-time keys: made here, used once, erased (claim T6).

`prekeys/<n>.key` in the folder of keys: an SSH key, for one certificate, and the X25519 key that
opens the one bundle with it. `prekeys/given` holds the highest number that was ever given.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from dpki.bundle.codec import dumps, fields_of, loads_strict, verify_version
from dpki.devices.folder import load_private, numbered
from dpki.errors import MalformedInput
from dpki.files import (
    create_atomic,
    erase,
    load_bounded,
    make_private_directory,
    translated,
    write_atomic,
)

PREKEY_DIRECTORY = "prekeys"
GIVEN_FILE = "given"

FEW = 4
"""With fewer left it is time to fill the supply up."""


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


def add_prekeys(directory: Path, count: int) -> tuple[PrekeySecret, ...]:
    """Make one-time keys until the supply has `count`, and return the new ones.

    Their numbers are recorded as given before the keys are written: a crash may waste some, and no
    number is ever two keys'.

    Raises:
        DpkiError: They could not be written.
    """
    folder = directory / PREKEY_DIRECTORY
    make_private_directory(folder)
    missing = count - len(numbered(folder))
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
        erase(path)


def load_prekeys(directory: Path) -> tuple[PrekeySecret, ...]:
    """Load the supply from the folder of keys.

    Raises:
        DpkiError: Others may read one.
        MalformedInput: One is damaged; the message says which file, nothing of its content.
    """
    found: list[PrekeySecret] = []
    for number, path in numbered(directory / PREKEY_DIRECTORY):
        try:
            found.append(PrekeySecret.load(number, load_private(path)))
        except MalformedInput as error:
            raise MalformedInput(f"{path} is damaged: {error.message}") from None
    return tuple(found)


def count_prekeys(directory: Path) -> int | None:
    """Return how many are left in the folder of keys; None for a device that never had any."""
    folder = directory / PREKEY_DIRECTORY
    return len(numbered(folder)) if folder.is_dir() else None


def _given(directory: Path) -> int:
    """Return the highest number that was ever given, from the record and from what is there."""
    path = directory / GIVEN_FILE
    recorded = 0
    if path.exists():
        text = load_bounded(path, limit=16)
        if re.fullmatch(rb"[1-9][0-9]{0,9}\n", text) is None:
            raise MalformedInput(f"{path} is damaged: it holds no number")
        recorded = int(text)
    return max(recorded, *(number for number, _ in numbered(directory)), 0)
