from __future__ import annotations

import dataclasses
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data

from dpki.bundle.codec import dumps, loads_strict
from dpki.devices.document import document_digest, encode_key_document, make_key_document
from dpki.devices.enrollment import (
    EnrollmentRequest,
    RequestKind,
    encode_request,
    make_enrollment_request,
    parse_request,
    request_digest,
    request_line,
    verify_in_time,
    verify_request,
)
from dpki.devices.keys import generate_device_keys
from dpki.errors import (
    DpkiError,
    Expired,
    MalformedInput,
    SignatureInvalid,
    UsageError,
    WrongDomain,
)
from dpki.model import Address, DomainId, Hash32
from dpki.secp256k1 import recover_signer, sign_digest
from tests.vectors_of import load_vectors

V = load_vectors("enrollment-2")
V1 = load_vectors("enrollment")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
DEADLINE = NOW + timedelta(hours=1)
DOMAIN = DomainId(31337, Address(b"\1" * 20), Hash32(b"\2" * 32))
REGISTRY = Address(b"\3" * 20)
KEYS = generate_device_keys()
DOCUMENT = make_key_document(KEYS)
REQUEST = make_enrollment_request(KEYS, DOMAIN, REGISTRY, DOCUMENT, DEADLINE)
UPDATE = make_enrollment_request(
    KEYS, DOMAIN, REGISTRY, make_key_document(KEYS, 3), DEADLINE, nonce=3
)
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def flipped(data: bytes, position: int = -1) -> bytes:
    changed = bytearray(data)
    changed[position] ^= 1
    return bytes(changed)


class TestVectors:
    @pytest.mark.parametrize("case", V["cases"], ids=lambda case: case["fingerprint"])
    def test_request(self, case: dict[str, Any]) -> None:
        registry = Address.parse(V["device_registry"])
        request = parse_request(case["request"])
        assert encode_request(request) == case["request"]
        assert request_line(request) == case["line"]
        assert parse_request(case["line"].encode() + b"\n") == request
        assert request.fingerprint == case["fingerprint"]
        assert request.signature == case["signature"]
        assert list(request.proofs) == case["proofs"]
        assert digest_of(V, case) == case["eip712_digest"]
        verified = verify_request(request, DomainId.parse(V["domain"]), registry)
        assert str(verified.device) == V["device"]
        assert verified.key_document == case["key_document"]

    @pytest.mark.parametrize("case", V1["cases"], ids=lambda case: case["type"])
    def test_what_is_signed_has_not_changed(self, case: dict[str, Any]) -> None:
        assert digest_of(V1, case) == case["eip712_digest"]
        assert recover_signer(case["signature"], case["eip712_digest"]) == Address.parse(
            V1["device"]
        )

    @pytest.mark.parametrize("case", V1["cases"], ids=lambda case: case["type"])
    def test_requests_without_proofs_are_of_the_past(self, case: dict[str, Any]) -> None:
        with pytest.raises(MalformedInput, match="does not prove") as caught:
            parse_request(case["request"])
        assert "make a new request" in caught.value.hint


def digest_of(vectors: dict[str, Any], case: dict[str, Any]) -> bytes:
    return request_digest(
        RequestKind(case["type"]),
        DomainId.parse(vectors["domain"]).chain_id,
        Address.parse(vectors["device_registry"]),
        Address.parse(vectors["device"]),
        Hash32(case["key_document"]),
        case["nonce"],
        datetime.fromtimestamp(case["deadline"], UTC),
    )


class TestSecondOpinion:
    """eth-account, which a device doesn't carry, hashes and signs the same."""

    @pytest.mark.parametrize("request_", [REQUEST, UPDATE], ids=["enroll", "update"])
    def test_eth_account_agrees(self, request_: EnrollmentRequest) -> None:
        primary = {"enroll": "Enrollment", "update": "KeyDocumentUpdate"}[request_.kind.value]
        signable = encode_typed_data(
            full_message={
                "types": {
                    "EIP712Domain": [
                        {"name": "name", "type": "string"},
                        {"name": "version", "type": "string"},
                        {"name": "chainId", "type": "uint256"},
                        {"name": "verifyingContract", "type": "address"},
                    ],
                    primary: [
                        {"name": "device", "type": "address"},
                        {"name": "keyDocument", "type": "bytes32"},
                        {"name": "nonce", "type": "uint256"},
                        {"name": "deadline", "type": "uint256"},
                    ],
                },
                "primaryType": primary,
                "domain": {
                    "name": "dpki DeviceRegistry",
                    "version": "1",
                    "chainId": 31337,
                    "verifyingContract": str(REGISTRY),
                },
                "message": {
                    "device": str(KEYS.address),
                    "keyDocument": bytes(document_digest(request_.document)),
                    "nonce": request_.nonce,
                    "deadline": int(DEADLINE.timestamp()),
                },
            }
        )
        signed = Account.sign_message(signable, KEYS.identity.secret)
        assert bytes(signed.signature) == request_.signature
        assert Account.recover_message(signable, signature=request_.signature) == str(KEYS.address)


