"""An HSM in software: SoftHSM, with tokens and configuration of its own."""

from __future__ import annotations

import os
import pty
import secrets
import select
import shutil
import subprocess
import termios
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from dpki.errors import ServiceFailed
from dpki.files import make_private_directory, write_atomic

CONFIGURATION_VARIABLE = "SOFTHSM2_CONF"
MODULE_VARIABLE = "DPKI_SOFTHSM"

_MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)
_ANSWER = timedelta(seconds=10)
_INSTALL = "install SoftHSM 2 (Debian: apt install softhsm2) or run scripts/setup"


@dataclass(frozen=True)
class SoftHsm:
    """A SoftHSM installation's module with a private token folder.

    The library reads its configuration's place from the environment when it is loaded: put
    `environment` into the process's before.

    Attributes:
        module: The PKCS#11 library.
        configuration: Its configuration file.
    """

    module: Path
    configuration: Path

    @property
    def environment(self) -> Mapping[str, str]:
        """Return what the library needs in the environment before it is loaded."""
        return {CONFIGURATION_VARIABLE: str(self.configuration)}


@dataclass(frozen=True)
class SoftToken:
    """An initialised token.

    Attributes:
        label: Its label.
        pin_file: The file, readable by its owner only, with the user's PIN.
    """

    label: str
    pin_file: Path


def create_softhsm(directory: Path) -> SoftHsm:
    """Return a SoftHSM whose tokens live in `directory`; one made there earlier is taken as it is.

    Raises:
        ServiceFailed: It is not installed.
    """
    tokens = directory / "tokens"
    make_private_directory(tokens)
    configuration = directory / "softhsm2.conf"
    write_atomic(
        configuration,
        f"directories.tokendir = {tokens}\n"
        "objectstore.backend = file\n"
        "log.level = ERROR\n".encode(),
    )
    return SoftHsm(find_module(), configuration)


def create_token(hsm: SoftHsm, label: str, pin_file: Path, *, pin: str | None = None) -> SoftToken:
    """Initialise a token and write its user PIN to a file.

    `softhsm2-util` takes PINs from its arguments, where everybody on the machine can read them, or
    from a terminal: it gets a terminal.

    Args:
        pin: The user's PIN, 4 to 255 characters; None makes a random one.

    Raises:
        ServiceFailed: It is not installed, or refuses.
    """
    tool = shutil.which("softhsm2-util")
    if tool is None:
        raise ServiceFailed("softhsm2-util is not installed", hint=_INSTALL)
    user_pin = pin if pin is not None else secrets.token_hex(8)
    # The security officer's PIN could only wipe the token, which removing the folder does too:
    # nobody keeps it.
    officer_pin = secrets.token_hex(8)
    write_atomic(pin_file, user_pin.encode())
    command = [tool, "--init-token", "--free", "--label", label]
    try:
        status = _run_on_terminal(
            command,
            [officer_pin, officer_pin, user_pin, user_pin],
            {**os.environ, **hsm.environment},
        )
    except ServiceFailed:
        pin_file.unlink(missing_ok=True)
        raise
    if status != 0:
        pin_file.unlink(missing_ok=True)
        raise ServiceFailed(
            f"softhsm2-util could not initialise the token {label!r} (status {status})",
            hint=(
                "the PIN needs 4 to 255 characters, the label 1 to 32, and the token folder must"
                " be writable"
            ),
        )
    return SoftToken(label, pin_file)


def find_module() -> Path:
    """Return SoftHSM's PKCS#11 library: `$DPKI_SOFTHSM`, else where distributions put it.

    Raises:
        ServiceFailed: There is none.
    """
    for candidate in (os.environ.get(MODULE_VARIABLE), *_MODULES):
        if candidate and Path(candidate).is_file():
            return Path(candidate)
    raise ServiceFailed(
        "SoftHSM is not installed", hint=f"{_INSTALL}, or name the library with {MODULE_VARIABLE}"
    )


def _run_on_terminal(command: list[str], answers: list[str], environment: dict[str, str]) -> int:
    """Run a program on a terminal of its own and answer its PIN prompts in order.

    What it prints is thrown away: it may repeat what it was told.

    Returns:
        Its exit status; -1 where it did not end in time.

    Raises:
        ServiceFailed: This system has no pseudo-terminals.
    """
    try:
        master, terminal = pty.openpty()
    except OSError as error:
        raise ServiceFailed(
            f"there is no terminal to give the token's PIN on: {error}",
            hint="mount the pseudo-terminals: mount -t devpts devpts /dev/pts",
        ) from error
    end = time.monotonic() + _ANSWER.total_seconds()
    try:
        try:
            process = subprocess.Popen(
                command,
                stdin=terminal,
                stdout=terminal,
                stderr=terminal,
                env=environment,
                start_new_session=True,
            )
        finally:
            os.close(terminal)
        pending, seen = list(answers), b""
        try:
            while select.select([master], [], [], max(0.0, end - time.monotonic()))[0]:
                try:
                    chunk = os.read(master, 1024)
                except OSError:  # EIO: the other side of the terminal is closed
                    break
                if not chunk:
                    break
                seen = (seen + chunk)[-64:]
                if seen.rstrip().endswith(b"PIN:"):
                    if not pending:
                        return -1  # asked once more: it did not like what it was told
                    _wait_for_no_echo(master, end)
                    os.write(master, pending.pop(0).encode() + b"\n")
                    seen = b""
            return process.wait(timeout=max(0.1, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            return -1
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    finally:
        os.close(master)


def _wait_for_no_echo(terminal: int, end: float) -> None:
    """Wait until the program has turned the echo off: it throws away what was typed before."""
    while termios.tcgetattr(terminal)[3] & termios.ECHO and time.monotonic() < end:
        time.sleep(0.001)
