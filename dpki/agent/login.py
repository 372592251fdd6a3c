"""The command that sshd asks at each login: which principals may use this account (claim T1).

sshd itself has checked the CA's signature, the validity and the KRL. This adds the other half:
the certificate must stand in the index that the agent made of the chain. It prints the account's
principals, or nothing, which refuses the login.

    AuthorizedPrincipalsCommand /usr/bin/python3 -I -S -E login.py login.db %u %k

Before it looks, it leaves a record of who asks in the folder `sessions` beside the index: sshd's
process, which will own the session, the moment, and the certificate. By it the agent ends sessions.

Runs as an unprivileged user, with the agent stopped and the network down. Standard library only,
because it is started by the system's Python, not by ours; every import costs a login time.
"""

from __future__ import annotations

import binascii
import hashlib
import os
import sqlite3
import struct
import sys
import syslog
import time

INDEX_VERSION = 2

# Fields between the nonce and the serial, by certificate type (PROTOCOL.certkeys).
KEY_FIELDS = {
    b"ssh-ed25519-cert-v01@openssh.com": 1,
    b"ssh-rsa-cert-v01@openssh.com": 2,
    b"ecdsa-sha2-nistp256-cert-v01@openssh.com": 2,
    b"ecdsa-sha2-nistp384-cert-v01@openssh.com": 2,
    b"ecdsa-sha2-nistp521-cert-v01@openssh.com": 2,
    b"sk-ssh-ed25519-cert-v01@openssh.com": 2,
    b"sk-ecdsa-sha2-nistp256-cert-v01@openssh.com": 3,
}
USER_CERTIFICATE = 1

# Without it sshd wants a touch of a FIDO key whatever its certificate says; with it, the
# certificate decides. No sshd that knows FIDO keys does not know the option.
FIDO_OPTION = "no-touch-required "


# In a certificate: the sessions that it opens end with it. In a record's name: so says this one.
END_SESSIONS = b"end-sessions@dpki"
MARKED = "-marked"


class Refused(Exception):
    """This login is not to be; the message goes to the system's log."""


class Unchecked(Exception):
    """Nobody knows whether this login is to be, so it is not; the message goes to the log too."""


def decode(encoded: str) -> bytes:
    """Return what base64 hides; the module of that name takes as long to load as Python to start.

    Raises:
        ValueError: It is no base64.
    """
    blob = binascii.a2b_base64(encoded)
    if binascii.b2a_base64(blob, newline=False).decode() != encoded:
        raise ValueError("the certificate is not base64")
    return blob


def parse_certificate(blob: bytes) -> tuple[int, int, int, bytes, bytes]:
    """Return (serial, valid after, valid before, extensions, CA key blob) of a user certificate.

    sshd has parsed the whole certificate already; these are the fields that must equal the chain's.
    """
    position = 0

    def string() -> bytes:
        nonlocal position
        (length,) = struct.unpack_from(">I", blob, position)
        start, position = position + 4, position + 4 + length
        if position > len(blob):
            raise Refused("the certificate is truncated")
        return blob[start:position]

    def integer(form: str) -> int:
        nonlocal position
        (value,) = struct.unpack_from(form, blob, position)
        position += struct.calcsize(form)
        return int(value)

    try:
        fields = KEY_FIELDS.get(string())
        if fields is None:
            raise Refused("not a certificate of a known type")
        for _ in range(1 + fields):
            string()
        serial, kind = integer(">Q"), integer(">I")
        string(), string()
        valid_after, valid_before = integer(">Q"), integer(">Q")
        string()
        extensions = string()
        string()
        authority = string()
        string()
    except struct.error:
        raise Refused("the certificate is truncated") from None
    if kind != USER_CERTIFICATE or position != len(blob):
        raise Refused("not a user certificate")
    return serial, valid_after, valid_before, extensions, authority


