"""PKCS#11 tokens: finding the one that a URI names, and logging in to it.

Every login is a process of its own (`pkcs11_module`): closing one logs no other out, and the token
sees every PIN, also where another login is open.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dpki.errors import TokenError, TokenNotFound
from dpki.signer.pin import PinSource, pin_from_file
from dpki.signer.pkcs11_module import ModuleProcess, find_module
from dpki.signer.uri import Pkcs11Uri

_COURTESY_SECONDS = 5.0


@dataclass(frozen=True)
class FoundKey:
    """A key object in a token, as the module describes it: untrusted.

    Attributes:
        number: What the login calls it.
        attributes: What was asked for and is there, by PKCS#11's names without CKA_.
    """

    number: int
    attributes: Mapping[str, object]

    @property
    def label(self) -> str:
        """CKA_LABEL; empty where there is none."""
        return self.text("LABEL")

    @property
    def id(self) -> bytes:
        """CKA_ID; empty where there is none."""
        return self.octets("ID")

    def text(self, name: str) -> str:
        """Return an attribute that is text, or a name of PKCS#11's; empty where there is none."""
        return str(self.attributes.get(name, ""))

    def octets(self, name: str) -> bytes:
        """Return an attribute that is bytes; empty where there is none."""
        return _bytes(self.attributes.get(name, ""))


class Login:
    """A token, logged in to; to be closed after use.

    Everything here raises as `ModuleProcess.ask` does; `what` is what is being done, for messages.
    """

    def __init__(self, process: ModuleProcess) -> None:
        self._process = process

    def mechanisms(self, what: str) -> frozenset[str]:
        """Return what the token can do, by PKCS#11's names without CKM_."""
        return frozenset(str(name) for name in _list(self._process.ask(what, "mechanisms")))

    def search(
        self, what: str, kind: str, label: str, identifier: bytes, attributes: Collection[str]
    ) -> list[FoundKey]:
        """Return the keys of a class with this label and id; an empty one matches all."""
        found = self._process.ask(
            what,
            "search",
            kind=kind,
            label=label,
            identifier=identifier.hex(),
            attributes=["LABEL", "ID", *attributes],
        )
        return [FoundKey(_int(each.get("key")), each) for each in map(_object, _list(found))]

    def generate(
        self,
        what: str,
        *,
        kind: str,
        mechanism: str,
        parameters: bytes,
        bits: int,
        label: str,
        identifier: bytes,
    ) -> None:
        """Make a pair: sensitive, not extractable; it goes with the login unless it is kept."""
        self._process.ask(
            what,
            "generate",
            kind=kind,
            mechanism=mechanism,
            parameters=parameters.hex(),
            bits=bits,
            label=label,
            identifier=identifier.hex(),
        )

    def keep(self, what: str) -> None:
        """Keep the pair that was made."""
        self._process.ask(what, "keep")

    def sign(self, what: str, key: FoundKey, mechanism: str, data: bytes) -> bytes:
        """Sign by a mechanism; nothing is checked."""
        return _bytes(
            self._process.ask(what, "sign", key=key.number, mechanism=mechanism, data=data.hex())
        )

    def close(self) -> None:
        """Log out; doing it twice does nothing."""
        self._process.close()


def verify_token(uri: Pkcs11Uri, module: Path | None) -> Path:
    """Check, without a PIN, that the module works and the token is in it; return the module.

    Raises:
        TokenNotFound: No token matches, or more than one.
        TokenError: The module is missing or fails.
    """
    path = _module_of(uri, module)
    with _alone(path):
        process = ModuleProcess(path)
        try:
            _find_token(process, uri)
        finally:
            process.close()
    return path


def log_in(uri: Pkcs11Uri, pin: PinSource, module: Path | None, *, writable: bool = False) -> Login:
    """Log in to the token that the URI names.

    Args:
        uri: Names the token; its own module path, where it has one, wins over `module`.
        pin: Asked for the PIN, once the token is there, unless the URI names a file with it.
        module: The PKCS#11 module's file; found where None.
        writable: Whether keys are to be made.

    Raises:
        TokenNotFound: No token matches, or more than one.
        PinIncorrect: The token refused the PIN.
        NotAllowed: The PIN is locked or expired.
        ModuleFailed: The module crashed, or did not answer.
        TokenError: The module is missing or fails.
    """
    path = _module_of(uri, module)
    with _alone(path):
        process = ModuleProcess(path)
        try:
            token = _find_token(process, uri)
        except BaseException:
            process.close()
            raise
    try:
        # Outside the lock: a person may be typing.
        ask = pin_from_file(Path(uri.pin_source)) if uri.pin_source else pin
        secret = ask(f"PIN of token {uri.token_name}")
        what = f"logging in to token {uri.token_name!r}"
        with _alone(path):
            process.ask(what, "login", token=token, pin=secret, writable=writable)
    except BaseException:
        process.close()
        raise
    return Login(process)


def _module_of(uri: Pkcs11Uri, module: Path | None) -> Path:
    return find_module(Path(uri.module_path) if uri.module_path else module)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other processes of dpki from opening tokens of the module meanwhile.

    SoftHSM rewrites the token's record at every login, and truncates it before it locks it: a
    process that reads it at that moment finds a broken token, or one without a PIN. The lock is a
    courtesy, on a file that everybody can read: who holds it for seconds is not waited for.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        end = time.monotonic() + _COURTESY_SECONDS
        while time.monotonic() < end:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)


def _find_token(process: ModuleProcess, uri: Pkcs11Uri) -> int:
    """Return the number of the one token that matches."""
    tokens = [_object(each) for each in _list(process.ask("opening the token", "tokens"))]
    matches = [
        number
        for number, token in enumerate(tokens)
        if uri.token in ("", token.get("label")) and uri.serial in ("", token.get("serial"))
    ]
    if not matches:
        there = ", ".join(repr(token.get("label")) for token in tokens) or "none"
        raise TokenNotFound(
            f"no token matches {uri}; tokens there: {there}",
            hint="check the label, and for SoftHSM that $SOFTHSM2_CONF is the right one",
        )
    if len(matches) > 1:
        serials = ", ".join(str(tokens[number].get("serial")) for number in matches)
        raise TokenNotFound(
            f"{len(matches)} tokens match {uri}",
            hint=f"say which one by ;serial= and one of {serials}",
        )
    return matches[0]


# What crosses the process border is plain data, and wrong where the module has overwritten memory.


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise _nonsense()
    return value


def _object(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise _nonsense()
    return value


def _int(value: object) -> int:
    if not isinstance(value, int):
        raise _nonsense()
    return value


def _bytes(value: object) -> bytes:
    try:
        return bytes.fromhex(str(value))
    except ValueError as error:
        raise _nonsense() from error


def _nonsense() -> TokenError:
    return TokenError(
        "the PKCS#11 module's process answered nonsense",
        hint="nothing was signed; run the command again, and look for an update of the module",
    )
