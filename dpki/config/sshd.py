"""The OpenSSH server of a device: where it is, in which mode, and how it is told of changes."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from dpki.config.durations import format_duration, parse_duration
from dpki.config.toml import Table, Value
from dpki.config.values import verify_account
from dpki.errors import UsageError

_UNIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9:_.@-]{0,254}")


class Mode(enum.Enum):
    """How sshd is made to check certificates."""

    STRICT = "strict"
    """A command decides each login by what is anchored."""

    FILES = "files"
    """sshd decides by files alone; what is signed and not anchored may get in."""

    @property
    def label(self) -> str:
        """What it is called wherever it shows."""
        return "strict" if self is Mode.STRICT else "reduced (files)"


@dataclass(frozen=True)
class SystemdHook:
    """Have systemd reload a unit; one that does not run is left alone."""

    unit: str

    def __str__(self) -> str:
        """Return the written form."""
        return f"systemd:{self.unit}"


@dataclass(frozen=True)
class PidHook:
    """Send HUP to the server whose process id stands in a file."""

    file: Path

    def __str__(self) -> str:
        """Return the written form."""
        return f"pid:{self.file}"


@dataclass(frozen=True)
class CommandHook:
    """Run a command; an empty one means that somebody else reloads the server."""

    command: tuple[str, ...]


ReloadHook = SystemdHook | PidHook | CommandHook


def parse_hook(text: str) -> ReloadHook:
    """Parse `systemd:UNIT`, `pid:/PATH` or `none`.

    Raises:
        UsageError: It has none of these forms.
    """
    word, _, rest = text.partition(":")
    if text == "none":
        return CommandHook(())
    if word == "systemd" and _UNIT.fullmatch(rest):
        return SystemdHook(rest)
    if word == "pid" and is_plain_path(rest):
        return PidHook(Path(rest))
    raise UsageError(
        f"{text[:80]!r} is no way to reload sshd",
        hint='"systemd:ssh.service", "pid:/run/sshd.pid", "none", or a list: a command\'s words',
    )


def is_plain_path(text: str) -> bool:
    """Whether sshd and systemd read the path as one word that means itself."""
    return text.startswith("/") and text.isprintable() and not set(text) & set("\"'\\%")


@dataclass(frozen=True)
class Sshd:
    """Where the OpenSSH server of this device is, and how it is told.

    Attributes:
        directory: Folder for what sshd reads (CAs, KRL, host certificates); the agent's alone.
        config: The server's main configuration file.
        drop_in: The file that the agent writes, included by `config`.
        binary: The server, for checking a configuration before it takes effect.
        login_user: Unprivileged account that the login command runs as.
        reload: How the server is made to read its configuration again.
        mode: Who decides a login.
        fence: In files mode, whether sshd refuses every serial that was not seen anchored.
        overlap: How long a host pair stays beside the one that replaced it, where the profile that
            the new one was issued by does not say.
    """

    directory: Path = Path("/etc/ssh/dpki")
    config: Path = Path("/etc/ssh/sshd_config")
    drop_in: Path = Path("/etc/ssh/sshd_config.d/10-dpki.conf")
    binary: Path = Path("/usr/sbin/sshd")
    login_user: str = "nobody"
    reload: ReloadHook = SystemdHook("ssh.service")
    mode: Mode = Mode.STRICT
    fence: bool = False
    overlap: timedelta = timedelta(days=1)

    @property
    def others_folders(self) -> tuple[Path, Path]:
        """Folders of sshd's in which what is not the agent's lies, and is read."""
        return self.config.parent, self.drop_in.parent


def parse_sshd(table: Table) -> Sshd:
    """Parse the `[sshd]` table of a device's configuration.

    Raises:
        ConfigError: Something in it is misspelled or contradictory.
    """
    default = Sshd()
    mode = table.text("mode", default.mode.value)
    if mode not in [member.value for member in Mode]:
        raise table.error("mode", "must be strict or files")
    sshd = Sshd(
        directory=_path(table, "directory", default.directory),
        config=_path(table, "config", default.config),
        drop_in=_path(table, "drop_in", default.drop_in),
        binary=_path(table, "binary", default.binary),
        login_user=table.parsed("login_user", verify_account, default.login_user),
        reload=_reload(table, default.reload),
        mode=Mode(mode),
        fence=table.flag("fence", default.fence),
        overlap=table.parsed("overlap", parse_duration, format_duration(default.overlap)),
    )
    table.close()
    if sshd.directory in sshd.others_folders:
        raise table.error(
            "directory",
            "is where sshd's own configuration lies",
            hint="give it a folder of its own",
        )
    if sshd.fence and sshd.mode is not Mode.FILES:
        raise table.error(
            "fence",
            "is for files mode, and this device is in strict mode, which refuses more",
            hint="remove it",
        )
    return sshd


def dump_sshd(sshd: Sshd) -> dict[str, Value]:
    """Return the table that `parse_sshd` reads."""
    reload: Value = str(sshd.reload)
    if isinstance(sshd.reload, CommandHook):
        reload = sshd.reload.command or "none"
    return {
        "directory": str(sshd.directory),
        "config": str(sshd.config),
        "drop_in": str(sshd.drop_in),
        "binary": str(sshd.binary),
        "login_user": sshd.login_user,
        "reload": reload,
        "mode": sshd.mode.value,
        **({"fence": sshd.fence} if sshd.mode is Mode.FILES else {}),
        "overlap": format_duration(sshd.overlap),
    }


def _reload(table: Table, default: ReloadHook) -> ReloadHook:
    if table.is_text("reload"):
        return table.parsed("reload", parse_hook)
    return CommandHook(table.texts("reload")) if "reload" in table else default


def _path(table: Table, key: str, default: Path) -> Path:
    return plain_path(table, key, table.text(key, str(default)))


def plain_path(table: Table, key: str, text: str) -> Path:
    """Return what stands under a key as a path that means itself wherever it ends up.

    In sshd's configuration quotes, backslashes and % mean something.

    Raises:
        ConfigError: It is none.
    """
    if not is_plain_path(text):
        raise table.error(key, f"must be a plain absolute path, not {text[:80]!r}")
    return Path(text)