class TestMake:
    def test_nonce_0_asks_to_be_enrolled(self) -> None:
        assert REQUEST.kind is RequestKind.ENROLL
        assert UPDATE.kind is RequestKind.UPDATE

    def test_sequence_and_nonce_must_agree(self) -> None:
        with pytest.raises(UsageError, match="sequence is 0"):
            make_enrollment_request(KEYS, DOMAIN, REGISTRY, DOCUMENT, DEADLINE, nonce=1)

    def test_the_deadline_is_in_whole_seconds(self) -> None:
        request = make_enrollment_request(
            KEYS, DOMAIN, REGISTRY, DOCUMENT, DEADLINE + timedelta(milliseconds=999)
        )
        assert request.deadline == DEADLINE
        assert request.signature == REQUEST.signature


class TestVerify:
    @pytest.mark.parametrize("request_", [REQUEST, UPDATE], ids=["enroll", "update"])
    def test_the_real_one(self, request_: EnrollmentRequest) -> None:
        travelled = parse_request(encode_request(request_))
        assert travelled == request_
        verified = verify_request(travelled, DOMAIN, REGISTRY)
        assert verified.device == KEYS.address
        assert encode_key_document(verified.document) == request_.document
        assert verified.document.digest == verified.key_document
        assert (verified.kind, verified.nonce) == (request_.kind, request_.nonce)
        assert (verified.deadline, verified.signature) == (DEADLINE, request_.signature)

    @pytest.mark.parametrize(
        ("change", "error"),
        [
            ({"kind": RequestKind.UPDATE}, SignatureInvalid),
            ({"domain": dataclasses.replace(DOMAIN, chain_id=1)}, WrongDomain),
            ({"domain": dataclasses.replace(DOMAIN, address=Address.zero())}, WrongDomain),
            ({"domain": dataclasses.replace(DOMAIN, block_hash=Hash32.zero())}, WrongDomain),
            ({"device": Address.zero()}, SignatureInvalid),
            ({"device": generate_device_keys().address}, SignatureInvalid),
            ({"document": flipped(REQUEST.document)}, SignatureInvalid),
            ({"document": encode_key_document(make_key_document(KEYS))}, SignatureInvalid),
            ({"document": b""}, SignatureInvalid),
            ({"nonce": 1}, SignatureInvalid),
            ({"deadline": DEADLINE + timedelta(seconds=1)}, SignatureInvalid),
            ({"deadline": DEADLINE - timedelta(seconds=1)}, SignatureInvalid),
            ({"signature": UPDATE.signature}, SignatureInvalid),
            ({"signature": bytes(65)}, SignatureInvalid),
            ({"signature": b"\xff" * 65}, SignatureInvalid),
            ({"signature": bytes(64) + b"\x1b"}, SignatureInvalid),
            ({"signature": flipped(REQUEST.signature, 5)}, SignatureInvalid),
            ({"signature": flipped(REQUEST.signature, 40)}, SignatureInvalid),
            ({"signature": REQUEST.signature[:64] + b"\0"}, SignatureInvalid),
            ({"signature": REQUEST.signature[:64] + b"\1"}, SignatureInvalid),
            ({"signature": REQUEST.signature[:64] + b"\xff"}, SignatureInvalid),
        ],
        ids=lambda value: ",".join(value) if isinstance(value, dict) else value.__name__,
    )
    def test_every_altered_field(self, change: dict[str, Any], error: type[DpkiError]) -> None:
        with pytest.raises(error):
            verify_request(dataclasses.replace(REQUEST, **change), DOMAIN, REGISTRY)

    def test_the_other_v(self) -> None:
        other = REQUEST.signature[:64] + bytes([27 + 28 - REQUEST.signature[64]])
        with pytest.raises(SignatureInvalid):
            verify_request(dataclasses.replace(REQUEST, signature=other), DOMAIN, REGISTRY)

    def test_the_other_signature_of_the_same_key(self) -> None:
        # (r, n - s) with the other v recovers the same key; the contract refuses it, and so do we.
        s = ORDER - int.from_bytes(REQUEST.signature[32:64], "big")
        v = 27 + 28 - REQUEST.signature[64]
        high = REQUEST.signature[:32] + s.to_bytes(32, "big") + bytes([v])
        with pytest.raises(SignatureInvalid):
            verify_request(dataclasses.replace(REQUEST, signature=high), DOMAIN, REGISTRY)

    def test_another_registry(self) -> None:
        with pytest.raises(SignatureInvalid):
            verify_request(REQUEST, DOMAIN, Address.zero())

    @pytest.mark.parametrize("late", [timedelta(), timedelta(days=1)])
    def test_too_late(self, late: timedelta) -> None:
        with pytest.raises(Expired, match="good until 2026-01-01 01:00:00 UTC"):
            verify_in_time(REQUEST, DEADLINE + late)

    def test_the_last_second(self) -> None:
        verify_in_time(REQUEST, DEADLINE - timedelta(seconds=1))

    def test_a_signed_document_of_another_sequence(self) -> None:
        self._signed(encode_key_document(make_key_document(KEYS, 7)), "sequence")

    def test_a_signed_document_that_is_malformed(self) -> None:
        self._signed(b"\xa0", "key document")

    def _signed(self, document: bytes, message: str) -> None:
        digest = request_digest(
            RequestKind.ENROLL,
            31337,
            REGISTRY,
            KEYS.address,
            document_digest(document),
            0,
            DEADLINE,
        )
        signature = sign_digest(KEYS.identity, digest)
        signed = dataclasses.replace(REQUEST, document=document, signature=signature)
        with pytest.raises(MalformedInput, match=message):
            verify_request(signed, DOMAIN, REGISTRY)


