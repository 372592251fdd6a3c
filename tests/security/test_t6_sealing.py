"""T6: private keys are born on the device; where one travels, only that device can open it.

What reached IPFS may be kept for ever by anybody, and read with whatever they will have then.
"""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path as FilePath

import pytest
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM
from cryptography.hazmat.primitives.hpke import Suite as HpkeSuite
from nacl.public import PublicKey, SealedBox

from dpki.bundle.codec import dumps
from dpki.bundle.content import Bundle, bundle_context, encode_bundle, open_bundle, seal_bundle
from dpki.bundle.seal import (
    SealingKeys,
    SealingSecrets,
    Suite,
    _hybrid_public,
    open_sealed,
    seal,
    suite_of,
)
from dpki.devices.document import encode_key_document, make_key_document
from dpki.devices.enrollment import encode_request, make_enrollment_request
from dpki.devices.keys import generate_device_keys, save_device_keys
from dpki.errors import DpkiError, MalformedInput, NotForThisDevice, WrongContext
from dpki.model import Address, AuthorityId, DomainId, Hash32, Path

DOMAIN = DomainId(31337, Address(b"\1" * 20), Hash32(b"\2" * 32))
CA = AuthorityId(b"\3" * 32)
DEVICE = Address(b"\4" * 20)
CONTEXT = bundle_context(DOMAIN, CA, 5, DEVICE)
HYBRID = SealingSecrets.generate()
CLASSIC = dataclasses.replace(HYBRID, hybrid=None)
PRIVATE_KEY = b"-----BEGIN OPENSSH PRIVATE KEY-----\nsecretsecretsecret\n"
BUNDLE = Bundle(b"certificate" * 50, PRIVATE_KEY, Path(5, 1, ()), CONTEXT)

both = pytest.mark.parametrize("secrets", [CLASSIC, HYBRID], ids=["x25519", "hybrid"])


class TestAnotherDevice:
    @both
    def test_it_cannot_open_the_bundle(self, secrets: SealingSecrets) -> None:
        other = SealingSecrets.generate()
        if secrets.hybrid is None:
            other = dataclasses.replace(other, hybrid=None)
        with pytest.raises(NotForThisDevice, match="another device's, or altered"):
            open_bundle(seal_bundle(BUNDLE, secrets.public), other, CONTEXT)

    def test_half_of_the_hybrid_key_is_not_enough(self) -> None:
        sealed = seal_bundle(BUNDLE, HYBRID.public)
        for part in ({"hybrid": SealingSecrets.generate().hybrid}, {"hybrid": None}):
            with pytest.raises(NotForThisDevice):
                open_bundle(sealed, dataclasses.replace(HYBRID, **part), CONTEXT)

    @both
    def test_the_refusal_tells_nothing(self, secrets: SealingSecrets) -> None:
        sealed = bytearray(seal_bundle(BUNDLE, secrets.public))
        sealed[-1] ^= 1
        with pytest.raises(NotForThisDevice) as caught:
            open_bundle(bytes(sealed), secrets, CONTEXT)
        assert secrets.x25519.hex() not in repr(caught.value.__cause__)
        assert "secret" not in f"{caught.value}"


OTHER_PLACES = {
    "domain": bundle_context(dataclasses.replace(DOMAIN, chain_id=1), CA, 5, DEVICE),
    "redeployed domain": bundle_context(
        dataclasses.replace(DOMAIN, block_hash=Hash32.zero()), CA, 5, DEVICE
    ),
    "CA": bundle_context(DOMAIN, AuthorityId.zero(), 5, DEVICE),
    "serial": bundle_context(DOMAIN, CA, 6, DEVICE),
    "device": bundle_context(DOMAIN, CA, 5, Address.zero()),
}


class TestReplayedElsewhere:
    def test_every_place_is_another_context(self) -> None:
        assert len({CONTEXT, *OTHER_PLACES.values()}) == 1 + len(OTHER_PLACES)

    @pytest.mark.parametrize("place", OTHER_PLACES)
    @both
    def test_it_does_not_open_there(self, secrets: SealingSecrets, place: str) -> None:
        sealed = seal_bundle(BUNDLE, secrets.public)
        with pytest.raises((WrongContext, NotForThisDevice)):
            open_bundle(sealed, secrets, OTHER_PLACES[place])

    def test_the_classic_suite_says_that_it_is_the_context(self) -> None:
        with pytest.raises(WrongContext):
            open_bundle(seal_bundle(BUNDLE, CLASSIC.public), CLASSIC, OTHER_PLACES["serial"])

    def test_a_plaintext_of_another_context_in_the_right_envelope(self) -> None:
        # Anybody can seal for a device; the plaintext's own context is compared all the same.
        sealed = seal(encode_bundle(BUNDLE), HYBRID.public, OTHER_PLACES["serial"])
        with pytest.raises(WrongContext):
            open_bundle(sealed, HYBRID, OTHER_PLACES["serial"])


