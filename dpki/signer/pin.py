"""Where PINs and passphrases come from: no command line, and into no message (claim T10).

A source is asked when the secret is needed, and what it gives is not kept here.
"""

from __future__ import annotations

import getpass
import os
import shlex
import stat
import subprocess
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from dpki.errors import ConfigError

PinSource = Callable[[str], str]
"""Returns a secret; its argument says to people which one is asked for ("PIN of token acme")."""

SECRET_VARIABLES: set[str] = set()
"""Names of the environment variables that secrets come from: not for processes of others' code."""

_MAXIMUM = 1024
_COMMAND_SECONDS = 120
_SPELLINGS = "env:NAME, file:PATH, command:PROGRAM ARGUMENTS or prompt"


def pin_source(spec: str) -> PinSource:
    """Return the source that a configuration names.

    Args:
        spec: `env:NAME`, `file:PATH`, `command:PROGRAM ARGUMENTS` or `prompt`.

    Raises:
        ConfigError: It is none of these.
    """
    kind, separator, rest = spec.partition(":")
    if spec == "prompt":
        return pin_from_prompt()
    if separator and rest:
        if kind == "env":
            return pin_from_env(rest)
        if kind == "file":
            return pin_from_file(Path(rest).expanduser())
        if kind == "command":
            try:
                return pin_from_command(shlex.split(rest))
            except ValueError as error:
                raise ConfigError("the command of the PIN source has an open quote") from error
    # What was given is not repeated: people write the PIN itself here.
    raise ConfigError("this is not a source of a PIN or passphrase", hint=f"give {_SPELLINGS}")


def pin_from_env(name: str) -> PinSource:
    """Return a source that reads the environment variable `name`.

    The source raises:
        ConfigError: It is not set, or empty.
    """
    SECRET_VARIABLES.add(name)

    def source(what: str) -> str:
        if name not in os.environ:
            raise ConfigError(
                f"{what}: the environment variable {name} is not set",
                hint=f"set it, or name another source: {_SPELLINGS}",
            )
        return _clean(os.environ[name], f"{what}: the environment variable {name}")

    return source


def pin_from_file(path: Path) -> PinSource:
    """Return a source that reads the first line of a file that only its owner can read.

    The source raises:
        ConfigError: The file can't be read, is not a plain file, belongs to somebody else than the
            caller or root, or others may read or write it.
    """

    def source(what: str) -> str:
        try:
            # Not blocking: opening a named pipe would wait for its writer.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise ConfigError(f"{what}: could not read {path}: {error.strerror}") from error
        try:
            _verify_private(os.fstat(descriptor), path, what)
            data = os.read(descriptor, _MAXIMUM + 2)
        finally:
            os.close(descriptor)
        return _clean(_text(data, f"{what}: {path}"), f"{what}: {path}")

    return source


def pin_from_prompt() -> PinSource:
    """Return a source that asks at the terminal, without echo.

    The source raises:
        ConfigError: There is no terminal, so that it would have been echoed or waited for ever.
    """

    def source(what: str) -> str:
        try:
            with warnings.catch_warnings():
                # getpass only warns before it reads with echo, or from a pipe.
                warnings.simplefilter("error", getpass.GetPassWarning)
                answer = getpass.getpass(f"{what}: ")
        except (getpass.GetPassWarning, EOFError, OSError) as error:
            raise ConfigError(
                f"{what}: there is no terminal to ask at", hint=f"give {_SPELLINGS}"
            ) from error
        return _clean(answer, what)

    return source


def pin_from_command(argv: Sequence[str]) -> PinSource:
    """Return a source that runs a program (no shell) and takes the first line that it prints.

    The source raises:
        ConfigError: It could not be started, failed, printed nothing, or took over two minutes.
    """
    command = tuple(argv)
    if not command:
        raise ConfigError("the command of the PIN source is empty")

    def source(what: str) -> str:
        name = f"{what}: the command {command[0]}"
        done: subprocess.CompletedProcess[bytes] | None = None
        try:
            done = subprocess.run(
                command, stdout=subprocess.PIPE, check=False, timeout=_COMMAND_SECONDS
            )
        except OSError as error:
            raise ConfigError(f"{name} could not be started: {error.strerror}") from error
        except subprocess.TimeoutExpired:
            # Raised below, as this exception holds what the program has printed so far, and would
            # hang on to the one that is raised here.
            pass
        if done is None:
            raise ConfigError(f"{name} took more than {_COMMAND_SECONDS} s")
        if done.returncode != 0:
            raise ConfigError(f"{name} failed with exit status {done.returncode}")
        return _clean(_text(done.stdout, name), name)

    return source


def _verify_private(status: os.stat_result, path: Path, what: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"{what}: {path} is not a plain file")
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o077:
        raise ConfigError(
            f"{what}: others than its owner may read or write {path}",
            hint=f"chown it to yourself, and: chmod 600 {path}",
        )


def _text(data: bytes, where: str) -> str:
    # Not by catching UnicodeDecodeError, which holds the bytes.
    text = data.decode(errors="replace")
    if "\N{REPLACEMENT CHARACTER}" in text:
        raise ConfigError(f"{where} does not hold UTF-8 text")
    return text


def _clean(text: str, where: str) -> str:
    """Return the only line of `text`; what it holds is in no message."""
    secret = text.removesuffix("\n").removesuffix("\r")
    if not secret:
        raise ConfigError(f"{where} is empty")
    if len(secret) > _MAXIMUM or not secret.isprintable():
        raise ConfigError(f"{where} holds more than one line, or is no PIN or passphrase")
    return secret
