"""Putting the agent onto a host as a service, and taking it off again, without a trace.

What was made here is written down in the device's folder, so that taking it off removes that and
nothing that was there before.
"""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dpki.agent import disk
from dpki.agent.client_files import ClientFiles
from dpki.agent.record import load_record
from dpki.agent.reload import reload_sshd
from dpki.agent.sshd import HEADER, InstalledFiles, run_checked, verify_starts
from dpki.agent.systemd import Systemd
from dpki.agent.unit import NAME, render_unit, writable_paths
from dpki.bundle.codec import dumps, fields_of, loads_strict, verify_version
from dpki.config.device import DeviceConfig
from dpki.errors import DpkiError, MalformedInput, NotAllowed
from dpki.files import (
    PRIVATE,
    PUBLIC,
    find_leftovers,
    load_bounded,
    translated,
    write_atomic,
)

FILE_NAME = "host.cbor"
UNITS = Path("/etc/systemd/system")

_VERSION = 1
_LIMIT = 64 * 1024


@dataclass(frozen=True)
class Made:
    """What was made on the host.

    Attributes:
        user: The login command's account; empty where it was there before.
        folders: Folders, the outermost first.
    """

    user: str = ""
    folders: tuple[str, ...] = ()


@dataclass(frozen=True)
class Deed:
    """One thing to do, and how it is said."""

    says: str
    do: Callable[[], None]


@dataclass(frozen=True)
class Host:
    """A host, or the root folder of one that does not run.

    Attributes:
        directory: The device's folder, as the host will see it.
        root: Where the host's file system is; `/` for this very host.
        program: The `dpki` command, as the host will see it.
    """

    directory: Path
    config: DeviceConfig
    systemd: Systemd
    program: Path
    root: Path = Path("/")

    def at(self, path: Path) -> Path:
        """Return where a path of the host is now."""
        return self.root / path.relative_to("/")

    @property
    def unit(self) -> Path:
        """The unit's file."""
        return self.at(UNITS / NAME)

    @property
    def manifest(self) -> Path:
        """Where it stands what was made."""
        return self.at(self.directory) / FILE_NAME

    @property
    def is_live(self) -> bool:
        """Whether it is this very host, whose services can be told."""
        return self.root == Path("/")


def plan_install(host: Host) -> list[Deed]:
    """Return what is left to do until the agent is a service of the host; nothing where it is.

    Raises:
        ConfigError: A path is one that systemd can't be given.
    """
    unit = render_unit(host.program, host.directory, host.config)
    made = load_made(host.manifest)
    folders = [path for path in _folders(host) if not host.at(path).is_dir()]
    user = host.config.sshd.login_user
    lacks_user = not _has_user(host, user)
    noted = [*made.folders, *map(str, folders)]
    if not host.manifest.exists():
        # By `dpki agent once`, which was run before.
        named = writable_paths(host.directory, host.config)
        noted += map(str, (*_homes(host, named), *_clients(host, named)))
    coming = Made(user if lacks_user else made.user, tuple(dict.fromkeys(noted)))
    deeds = []
    if left := list(_leftovers(host)):
        deeds.append(Deed("remove what a killed command left", lambda: _remove_all(left)))
    if coming != made or not host.manifest.exists():
        # First: what is written down and not made does no harm when it is taken off.
        deeds.append(Deed(f"note in {host.manifest} what is made", lambda: _save(host, coming)))
    deeds += [Deed(f"make the folder {p}", partial(_make, host.at(p))) for p in folders]
    if lacks_user:
        deeds.append(Deed(f"make the system account {user}", lambda: _add_user(host, user)))
    is_new = not disk.is_installed(host.unit, unit, PUBLIC)
    if is_new:
        deeds.append(Deed(f"write {host.unit}", lambda: _write_unit(host, unit)))
    if is_new or not host.systemd.is_in_service(NAME):
        deeds.append(Deed(f"enable and start {NAME}", lambda: host.systemd.enable(NAME)))
    return deeds


