"""Installing a plan into sshd: removals first, additions last, every file atomic and checked.

Killed anywhere, the device is left with the old state or the new one, and the next run goes on
(claim T7). The host key pair gets file names of its own, so that key and certificate are never
mixed up; the drop-in that names them is replaced in one step.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from importlib.resources import files as package_files
from pathlib import Path

from dpki.agent.decide import Plan
from dpki.agent.index import encode_index
from dpki.agent.observation import HostPair
from dpki.agent.sshd import (
    InstalledFiles,
    check_candidate,
    reload_sshd,
    render_drop_in,
    strict_options,
    verify_effective,
    verify_krl,
)
from dpki.certificates.keys import public_blob
from dpki.certificates.ssh import ssh_line
from dpki.config.device import DeviceConfig
from dpki.errors import ConfigError, DpkiError
from dpki.files import PRIVATE, PUBLIC, remove_leftovers, translated, write_atomic, written_beside


@dataclass(frozen=True)
class Installed:
    """What installing changed.

    Attributes:
        changed: Names of the files that were replaced or removed, in the order of doing.
        drop_in: Digest of the drop-in that sshd was told to read.
        reloaded: Whether it was told so by this run.
    """

    changed: tuple[str, ...]
    drop_in: str
    reloaded: bool


def install(plan: Plan, config: DeviceConfig, *, reloaded: str | None) -> Installed:
    """Make the device look like the plan.

    Args:
        reloaded: Digest of the drop-in that sshd was last told to read. While it is another one,
            sshd is told again: a run may have been killed between writing and telling.

    Raises:
        ConfigError: sshd is set up in a way that would not enforce strict mode, or files could be
            changed by others; the earlier drop-in is back in place.
        DpkiError: A file could not be written or checked; what was not replaced is as it was.
    """
    files = InstalledFiles(config.sshd.directory)
    _verify_spelling(config)
    _prepare(files.directory)
    remove_leftovers(config.sshd.drop_in.parent, config.sshd.drop_in.name)
    changed: list[str] = []

    def put(path: Path, content: bytes, mode: int = PUBLIC) -> None:
        if _replace(path, content, mode):
            changed.append(path.name)

    put(files.login_command, package_files("dpki.agent").joinpath("login.py").read_bytes())
    with written_beside(files.krl, plan.krl) as candidate:
        verify_krl(candidate)
    put(files.krl, plan.krl)
    put(files.login_index, encode_index(plan.index))
    put(files.user_authorities, plan.user_authorities)
    has_break_glass = config.access.break_glass is not None
    if config.access.break_glass is not None:
        put(files.break_glass, f"{config.access.break_glass}\n".encode())
    host = None if plan.host is None else pair_name(plan.host)
    if plan.host is not None and host is not None:
        put(
            files.host_key(host),
            _spelled_as_installed(files.host_key(host), plan.host.key),
            PRIVATE,
        )
        put(files.host_certificate(host), f"{ssh_line(plan.host.certificate)}\n".encode())
    options = strict_options(
        files,
        login_user=config.sshd.login_user,
        host=host,
        has_break_glass=has_break_glass,
    )
    drop_in = render_drop_in(options)
    if not _is_installed(config.sshd.drop_in, drop_in, PUBLIC):
        _replace_drop_in(config, options, drop_in)
        changed.append(config.sshd.drop_in.name)
    else:
        verify_effective(config.sshd.binary, config.sshd.config, options, config.accounts)
    digest = hashlib.sha256(drop_in).hexdigest()
    if digest != reloaded:
        reload_sshd(config.sshd.reload)
    else:
        # Only now: until it has obeyed the reload, sshd reads the old pair at each connection.
        changed += _remove_superseded(files, host)
    return Installed(tuple(changed), digest, digest != reloaded)


def pair_name(pair: HostPair) -> str:
    """Return the name of a host pair's files: the first digits of the certificate's hash."""
    return pair.certificate.hash.hex()[:16]


def _prepare(directory: Path) -> None:
    """Have the folder, safe from others and open to the login command's user; sweep it."""
    with translated(directory, "nothing was installed"):
        if not directory.is_dir():
            directory.mkdir(parents=True)
        _verify_ownership(directory)
        mode = stat.S_IMODE(directory.stat().st_mode)
        if mode & 0o755 != 0o755:
            directory.chmod(mode | 0o755)
    remove_leftovers(directory)


