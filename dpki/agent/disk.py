"""The files that sshd reads, on the disk: what is there, and how it is replaced."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

from dpki.agent.sshd import InstalledFiles
from dpki.certificates.keys import public_blob
from dpki.certificates.ssh import SshCertificate, parse_ssh_certificate
from dpki.errors import ConfigError, DpkiError
from dpki.files import fsync_directory, load_bounded, remove_leftovers, translated

_CERTIFICATE_LIMIT = 64 * 1024


def prepare(directory: Path) -> None:
    """Have the folder, safe from others and open to the login command's user; sweep it.

    Raises:
        ConfigError: Others could change it, itself or by a folder above.
        DpkiError: It could not be made.
    """
    with translated(directory, "nothing was installed"):
        if not directory.is_dir():
            directory.mkdir(parents=True)
        verify_ownership(directory)
        mode = stat.S_IMODE(directory.stat().st_mode)
        if mode & 0o755 != 0o755:
            directory.chmod(mode | 0o755)
    remove_leftovers(directory)


def entries(directory: Path) -> list[Path]:
    """Return everything in the folder but folders, in order; nothing where there is none."""
    try:
        with os.scandir(directory) as found:
            return sorted(Path(e.path) for e in found if not e.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DpkiError(f"could not read {directory}: {error.strerror}") from error


def contents(files: InstalledFiles) -> dict[Path, bytes]:
    """Return every file that sshd, or its login command, may read, by its path."""
    paths = [*entries(files.directory), *entries(files.accounts)]
    own = (files.record, files.hold, files.lock)
    return {path: read(path) or b"" for path in paths if path not in own}


def read(path: Path) -> bytes | None:
    """Return the file's content; None where there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DpkiError(f"could not read {path}: {error.strerror}") from error


def remove(path: Path) -> bool:
    """Remove the file, for good; return whether there was one.

    Of a private key, the name goes. On flash and on journaling file systems overwriting it would
    erase nothing more: the old blocks stay until the device takes them back.
    """
    with translated(path, "it is still there"):
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        fsync_directory(path.parent)
    return True


def is_installed(path: Path, content: bytes, mode: int, owner: int | None = None) -> bool:
    """Whether the file is there with this content, mode and owner, and is no link.

    Args:
        owner: None for whoever runs this.
    """
    if read(path) != content:
        return False
    found = path.lstat()
    return (
        stat.S_ISREG(found.st_mode)
        and stat.S_IMODE(found.st_mode) == mode
        and found.st_uid == (os.geteuid() if owner is None else owner)
    )


def read_pair(files: InstalledFiles, name: str) -> SshCertificate | None:
    """Return the certificate of an installed host pair; None where the pair is not whole."""
    return read_whole_pair(files.host_key(name), files.host_certificate(name), name)


def read_whole_pair(key_file: Path, certificate_file: Path, name: str) -> SshCertificate | None:
    """Return the certificate of an installed key pair; None where the pair is not whole.

    Args:
        name: The first digits of its hash.
    """
    try:
        data = load_bounded(certificate_file, limit=_CERTIFICATE_LIMIT)
        certificate = parse_ssh_certificate(data.decode().strip())
        key = public_blob(load_bounded(key_file, limit=_CERTIFICATE_LIMIT))
    except (DpkiError, ValueError):
        return None
    is_it = certificate.hash.hex()[:16] == name and key == certificate.subject_key
    return certificate if is_it else None


def spelled_as_installed(path: Path, key: bytes) -> bytes:
    """Return the private key as the file spells it, where it holds the same one.

    OpenSSH's format carries random check bytes: the same key never looks the same twice, and
    every run would replace a file that is right.
    """
    installed = read(path)
    try:
        if installed is not None and public_blob(installed) == public_blob(key):
            return installed
    except DpkiError:
        pass  # damaged: it is replaced
    return key


def verify_ownership(directory: Path) -> None:
    """Refuse a folder that anybody else could change, itself or by a folder above.

    sshd checks only the interpreter of the login command; script, index, KRL and CA list are ours
    to check.

    Raises:
        ConfigError: There is one.
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


def number_of(account: str, setting: str) -> int:
    """Return the number of one of this device's accounts.

    Args:
        setting: Which of device.toml names it.

    Raises:
        ConfigError: There is no such account.
    """
    try:
        return pwd.getpwnam(account).pw_uid
    except KeyError:
        raise ConfigError(
            f"there is no account {account} on this device",
            hint=f"make it, or name another in {setting} in device.toml",
        ) from None
