"""CA keys in a TPM: whatever holds for SoftHSM by chance and not by the standard shows here."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.certificates.keys import ssh_blob
from dpki.certificates.profile import Profile, Subject
from dpki.certificates.ssh import build_ssh_certificate
from dpki.errors import PinIncorrect, TokenError
from dpki.signer.base import KeyType
from dpki.signer.pkcs11 import generate_key, list_keys, open_signer
from dpki.signer.uri import Pkcs11Uri
from tests.device import open_device
from tests.signing import sign_message
from tests.tpm import LABEL, Tpm, open_tpm


@pytest.fixture(scope="module")
def tpm() -> Iterator[Tpm]:
    with open_tpm() as tpm:
        yield tpm


def test_its_certificates_log_in(tpm: Tpm) -> None:
    with open_signer(tpm.uri, tpm.ask, tpm.module) as signer, open_device() as device:
        assert signer.key_type is KeyType.P256
        device.users.key = signer.private_key
        certificate, key = device.sign()
        device.anchor(certificate)
        _, thief = device.sign()
        device.update()
        outcome = device.login(key)
        assert (outcome.status, outcome.stdout) == (0, "logged-in\n"), outcome.describe()
        assert device.login(thief).status != 0, "signed, and never anchored"


def test_is_found_by_every_part_of_a_uri(tpm: Tpm) -> None:
    for uri in (
        Pkcs11Uri(LABEL, id=b"\x01"),
        Pkcs11Uri(LABEL, "ca", b"\x01", module_path=str(tpm.module)),
    ):
        with open_signer(uri, tpm.ask, tpm.module) as signer:
            sign_message(signer.private_key, b"message")


def test_a_mechanism_that_it_lacks_is_named_and_nothing_is_made(tpm: Tpm) -> None:
    before = list_keys(Pkcs11Uri(LABEL), tpm.ask, tpm.module)
    with pytest.raises(TokenError, match="lacks the mechanism EC_EDWARDS_KEY_PAIR_GEN") as caught:
        generate_key(Pkcs11Uri(LABEL, "new"), KeyType.ED25519, tpm.ask, tpm.module)
    assert "another --key-type" in caught.value.hint
    assert caught.value.exit_status == 1
    assert list_keys(Pkcs11Uri(LABEL), tpm.ask, tpm.module) == before


def test_a_wrong_pin(tpm: Tpm) -> None:
    with pytest.raises(PinIncorrect) as caught:
        open_signer(tpm.uri, lambda _: "0000", tpm.module)
    assert caught.value.exit_status == 4
    with open_signer(tpm.uri, tpm.ask, tpm.module) as signer:
        sign_message(signer.private_key, b"message")


def test_taken_away_between_two_certificates(tpm: Tpm) -> None:
    """The last test: the TPM is gone afterwards."""
    now = datetime.now(UTC)
    subject = Subject(ssh_blob(Ed25519PrivateKey.generate().public_key()), ("ops",), "x")

    def certify(serial: int) -> None:
        build_ssh_certificate(
            signer.private_key,
            Profile.user(timedelta(hours=8)),
            subject,
            serial=serial,
            key_id="x",
            valid_after=now,
            valid_before=now + timedelta(hours=1),
        )

    with open_signer(tpm.uri, tpm.ask, tpm.module) as signer:
        certify(1)
        tpm.pull_out()
        with pytest.raises(TokenError) as caught:
            certify(2)
    assert f"signing with {tpm.uri}" in caught.value.message
    assert caught.value.hint
    assert caught.value.exit_status == 1