def _replace_drop_in(config: DeviceConfig, options: list[tuple[str, str]], drop_in: bytes) -> None:
    """Replace the drop-in, and bring the old one back if the new one is not what takes effect.

    The old one is written beside it before: taking it back then needs no room on a disk that may
    have become full.
    """
    path = config.sshd.drop_in
    files = InstalledFiles(config.sshd.directory)
    check_candidate(config.sshd.binary, config.sshd.config, drop_in, files.krl)
    before = _read(path)
    with translated(path):
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with written_beside(path, before or b"", mode=PUBLIC) as earlier:
        try:
            write_atomic(path, drop_in, mode=PUBLIC)
            verify_effective(config.sshd.binary, config.sshd.config, options, config.accounts)
        except BaseException:
            with translated(path, "look at it, and restart sshd only when it is right"):
                if before is None:
                    path.unlink(missing_ok=True)
                else:
                    earlier.replace(path)
            raise


def _remove_superseded(files: InstalledFiles, host: str | None) -> list[str]:
    """Remove the host pairs that the drop-in names no longer; return their names."""
    keep = set() if host is None else {files.host_key(host), files.host_certificate(host)}
    superseded = sorted(p for p in files.directory.glob("host-*") if p not in keep)
    for path in superseded:
        with translated(path, "a host key that is no longer used"):
            path.unlink()
    return [path.name for path in superseded]


def _replace(path: Path, content: bytes, mode: int) -> bool:
    """Write the file unless it is there already with this content, mode and owner."""
    if _is_installed(path, content, mode):
        return False
    write_atomic(path, content, mode=mode)
    return True


def _is_installed(path: Path, content: bytes, mode: int) -> bool:
    """Whether the file is there with this content, mode and owner, and is no link."""
    if _read(path) != content:
        return False
    found = path.lstat()
    return (
        stat.S_ISREG(found.st_mode)
        and stat.S_IMODE(found.st_mode) == mode
        and found.st_uid == os.geteuid()
    )


def _spelled_as_installed(path: Path, key: bytes) -> bytes:
    """Return the private key as the file spells it, where it holds the same one.

    OpenSSH's format carries random check bytes: the same key never looks the same twice, and
    every run would replace a file that is right.
    """
    installed = _read(path)
    try:
        if installed is not None and public_blob(installed) == public_blob(key):
            return installed
    except DpkiError:
        pass  # damaged: it is replaced
    return key


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DpkiError(f"could not read {path}: {error.strerror}") from error


def _verify_spelling(config: DeviceConfig) -> None:
    """Refuse paths that sshd would read as several words or as a token."""
    for path in (config.sshd.directory, config.sshd.drop_in, config.sshd.config):
        if any(c.isspace() or c in "%\"'\\*?[" for c in str(path)) or not path.is_absolute():
            raise ConfigError(
                f"sshd can't be given the path {str(path)!r}",
                hint="use an absolute path without spaces, quotes, wildcards and % signs",
            )


def _verify_ownership(directory: Path) -> None:
    """Refuse a folder that anybody else could change, itself or by a folder above.

    sshd checks only the interpreter of the login command; script, index, KRL and CA list are ours
    to check.
    """
    for path in (directory, *directory.parents):
        found = path.stat()
        mine = found.st_uid in (0, os.geteuid())
        # A sticky folder such as /tmp lets nobody rename what is another's.
        open_to_others = found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX
        if not mine or open_to_others:
            raise ConfigError(
                f"{path} can be changed by others than root, and sshd would trust what is in it",
                hint=f"chown root {path}; chmod go-w {path}",
            )
