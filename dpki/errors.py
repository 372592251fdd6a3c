"""The one error tree.

Every failure that a caller may want to tell apart is a subclass of `DpkiError`. The class decides
the exit status of the command line; the message says what happened and why, the hint what to do
next. Neither ever holds a secret.

Exit statuses (docs/architecture.md): 1 failure, 2 usage or configuration, 3 checked and false,
4 not allowed, 5 could not check.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping


class DpkiError(Exception):
    """Base of everything that dpki raises on purpose; itself means "failed" (exit status 1).

    Args:
        message: What happened and why, one sentence, no secret.
        hint: What the reader can do next; empty where nothing sensible can be said.
    """

    exit_status: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def details(self) -> Mapping[str, object]:
        """Return what a program may want to know besides, as plain data."""
        return {}


# --- 2: usage or configuration -------------------------------------------------------------------


class UsageError(DpkiError):
    """The caller asked for something that makes no sense; nothing was tried."""

    exit_status = 2


class ConfigError(UsageError):
    """A configuration file is missing, malformed, contradictory or unsafe."""


class InvalidPrincipal(UsageError):
    """A principal is empty or holds a comma, space, wildcard or control character (claim T9)."""


# --- 3: checked and false ------------------------------------------------------------------------


class CheckedFalse(DpkiError):
    """Something was checked to the end, and it is not true."""

    exit_status = 3


class MalformedInput(CheckedFalse):
    """Untrusted bytes are not what they claim to be: truncated, oversized, of another version."""


class SignatureInvalid(CheckedFalse):
    """A signature does not verify under the key it should."""


class NotForThisDevice(CheckedFalse):
    """A bundle or request is addressed to somebody else."""


class BatchRefused(CheckedFalse):
    """A batch that another machine signed is not in order, or not what one's own profile allows."""


class WrongContext(CheckedFalse):
    """Something authentic is used elsewhere: in another domain, CA, serial or device."""


class WrongDomain(CheckedFalse):
    """The endpoint's chain is another one than the trust domain's that was asked for."""


class ProofInvalid(CheckedFalse):
    """A block header or a state proof does not lead to the hash that it should."""


class WouldContradict(CheckedFalse):
    """A witness was asked to sign a checkpoint that contradicts one that it signed."""


class Expired(CheckedFalse):
    """A signed request was good until a time that has passed."""


class ContentMismatch(CheckedFalse):
    """A source delivered bytes whose hash is not the one that was asked for."""


# --- 4: not allowed ------------------------------------------------------------------------------


class NotAllowed(DpkiError):
    """The caller lacks the right: a wrong PIN or passphrase, or an account without the role."""

    exit_status = 4


class PinIncorrect(NotAllowed):
    """The token refused the PIN."""


class PassphraseIncorrect(NotAllowed):
    """The keystore did not open with this passphrase."""


# --- 5: could not check --------------------------------------------------------------------------


class CouldNotCheck(DpkiError):
    """Neither yes nor no: the means to find out were not there (claim T11)."""

    exit_status = 5


class EndpointUnavailable(CouldNotCheck):
    """An RPC endpoint did not answer in time, or answered nonsense."""


class DomainNotShown(CouldNotCheck):
    """An endpoint of a chain with the right id does not show the trust domain."""


class ContentUnavailable(CouldNotCheck):
    """No source delivered the content in time."""


class TransportUnavailable(CouldNotCheck):
    """A carrier of messages could not be reached, or did not take or deliver them in time."""


# --- 1: failed -----------------------------------------------------------------------------------


class TransactionFailed(DpkiError):
    """A transaction was not accepted by the chain, or not mined in time."""


class TransactionReverted(TransactionFailed):
    """A contract refused the call.

    Args:
        name: The contract's typed error, such as `CertificateRegistryUnexpectedSerial`.
        values: Its arguments by name, in order.
    """

    def __init__(self, name: str, values: dict[str, object], *, hint: str = "") -> None:
        detail = ", ".join(f"{key}={value}" for key, value in values.items())
        super().__init__(f"the contract refused: {name}({detail})", hint=hint)
        self.name = name
        self.values = values


class TransactionForbidden(TransactionReverted, NotAllowed):
    """A contract refused the caller: the account lacks the role."""

    exit_status = 4


class TokenError(DpkiError):
    """The PKCS#11 token or its module failed."""


class ModuleFailed(TokenError):
    """The PKCS#11 module crashed, ended its process, or did not answer in time."""


class TokenNotFound(TokenError):
    """No token, or more than one, matches the URI."""


class KeyNotFound(TokenError):
    """No key in the token matches the URI."""


class AmbiguousKey(TokenError):
    """More than one key in the token matches the URI; guessing would be dangerous."""


class StoreFailed(DpkiError):
    """A store could not keep the content that was put on it."""


class ServiceFailed(DpkiError):
    """A service that dpki manages (Anvil, Kubo, sshd) did not start or died."""


class HostFailed(DpkiError):
    """A host could not be reached by SSH, is another than is known, or a command failed there."""