def plan_uninstall(host: Host, *, purge: bool) -> list[Deed]:
    """Return what is left to do until nothing of the agent is on the host.

    Args:
        purge: Whether the device's folder goes too: its keys, its memory, its configuration.
    """
    made, found = load_made(host.manifest), _found(host)
    deeds = []
    if host.unit.exists():
        deeds.append(Deed(f"stop {NAME} and remove {host.unit}", lambda: _remove_unit(host)))
    drop_in = host.at(host.config.sshd.drop_in)
    if left := [*_leftovers(host), *find_leftovers(drop_in.parent, drop_in.name)]:
        deeds.append(Deed("remove what a killed command left", lambda: _remove_all(left)))
    if drop_ins := _drop_ins(host, found):
        says = f"remove {' and '.join(map(str, drop_ins))}"
        says += ", and tell sshd" if host.is_live else ""
        deeds.append(Deed(says, lambda: _remove_drop_ins(host, drop_ins)))
    elif host.is_live and found:
        # A killed command may have left that out; sshd would miss its files, and refuse everybody.
        deeds.append(Deed("tell sshd", lambda: reload_sshd(host.config.sshd, host.systemd)))
    for home, paths in found.items():
        many = f"remove what it installed in {host.at(home)}: {len(paths)} files and folders"
        deeds.append(Deed(many, partial(_remove_all, paths)))
    if made.user and _has_user(host, made.user):
        deeds.append(Deed(f"remove the account {made.user}", lambda: _remove_user(host, made.user)))
    folders = [Path(folder) for folder in reversed(made.folders)]
    if not host.manifest.exists():
        # By `dpki agent once`, which makes them.
        folders = list(found)
    deeds += [
        Deed(f"remove the folder {path}, if it is empty", partial(_remove_folder, path))
        for path in map(host.at, folders)
        if path.is_dir()
    ]
    directory = host.at(host.directory)
    if purge and directory.is_dir():
        what = f"remove {directory}: the device's keys and its memory, for ever"
        deeds.append(Deed(what, lambda: _purge(directory)))
    elif host.manifest.exists():
        deeds.append(Deed(f"remove {host.manifest}", lambda: _remove_all([host.manifest])))
    return deeds


def load_made(path: Path) -> Made:
    """Return what was made on a host; nothing where nothing is written down.

    Raises:
        MalformedInput: The file is damaged.
    """
    return parse_made(load_bounded(path, limit=_LIMIT)) if path.exists() else Made()


def parse_made(data: bytes) -> Made:
    """Parse what `encode_made` writes.

    Raises:
        MalformedInput: It is something else.
    """
    what = "note of what was made on this host"
    value = loads_strict(data, _LIMIT)
    verify_version(value, what, _VERSION)
    fields = fields_of(value, what, required={"v": int, "user": str, "folders": list}, optional={})
    for folder in fields["folders"]:
        if type(folder) is not str or not folder.startswith("/") or ".." in Path(folder).parts:
            raise MalformedInput(f"the {what} names no folders")
    return Made(fields["user"], tuple(fields["folders"]))


def encode_made(made: Made) -> bytes:
    """Return it as it lies on the disk."""
    return dumps({"v": _VERSION, "user": made.user, "folders": list(made.folders)})


def verify_may_change(host: Host) -> None:
    """Refuse to begin without the rights to end.

    Raises:
        NotAllowed: Only root may change this host's services.
    """
    if host.is_live and os.geteuid() != 0:
        raise NotAllowed(
            "only root may change this host's services",
            hint="run it with sudo, or rehearse it with --dry-run",
        )


def _folders(host: Host) -> Iterator[Path]:
    """Yield every folder that the agent's service needs, with those above, the outermost first."""
    for folder in (*writable_paths(host.directory, host.config), UNITS):
        yield from reversed([path for path in (folder, *folder.parents) if path != Path("/")])


def _has_user(host: Host, user: str) -> bool:
    if host.is_live:
        try:
            pwd.getpwnam(user)
        except KeyError:
            return False
        return True
    return _is_listed(host, Path("/etc/passwd"), user)


def _is_listed(host: Host, file: Path, name: str) -> bool:
    lines = (disk.read(host.at(file)) or b"").decode("utf-8", "replace")
    return any(line.partition(":")[0] == name for line in lines.splitlines())


def _prefix(host: Host) -> list[str]:
    return [] if host.is_live else ["--prefix", str(host.root)]


def _add_user(host: Host, user: str) -> None:
    options = ["--system", "--no-create-home", "--home-dir", "/nonexistent"]
    options += ["--shell", "/usr/sbin/nologin", "--user-group"]
    command = ["/usr/sbin/useradd", *_prefix(host), *options, user]
    run_checked(command, f"the account {user} was not made")


def _remove_user(host: Host, user: str) -> None:
    command = ["/usr/sbin/userdel", *_prefix(host), user]
    run_checked(command, f"the account {user} was not removed")
    # Its own group goes with it or not, as the host's login.defs has it.
    if _is_listed(host, Path("/etc/group"), user):
        command = ["/usr/sbin/groupdel", *_prefix(host), user]
        run_checked(command, f"the group {user} was not removed")


def _make(path: Path) -> None:
    with translated(path, "nothing was made"):
        path.mkdir(mode=0o755, exist_ok=True)


