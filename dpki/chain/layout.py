"""Where the registries keep what, and how to read it.

A snapshot is read from storage slots rather than by calls: a slot at a block can be proven later
(EIP-1186), and the completeness of lists and bitmaps can be counted. Rules: Solidity documentation,
"Layout of State Variables in Storage". tests/unit holds the constants against the storage layouts
that the compiler wrote into the artifacts.

Every decoder raises `ValueError` for a word that the contracts can't have written.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from dpki.keccak import keccak
from dpki.model import Address, AuthorityId, AuthorityKind, AuthorityState, DeviceState, Hash32

# AuthorityRegistry
AUTHORITIES = 0
AUTHORITY_LIST = 1
# CertificateRegistry
ISSUERS = 0
REVOKED_BELOW = 1
COMMITMENTS = 2
REVOCATIONS = 3
REVOKERS = 4
# DeviceRegistry (slots 0 and 1 are OpenZeppelin's EIP712 fallback strings)
DEVICES = 2
REGISTRARS = 3
# WatchdogRegistry (slots 0 and 1 likewise)
WATCHES = 2
WATCHDOGS = 3
PROGRESS = 5

MAXIMUM_WATCHDOGS = 32
MAXIMUM_PUBLIC_KEY = 1024

_SLOTS = 2**256


def mapping_slot(key: bytes, slot: int) -> int:
    """Return the slot of a mapping's value; keys shorter than a word are padded on the left."""
    return int.from_bytes(keccak(key.rjust(32, b"\0") + slot.to_bytes(32)))


def authority_count_slot() -> int:
    """Return the slot with the number of authorities (AuthorityRegistry)."""
    return AUTHORITY_LIST


def authority_id_slot(index: int) -> int:
    """Return the slot of the `index`-th authority's id, from 0 (AuthorityRegistry)."""
    return (int.from_bytes(keccak(AUTHORITY_LIST.to_bytes(32))) + index) % _SLOTS


def authority_slots(ca: AuthorityId) -> tuple[int, int, int, int]:
    """Return the slots of kind and time, issuer key, parent, key head (AuthorityRegistry)."""
    base = mapping_slot(ca, AUTHORITIES)
    return base, (base + 1) % _SLOTS, (base + 2) % _SLOTS, (base + 3) % _SLOTS


