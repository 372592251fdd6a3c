"""Backups of an admin's home: one file, encrypted with a passphrase.

What is in one: the configuration, the wallets' keystores, the issuers' keys, the journal, and
whatever else stands in the home or a folder of it; not what can be had again (issued certificates,
the directory store, a devnet). CAs' keys in an HSM are another matter, and so are those in files
elsewhere (`outside`).

The file: a magic, a version byte, salt, nonce, and a deterministic CBOR map of file names to
contents under ChaCha20-Poly1305 (RFC 8439), whose key comes from the passphrase by scrypt (RFC
7914). Everything before the ciphertext is authenticated with it. A version fixes every parameter:
nobody can ask for cheap ones.

An old backup is safe to go on with: serials come from the chain, and what was anchored after the
backup is another writer's to the journal that comes back.
"""

from __future__ import annotations

import re
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from dpki.bundle.codec import dumps, fields_of, loads_strict
from dpki.config.admin import Home, load_admin_config
from dpki.errors import ConfigError, DpkiError, MalformedInput, PassphraseIncorrect
from dpki.files import (
    create_atomic,
    load_bounded,
    make_private_directory,
    settle,
    staged,
    translated,
    write_atomic,
)
from dpki.issuance.database import SCHEMA, Database
from dpki.signer.pin import PinSource
from dpki.signer.uri import FileUri
from dpki.sqlite import copy_database

VERSION = 1
LIMIT = 1 << 30
"""Bytes of a backup, at most; a journal of a million certificates has about as many."""

