from __future__ import annotations

import pytest
from eth_abi.abi import encode
from eth_hash.auto import keccak

from dpki.errors import DpkiError, UsageError
from dpki.transactions.artifacts import CONTRACTS, load_artifact
from dpki.transactions.calls import encode_call, encode_deployment

CA = b"\x07" * 32


def test_a_call_is_selector_and_arguments() -> None:
    expected = keccak(b"revoke(bytes32,uint32[])")[:4] + encode(
        ["bytes32", "uint32[]"], [CA, [1, 2]]
    )
    assert encode_call("CertificateRegistry", "revoke", CA, [1, 2]) == expected


def test_a_deployment_is_bytecode_and_arguments() -> None:
    governor = "0x" + "00" * 19 + "01"
    code = encode_deployment("TrustDomain", governor, governor, [governor])
    arguments = encode(["address", "address", "address[]"], [governor, governor, [governor]])
    assert code == load_artifact("TrustDomain").bytecode + arguments


@pytest.mark.parametrize(
    "arguments",
    [(CA, [2**32]), (CA, [-1]), (CA[:31], [1]), (CA + b"\0", [1]), (CA, 1), (CA,), (None, [1])],
)
def test_values_that_do_not_fit(arguments: tuple[object, ...]) -> None:
    with pytest.raises(UsageError, match="out of range"):
        encode_call("CertificateRegistry", "revoke", *arguments)


def test_every_contract_is_in_the_package() -> None:
    for name in CONTRACTS:
        artifact = load_artifact(name)
        assert artifact.abi
        assert len(artifact.bytecode) > 1000
        assert artifact.storage_layout["storage"]


def test_the_largest_init_code_fits() -> None:
    """EIP-3860: at most 49,152 bytes."""
    assert len(load_artifact("TrustDomain").bytecode) < 49_152


def test_a_contract_that_is_not_there() -> None:
    with pytest.raises(DpkiError, match="missing or damaged"):
        load_artifact("Nothing")
