"""What runs in a PKCS#11 module's process, run here, on SoftHSM: each request and its answer.

Whatever `pkcs11_module` asks goes through another process, which nobody measures.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pkcs11
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from dpki.signer.pkcs11_module import find_module
from dpki.signer.pkcs11_wire import receive, send
from dpki.signer.pkcs11_worker import main
from tests.faulty_modules import wait_until
from tests.soft_tokens import SoftHsmFolder, SoftToken

P256 = "06082a8648ce3d030107"


class Asked:
    """A worker in a thread."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair()
        lifeline, self._lifeline = os.pipe()
        arguments = (theirs.detach(), lifeline, str(find_module()))
        # The library knows a module that another test left.
        pkcs11.lib(arguments[2]).reinitialize()
        self._thread = threading.Thread(target=main, args=arguments)
        self._thread.start()

    def answer(self, do: str, **parts: object) -> dict[str, Any]:
        send(self._channel, {"do": do, **parts}, None)
        return receive(self._channel, None)

    def __call__(self, do: str, **parts: object) -> Any:
        answer = self.answer(do, **parts)
        assert set(answer) == {"is"}, answer
        return answer["is"]

    def log_in(self, token: SoftToken) -> None:
        self("load")
        labels = [each["label"] for each in self("tokens")]
        self("login", token=labels.index(token.label), pin=token.pin, writable=True)

    def generate(self, **parts: object) -> None:
        pair = {
            "kind": "EC",
            "mechanism": "EC_KEY_PAIR_GEN",
            "parameters": P256,
            "bits": 0,
            "label": "ca",
            "identifier": "01",
        }
        self("generate", **(pair | parts))

    def search(self, kind: str, label: str, *attributes: str, identifier: str = "") -> Any:
        return self(
            "search", kind=kind, label=label, identifier=identifier, attributes=list(attributes)
        )

    def close(self) -> None:
        self._channel.close()
        self._thread.join()
        os.close(self._lifeline)


@pytest.fixture
def signals() -> Iterator[list[int]]:
    """What the kernel sends when a lifeline is cut; it would end the process."""
    seen: list[int] = []
    before = signal.signal(signal.SIGIO, lambda number, _: seen.append(number))
    yield seen
    signal.signal(signal.SIGIO, before)


@pytest.fixture
def asked(signals: list[int], token: SoftToken) -> Iterator[Asked]:
    asked = Asked()
    yield asked
    asked.close()
    wait_until(lambda: bool(signals))


@pytest.fixture
def token(softhsm: SoftHsmFolder) -> SoftToken:
    return softhsm.token()


def test_the_kernel_tells_when_the_one_that_asks_is_gone(signals: list[int]) -> None:
    asked = Asked()
    asked("load")
    assert not signals
    asked.close()
    wait_until(lambda: signals == [signal.SIGIO])


def test_it_leaves_no_core(asked: Asked) -> None:
    asked("load")
    assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)


def test_tokens_are_the_initialised_ones(asked: Asked, token: SoftToken) -> None:
    """SoftHSM always has one more slot, for the next token."""
    there = asked("tokens")
    (ours,) = [each for each in there if each["label"] == token.label]
    assert len(bytes.fromhex(ours["serial"])) == 8
    assert all(each["label"] for each in there)


def test_a_key_is_made_found_and_signs(asked: Asked, token: SoftToken) -> None:
    asked.log_in(token)
    assert {"ECDSA", "EDDSA", "EC_KEY_PAIR_GEN"} <= set(asked("mechanisms"))
    asked.generate()
    asked("keep")
    wanted = ("KEY_TYPE", "EC_PARAMS", "EC_POINT", "MODULUS", "SENSITIVE", "EXTRACTABLE", "SIGN")
    (private,) = asked.search("PRIVATE_KEY", "", *wanted, identifier="01")
    assert private.pop("key") == 0
    assert private == {
        "KEY_TYPE": "EC",
        "EC_PARAMS": P256,
        "SENSITIVE": True,
        "EXTRACTABLE": False,
        "SIGN": True,
    }, "and neither a modulus nor a point, which it does not have"
    (public,) = asked.search("PUBLIC_KEY", "ca", "EC_POINT")
    digest = bytes(range(32))
    signature = bytes.fromhex(asked("sign", key=0, mechanism="ECDSA", data=digest.hex()))
    r, s = signature[:32], signature[32:]
    point = bytes.fromhex(public["EC_POINT"])[2:]
    ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point).verify(
        encode_dss_signature(int.from_bytes(r), int.from_bytes(s)),
        digest,
        ec.ECDSA(Prehashed(SHA256())),
    )
    assert asked.search("PRIVATE_KEY", "another") == []
    assert asked.search("PRIVATE_KEY", "ca", identifier="02") == []


@pytest.mark.parametrize("kept", [True, False])
def test_an_rsa_key_stays_only_if_it_is_kept(
    token: SoftToken, signals: list[int], kept: bool
) -> None:
    first = Asked()
    first.log_in(token)
    first.generate(kind="RSA", mechanism="RSA_PKCS_KEY_PAIR_GEN", parameters="", bits=2048)
    if kept:
        first("keep")
    first.close()
    second = Asked()
    second.log_in(token)
    found = second.search("PRIVATE_KEY", "ca") + second.search("PUBLIC_KEY", "ca", "MODULUS")
    second.close()
    wait_until(lambda: len(signals) == 2)
    assert len(found) == (2 if kept else 0)
    assert [len(each["MODULUS"]) for each in found[1:]] == [512] * kept


def test_errors_of_the_token_go_by_their_names(asked: Asked, token: SoftToken) -> None:
    label = [each["label"] for each in asked("tokens")].index(token.label)
    refused = asked.answer("login", token=label, pin="0000", writable=False)
    assert refused == {"error": "PinIncorrect", "text": ""}
    asked.log_in(token)


def test_other_errors_go_without_their_text(asked: Asked) -> None:
    """It may quote the PIN."""
    assert asked("tokens") is not None
    failed = asked.answer("login", token=10_000, pin="12\udc80", writable=False)
    assert failed == {"error": "IndexError", "text": ""}
