"""What the agent asks of sshd: the drop-in of either mode, and the checks that it took effect."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from dpki.agent.drift import connections
from dpki.config.device import DeviceConfig
from dpki.config.sshd import Mode
from dpki.errors import ConfigError, DpkiError, ServiceFailed
from dpki.files import translated, written_beside

HEADER = "# Written by the dpki agent"
"""How the files of ours begin that somebody may look into."""

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

    @property
    def sessions(self) -> Path:
        """Folder of the login command's records; beside its index."""
        return self.directory / "sessions"

    @property
    def accounts(self) -> Path:
        """Folder of what lets somebody in, by account: files mode only."""
        return self.directory / "accounts"

    @property
    def record(self) -> Path:
        """What the agent remembers of its own files; sshd does not read it."""
        return self.directory / "installed.cbor"

    @property
    def hold(self) -> Path:
        """What somebody had brought back; sshd does not read it."""
        return self.directory / "hold.cbor"

    @property
    def previous(self) -> Path:
        """The settings of the drop-in before this one; sshd does not read it."""
        return self.directory / "previous.conf"

    @property
    def lock(self) -> Path:
        """Held by whoever changes these files; sshd does not read it."""
        return self.directory / "lock"

    def host_key(self, name: str) -> Path:
        """Private host key; named after its certificate, so that a pair is never mixed up."""
        return self.directory / f"host-{name}"

    def host_certificate(self, name: str) -> Path:
        """The certificate beside it."""
        return self.directory / f"host-{name}-cert.pub"


def settings_for(files: InstalledFiles, config: DeviceConfig) -> list[tuple[str, str]]:
    """Return the sshd options of the device's mode, in the order in which they are written.

    Nothing but a certificate, and the break-glass key, opens a session: in strict mode one that the
    login command knows. An AuthorizedPrincipalsFile, an authorized_keys file or a password would
    each bypass the command (measured, see docs/threat-model.md). In files mode a CA's key stands in
    one file for each account, with the principals that count there: a TrustedUserCAKeys would mix
    up which CA may vouch for which principal.
    """
    has_break_glass = config.access.break_glass is not None
    break_glass = str(files.break_glass) if has_break_glass else "none"
    if config.sshd.mode is Mode.STRICT:
        command = f"{_PYTHON} -I -S -E {files.login_command} {files.login_index} %u %k"
        options = [
            ("TrustedUserCAKeys", str(files.user_authorities)),
            ("RevokedKeys", str(files.krl)),
            ("AuthorizedPrincipalsCommand", command),
            ("AuthorizedPrincipalsCommandUser", config.sshd.login_user),
            ("AuthorizedPrincipalsFile", "none"),
            ("AuthorizedKeysFile", break_glass),
        ]
    else:
        accounts = f"{files.accounts}/%u"
        options = [
            ("TrustedUserCAKeys", "none"),
            ("RevokedKeys", str(files.krl)),
            ("AuthorizedPrincipalsCommand", "none"),
            ("AuthorizedPrincipalsFile", "none"),
            ("AuthorizedKeysFile", f"{accounts} {break_glass}" if has_break_glass else accounts),
        ]
    return [
        *options,
        ("AuthorizedKeysCommand", "none"),
        ("PubkeyAuthentication", "yes"),
        ("AuthenticationMethods", "publickey"),
        ("PasswordAuthentication", "no"),
        ("KbdInteractiveAuthentication", "no"),
        ("HostbasedAuthentication", "no"),
    ]


def host_options(files: InstalledFiles, pairs: Sequence[str]) -> list[tuple[str, str]]:
    """Return the options that present these host pairs, the best first.

    Of several keys of one type sshd takes the first. Of several certificates for one key it would
    take the last, so there must be none.
    """
    keys = [("HostKey", str(files.host_key(name))) for name in pairs]
    certificates = [("HostCertificate", str(files.host_certificate(name))) for name in pairs]
    return keys + certificates


def mode_of(options: Iterable[tuple[str, str]]) -> Mode | None:
    """Return the mode that a drop-in with these options makes; None where it makes none."""
    commands = [value for name, value in options if name == "AuthorizedPrincipalsCommand"]
    if not commands:
        return None
    return Mode.FILES if commands[0] == "none" else Mode.STRICT


def parse_drop_in(text: bytes) -> tuple[list[tuple[str, str]], list[str]]:
    """Return the settings and the names of the host pairs, the best first, of such a drop-in."""
    settings, hosts = [], []
    for line in text.decode("utf-8", "replace").splitlines():
        name, _, value = line.partition(" ")
        if name == "HostKey":
            hosts.append(Path(value).name.removeprefix("host-"))
        elif name not in ("HostCertificate", "#", ""):
            settings.append((name, value))
    return settings, hosts


def render_drop_in(options: Iterable[tuple[str, str]]) -> bytes:
    """Return the drop-in file."""
    lines = [f"{HEADER}; changes here are overwritten."]
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
        run_checked([str(binary), "-t", "-f", str(file)], "sshd refuses the new configuration")


def verify_starts(binary: Path, main_config: Path) -> None:
    """Check that sshd would start with its configuration as it is.

    Raises:
        ServiceFailed: It would not; the message is sshd's.
    """
    _make_separation_directory()
    run_checked([str(binary), "-t", "-f", str(main_config)], "sshd refuses its configuration")


def verify_effective(
    binary: Path, main_config: Path, options: Iterable[tuple[str, str]], accounts: Iterable[str]
) -> None:
    """Check that the options are in force for each account, whatever other drop-ins say (claim T8).

    sshd is asked about an ordinary connection, and about one that each Match block is for.

    Raises:
        ConfigError: Another value is in force; says which, for whom, and how to mend it.
        ServiceFailed: sshd does not accept its configuration.
    """
    expected = [(name, value) for name, value in options]
    for account, connection in product(sorted(accounts), connections(main_config)):
        effective = _effective_options(binary, main_config, f"user={account},{connection}")
        for name, value in expected:
            found = effective.get(name.lower(), ["(unset)"])
            if value not in found:
                raise ConfigError(
                    f"sshd's {name.lower()} for account {account} is {found[0]!r}, not {value!r}"
                    f" (asked with {connection})",
                    hint=f"let {main_config} include the dpki drop-in before anything else, and"
                    " remove the other setting (look for Match blocks and other drop-ins)",
                )


def _effective_options(binary: Path, main_config: Path, whose: str) -> dict[str, list[str]]:
    _make_separation_directory()
    output = run_checked(
        [str(binary), "-T", "-f", str(main_config), "-C", whose],
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
        with translated(_SEPARATION, "sshd was not changed"), suppress(FileExistsError):
            _SEPARATION.mkdir()
            # As sshd's own unit has it, whatever the agent's umask.
            _SEPARATION.chmod(0o755)


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
    run_checked([str(ssh_keygen), "-Q", "-l", "-f", str(file)], "OpenSSH refuses the KRL")


def run_checked(command: list[str], failure: str) -> str:
    """Run a program and return what it printed.

    Raises:
        ServiceFailed: It did not run, or end in time with status 0; begins with `failure`.
    """
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


def verify_spelling(config: DeviceConfig) -> None:
    """Refuse paths that sshd would read as several words or as a token.

    Raises:
        ConfigError: There is one.
    """
    for path in (config.sshd.directory, config.sshd.drop_in, config.sshd.config):
        if any(c.isspace() or c in "%\"'\\*?[" for c in str(path)) or not path.is_absolute():
            raise ConfigError(
                f"sshd can't be given the path {str(path)!r}",
                hint="use an absolute path without spaces, quotes, wildcards and % signs",
            )
