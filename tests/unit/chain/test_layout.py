"""Slots and words against the compiler's own storage layout, and decoding against nonsense."""

from __future__ import annotations

from datetime import timedelta

import pytest

from dpki.chain import layout
from dpki.model import Address, AuthorityId, AuthorityKind, AuthorityState, DeviceState, Hash32
from dpki.transactions.artifacts import load_artifact


def slots_of(contract: str) -> dict[str, int]:
    return {v["label"]: int(v["slot"]) for v in load_artifact(contract).storage_layout["storage"]}


def members_of(contract: str, struct: str) -> list[tuple[str, int, int]]:
    types = load_artifact(contract).storage_layout["types"]
    (found,) = [t for t in types.values() if t["label"] == f"struct I{contract}.{struct}"]
    return [(m["label"], int(m["slot"]), int(m["offset"])) for m in found["members"]]


class TestAgainstTheCompiler:
    def test_variables(self) -> None:
        assert slots_of("AuthorityRegistry") == {
            "_authorities": layout.AUTHORITIES,
            "_list": layout.AUTHORITY_LIST,
        }
        assert slots_of("CertificateRegistry") == {
            "_issuers": layout.ISSUERS,
            "revokedBelow": layout.REVOKED_BELOW,
            "_commitments": layout.COMMITMENTS,
            "_revocations": layout.REVOCATIONS,
            "isRevoker": layout.REVOKERS,
        }
        devices = slots_of("DeviceRegistry")
        assert (devices["_devices"], devices["isRegistrar"]) == (layout.DEVICES, layout.REGISTRARS)
        watchdogs = slots_of("WatchdogRegistry")
        assert (watchdogs["_watches"], watchdogs["_watchdogs"]) == (
            layout.WATCHES,
            layout.WATCHDOGS,
        )
        assert watchdogs["_progress"] == layout.PROGRESS

    def test_members(self) -> None:
        """Offsets in bytes from the low end of each word."""
        assert members_of("AuthorityRegistry", "Authority") == [
            ("kind", 0, 0),
            ("registeredAt", 0, 1),
            ("issuerKey", 1, 0),
            ("parent", 2, 0),
            ("publicKey", 3, 0),
        ]
        assert members_of("CertificateRegistry", "Issuer") == [
            ("operator", 0, 0),
            ("nextSerial", 0, 20),
            ("revokedCount", 0, 24),
            ("maximumLifetime", 0, 28),
            ("state", 0, 31),
        ]
        assert members_of("DeviceRegistry", "Device") == [
            ("keyDocument", 0, 0),
            ("state", 1, 0),
            ("nonce", 1, 1),
        ]
        assert members_of("WatchdogRegistry", "Watch") == [
            ("version", 0, 0),
            ("firstSerial", 0, 4),
            ("threshold", 0, 8),
            ("total", 0, 12),
        ]
        assert members_of("WatchdogRegistry", "Progress") == [
            ("version", 0, 0),
            ("weight", 0, 4),
            ("confirmations", 0, 8),
            ("objections", 0, 12),
            ("confirmed", 0, 16),
        ]
        assert members_of("WatchdogRegistry", "Watchdog") == [
            ("account", 0, 0),
            ("weight", 0, 20),
            ("sealingKey", 1, 0),
        ]


def test_the_issuers_word() -> None:
    word = bytes.fromhex("02" + "0005a0" + "00000007" + "00000065" + "ab" * 20)
    assert layout.decode_issuer(word) == layout.IssuerWord(
        operator=Address(b"\xab" * 20),
        next_serial=0x65,
        revoked_count=7,
        maximum_lifetime=timedelta(days=1),
        state=AuthorityState.CLOSED,
    )


