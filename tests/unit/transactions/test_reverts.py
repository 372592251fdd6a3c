from __future__ import annotations

import pytest
from eth_abi.abi import encode
from eth_hash.auto import keccak

from dpki.errors import NotAllowed, TransactionForbidden, TransactionReverted
from dpki.transactions.artifacts import CONTRACTS, load_artifact
from dpki.transactions.reverts import decode_revert

CA = b"\x07" * 32
CALLER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


def revert(signature: str, *values: object) -> str:
    kinds = signature[signature.index("(") + 1 : -1]
    arguments = encode(kinds.split(",") if kinds else [], values)
    return f"0x{keccak(signature.encode())[:4].hex()}{arguments.hex()}"


def test_names_the_error_and_its_values() -> None:
    data = revert("CertificateRegistryUnexpectedSerial(bytes32,uint32,uint32)", CA, 2, 7)
    error = decode_revert(data)
    assert error.name == "CertificateRegistryUnexpectedSerial"
    assert error.values == {"ca": "0x" + "07" * 32, "given": 2, "expected": 7}
    assert "CertificateRegistryUnexpectedSerial(ca=0x0707" in str(error)
    assert "given=2, expected=7" in str(error)
    assert "sign again" in error.hint
    assert not isinstance(error, TransactionForbidden)
    assert error.exit_status == 1


@pytest.mark.parametrize(
    "contract", ["TrustDomain", "AuthorityRegistry", "CertificateRegistry", "DeviceRegistry"]
)
def test_a_caller_without_the_right_is_told_so(contract: str) -> None:
    error = decode_revert(revert(f"{contract}Unauthorized(address)", CALLER))
    assert isinstance(error, TransactionForbidden)
    assert isinstance(error, NotAllowed)
    assert error.exit_status == 4
    assert error.values == {"caller": CALLER}


def test_states_have_words() -> None:
    error = decode_revert(revert("CertificateRegistryNotActive(bytes32,uint8)", CA, 4))
    assert error.values["state"] == "closed-suspended"
    error = decode_revert(revert("DeviceRegistryNotActive(address,uint8)", CALLER, 2))
    assert error.values["state"] == "retired"


def test_every_error_of_every_contract_is_known() -> None:
    for contract in CONTRACTS:
        for item in load_artifact(contract).abi:
            if item["type"] == "error":
                kinds = [i["type"] for i in item["inputs"]]
                samples = {
                    "address": CALLER,
                    "bytes32": CA,
                    "bytes4": CA[:4],
                    "bytes": CA,
                    "string": "x",
                }
                values = [samples.get(kind, 1) for kind in kinds]
                error = decode_revert(revert(f"{item['name']}({','.join(kinds)})", *values))
                assert error.name == item["name"]
                assert error.hint
                assert list(error.values) == [i["name"] for i in item["inputs"]]


def test_solidity_s_and_openzeppelin_s_own() -> None:
    assert decode_revert(revert("Error(string)", "why not")).values == {"reason": "why not"}
    assert decode_revert(revert("Panic(uint256)", 0x11)).values == {"code": 0x11}
    assert decode_revert(revert("ECDSAInvalidSignature()")).name == "ECDSAInvalidSignature"
    assert decode_revert(revert("ECDSAInvalidSignatureS(bytes32)", CA)).values == {
        "s": "0x" + "07" * 32
    }


@pytest.mark.parametrize(
    "wrap", [lambda d: {"data": d}, lambda d: {"result": d}, lambda d: f"Reverted {d}"]
)
def test_nodes_that_wrap_it(wrap: object) -> None:
    data = wrap(revert("CertificateRegistryNothingRevoked(bytes32)", CA))  # type: ignore[operator]
    assert decode_revert(data).name == "CertificateRegistryNothingRevoked"


@pytest.mark.parametrize(
    "data",
    [
        None,
        "",
        "0x",
        "0x01",
        "0xdeadbeef",
        "no hexadecimal",
        7,
        [],
        {"data": 7},
        "0xdeadbeef" + "ff" * 5000,
        revert("Error(string)", "x")[:10] + "ff" * 64,
        revert("CertificateRegistryUnauthorized(address)", CALLER)[:-2],
        revert("CertificateRegistryNotActive(bytes32,uint8)", CA, 4)[:-2] + "fff",
    ],
)
def test_an_endpoint_s_nonsense_is_still_a_refusal(data: object) -> None:
    error = decode_revert(data)
    assert isinstance(error, TransactionReverted)
    assert len(str(error)) < 300


def test_an_unknown_state_keeps_its_number() -> None:
    error = decode_revert(revert("CertificateRegistryNotActive(bytes32,uint8)", CA, 9))
    assert error.values["state"] == 9