def _leftovers(host: Host) -> Iterator[Path]:
    """Yield the temporary files of an earlier command that was killed."""
    for path in (host.manifest, host.unit):
        yield from find_leftovers(path.parent, path.name)


def _save(host: Host, made: Made) -> None:
    write_atomic(host.manifest, encode_made(made), mode=PRIVATE)


def _write_unit(host: Host, unit: bytes) -> None:
    write_atomic(host.unit, unit, mode=PUBLIC)
    host.systemd.reload_units()


def _remove_unit(host: Host) -> None:
    host.systemd.disable(NAME)
    disk.remove(host.unit)
    host.systemd.reload_units()


def _found(host: Host) -> dict[Path, list[Path]]:
    """Return what the agent installed, by folder: also where an earlier device.toml said."""
    places = [Path(folder) for folder in load_made(host.manifest).folders]
    outbound = host.config.outbound
    found: dict[Path, list[Path]] = {}
    for home in (host.config.sshd.directory, *_homes(host, places)):
        found[home] = list(_own_files(InstalledFiles(host.at(home))))
    for home in (*([] if outbound is None else [outbound.directory]), *_clients(host, places)):
        at = host.at(home)
        found[home] = [*ClientFiles(at).installed(), *find_leftovers(at)]
    return {home: paths for home, paths in found.items() if paths}


def _homes(host: Host, places: Iterable[Path]) -> list[Path]:
    """Return those of the folders in which an agent keeps what sshd reads."""
    return [path for path in places if InstalledFiles(host.at(path)).record.exists()]


def _clients(host: Host, places: Iterable[Path]) -> list[Path]:
    """Return those of the folders in which an agent keeps what ssh reads."""
    return [path for path in places if _is_ours(ClientFiles(host.at(path)).config)]


def _is_ours(path: Path) -> bool:
    return (disk.read(path) or b"").startswith(HEADER.encode())


def _drop_ins(host: Host, homes: Iterable[Path]) -> list[Path]:
    """Return the agent's drop-in, and those that it wrote where an earlier device.toml said."""
    drop_in = host.at(host.config.sshd.drop_in)
    text = disk.read(drop_in)
    record = load_record(InstalledFiles(host.at(host.config.sshd.directory)).record)
    is_ours = text is not None and (_is_ours(drop_in) or record.is_ours("drop-in", text))
    earlier = [
        path
        for path in sorted(drop_in.parent.glob("*.conf"))
        if path != drop_in
        and _is_ours(path)
        and any(f" {home}/".encode() in (disk.read(path) or b"") for home in homes)
    ]
    return [*([drop_in] if is_ours else []), *earlier]


def _remove_drop_ins(host: Host, drop_ins: Sequence[Path]) -> None:
    """Remove the drop-ins and tell sshd, unless it would not start without."""
    before = {path: content for path in drop_ins if (content := disk.read(path)) is not None}
    for path in before:
        disk.remove(path)
    if not host.is_live or not before:
        return
    try:
        verify_starts(host.config.sshd.binary, host.config.sshd.config)
        reload_sshd(host.config.sshd, host.systemd)
    except DpkiError:
        for path, content in before.items():
            write_atomic(path, content, mode=PUBLIC)
        raise


def _own_files(files: InstalledFiles) -> Iterator[Path]:
    """Yield what the agent wrote, and nothing that somebody else may have put beside it."""
    names = [Path(name) for name in load_record(files.record).files]
    named = [files.directory / name for name in names if ".." not in name.parts]
    fixed = [
        files.user_authorities,
        files.krl,
        files.login_command,
        files.login_index,
        files.break_glass,
        files.previous,
        files.hold,
        files.lock,
    ]
    left = [*find_leftovers(files.directory), *find_leftovers(files.accounts)]
    own = {*named, *fixed, *files.directory.glob("host-*"), *left}
    yield from sorted(
        path
        for path in own
        if path.is_relative_to(files.directory) and (path.is_file() or path.is_symlink())
    )
    if files.sessions.is_dir():
        yield from sorted(files.sessions.iterdir())
        yield files.sessions
    if files.accounts.is_dir():
        yield files.accounts
    if files.record.exists():
        yield files.record  # last: it names the others


def _remove_all(paths: Sequence[Path]) -> None:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            _remove_folder(path)
        else:
            disk.remove(path)


def _remove_folder(path: Path) -> None:
    """Remove a folder of ours; somebody else's things in it stay, and it with them."""
    with translated(path, "it is still there"):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def _purge(directory: Path) -> None:
    with translated(directory, "it is still there, or a part of it"):
        shutil.rmtree(directory)