class TestParse:
    FIELDS = loads_strict(encode_request(REQUEST), 1 << 16)

    @pytest.mark.parametrize(
        "change",
        [
            {"v": 3},
            {"more": 1},
            {"type": "enrol"},
            {"type": "update"},
            {"nonce": 1},
            {"nonce": b""},
            {"domain": "eip155:1:0x00"},
            {"domain": str(DOMAIN).lower().replace("0x0101", "0x0101") + " "},
            {"device": bytes(19)},
            {"device": "0x" + "0" * 40},
            {"document": "text"},
            {"deadline": (1 << 64) - 1},
            {"signature": bytes(64)},
            {"signature": bytes(66)},
            {"proofs": [bytes(63)]},
            {"proofs": [bytes(65)]},
            {"proofs": ["x" * 64]},
            {"proofs": b""},
        ],
        ids=str,
    )
    def test_malformed(self, change: dict[str, object]) -> None:
        with pytest.raises(MalformedInput):
            parse_request(dumps({**self.FIELDS, **change}))

    def test_a_domain_id_has_one_spelling(self) -> None:
        mixed = DomainId(31337, Address(bytes.fromhex("ab" * 20)), Hash32(bytes(32)))
        lower = str(mixed).lower()
        assert lower != str(mixed)
        with pytest.raises(MalformedInput, match="printed form"):
            parse_request(dumps({**self.FIELDS, "domain": lower}))

    @pytest.mark.parametrize("key", sorted(FIELDS))
    def test_every_field_is_needed(self, key: str) -> None:
        with pytest.raises(MalformedInput):
            parse_request(dumps({k: v for k, v in self.FIELDS.items() if k != key}))

    def test_size_is_limited(self) -> None:
        with pytest.raises(MalformedInput, match="more than the"):
            parse_request(dumps({**self.FIELDS, "document": bytes(1 << 17)}))

    def test_a_line_of_text_is_the_same_request(self) -> None:
        line = request_line(REQUEST)
        assert line.isascii()
        assert len(line.split()) == 1
        assert parse_request(line.encode()) == parse_request(f"{line}\n".encode()) == REQUEST

    @pytest.mark.parametrize("position", [12, 13, 500, -1])
    def test_a_mistyped_line(self, position: int) -> None:
        line = bytearray(request_line(REQUEST).encode())
        line[position] = ord("*")
        with pytest.raises(MalformedInput):
            parse_request(bytes(line))

    @pytest.mark.parametrize("length", [0, 13, 14, 15, 200, -1, -2, -3])
    def test_a_line_that_is_cut_off(self, length: int) -> None:
        with pytest.raises(MalformedInput):
            parse_request(request_line(REQUEST).encode()[:length])


class TestFingerprint:
    def test_is_short_and_of_the_whole_request(self) -> None:
        assert re.fullmatch(r"([a-z2-7]{4}-){3}[a-z2-7]{4}", REQUEST.fingerprint)
        others = [
            dataclasses.replace(REQUEST, signature=flipped(REQUEST.signature)),
            dataclasses.replace(REQUEST, document=flipped(REQUEST.document)),
            dataclasses.replace(REQUEST, deadline=DEADLINE + timedelta(seconds=1)),
            dataclasses.replace(REQUEST, proofs=REQUEST.proofs[::-1]),
        ]
        assert REQUEST.fingerprint not in {other.fingerprint for other in others}
