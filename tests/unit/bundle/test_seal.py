from __future__ import annotations

import dataclasses

import pytest
from nacl.public import PublicKey, SealedBox

from dpki.bundle.seal import (
    MAXIMUM_PLAINTEXT,
    MAXIMUM_SEALED,
    SealingKeys,
    SealingSecrets,
    Suite,
    open_sealed,
    seal,
    suite_of,
)
from dpki.errors import MalformedInput, NotForThisDevice
from dpki.model import Hash32
from tests.hpke_reference import open_hybrid

HYBRID = SealingSecrets.generate()
CLASSIC = dataclasses.replace(HYBRID, hybrid=None)
CONTEXT = Hash32(b"\7" * 32)

both = pytest.mark.parametrize("secrets", [CLASSIC, HYBRID], ids=["x25519", "hybrid"])


@both
@pytest.mark.parametrize("length", [0, 1, 1020, 1021, 2044, 2045, MAXIMUM_PLAINTEXT])
def test_what_is_sealed_opens(secrets: SealingSecrets, length: int) -> None:
    sealed = seal(b"x" * length, secrets.public, CONTEXT)
    assert open_sealed(sealed, secrets, CONTEXT) == b"x" * length
    assert len(sealed) < MAXIMUM_SEALED


@both
def test_the_same_is_never_sealed_alike(secrets: SealingSecrets) -> None:
    assert seal(b"x", secrets.public, CONTEXT) != seal(b"x", secrets.public, CONTEXT)


@both
def test_too_much_is_refused(secrets: SealingSecrets) -> None:
    with pytest.raises(MalformedInput, match="do not fit"):
        seal(bytes(MAXIMUM_PLAINTEXT + 1), secrets.public, CONTEXT)


def test_the_stronger_suite_is_taken_when_offered() -> None:
    assert suite_of(seal(b"x", HYBRID.public, CONTEXT)) is Suite.MLKEM768_X25519
    assert suite_of(seal(b"x", CLASSIC.public, CONTEXT)) is Suite.X25519


def test_hybrid_sealing_is_what_the_specifications_say() -> None:
    sealed = seal(b"hello", HYBRID.public, CONTEXT)
    assert HYBRID.hybrid is not None
    framed = open_hybrid(HYBRID.hybrid, b"dpki bundle v1" + CONTEXT, sealed[6:])
    assert framed == b"\0\0\0\5hello".ljust(1024, b"\0")


def test_header() -> None:
    assert seal(b"x", CLASSIC.public, CONTEXT)[:6] == b"dpki\1\1"
    assert seal(b"x", HYBRID.public, CONTEXT)[:6] == b"dpki\1\2"


@both
def test_every_kind_of_damage(secrets: SealingSecrets) -> None:
    sealed = seal(b"secret", secrets.public, CONTEXT)
    for position in (6, 40, len(sealed) // 2, len(sealed) - 1):
        damaged = bytearray(sealed)
        damaged[position] ^= 1
        with pytest.raises(NotForThisDevice):
            open_sealed(bytes(damaged), secrets, CONTEXT)


def test_the_other_suite_than_this_device_s() -> None:
    with pytest.raises(MalformedInput, match="although this device offers mlkem768-x25519"):
        open_sealed(seal(b"x", CLASSIC.public, CONTEXT), HYBRID, CONTEXT)
    with pytest.raises(NotForThisDevice, match="has no key"):
        open_sealed(seal(b"x", HYBRID.public, CONTEXT), CLASSIC, CONTEXT)


@pytest.mark.parametrize(
    "framed",
    [
        (1025).to_bytes(4) + bytes(1020),
        (1).to_bytes(4) + bytes(2044),
        (1).to_bytes(4) + bytes(1019) + b"x",
    ],
    ids=["longer than it is", "of a larger class", "not zeros"],
)
def test_padding_has_one_spelling(framed: bytes) -> None:
    sealed = SealedBox(PublicKey(CLASSIC.public.x25519)).encrypt(framed)
    with pytest.raises(MalformedInput, match="padding"):
        open_sealed(b"dpki\1\1" + sealed, CLASSIC, CONTEXT)


@both
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda s: b"", "not a sealed bundle"),
        (lambda s: s[:5], "not a sealed bundle"),
        (lambda s: b"DPKI" + s[4:], "not a sealed bundle"),
        (lambda s: s[:4] + b"\2" + s[5:], "version 2"),
        (lambda s: s[:5] + b"\0" + s[6:], "unknown suite, 0"),
        (lambda s: s[:5] + b"\3" + s[6:], "unknown suite, 3"),
        (lambda s: s[:-1], "size"),
        (lambda s: s + b"\0", "size"),
        (lambda s: s[:6], "size"),
        (lambda s: s + bytes(1 << 20), "size"),
    ],
)
def test_malformed(secrets: SealingSecrets, damage: object, message: str) -> None:
    assert callable(damage)
    with pytest.raises(MalformedInput, match=message):
        open_sealed(damage(seal(b"x", secrets.public, CONTEXT)), secrets, CONTEXT)


# Every spelling of a point of small order, as libsodium lists them (RFC 7748 ignores the last bit).
P = 2**255 - 19
ORDER_8 = [
    int.from_bytes(bytes.fromhex(text), "little")
    for text in (
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    )
]
LOW_ORDER = [
    (number | bit << 255).to_bytes(32, "little")
    for number in (0, 1, *ORDER_8, P - 1, P, P + 1)
    for bit in (0, 1)
]


class TestKeys:
    @pytest.mark.parametrize("point", LOW_ORDER, ids=lambda point: point.hex()[::63])
    def test_points_of_low_order_are_refused(self, point: bytes) -> None:
        with pytest.raises(MalformedInput, match="low order"):
            SealingKeys(point)
        hybrid = HYBRID.public.hybrid
        assert hybrid is not None
        with pytest.raises(MalformedInput, match="low order"):
            SealingKeys(HYBRID.public.x25519, hybrid[:1184] + point)

    def test_lengths(self) -> None:
        for x25519, hybrid in [(b"", None), (bytes(31), None), (HYBRID.public.x25519, bytes(1215))]:
            with pytest.raises(MalformedInput, match="bytes, not"):
                SealingKeys(x25519, hybrid)

    def test_ml_kem_key_out_of_range(self) -> None:
        with pytest.raises(MalformedInput, match="ML-KEM"):
            SealingKeys(HYBRID.public.x25519, b"\xff" * 1184 + HYBRID.public.x25519)

    def test_public_keys_have_the_sizes_of_the_document(self) -> None:
        assert len(HYBRID.public.x25519) == 32
        assert HYBRID.public.hybrid is not None
        assert len(HYBRID.public.hybrid) == 1184 + 32
        assert HYBRID.public.hybrid[1184:] != HYBRID.public.x25519

    @both
    def test_secrets_are_written_and_read(self, secrets: SealingSecrets) -> None:
        assert SealingSecrets.load(secrets.dump()) == secrets

    @pytest.mark.parametrize(
        "damage",
        [
            lambda d: b"",
            lambda d: d[:-1],
            lambda d: d + b"\0",
            lambda d: d.replace(b"\x61v\1", b"\x61v\2"),
            lambda d: d.replace(b"\x66x25519", b"\x66x25518"),
            lambda d: SealingSecrets(b"short", None).dump(),
            lambda d: SealingSecrets(bytes(32), b"short").dump(),
        ],
    )
    def test_damaged_secrets(self, damage: object) -> None:
        assert callable(damage)
        with pytest.raises(MalformedInput):
            SealingSecrets.load(damage(HYBRID.dump()))
