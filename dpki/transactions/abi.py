"""What the contracts' interfaces say: calls taken apart, questions asked, events read.

All from the shipped artifacts, with eth-abi alone: whoever only reads needs no web3. Source:
Solidity documentation, "Contract ABI Specification".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from eth_abi.codec import ABICodec
from eth_abi.decoding import UnsignedIntegerDecoder
from eth_abi.encoding import UnsignedIntegerEncoder
from eth_abi.exceptions import DecodingError
from eth_abi.registry import BaseEquals
from eth_abi.registry import registry as shared_registry

from dpki.chain import decode as answers
from dpki.chain.rpc import Call, Reader
from dpki.errors import MalformedInput
from dpki.keccak import keccak
from dpki.model import Address, Hash32
from dpki.transactions.artifacts import CONTRACTS, load_artifact


def _own_codec() -> ABICodec:
    """Return eth-abi's codec as it comes, whatever others make of the registry that all share.

    ape puts a decoder of integers there that takes missing bytes for zeros, and with it an array of
    2^54 numbers in a short call is read to its end, for hours.
    """
    registry = shared_registry.copy()
    registry.unregister("uint")
    uint = BaseEquals("uint")
    registry.register(uint, UnsignedIntegerEncoder, UnsignedIntegerDecoder, label="uint")
    return ABICodec(registry)


_codec = _own_codec()
decode, encode = _codec.decode, _codec.encode


@dataclass(frozen=True)
class Parameter:
    """A parameter, a field of a struct, or a result.

    Attributes:
        kind: Its ABI type, structs spelled out: `(uint8,bytes)[]`.
        is_indexed: Whether it stands in an event's topics.
        fields: A struct's.
    """

    name: str
    kind: str
    is_indexed: bool = False
    fields: tuple[Parameter, ...] = ()

    def named(self, value: Any) -> Any:
        """Return a decoded value with every struct in it as a mapping by its fields' names."""
        if not self.fields:
            return value
        if self.kind.endswith("]"):
            return [self._struct(item) for item in value]
        return self._struct(value)

    def _struct(self, value: Sequence[Any]) -> dict[str, Any]:
        return {f.name: f.named(v) for f, v in zip(self.fields, value, strict=True)}


@dataclass(frozen=True)
class Function:
    """A contract's function.

    Attributes:
        contract: The contract that has it.
    """

    contract: str
    name: str
    inputs: tuple[Parameter, ...]
    outputs: tuple[Parameter, ...]

    @property
    def signature(self) -> str:
        """Name and types, as the selector hashes them."""
        return f"{self.name}({','.join(p.kind for p in self.inputs)})"

    @property
    def selector(self) -> bytes:
        """The first four bytes of a call."""
        return keccak(self.signature.encode())[:4]


@dataclass(frozen=True)
class Event:
    """A contract's event."""

    name: str
    parameters: tuple[Parameter, ...]

    @property
    def topic(self) -> Hash32:
        """The first topic."""
        kinds = ",".join(p.kind for p in self.parameters)
        return Hash32(keccak(f"{self.name}({kinds})".encode()))

    def decode(self, topics: Sequence[Hash32], data: bytes) -> dict[str, Any]:
        """Return the event's values by name; addresses are text, as eth-abi has them.

        Raises:
            MalformedInput: It is not of this event.
        """
        indexed = [p for p in self.parameters if p.is_indexed]
        plain = [p for p in self.parameters if not p.is_indexed]
        wrong = MalformedInput(f"the event {self.name} is malformed")
        if len(topics) != len(indexed) + 1 or topics[0] != self.topic:
            raise wrong
        try:
            decoded = decode_all(plain, data)
            if encode([p.kind for p in plain], decoded) != data:
                raise wrong
            values = _by_name(plain, decoded)
            for parameter, topic in zip(indexed, topics[1:], strict=True):
                (values[parameter.name],) = decode_all([parameter], topic)
        except DecodingError as error:
            raise wrong from error
        return values


