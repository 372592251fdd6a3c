"""PKCS#11 tokens: the module, the token, and one login that all signers of a process share.

What PKCS#11 makes global is handled here once. A login belongs to the process and not to a session,
closing one logged-in session logs all of them out, and modules crash or deadlock when threads use
them at the same time. So there is one logged-in session a token, counted, and one lock.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pkcs11

from dpki.errors import NotAllowed, PinIncorrect, TokenError, TokenNotFound
from dpki.signer.pin import PinSource, pin_from_file
from dpki.signer.uri import Pkcs11Uri

if TYPE_CHECKING:
    from pkcs11._pkcs11 import lib as Library  # noqa: N812 - a class in all but name

MODULE_VARIABLE = "DPKI_PKCS11_MODULE"

_KNOWN_MODULES = (
    Path("/usr/lib/softhsm/libsofthsm2.so"),
    Path("/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so"),
    Path("/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so"),
    Path("/usr/lib64/pkcs11/libsofthsm2.so"),
    Path("/usr/lib64/softhsm/libsofthsm.so"),
)

_GONE = (
    pkcs11.DeviceRemoved,
    pkcs11.DeviceError,
    pkcs11.TokenNotPresent,
    pkcs11.SessionHandleInvalid,
    pkcs11.SessionClosed,
)
"""What a token that is pulled out, or an HSM whose connection breaks, makes of any call."""

_COURTESY_SECONDS = 5.0

_LOCK = threading.RLock()
_logins: dict[tuple[Path, int], Login] = {}
# Compares the PIN of a second login with the first one's without keeping it.
_PROCESS_KEY = secrets.token_bytes(32)


@dataclass
class Login:
    """The one logged-in session of a token in this process.

    Attributes:
        module: The module's file.
        slot: The slot that the token is in.
        session: The session; to be used inside `talking` only.
        users: How many hold it.
    """

    module: Path
    slot: int
    session: pkcs11.Session = field(repr=False)
    pin_tag: bytes = field(repr=False)
    users: int = 1

    def writable(self) -> pkcs11.Session:
        """Open a session that may create objects: in the same login, the caller's to close."""
        return self.session.token.open(rw=True)

    def close(self) -> None:
        """Let go of it; the last one logs out."""
        with talking("closing the token"):
            self.users -= 1
            if self.users == 0:
                del _logins[self.module, self.slot]
                with suppress(pkcs11.PKCS11Error):
                    # The token may be gone; what was done with it is what counts.
                    self.session.close()


@contextmanager
def talking(what: str) -> Iterator[None]:
    """Hold the process-wide lock, and translate what the module raises.

    Args:
        what: What is being done, for messages ("signing").

    Raises:
        PinIncorrect: The token refused the PIN.
        NotAllowed: The token wants no PIN any more: it is locked or expired.
        TokenError: Anything else.
    """
    with _LOCK:
        try:
            yield
        except (pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLenRange) as error:
            raise PinIncorrect(
                f"{what}: the token refused the PIN", hint="too many wrong ones lock some tokens"
            ) from error
        except (pkcs11.PinLocked, pkcs11.PinExpired) as error:
            raise NotAllowed(
                f"{what}: the PIN is locked or expired",
                hint="the token's security officer can set a new one",
            ) from error
        except pkcs11.UserPinNotInitialized as error:
            raise TokenError(
                f"{what}: the token has no user PIN yet", hint="its security officer sets the first"
            ) from error
        except (pkcs11.MechanismInvalid, pkcs11.FunctionNotSupported) as error:
            raise TokenError(
                f"{what}: the PKCS#11 module lacks the mechanism",
                hint="use a key of another type; `pkcs11-tool --list-mechanisms` shows what it has",
            ) from error
        except _GONE as error:
            raise TokenError(
                f"{what}: the token was removed, or stopped answering",
                hint="put it back and run the command again; certificates that were being issued go"
                " on with: dpki ssh resume",
            ) from error
        except pkcs11.PKCS11Error as error:
            detail = f"{type(error).__name__} {error}".strip()
            raise TokenError(
                f"{what}: the PKCS#11 module failed: {detail}",
                hint="see whether the token is still there, and what the module's own log says;"
                " certificates that were being issued go on with: dpki ssh resume",
            ) from error


