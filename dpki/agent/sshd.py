"""What the agent asks of sshd: the strict-mode drop-in, and the checks that it took effect."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dpki.errors import ConfigError, DpkiError, ServiceFailed
from dpki.files import translated, written_beside

_TIMEOUT = 20
_PYTHON = "/usr/bin/python3"
_SEPARATION = Path("/run/sshd")


@dataclass(frozen=True)
class InstalledFiles:
    """Where everything that sshd reads stands, below one folder."""

    directory: Path

    @property
    def user_authorities(self) -> Path:
        """TrustedUserCAKeys; empty means nobody."""
        return self.directory / "user_ca.pub"

    @property
    def krl(self) -> Path:
        """RevokedKeys; never empty, which would admit everyone."""
        return self.directory / "revoked.krl"

    @property
    def login_command(self) -> Path:
        """The script behind AuthorizedPrincipalsCommand."""
        return self.directory / "login.py"

    @property
    def login_index(self) -> Path:
        """What that script decides from."""
        return self.directory / "login.db"

    @property
    def break_glass(self) -> Path:
        """The only file of plain authorized keys that stays."""
        return self.directory / "break_glass"

    def host_key(self, name: str) -> Path:
        """Private host key; named after its certificate, so that a pair is never mixed up."""
        return self.directory / f"host-{name}"

    def host_certificate(self, name: str) -> Path:
        """The certificate beside it."""
        return self.directory / f"host-{name}-cert.pub"


def strict_options(
    files: InstalledFiles, *, login_user: str, host: str | None, has_break_glass: bool
) -> list[tuple[str, str]]:
    """Return the sshd options of strict mode, in the order in which they are written.

    Nothing but a certificate that the login command knows, and the break-glass key, opens a
    session: an AuthorizedPrincipalsFile, an authorized_keys file or a password would each bypass
    the command (measured, see docs/threat-model.md).

    Args:
        host: Name of the installed host pair; None where there is no valid one yet.
    """
    command = f"{_PYTHON} -I -S -E {files.login_command} {files.login_index} %u %k"
    options = [
        ("TrustedUserCAKeys", str(files.user_authorities)),
        ("RevokedKeys", str(files.krl)),
        ("AuthorizedPrincipalsCommand", command),
        ("AuthorizedPrincipalsCommandUser", login_user),
        ("AuthorizedPrincipalsFile", "none"),
        ("AuthorizedKeysFile", str(files.break_glass) if has_break_glass else "none"),
        ("AuthorizedKeysCommand", "none"),
        ("PubkeyAuthentication", "yes"),
        ("AuthenticationMethods", "publickey"),
        ("PasswordAuthentication", "no"),
        ("KbdInteractiveAuthentication", "no"),
        ("HostbasedAuthentication", "no"),
    ]
    if host is not None:
        options += [
            ("HostKey", str(files.host_key(host))),
            ("HostCertificate", str(files.host_certificate(host))),
        ]
    return options


def render_drop_in(options: Iterable[tuple[str, str]]) -> bytes:
    """Return the drop-in file."""
    lines = ["# Written by the dpki agent; changes here are overwritten."]
    lines += [f"{name} {value}" for name, value in options]
    return ("\n".join(lines) + "\n").encode()


def check_candidate(binary: Path, main_config: Path, candidate: bytes, beside: Path) -> None:
    """Refuse a drop-in with which sshd would not start.

    The candidate is put before the main configuration, as its own Include would (sshd takes an
    option's first value).

    Args:
        beside: A file in the agent's own folder; beside it the candidate lies while it is checked.

    Raises:
        DpkiError: It could not be written there.
        ServiceFailed: `sshd -t` refuses it; the message is sshd's.
    """
    _make_separation_directory()
    with written_beside(beside, candidate + f"Include {main_config}\n".encode()) as file:
        _run([str(binary), "-t", "-f", str(file)], "sshd refuses the new configuration")


def verify_effective(
    binary: Path, main_config: Path, options: Iterable[tuple[str, str]], accounts: Iterable[str]
) -> None:
    """Check that the options are in force for each account, whatever other drop-ins say (claim T8).

    Raises:
        ConfigError: Another value is in force; says which, for whom, and how to mend it.
        ServiceFailed: sshd does not accept its configuration.
    """
    expected = {name.lower(): value for name, value in options}
    for account in sorted(accounts):
        effective = _effective_options(binary, main_config, account)
        for name, value in expected.items():
            found = effective.get(name, ["(unset)"])
            if value not in found:
                raise ConfigError(
                    f"sshd's {name} for account {account} is {found[0]!r}, not {value!r}",
                    hint=f"let {main_config} include the dpki drop-in before anything else, and"
                    " remove the other setting (look for Match blocks and other drop-ins)",
                )


def _effective_options(binary: Path, main_config: Path, account: str) -> dict[str, list[str]]:
    _make_separation_directory()
    output = _run(
        [str(binary), "-T", "-f", str(main_config), "-C", f"user={account},host=none,addr=::1"],
        "sshd does not accept its configuration",
    )
    options: dict[str, list[str]] = {}
    for line in output.splitlines():
        name, _, value = line.partition(" ")
        options.setdefault(name, []).append(value)
    return options


def _make_separation_directory() -> None:
    """Make the folder without which sshd run by root does not even check a configuration.

    The service's own unit makes it (RuntimeDirectory=sshd), but only while the service runs.
    """
    if os.geteuid() == 0:
        with translated(_SEPARATION, "sshd was not changed"):
            _SEPARATION.mkdir(mode=0o755, exist_ok=True)


def verify_krl(file: Path, *, ssh_keygen: Path = Path("/usr/bin/ssh-keygen")) -> None:
    """Refuse a KRL that OpenSSH can't read, which locks everybody out, or an empty file.

    An empty file admits everybody.

    Raises:
        DpkiError: It is empty, or OpenSSH refuses it.
    """
    with file.open("rb") as content:
        is_empty = not content.read(1)
    if is_empty:
        raise DpkiError("the KRL is empty; an empty file would admit every revoked key")
    _run([str(ssh_keygen), "-Q", "-l", "-f", str(file)], "OpenSSH refuses the KRL")


def reload_sshd(command: tuple[str, ...]) -> None:
    """Run the reload hook; an empty one means that somebody else reloads sshd.

    Raises:
        ServiceFailed: It did not end with status 0.
    """
    if command:
        _run(list(command), "the reload hook failed")


def _run(command: list[str], failure: str) -> str:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServiceFailed(f"{failure}: {command[0]} did not run: {error}") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise ServiceFailed(f"{failure}: {said[-1] if said else f'status {done.returncode}'}")
    return done.stdout