_MAGIC = b"dpki-backup\n"
_SALT, _NONCE = 16, 12
_HEADER = len(_MAGIC) + 1 + _SALT + _NONCE
_SCRYPT_WORK = 1 << 17
_NAME = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._-]{0,99}/)?[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


def back_up(home: Home, file: Path, source: PinSource) -> tuple[str, ...]:
    """Write a backup of a home; dpki may be at work in it meanwhile.

    Args:
        file: A new file.
        source: Gives the passphrase.

    Returns:
        The names of what is in it.

    Raises:
        ConfigError: The home has no proper configuration, or there is no passphrase.
        DpkiError: Something could not be read or written, or the file exists already.
    """
    load_admin_config(home)
    if file.exists():
        # Before a passphrase is asked for; `create_atomic` would refuse it all the same.
        raise DpkiError(f"{file} exists already and is not overwritten", hint="name another file")
    # The journal first: what is added meanwhile may lack in it, but never a key that it needs.
    files: dict[str, bytes] = {}
    if home.journal.exists():
        files[home.journal.name] = copy_database(home.journal, SCHEMA)
    files |= {name: load_bounded(path, limit=LIMIT) for name, path in _kept(home)}
    sealed = encrypt_backup(files, source(f"passphrase for the backup {file}"))
    create_atomic(file, sealed)
    return tuple(sorted(files))


def outside(home: Home) -> tuple[str, ...]:
    """Return the files with CAs' keys that are not in the home, and so in no backup of it.

    Raises:
        ConfigError: The home has no proper configuration.
    """
    keys = load_admin_config(home).keys.values()
    files = {Path(key.path) for key in keys if isinstance(key, FileUri)}
    kept = {path for _, path in _kept(home)}
    return tuple(sorted(str(path) for path in files - kept))


def restore(home: Home, file: Path, source: PinSource) -> tuple[str, ...]:
    """Make a home from a backup: all of it, or nothing.

    Args:
        home: One that isn't there yet, or is empty.
        source: Gives the passphrase.

    Returns:
        The names of what was restored.

    Raises:
        ConfigError: The home is in use, which is left as it is.
        MalformedInput: The file is no backup, is damaged, or of another version.
        PassphraseIncorrect: The passphrase is another one, or the file was changed.
        DpkiError: Something could not be read or written.
    """
    _verify_unused(home)
    data = load_bounded(file, limit=LIMIT)
    verify_header(data)
    files = decrypt_backup(data, source(f"passphrase of the backup {file}"))
    target = home.directory
    with staged(target, "restoring") as stage:
        for name, content in files.items():
            make_private_directory((stage / name).parent)
            write_atomic(stage / name, content)
        _verify_restored(Home(stage))
        with translated(target, "nothing was restored"):
            # Replaces an empty folder, and fails where something has come into it meanwhile.
            settle(stage, target)
    return tuple(sorted(files))


def encrypt_backup(files: dict[str, bytes], passphrase: str) -> bytes:
    """Return the bytes of a backup of these files.

    Raises:
        DpkiError: They are too large together, or a name could not be restored.
    """
    for name in files:
        if not _NAME.fullmatch(name):
            raise DpkiError(
                f"{name[:120]!r} in the home can't be backed up",
                hint="move it away, or give it a plain name",
            )
    if sum(map(len, files.values())) > LIMIT - (1 << 20):
        raise DpkiError(f"the home is larger than the {LIMIT} bytes of a backup")
    salt, nonce = secrets.token_bytes(_SALT), secrets.token_bytes(_NONCE)
    header = _MAGIC + bytes([VERSION]) + salt + nonce
    content = dumps({"files": dict(files)})
    return header + ChaCha20Poly1305(_key(passphrase, salt)).encrypt(nonce, content, header)


def decrypt_backup(data: bytes, passphrase: str) -> dict[str, bytes]:
    """Return the files of a backup.

    Raises:
        MalformedInput: It is none, or of another version.
        PassphraseIncorrect: The passphrase is another one, or a byte was changed.
    """
    verify_header(data)
    header, sealed = data[:_HEADER], data[_HEADER:]
    salt, nonce = header[-_SALT - _NONCE : -_NONCE], header[-_NONCE:]
    try:
        content = ChaCha20Poly1305(_key(passphrase, salt)).decrypt(nonce, sealed, header)
    except InvalidTag as error:
        raise PassphraseIncorrect(
            "the backup does not open: the passphrase is another one, or the file was changed",
            hint="try the passphrase again, or another copy of the backup; nothing was restored",
        ) from error
    fields = fields_of(
        loads_strict(content, LIMIT), "backup", required={"files": dict}, optional={}
    )
    files: dict[str, bytes] = fields["files"]
    for name, file in files.items():
        if not _NAME.fullmatch(name) or type(file) is not bytes:
            raise MalformedInput(f"the backup holds {name[:120]!r}, which is no file of a home")
    return files


def verify_header(data: bytes) -> None:
    """Refuse, before a passphrase is asked for, what is no backup.

    Raises:
        MalformedInput: It is none, or of another version.
    """
    if not data.startswith(_MAGIC) or len(data) < _HEADER:
        raise MalformedInput("this is not a backup", hint="make one with: dpki backup FILE")
    version = data[len(_MAGIC)]
    if version != VERSION:
        raise MalformedInput(
            f"this is a backup of version {version}; only version {VERSION} is known here",
            hint="a newer dpki may have written it",
        )


def _key(passphrase: str, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=32, n=_SCRYPT_WORK, r=8, p=1).derive(passphrase.encode())


def _kept(home: Home) -> list[tuple[str, Path]]:
    """Return the files that go into a backup, with their names; the journal goes another way."""
    again = {home.devnet, home.store, home.certificates}
    folders = [path for path in home.directory.iterdir() if path.is_dir() and path not in again]
    paths = [path for folder in (home.directory, *folders) for path in folder.iterdir()]
    return [
        (str(path.relative_to(home.directory)), path)
        for path in sorted(paths)
        # Left out: locks, SQLite's side files, temporary files of a killed writer.
        if path.is_file()
        and path.suffix != ".lock"
        and not path.name.startswith((".", home.journal.name))
    ]


def _verify_unused(home: Home) -> None:
    target = home.directory
    if target.is_symlink() or (target.exists() and (not target.is_dir() or any(target.iterdir()))):
        raise ConfigError(
            f"{target} exists already, and a backup never replaces anything",
            hint="restore to another home with --home, or move that one away",
        )


def _verify_restored(home: Home) -> None:
    """Open what was restored, once, before it counts."""
    config = load_admin_config(home)
    if config.domain is not None and home.journal.exists():
        with Database(home.journal, config.domain) as database:
            database.verify()