def allowed_principals(
    index: sqlite3.Connection, account: str, blob: bytes, clock: float
) -> list[str]:
    """Return the principals that may use the account with this certificate.

    Args:
        index: An open connection to the agent's index.
        account: The local account's name.
        blob: The certificate, as on the wire.
        clock: Seconds since 1970 by this machine.

    Raises:
        Refused: The certificate, or the index, does not allow this login.
    """
    meta = dict(index.execute("SELECT key, value FROM meta"))
    if meta["version"] != INDEX_VERSION:
        raise Refused("the index is of another version; run the agent")
    digest = hashlib.sha256(blob).digest()
    row = index.execute(
        "SELECT c.serial, c.not_after, a.key, a.maximum_lifetime, a.id, a.chain_time, a.fresh_until"
        " FROM certificate c JOIN authority a ON a.id = c.authority WHERE c.hash = ?",
        (digest,),
    ).fetchone()
    if row is None:
        raise Refused("the certificate is not anchored, or revoked, or not for this device")
    serial, not_after, key, maximum_lifetime, authority, chain_time, fresh_until = row
    now = max(clock, chain_time)
    if fresh_until is not None and now > fresh_until:
        raise Refused("the index is too old: the agent has not reached the chain for too long")
    named_serial, valid_after, valid_before, _, named_key = parse_certificate(blob)
    if (named_serial, named_key) != (serial, key):
        raise Refused("the certificate's CA or serial is not the anchored one")
    if valid_before != not_after or not 0 < valid_before - valid_after <= maximum_lifetime:
        raise Refused("the certificate's validity is not the anchored one")
    if now >= not_after:
        raise Refused("the certificate has expired")
    rows = index.execute(
        "SELECT principal FROM access WHERE account = ? AND authority = ?", (account, authority)
    )
    return sorted(principal for (principal,) in rows)


def ends_sessions(blob: bytes) -> bool:
    """Return whether a certificate says that the sessions that it opens end with it."""
    # Its name as a string, with its length before it and an empty value after it.
    option = struct.pack(">I", len(END_SESSIONS)) + END_SESSIONS + struct.pack(">I", 0)
    return option in parse_certificate(blob)[3]


def boot_id() -> str:
    """Return what tells this boot from every other: process ids begin anew with each."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read(8)


def leave_record(directory: str, process: int, blob: bytes, marked: bool) -> str:
    """Write down that sshd's process asked for a certificate, and return the file.

    Raises:
        OSError: It could not be written.
    """
    moment = int(time.clock_gettime(time.CLOCK_BOOTTIME) * 1000)
    digest = hashlib.sha256(blob).hexdigest()
    name = f"{process}-{boot_id()}-{moment}-{digest}{MARKED if marked else ''}"
    path = f"{directory}/{name}"
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    return path


def report(message: str) -> None:
    """Say why, where the operator looks: sshd throws a command's standard error away."""
    print(f"dpki: {message}", file=sys.stderr)
    syslog.openlog("dpki-login", facility=syslog.LOG_AUTH)
    syslog.syslog(syslog.LOG_NOTICE, message)


def look_up(path: str, account: str, blob: bytes) -> str:
    """Return what sshd is to read: the principals that may use the account, a line each.

    Args:
        path: The agent's index.

    Raises:
        Refused: As `allowed_principals` says.
        Unchecked: The index, or the question, is not what it should be.
    """
    try:
        # immutable: the agent replaces the file, never writes into it, so there is nothing to lock.
        index = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
        try:
            principals = allowed_principals(index, account, blob, time.time())
            option = FIDO_OPTION if blob[4:7] == b"sk-" else ""
            return "\n".join(option + principal for principal in principals)
        finally:
            index.close()
    # A damaged file can make SQLite ask for gigabytes.
    except (ValueError, TypeError, KeyError, MemoryError, sqlite3.Error, OSError) as error:
        raise Unchecked(str(error) or type(error).__name__) from error


def announce(directory: str, blob: bytes) -> str | None:
    """Leave a record of this login, and return its file.

    Where that can't be done, as on a full disk, whoever may stay after the certificate's end gets
    in all the same, and there is no file.

    Raises:
        Unchecked: The certificate says that its sessions end with it, and they would not.
        Refused: The certificate is none.
    """
    marked = ends_sessions(blob)
    try:
        return leave_record(directory, os.getppid(), blob, marked)
    except OSError as error:
        if marked:
            raise Unchecked(f"the session could not be ended later: {error}") from error
        report(f"the session can't be ended when its certificate is: {error}")
        return None


def withdraw(record: str) -> None:
    """Take a record back; the agent may have been quicker."""
    try:
        os.unlink(record)
    except OSError:
        pass


def main(arguments: list[str]) -> int:
    """Print the principals for `INDEX ACCOUNT CERTIFICATE`; return the exit status."""
    try:
        path, account, encoded = arguments
        blob = decode(encoded)
        # Before the index is read: whatever is revoked meanwhile, the agent then finds the session.
        record = announce(f"{os.path.dirname(path)}/sessions", blob)
        try:
            principals = look_up(path, account, blob)
        except BaseException:
            if record is not None:
                withdraw(record)
            raise
    except Refused as refusal:
        report(f"login refused: {refusal}")
        return 1
    except (Unchecked, ValueError) as error:
        report(f"login could not be checked: {error}")
        return 1
    print(principals)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