def test_the_other_words() -> None:
    head = bytes(23) + (1_795_000_000).to_bytes(8) + b"\x02"
    assert layout.decode_authority_head(head) == (AuthorityKind.SSH_HOST, 1_795_000_000)
    device = bytes(23) + (9).to_bytes(8) + b"\x01"
    assert layout.decode_device(b"\x05" * 32, device) == (
        Hash32(b"\x05" * 32),
        DeviceState.ACTIVE,
        9,
    )
    assert layout.decode_watermark((77).to_bytes(32)) == 77
    bits = 1 | 1 << 5 | 1 << 255
    assert layout.decode_revocations(2, bits.to_bytes(32)) == [512, 517, 767]


@pytest.mark.parametrize("length", [1, 31, 32, 44, 64, 91, 1024])
def test_public_keys_of_every_length(length: int) -> None:
    key = bytes(range(1, 256)) * 5
    key = key[:length]
    if length < 32:
        head, rest = key.ljust(31, b"\0") + bytes([2 * length]), []
    else:
        head = (2 * length + 1).to_bytes(32)
        rest = [key[i : i + 32].ljust(32, b"\0") for i in range(0, length, 32)]
    assert layout.decode_public_key_length(head) == length
    assert len(layout.public_key_slots(AuthorityId.zero(), length)) == len(rest)
    assert layout.decode_public_key(head, rest) == key


@pytest.mark.parametrize("value", [0, 1, 2 * 1025 + 1, 2 * 31 + 1, 2**255 + 1, 64])
def test_impossible_public_key_lengths(value: int) -> None:
    """None; a long one of 0 bytes; too long; long but short enough for the head; 32 in the head."""
    with pytest.raises(ValueError, match="impossible length"):
        layout.decode_public_key_length(value.to_bytes(32))


def test_bytes_beyond_the_public_key() -> None:
    with pytest.raises(ValueError, match="beyond the public key"):
        layout.decode_public_key((2 * 33 + 1).to_bytes(32), [b"k" * 32, b"kk" + bytes(30)])


def test_words_that_no_contract_wrote() -> None:
    with pytest.raises(ValueError, match="AuthorityState"):
        layout.decode_issuer(b"\x06" + bytes(31))
    with pytest.raises(ValueError, match="AuthorityKind"):
        layout.decode_authority_head(bytes(32))
    with pytest.raises(ValueError, match="beyond kind"):
        layout.decode_authority_head(b"\x01" + bytes(30) + b"\x01")
    with pytest.raises(ValueError, match="watermark"):
        layout.decode_watermark((2**32).to_bytes(32))
    with pytest.raises(ValueError, match="DeviceState"):
        layout.decode_device(bytes(32), bytes(31) + b"\x03")
    with pytest.raises(ValueError, match="beyond state"):
        layout.decode_device(bytes(32), b"\x01" + bytes(31))


@pytest.mark.parametrize(("next_serial", "words"), [(1, 1), (256, 1), (257, 2), (512, 2), (513, 3)])
def test_how_many_revocation_words_can_hold_a_bit(next_serial: int, words: int) -> None:
    assert layout.revocation_words(next_serial) == words


def test_a_watchdogs_words() -> None:
    account = Address(b"\xab" * 20)
    word = bytes(8) + (30).to_bytes(4) + account
    assert layout.decode_watchdog(word, b"\x07" * 32) == layout.Watchdog(
        account, 30, Hash32(b"\x07" * 32)
    )
    with pytest.raises(ValueError, match="beyond account"):
        layout.decode_watchdog(b"\x01" + word[1:], b"\x07" * 32)


def test_how_a_ca_is_watched_and_how_far_a_batch_is() -> None:
    word = (5 | 4 << 32 | 40 << 64 | 60 << 96).to_bytes(32)
    assert layout.decode_watch(word) == layout.Watch(5, 4, 40, 60)
    assert layout.decode_watch(bytes(32)) is None
    progress = 5 | 30 << 32 | 0b100 << 64 | 0b010 << 96
    assert layout.decode_progress(progress.to_bytes(32)) == layout.Progress(5, 30, 4, 2, False)
    assert layout.decode_progress((progress | 1 << 128).to_bytes(32)).confirmed
    assert layout.decode_progress(bytes(32)) == layout.Progress(0, 0, 0, 0)