@dataclass(frozen=True)
class DecodedCall:
    """A call's function and its values, by name."""

    function: Function
    values: Mapping[str, Any]


def decode_all(parameters: Sequence[Parameter], data: bytes) -> tuple[Any, ...]:
    """Return the values; raises eth-abi's `DecodingError` where they don't fit."""
    try:
        return tuple(decode([p.kind for p in parameters], data))
    except (OverflowError, UnicodeDecodeError) as error:
        raise DecodingError(str(error)) from error


def decode_call(data: bytes) -> DecodedCall | None:
    """Return what a call does, if its function is one of ours and it is spelled as Solidity does.

    Only the one canonical spelling is taken: what people read must be all that there is.
    """
    found = _by_selector().get(data[:4])
    if found is None:
        return None
    kinds = [p.kind for p in found.inputs]
    try:
        values = decode_all(found.inputs, data[4:])
        if encode(kinds, values) != data[4:]:
            return None
    except (DecodingError, TypeError, ValueError):
        return None
    return DecodedCall(found, _by_name(found.inputs, values))


@cache
def find_function(contract: str, name: str) -> Function:
    """Return a function of a contract; it must have one of this name."""
    (found,) = (f for f in _functions(contract) if f.name == name)
    return found


@cache
def find_event(contract: str, name: str) -> Event:
    """Return an event of a contract."""
    (item,) = (i for i in load_artifact(contract).abi if i["type"] == "event" and i["name"] == name)
    return Event(name, tuple(_parameter(p) for p in item["inputs"]))


def question(address: Address, function: Function, *arguments: Any, block: object) -> Call:
    """Return the JSON-RPC question for what a view returns.

    Args:
        block: A tag, or `{"blockHash": …}`.
    """
    data = function.selector + encode([p.kind for p in function.inputs], arguments)
    return Call("eth_call", [{"to": str(address), "data": f"0x{data.hex()}"}, block])


def answer(function: Function, value: object, source: str) -> Any:
    """Return what a view returned: the one value, or several by name.

    Raises:
        EndpointUnavailable: It is nonsense.
    """
    try:
        values = decode_all(function.outputs, answers.data(value, source))
        if len(values) == 1:
            return function.outputs[0].named(values[0])
        return _by_name(function.outputs, values)
    except DecodingError as error:
        raise answers.nonsense(source, f"{function.name} answers with other types") from error


def ask(
    reader: Reader, address: Address, function: Function, *arguments: Any, block: object = "latest"
) -> Any:
    """Return what a view returns; see `answer`.

    Raises:
        RpcError: The contract refused.
        EndpointUnavailable: No answer, or nonsense.
    """
    call = question(address, function, *arguments, block=block)
    return answer(function, reader.call(call.method, call.params), reader.name)


def _by_name(parameters: Sequence[Parameter], values: Sequence[Any]) -> dict[str, Any]:
    return {p.name: p.named(value) for p, value in zip(parameters, values, strict=True)}


@cache
def _functions(contract: str) -> tuple[Function, ...]:
    return tuple(
        Function(
            contract,
            item["name"],
            tuple(_parameter(p) for p in item["inputs"]),
            tuple(_parameter(p) for p in item["outputs"]),
        )
        for item in load_artifact(contract).abi
        if item["type"] == "function"
    )


@cache
def _by_selector() -> Mapping[bytes, Function]:
    return {f.selector: f for contract in CONTRACTS for f in _functions(contract)}


def _parameter(item: Mapping[str, Any]) -> Parameter:
    fields = tuple(_parameter(component) for component in item.get("components", ()))
    return Parameter(item["name"], _kind(item), bool(item.get("indexed")), fields)


def _kind(item: Mapping[str, Any]) -> str:
    kind = str(item["type"])
    if not kind.startswith("tuple"):
        return kind
    inner = ",".join(_kind(component) for component in item["components"])
    return f"({inner}){kind.removeprefix('tuple')}"