class TestDowngraded:
    def test_the_issuer_takes_the_stronger_suite(self) -> None:
        assert suite_of(seal_bundle(BUNDLE, HYBRID.public)) is Suite.MLKEM768_X25519

    def test_a_device_that_offers_the_stronger_refuses_the_weaker(self) -> None:
        weaker = seal_bundle(BUNDLE, SealingKeys(HYBRID.public.x25519))
        assert open_bundle(weaker, CLASSIC, CONTEXT) == BUNDLE  # it would open
        with pytest.raises(MalformedInput, match="although this device offers mlkem768-x25519"):
            open_bundle(weaker, HYBRID, CONTEXT)

    def test_the_header_alone_cannot_change_the_suite(self) -> None:
        for secrets, suite in ((HYBRID, Suite.X25519), (CLASSIC, Suite.MLKEM768_X25519)):
            sealed = bytearray(seal_bundle(BUNDLE, secrets.public))
            sealed[5] = suite
            with pytest.raises(DpkiError):
                open_bundle(bytes(sealed), secrets, CONTEXT)

    def test_the_document_cannot_lose_the_stronger_key_unnoticed(self) -> None:
        keys = generate_device_keys()
        document = make_key_document(keys)
        weaker = dataclasses.replace(document, sealing=SealingKeys(document.sealing.x25519))
        assert document.digest != weaker.digest

    @pytest.mark.parametrize("point", [bytes(32), b"\1" + bytes(31)], ids=["0", "1"])
    def test_keys_whose_secret_everybody_knows_are_refused(self, point: bytes) -> None:
        hybrid = HYBRID.public.hybrid
        assert hybrid is not None
        for keys in ((point, None), (HYBRID.public.x25519, hybrid[:1184] + point)):
            with pytest.raises(MalformedInput, match="low order"):
                SealingKeys(*keys)


class TestSize:
    @both
    def test_with_or_without_a_key_looks_the_same(self, secrets: SealingSecrets) -> None:
        without = dataclasses.replace(BUNDLE, key=None)
        assert len(seal_bundle(BUNDLE, secrets.public)) == len(seal_bundle(without, secrets.public))

    @both
    def test_there_are_ten_sizes(self, secrets: SealingSecrets) -> None:
        sizes = {len(seal(bytes(n), secrets.public, CONTEXT)) for n in range(0, 500_000, 9_973)}
        sizes |= {len(seal(bytes(2**n), secrets.public, CONTEXT)) for n in range(19)}
        overhead = 6 + (48 if secrets.hybrid is None else 1136)
        assert sizes == {overhead + 1024 * 2**n for n in range(10)}

    @pytest.mark.parametrize(
        "framed",
        [
            b"\0\0\0\5hello".ljust(1023, b"\0") + b"!",
            b"\0\0\0\5hello".ljust(2048, b"\0"),
            b"\0\0\4\0" + bytes(1020),
            b"\xff\xff\xff\xff" + bytes(1020),
        ],
        ids=["not zeros", "a larger class", "longer than there is", "much longer"],
    )
    @both
    def test_nothing_hides_in_the_padding(self, secrets: SealingSecrets, framed: bytes) -> None:
        public = secrets.public
        if public.hybrid is None:
            sealed = b"dpki\1\1" + bytes(SealedBox(PublicKey(public.x25519)).encrypt(framed))
        else:
            suite = HpkeSuite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
            info = b"dpki bundle v1" + CONTEXT
            key = _hybrid_public(public.hybrid)
            sealed = b"dpki\1\2" + suite.encrypt(framed, key, info=info)
        with pytest.raises(MalformedInput, match="padding"):
            open_sealed(sealed, secrets, CONTEXT)


class TestOnlyPublicKeysTravel:
    def test_nothing_secret_is_in_what_a_device_sends(self, tmp_path: FilePath) -> None:
        keys = generate_device_keys()
        document = make_key_document(keys)
        request = make_enrollment_request(
            keys, DOMAIN, Address(b"\5" * 20), document, datetime.now(UTC) + timedelta(hours=1)
        )
        travels = encode_request(request) + encode_key_document(document)
        assert keys.sealing.hybrid is not None
        for secret in (
            keys.identity.secret,
            keys.sealing.x25519,
            keys.sealing.hybrid,
            keys.ssh_host[0].private_bytes_raw(),
            keys.ssh_user[0].private_bytes_raw(),
        ):
            assert secret not in travels
            assert secret.hex().encode() not in travels
            assert secret.hex() not in repr((request, document, keys))

    def test_a_key_that_travels_is_not_to_be_seen(self) -> None:
        for secrets in (CLASSIC, HYBRID):
            assert b"secret" not in seal_bundle(BUNDLE, secrets.public)

    def test_no_key_of_ours_is_in_a_bundle_unless_the_admin_made_one(self) -> None:
        assert b"key" not in encode_bundle(dataclasses.replace(BUNDLE, key=None))
        assert dumps("key") in encode_bundle(BUNDLE)

    def test_keys_on_disk_are_the_owner_s_alone(self, tmp_path: FilePath) -> None:
        save_device_keys(tmp_path / "keys", generate_device_keys())
        for path in [tmp_path / "keys", *(tmp_path / "keys").rglob("*")]:
            assert path.stat().st_mode & 0o077 == 0