def public_key_slots(ca: AuthorityId, length: int) -> list[int]:
    """Return the slots of the public key's bytes; none for a key that fits the head."""
    if length < 32:
        return []
    base = int.from_bytes(keccak(authority_slots(ca)[3].to_bytes(32)))
    return [(base + i) % _SLOTS for i in range((length + 31) // 32)]


def issuer_slot(ca: AuthorityId) -> int:
    """Return the slot of a CA's packed word (CertificateRegistry)."""
    return mapping_slot(ca, ISSUERS)


def revoked_below_slot(ca: AuthorityId) -> int:
    """Return the slot of a CA's watermark (CertificateRegistry)."""
    return mapping_slot(ca, REVOKED_BELOW)


def commitment_slot(ca: AuthorityId, first_serial: int) -> int:
    """Return the slot of a batch's commitment (CertificateRegistry)."""
    return mapping_slot(first_serial.to_bytes(32), mapping_slot(ca, COMMITMENTS))


def revocation_slot(ca: AuthorityId, index: int) -> int:
    """Return the slot of the bits of serials 256·index and the 255 after (CertificateRegistry)."""
    return mapping_slot(index.to_bytes(32), mapping_slot(ca, REVOCATIONS))


def device_slots(device: Address) -> tuple[int, int]:
    """Return the slots of a device's document digest, and of state and nonce (DeviceRegistry)."""
    base = mapping_slot(device, DEVICES)
    return base, (base + 1) % _SLOTS


def watch_slot(ca: AuthorityId) -> int:
    """Return the slot of how a CA is watched (WatchdogRegistry)."""
    return mapping_slot(ca, WATCHES)


def watchdog_count_slot(ca: AuthorityId) -> int:
    """Return the slot with the number of a CA's watchdogs (WatchdogRegistry)."""
    return mapping_slot(ca, WATCHDOGS)


def watchdog_slots(ca: AuthorityId, index: int) -> tuple[int, int]:
    """Return the slots of a watchdog's account and weight, and sealing key (WatchdogRegistry)."""
    base = int.from_bytes(keccak(watchdog_count_slot(ca).to_bytes(32))) + 2 * index
    return base % _SLOTS, (base + 1) % _SLOTS


def progress_slot(ca: AuthorityId, first_serial: int) -> int:
    """Return the slot of how far a batch is confirmed (WatchdogRegistry)."""
    return mapping_slot(first_serial.to_bytes(32), mapping_slot(ca, PROGRESS))


def revocation_words(next_serial: int) -> int:
    """Return how many revocation words can hold a bit when `next_serial` is the next one."""
    return ((next_serial - 1) >> 8) + 1


@dataclass(frozen=True)
class IssuerWord:
    """A CA's packed word in the CertificateRegistry.

    Bits from the lowest: operator 160, next serial 32, revoked count 32, maximum lifetime in
       minutes 24, state 8.
    """

    operator: Address
    next_serial: int
    revoked_count: int
    maximum_lifetime: timedelta
    state: AuthorityState


@dataclass(frozen=True)
class Progress:
    """How far a batch is confirmed: one word of the WatchdogRegistry.

    Bits from the lowest: version, weight, confirmations, objections, 32 each; confirmed, 8.

    Attributes:
        version: The watch's version that the rest is of; under another one it is void, but for
            `confirmed`.
        weight: The weight that confirmed.
        confirmations: A bit for each watchdog that confirmed.
        objections: A bit for each watchdog that objected.
        confirmed: Whether the threshold was reached, for ever.
    """

    version: int
    weight: int
    confirmations: int
    objections: int
    confirmed: bool = False


@dataclass(frozen=True)
class Watch:
    """How a CA is watched: one word of the WatchdogRegistry.

    Bits from the lowest: version, first serial, threshold, total, 32 each.

    Attributes:
        version: Rises with every change of the watchdogs.
        first_serial: The first serial that they have to confirm.
        threshold: The weight that has to confirm.
        total: What all of them weigh.
    """

    version: int
    first_serial: int
    threshold: int
    total: int

    def covers(self, first_serial: int) -> bool:
        """Whether a batch that begins there has to be confirmed."""
        return first_serial >= self.first_serial

    def missing(self, progress: Progress) -> str | None:
        """Return what a batch still waits for, in words; None where enough confirmed it."""
        if progress.confirmed:
            return None
        # What was confirmed or objected to under other watchdogs is void.
        made = progress if progress.version == self.version else Progress(self.version, 0, 0, 0)
        objections = made.objections.bit_count()
        return f"awaiting watchdogs: {made.weight} of {self.threshold}" + (
            f", {objections} objected" if objections else ""
        )


@dataclass(frozen=True)
class Watchdog:
    """One that watches a CA.

    Attributes:
        weight: What its confirmation weighs.
        sealing_key: The X25519 public key that certificates for review are sealed for.
    """

    account: Address
    weight: int
    sealing_key: Hash32


def decode_issuer(word: bytes) -> IssuerWord:
    """Return the parts of a CA's packed word."""
    value = int.from_bytes(word)
    return IssuerWord(
        operator=Address((value & (2**160 - 1)).to_bytes(20)),
        next_serial=(value >> 160) & 0xFFFFFFFF,
        revoked_count=(value >> 192) & 0xFFFFFFFF,
        maximum_lifetime=timedelta(minutes=(value >> 224) & 0xFFFFFF),
        state=AuthorityState(value >> 248),
    )


def decode_authority_head(word: bytes) -> tuple[AuthorityKind, int]:
    """Return kind and registration time (seconds) from an authority's first word."""
    value = int.from_bytes(word)
    if value >> 72:
        raise ValueError("bits beyond kind and time")
    return AuthorityKind(value & 0xFF), value >> 8


def decode_public_key_length(head: bytes) -> int:
    """Return the length of the public key whose head word this is."""
    value = int.from_bytes(head)
    length = (head[31] >> 1) if value % 2 == 0 else value >> 1
    # A long string that would have fitted the head, or a short one that would not: Solidity writes
    # neither.
    if not 1 <= length <= MAXIMUM_PUBLIC_KEY or (length < 32) != (value % 2 == 0):
        raise ValueError("a public key of an impossible length")
    return length


def decode_public_key(head: bytes, rest: list[bytes]) -> bytes:
    """Return the public key from its head and the words beyond."""
    length = decode_public_key_length(head)
    words = b"".join(rest) if rest else head[:31]
    if any(words[length:]):
        raise ValueError("bytes beyond the public key")
    return words[:length]


def decode_watermark(word: bytes) -> int:
    """Return a CA's `revokedBelow`."""
    value = int.from_bytes(word)
    if value >> 32:
        raise ValueError("a watermark beyond 32 bits")
    return value


def decode_revocations(index: int, word: bytes) -> list[int]:
    """Return the serials whose bits are set in the `index`-th word, ascending."""
    value = int.from_bytes(word)
    serials = []
    while value:
        lowest = value & -value
        serials.append((index << 8) + lowest.bit_length() - 1)
        value ^= lowest
    return serials


def decode_device(key_document: bytes, word: bytes) -> tuple[Hash32, DeviceState, int]:
    """Return key document digest, state and nonce of a device."""
    value = int.from_bytes(word)
    if value >> 72:
        raise ValueError("bits beyond state and nonce")
    return Hash32(key_document), DeviceState(value & 0xFF), value >> 8


def decode_watch(word: bytes) -> Watch | None:
    """Return how a CA is watched; None where it is not."""
    value = int.from_bytes(word)
    if not value:
        return None
    if value >> 128:
        raise ValueError("bits beyond the watch")
    watch = Watch(*_quarters(value))
    if not watch.version or not watch.first_serial or not 1 <= watch.threshold <= watch.total:
        raise ValueError("a watch that nobody could have set")
    return watch


def decode_progress(word: bytes) -> Progress:
    """Return how far a batch is confirmed."""
    value = int.from_bytes(word)
    progress = Progress(*_quarters(value), confirmed=bool(value >> 128))
    if value >> 129 or progress.confirmations & progress.objections:
        raise ValueError("a confirmation that the contract can't have counted")
    return progress


def decode_watchdog(word: bytes, sealing_key: bytes) -> Watchdog:
    """Return a watchdog from its two words."""
    value = int.from_bytes(word)
    if value >> 192:
        raise ValueError("bits beyond account and weight")
    account = Address((value & (2**160 - 1)).to_bytes(20))
    return Watchdog(account, value >> 160, Hash32(sealing_key))


def _quarters(value: int) -> tuple[int, int, int, int]:
    """Return the four lowest groups of 32 bits, lowest first."""
    parts = [(value >> shift) & 0xFFFFFFFF for shift in (0, 32, 64, 96)]
    return parts[0], parts[1], parts[2], parts[3]
