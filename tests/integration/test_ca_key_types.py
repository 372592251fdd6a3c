"""CAs with every type of key: on a real chain, in a device's configuration, at a real sshd."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dpki.certificates.keys import authority_id, spki_of
from dpki.chain.rpc import Endpoint
from dpki.chain.snapshot import fetch_snapshot
from dpki.devnet.anvil import Anvil
from dpki.model import AuthorityKind
from dpki.signer.base import KeyType
from dpki.signer.pkcs11 import generate_key, open_signer
from dpki.signer.software import make_private_key
from dpki.verification.revocations import authority_key
from tests.device import Device, open_device
from tests.domains import ISSUER_KEY, LIFETIME, deploy
from tests.soft_tokens import SoftHsmFolder


@pytest.fixture
def device() -> Iterator[Device]:
    with open_device() as device:
        yield device


@pytest.mark.parametrize("key_type", [KeyType.P384, KeyType.RSA3072])
def test_logs_in_until_it_is_revoked(
    device: Device, softhsm: SoftHsmFolder, key_type: KeyType
) -> None:
    """Signed in the token, installed by the agent, judged by sshd, KRL and login command."""
    token = softhsm.token()
    generate_key(token.uri("ca"), key_type, token.ask)
    with open_signer(token.uri("ca"), token.ask) as signer:
        device.users.key = signer.private_key
        certificate, key = device.sign()
        device.update()
        assert device.login(key).status != 0, "not anchored yet"
        device.anchor(certificate)
        device.update()
        outcome = device.login(key)
        assert outcome.status == 0, outcome.describe()
        device.users.revoked.add(certificate.serial)
        device.update()
        assert device.login(key).status != 0


def test_the_chain_keeps_every_type_of_key(tmp_path: Path) -> None:
    with Anvil(tmp_path) as anvil, Endpoint(anvil.url) as endpoint:
        deployed = deploy(anvil, endpoint)
        keys = {key_type: make_private_key(key_type).public_key() for key_type in KeyType}
        for key in keys.values():
            deployed.writer().register_authority(
                AuthorityKind.SSH_USER,
                spki_of(key),
                ISSUER_KEY,
                operator=deployed.operator.address,
                maximum_lifetime=LIFETIME,
            )
        authorities = fetch_snapshot(endpoint, deployed.domain).authorities
    for key_type, key in keys.items():
        found = authorities[authority_id(spki_of(key))]
        assert found.public_key == spki_of(key), key_type
        assert authority_key(found) is not None, key_type
