"""PKCS#11 modules: where one is, and a process of its own to run it in.

A module is foreign code: many crash when their device misbehaves, some end the process, some never
come back. None of it may happen in a process that holds a journal and a lock, so there is one way
to use a module, and it leads through `pkcs11_worker`.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from dpki.errors import (
    ConfigError,
    DpkiError,
    ModuleFailed,
    NotAllowed,
    PinIncorrect,
    TokenError,
)
from dpki.signer.pin import SECRET_VARIABLES
from dpki.signer.pkcs11_wire import receive, send

MODULE_VARIABLE = "DPKI_PKCS11_MODULE"

_KNOWN_MODULES = (
    Path("/usr/lib/softhsm/libsofthsm2.so"),
    Path("/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so"),
    Path("/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so"),
    Path("/usr/lib64/pkcs11/libsofthsm2.so"),
    Path("/usr/lib64/softhsm/libsofthsm.so"),
)

ANSWER_SECONDS = 60.0
"""How long a module may take to answer. An HSM across a network signs in milliseconds; a smart card
takes a second or two."""

PATIENT_SECONDS = {"load": 120.0, "login": 300.0, "generate": 600.0}
"""Where it may take longer: at some HSMs somebody has to authenticate by hand, and a card looks for
the primes of an RSA key for minutes."""

_ENTRY = """
import os, sys, types
channel, lifeline, module, *sys.path = sys.argv[1:]
sys.modules["pkcs11.util"] = unused = types.ModuleType("pkcs11.util")
unused.__getattr__ = lambda name: None
from dpki.signer.pkcs11_worker import main
main(int(channel), int(lifeline), module)
os._exit(0)
"""
"""What the process runs. Its start is most of what a login costs, and nobody sees it: so it does
without `site`, without python-pkcs11's ASN.1, which is for keys that leave their token, and without
taking an interpreter apart that has logged out."""

GRACE_SECONDS = 3.0
"""How long a process that is to end may take for it, before it is killed."""

_RESUME = "certificates that were being issued go on with: dpki ssh resume"

_GONE = {
    "DeviceRemoved",
    "DeviceError",
    "TokenNotPresent",
    "SessionHandleInvalid",
    "SessionClosed",
}
"""What a token that is pulled out, or an HSM whose connection breaks, makes of any call."""


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


class ModuleProcess:
    """A PKCS#11 module, loaded in a process of its own; to be closed after use.

    Any number of threads may ask; one at a time is answered. The process ends with this one, too,
    however that ends.

    Args:
        module: The module's file.

    Raises:
        ConfigError: python-pkcs11 is not installed.
        TokenError: The file is no PKCS#11 module, or does not want to start.
        ModuleFailed: It crashed or hangs already.
    """

    def __init__(self, module: Path) -> None:
        if importlib.util.find_spec("pkcs11") is None:
            raise ConfigError(
                "PKCS#11 tokens need python-pkcs11, which is not installed",
                hint="pip install 'dpki[admin]'",
            )
        self._module = module
        self._lock = threading.Lock()
        # Why nothing is answered any more.
        self._ended = ""
        self._failed = False
        self._start()
        try:
            answer = self._exchange("loading", "load", {})
            if "error" in answer:
                raise TokenError(
                    f"{module} could not be loaded as a PKCS#11 module: "
                    + (str(answer.get("text")) or str(answer["error"])),
                    hint="for SoftHSM: $SOFTHSM2_CONF must name a readable file, and its folder"
                    " must exist",
                )
        except BaseException:
            self.close()
            raise

    def ask(self, what: str, do: str, **parts: object) -> object:
        """Have something done, and return what came of it: untrusted plain data.

        Args:
            what: What is being done, for messages ("signing").
            do: A method of `pkcs11_worker.Worker`.
            parts: Its arguments.

        Raises:
            PinIncorrect: The token refused the PIN.
            NotAllowed: The token wants no PIN any more: it is locked or expired.
            ModuleFailed: The module crashed, or did not answer.
            TokenError: Anything else.
        """
        answer = self._exchange(what, do, parts)
        if "error" in answer:
            raise _translated(what, str(answer["error"]), str(answer.get("text")))
        return answer.get("is")

    def close(self) -> None:
        """Log out and end the process; doing it twice does nothing."""
        with self._lock:
            if not self._ended:
                self._end("the token is closed")

    def _start(self) -> None:
        channel, theirs = socket.socketpair()
        lifeline, self._lifeline = os.pipe()
        # It finds what this process finds, but nothing in the folder that this one is just in.
        paths = [path for path in sys.path if Path(path).is_absolute()]
        command = ["-I", "-S", "-c", _ENTRY, str(theirs.fileno()), str(lifeline)]
        # Ctrl-C at the terminal is ours to answer: the other side, which inherits this, gets none.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            self._process = subprocess.Popen(
                [sys.executable, *command, str(self._module), *paths],
                stdin=subprocess.DEVNULL,
                # What a module prints has no place among our data.
                stdout=sys.__stderr__,
                pass_fds=(theirs.fileno(), lifeline),
                env={k: v for k, v in os.environ.items() if k not in SECRET_VARIABLES},
            )
        except OSError as error:
            channel.close()
            os.close(self._lifeline)
            raise TokenError(
                f"the process that the PKCS#11 module runs in was not started: {error.strerror}",
                hint="see whether the machine has memory and processes left",
            ) from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
            os.close(lifeline)
        self._channel = channel

    def _exchange(self, what: str, do: str, parts: dict[str, object]) -> dict[str, object]:
        seconds = PATIENT_SECONDS.get(do, ANSWER_SECONDS)
        with self._lock:
            if self._ended:
                raise self._error(what)
            deadline = time.monotonic() + seconds
            try:
                send(self._channel, {"do": do, **parts}, deadline)
                return receive(self._channel, deadline)
            except TimeoutError:
                self._fail(f"did not answer within {seconds:g} s, and was ended", grace=0)
            except (EOFError, OSError):
                self._fail("", grace=GRACE_SECONDS)
            except ValueError:
                self._fail("answered nonsense, and was ended", grace=0)
            except BaseException:
                # Ctrl-C: the answer that is still to come would be taken for the next one.
                self._end("the token is closed")
                raise
            raise self._error(what)

    def _error(self, what: str) -> TokenError:
        if not self._failed:
            return TokenError(f"{what}: {self._ended}")
        return ModuleFailed(
            f"{what}: the PKCS#11 module {self._module} {self._ended}",
            hint="nothing that was being signed was released; see what the module's own log says,"
            f" and run the command again; {_RESUME}",
        )

    def _fail(self, how: str, *, grace: float) -> None:
        self._failed = True
        self._end(how, grace)
        self._ended = how or _death(self._process.returncode)

    def _end(self, why: str, grace: float | None = None) -> None:
        self._ended = why or "ended"
        self._channel.close()
        try:
            self._process.wait(GRACE_SECONDS if grace is None else grace)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self._process.kill()
            self._process.wait()
            os.close(self._lifeline)


def _death(status: int) -> str:
    if status >= 0:
        return f"ended its process, with exit status {status}"
    # A number that has no name is one of the real-time signals.
    names = {each.value: each.name for each in signal.Signals}
    return f"died of {names.get(-status, f'signal {-status}')} ({signal.strsignal(-status)})"


def _translated(what: str, name: str, text: str) -> DpkiError:
    """Return the error for one of python-pkcs11's, by its name."""
    if name in ("PinIncorrect", "PinInvalid", "PinLenRange"):
        return PinIncorrect(
            f"{what}: the token refused the PIN", hint="too many wrong ones lock some tokens"
        )
    if name in ("PinLocked", "PinExpired"):
        return NotAllowed(
            f"{what}: the PIN is locked or expired",
            hint="the token's security officer can set a new one",
        )
    if name == "UserPinNotInitialized":
        return TokenError(
            f"{what}: the token has no user PIN yet", hint="its security officer sets the first"
        )
    if name in ("MechanismInvalid", "FunctionNotSupported"):
        return TokenError(
            f"{what}: the PKCS#11 module lacks the mechanism",
            hint="use a key of another type; `pkcs11-tool --list-mechanisms` shows what it has",
        )
    if name in _GONE:
        return TokenError(
            f"{what}: the token was removed, or stopped answering",
            hint=f"put it back and run the command again; {_RESUME}",
        )
    return TokenError(
        f"{what}: the PKCS#11 module failed: {name} {text}".strip(),
        hint=f"see whether the token is still there, and what the module's own log says; {_RESUME}",
    )
