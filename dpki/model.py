"""The words of the domain, as types: what travels between the floors.

Values only: immutable, no I/O. Anything that a chain, a file or a person delivers is turned into
these once, at the edge, and is trusted to be well-formed from there on.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar, Self

from dpki.errors import MalformedInput
from dpki.keccak import keccak

MAXIMUM_BATCH = 1000
"""Certificates in one batch, at most (node pools refuse transactions over 128 KiB)."""

MAXIMUM_PARCELS = 16
"""Parcels in which one batch's certificates go to its watchdogs; the contract takes no more."""


class FixedBytes(bytes):
    """Bytes of one length that print as 0x-prefixed hexadecimal."""

    size: ClassVar[int]

    def __new__(cls, value: bytes) -> Self:
        """Wrap `value`, which must have the class's length."""
        if len(value) != cls.size:
            raise MalformedInput(f"{cls.__name__} needs {cls.size} bytes, not {len(value)}")
        return super().__new__(cls, value)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse 0x-prefixed hexadecimal of exactly the class's length."""
        if not re.fullmatch(rf"0x[0-9a-fA-F]{{{2 * cls.size}}}", text):
            raise MalformedInput(f"{text[:80]!r} is not 0x and {2 * cls.size} hexadecimal digits")
        return cls(bytes.fromhex(text[2:]))

    def __str__(self) -> str:
        """Return 0x and lower-case digits."""
        return f"0x{self.hex()}"

    def __repr__(self) -> str:
        """Return the class and the value."""
        return f"{type(self).__name__}({self})"

    @classmethod
    def zero(cls) -> Self:
        """Return the value of all zero bytes."""
        return cls(bytes(cls.size))


class Hash32(FixedBytes):
    """A 32-byte hash, key or locator."""

    size = 32


class AuthorityId(Hash32):
    """A CA's id: SHA-256 of its canonical SubjectPublicKeyInfo in DER."""


class Address(FixedBytes):
    """An EVM account or a device; prints with the EIP-55 checksum."""

    size = 20

    def __str__(self) -> str:
        """Return the EIP-55 form."""
        digits = self.hex()
        check = keccak(digits.encode()).hex()
        return "0x" + "".join(
            d.upper() if int(c, 16) >= 8 else d for d, c in zip(digits, check, strict=False)
        )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse 0x-prefixed hexadecimal; mixed case must carry the right EIP-55 checksum."""
        address = super().parse(text)
        digits = text[2:]
        if digits not in (digits.lower(), digits.upper()) and str(address) != text:
            raise MalformedInput(f"{text} is mistyped: its EIP-55 checksum does not match")
        return address


@dataclass(frozen=True)
class DomainId:
    """A trust domain: the CAIP-10 account of its TrustDomain contract and its block's hash.

    Printed as `eip155:<chain id>:<address>@<block hash>`.
    """

    chain_id: int
    address: Address
    block_hash: Hash32

    @classmethod
    def parse(cls, text: str) -> DomainId:
        """Parse the printed form."""
        match = re.fullmatch(
            r"eip155:([1-9][0-9]{0,31}):(0x[0-9a-fA-F]{40})@(0x[0-9a-f]{64})", text
        )
        if match is None:
            raise MalformedInput(
                f"{text[:160]!r} is not a domain id",
                hint="it reads eip155:<chain id>:<address>@<block hash>; `dpki deploy` printed it",
            )
        return cls(int(match[1]), Address.parse(match[2]), Hash32.parse(match[3]))

    def __str__(self) -> str:
        """Return the printed form."""
        return f"eip155:{self.chain_id}:{self.address}@{self.block_hash}"


class AuthorityKind(enum.IntEnum):
    """What a CA signs; the numbers are the contract's."""

    SSH_USER = 1
    SSH_HOST = 2
    TLS = 3

    @property
    def label(self) -> str:
        """The word that people see: ssh-user, ssh-host, tls."""
        return self.name.lower().replace("_", "-")


class AuthorityState(enum.IntEnum):
    """A CA's state; the numbers are the contract's."""

    UNREGISTERED = 0
    ACTIVE = 1
    CLOSED = 2
    SUSPENDED = 3
    CLOSED_SUSPENDED = 4
    RETIRED = 5

    @property
    def is_trusted(self) -> bool:
        """Whether certificates that were anchored earlier count."""
        return self in (AuthorityState.ACTIVE, AuthorityState.CLOSED)

    @property
    def label(self) -> str:
        """The word that people see."""
        return self.name.lower().replace("_", "-")


class DeviceState(enum.IntEnum):
    """A device's state; the numbers are the contract's."""

    UNREGISTERED = 0
    ACTIVE = 1
    RETIRED = 2


@dataclass(frozen=True)
class Block:
    """A block that everything in a snapshot was read at."""

    number: int
    hash: Hash32
    time: datetime


@dataclass(frozen=True, slots=True)
class Entry:
    """What one certificate puts on chain (96 bytes).

    Attributes:
        certificate_hash: SHA-256 of the SSH certificate blob or of the DER.
        device: The device that it is for; zero for a certificate that is nobody's device's.
        not_after: End of validity, whole seconds.
        locator: Masked digest of the sealed bundle; zero where there is none.
    """

    certificate_hash: Hash32
    device: Address
    not_after: datetime
    locator: Hash32


@dataclass(frozen=True)
class Path:
    """Where a certificate stands in its batch, and the Merkle path that shows it.

    Attributes:
        first_serial: The batch's first serial.
        count: Certificates in the batch.
        siblings: Sibling hashes from the leaf upwards.
    """

    first_serial: int
    count: int
    siblings: tuple[Hash32, ...]


def from_timestamp(seconds: int) -> datetime:
    """Return the aware UTC time of a Unix timestamp."""
    return datetime.fromtimestamp(seconds, UTC)


def to_timestamp(time: datetime) -> int:
    """Return the Unix timestamp of an aware time, in whole seconds."""
    return int(time.timestamp())
