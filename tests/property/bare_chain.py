"""Contracts over bare JSON-RPC, for state machines: many calls, little time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
from eth_abi.abi import decode, encode
from eth_hash.auto import keccak


class Reverted(Exception):
    """A call reverted, with the error of this name."""

    def __init__(self, error: str) -> None:
        super().__init__(error)
        self.error = error


@dataclass
class Contract:
    """One deployed contract: its address and how its functions are encoded."""

    address: str
    functions: dict[str, tuple[bytes, list[str], list[str]]]

    @classmethod
    def of(cls, instance: Any) -> Contract:
        functions = {}
        for method in [
            *instance.contract_type.view_methods,
            *instance.contract_type.mutable_methods,
        ]:
            selector = keccak(method.selector.encode())[:4]
            inputs = [part.canonical_type for part in method.inputs]
            outputs = [part.canonical_type for part in method.outputs]
            functions[method.name] = (selector, inputs, outputs)
        return cls(str(instance.address), functions)

    def data(self, function: str, arguments: Sequence[Any]) -> str:
        selector, inputs, _ = self.functions[function]
        return "0x" + (selector + encode(inputs, list(arguments))).hex()


@dataclass
class Chain:
    """The contracts over bare JSON-RPC: a call costs about a millisecond."""

    url: str
    chain_id: int
    parts: dict[str, Contract]
    errors: dict[str, str]
    actors: list[str]
    #: Private keys by address, of those who sign.
    keys: dict[str, str]
    actor_keys: dict[str, str] = field(default_factory=dict)
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=60))

    def request(self, method: str, *params: Any) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = self.client.post(self.url, json=body).json()
        if "error" in answer:
            data = answer["error"].get("data")
            assert isinstance(data, str), answer
            raise Reverted(self.errors[data[:10]])
        return answer["result"]

    def send(self, caller: str, part: str, function: str, *arguments: Any) -> list[dict[str, Any]]:
        """Send a transaction and return its logs, or raise `Reverted`."""
        contract = self.parts[part]
        data = contract.data(function, arguments)
        transaction = {"from": caller, "to": contract.address, "data": data}
        # A mined transaction that reverted does not say why: ask first.
        self.request("eth_call", transaction, "latest")
        sent = self.request("eth_sendTransaction", transaction)
        deadline = time.monotonic() + 30
        while (receipt := self.request("eth_getTransactionReceipt", sent)) is None:
            assert time.monotonic() < deadline, "the transaction was never mined"
            time.sleep(0.0005)
        assert receipt["status"] == "0x1"
        logs: list[dict[str, Any]] = receipt["logs"]
        return logs

    def read(self, calls: Sequence[tuple[str, str, tuple[Any, ...]]]) -> list[Any]:
        """Return what many views answer, asked all at once."""
        body = [
            {
                "jsonrpc": "2.0",
                "id": number,
                "method": "eth_call",
                "params": [
                    {
                        "to": self.parts[part].address,
                        "data": self.parts[part].data(function, arguments),
                    },
                    "latest",
                ],
            }
            for number, (part, function, arguments) in enumerate(calls)
        ]
        answers = {a["id"]: a["result"] for a in self.client.post(self.url, json=body).json()}
        values = []
        for number, (part, function, _) in enumerate(calls):
            outputs = self.parts[part].functions[function][2]
            decoded = decode(outputs, bytes.fromhex(answers[number][2:]))
            values.append(decoded[0] if len(outputs) == 1 else decoded)
        return values

    @property
    def now(self) -> int:
        return int(self.request("eth_getBlockByNumber", "latest", False)["timestamp"], 16)