def find_module(given: Path | None = None) -> Path:
    """Return the file of the PKCS#11 module, without links.

    It is the given one, or else `$DPKI_PKCS11_MODULE`, or else SoftHSM where it usually is.

    Raises:
        TokenError: It is not there.
    """
    named = given or (
        Path(os.environ[MODULE_VARIABLE]) if os.environ.get(MODULE_VARIABLE) else None
    )
    for path in (named,) if named else _KNOWN_MODULES:
        if path.is_file():
            # One file, one name: a module that is loaded under two names fails.
            return path.resolve()
    if named:
        raise TokenError(
            f"there is no PKCS#11 module at {named}",
            hint=f"give the path of the HSM's library, or correct ${MODULE_VARIABLE}",
        )
    raise TokenError(
        "no PKCS#11 module was found",
        hint=f"install softhsm2, or set ${MODULE_VARIABLE} to the HSM's library",
    )


def verify_token(uri: Pkcs11Uri, module: Path | None) -> Path:
    """Check, without a PIN, that the module works and the token is in it; return the module.

    Raises:
        TokenNotFound: No token matches, or more than one.
        TokenError: The module is missing or fails.
    """
    path = find_module(Path(uri.module_path) if uri.module_path else module)
    with _alone(path), talking("opening the token"):
        _find_token(path, uri)
    return path


def log_in(uri: Pkcs11Uri, pin: PinSource, module: Path | None) -> Login:
    """Log in to the token that the URI names.

    Args:
        uri: Names the token; its own module path, where it has one, wins over `module`.
        pin: Asked for the PIN, once the token is there, unless the URI names a file with it.
        module: The PKCS#11 module's file; found where None.

    Raises:
        TokenNotFound: No token matches, or more than one.
        PinIncorrect: The token refused the PIN.
        TokenError: The module is missing or fails.
    """
    path = verify_token(uri, module)
    # Outside the locks: a person may be typing.
    ask = pin_from_file(Path(uri.pin_source)) if uri.pin_source else pin
    secret = ask(f"PIN of token {uri.token_name}")
    with _alone(path):
        return _log_in(path, uri, secret)


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


def _log_in(path: Path, uri: Pkcs11Uri, secret: str) -> Login:
    tag = hashlib.blake2b(secret.encode(), key=_PROCESS_KEY).digest()
    with talking(f"logging in to token {uri.token_name!r}"):
        token = _find_token(path, uri)
        login = _logins.get((path, token.slot.slot_id))
        if login is None:
            login = Login(path, token.slot.slot_id, _open(path, token, secret), tag)
            _logins[path, login.slot] = login
        elif hmac.compare_digest(tag, login.pin_tag):
            login.users += 1
        else:
            # The module would not look at the PIN, as the process is logged in already.
            raise pkcs11.PinIncorrect
        return login


def _open(path: Path, token: pkcs11.Token, secret: str) -> pkcs11.Session:
    try:
        return token.open(user_pin=secret)
    except pkcs11.PKCS11Error:
        # python-pkcs11 leaves the session open when the login fails, and HSMs have few of them.
        if not _has_logins(path):
            _load(path).reinitialize()
        raise


def _find_token(path: Path, uri: Pkcs11Uri) -> pkcs11.Token:
    library = _load(path)
    matches, labels = _match(library, uri)
    if not matches and not _has_logins(path):
        # Modules see tokens that were made after their initialisation only after another one.
        library.reinitialize()
        matches, labels = _match(library, uri)
    if not matches:
        there = ", ".join(repr(label) for label in labels) or "none"
        raise TokenNotFound(
            f"no token matches {uri}; tokens there: {there}",
            hint="check the label, and for SoftHSM that $SOFTHSM2_CONF is the right one",
        )
    if len(matches) > 1:
        serials = ", ".join(token.serial.decode("ascii", "replace") for token in matches)
        raise TokenNotFound(
            f"{len(matches)} tokens match {uri}",
            hint=f"say which one by ;serial= and one of {serials}",
        )
    return matches[0]


def _match(library: Library, uri: Pkcs11Uri) -> tuple[list[pkcs11.Token], list[str]]:
    """Return the tokens that match, and the labels of all initialised ones."""
    tokens = [
        token for token in library.get_tokens() if pkcs11.TokenFlag.TOKEN_INITIALIZED in token.flags
    ]
    matches = [
        token
        for token in tokens
        if uri.token in ("", token.label)
        and (not uri.serial or token.serial.decode("ascii", "replace").strip() == uri.serial)
    ]
    return matches, [token.label for token in tokens]


def _load(path: Path) -> Library:
    try:
        return pkcs11.lib(str(path))
    except pkcs11.PKCS11Error as error:
        raise TokenError(
            f"{path} could not be loaded as a PKCS#11 module: {error}",
            hint="for SoftHSM: $SOFTHSM2_CONF must name a readable file, and its folder must exist",
        ) from error


def _has_logins(path: Path) -> bool:
    return any(module == path for module, _ in _logins)
