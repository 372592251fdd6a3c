"""What runs in the process that a PKCS#11 module has for itself; `pkcs11_module` starts it.

A module is foreign code that crashes, exits and hangs. Here it does so alone. This side only hands
calls on; what is found in a token is judged by `pkcs11_keys`, and every signature is verified by
`adapters`, in the process that asked. One process serves one login: a login belongs to the process
and not to a session, and modules don't bear several threads.

It ends when the one that asks closes the channel, and when that one ends in whatever way, also
while the module holds it up. The PIN comes through the channel.
"""

from __future__ import annotations

import enum
import fcntl
import os
import resource
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pkcs11
from pkcs11 import Attribute, Mechanism, MechanismFlag, ObjectClass

from dpki.signer.pkcs11_wire import receive, send

_ABSENT = (pkcs11.AttributeTypeInvalid, pkcs11.AttributeSensitive)


class Worker:
    """What may be asked; each method is a request, its parameters the request's parts."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._tokens: list[pkcs11.Token] = []
        self._session: Any = None
        self._keys: list[Any] = []
        self._unkept: list[Any] = []

    def load(self) -> None:
        """Load and initialise the module."""
        pkcs11.lib(self._module)

    def tokens(self) -> list[dict[str, str]]:
        """Return label and serial number of every initialised token."""
        self._tokens = [
            token
            for token in pkcs11.lib(self._module).get_tokens()
            if pkcs11.TokenFlag.TOKEN_INITIALIZED in token.flags
        ]
        return [
            {"label": token.label, "serial": token.serial.decode("ascii", "replace").strip()}
            for token in self._tokens
        ]

    def login(self, token: int, pin: str, writable: bool) -> None:
        """Log in to one of the tokens that were returned."""
        self._session = self._tokens[token].open(user_pin=pin, rw=writable)

    def mechanisms(self) -> list[str]:
        """Return the names of the token's mechanisms."""
        # Those without a name are the maker's own, and plain numbers.
        return [each.name for each in self._session.token.slot.get_mechanisms() if _named(each)]

    def search(
        self, kind: str, label: str, identifier: str, attributes: list[str]
    ) -> list[dict[str, object]]:
        """Return the keys of a class with this label and id; an empty one matches all."""
        wanted: dict[Attribute, object] = {Attribute.CLASS: ObjectClass[kind]}
        if label:
            wanted[Attribute.LABEL] = label
        if identifier:
            wanted[Attribute.ID] = bytes.fromhex(identifier)
        found = [key for key in self._session.get_objects(wanted) if isinstance(key, pkcs11.Key)]
        return [self._describe(key, attributes) for key in found]

    def generate(
        self, kind: str, mechanism: str, parameters: str, bits: int, label: str, identifier: str
    ) -> None:
        """Make a pair that signs and does nothing else; unless it is kept, it goes at the end."""
        options: dict[str, Any] = {
            "id": bytes.fromhex(identifier),
            "label": label,
            "store": True,
            # Not what the library takes by default.
            "capabilities": MechanismFlag.SIGN | MechanismFlag.VERIFY,
            "mechanism": Mechanism[mechanism],
            "private_template": {
                Attribute.TOKEN: True,
                Attribute.PRIVATE: True,
                Attribute.SENSITIVE: True,
                Attribute.EXTRACTABLE: False,
            },
        }
        key_type = pkcs11.KeyType[kind]
        if parameters:
            curve = self._session.create_domain_parameters(
                key_type, {Attribute.EC_PARAMS: bytes.fromhex(parameters)}, local=True
            )
            self._unkept += curve.generate_keypair(**options)
        else:
            self._unkept += self._session.generate_keypair(key_type, bits, **options)

    def keep(self) -> None:
        """Keep the pair that was made."""
        self._unkept.clear()

    def sign(self, key: int, mechanism: str, data: str) -> str:
        """Sign with a key that was found."""
        signature = self._keys[key].sign(bytes.fromhex(data), mechanism=Mechanism[mechanism])
        return bytes(signature).hex()

    def close(self) -> None:
        """Remove what was made and not kept, and log out."""
        for key in self._unkept:
            with suppress(pkcs11.PKCS11Error):
                key.destroy()
        # The token may be gone; what was done with it is what counts.
        with suppress(pkcs11.PKCS11Error):
            if self._session is not None:
                self._session.close()
        with suppress(pkcs11.PKCS11Error):
            pkcs11.unload(self._module)

    def _describe(self, key: Any, attributes: list[str]) -> dict[str, object]:
        """Return those attributes that the key has, and its number for signing."""
        described: dict[str, object] = {"key": len(self._keys)}
        self._keys.append(key)
        for name in attributes:
            with suppress(*_ABSENT):
                described[name] = _plain(key[Attribute[name]])
        return described


def _named(value: object) -> bool:
    return isinstance(value, enum.Enum)


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    return value.name if isinstance(value, enum.Enum) else value


def serve(channel: socket.socket, worker: Worker) -> None:
    """Answer until the other side closes the channel."""
    try:
        while True:
            request = receive(channel)
            call: Callable[..., object] = getattr(worker, str(request.pop("do")))
            answer: dict[str, object]
            try:
                answer = {"is": call(**request)}
            except pkcs11.PKCS11Error as error:
                answer = {"error": type(error).__name__, "text": str(error)}
            except Exception as error:  # noqa: BLE001 - the one that asks tells people
                # Without its text: what fails so far from the module may quote the PIN.
                answer = {"error": type(error).__name__, "text": ""}
            send(channel, answer)
    except (EOFError, OSError):
        worker.close()


def end_with(lifeline: int) -> None:
    """Have the kernel end this process when the other end of the pipe is closed.

    SIGIO does so whatever the module is doing then, and PR_SET_PDEATHSIG would not do: it goes off
    when the thread ends that started the process.
    """
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)


def main(channel: int, lifeline: int, module: str) -> None:
    """Serve one login."""
    for descriptor in (channel, lifeline):
        # Not for what the module may start.
        os.set_inheritable(descriptor, False)
    end_with(lifeline)
    # The PIN is in this process's memory: no core is left of it.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    serve(socket.socket(fileno=channel), Worker(module))
