"""The command that sshd asks at each login: which principals may use this account (claim T1).

sshd itself has checked the CA's signature, the validity and the KRL. This adds the other half:
the certificate must stand in the index that the agent made of the chain. It prints the account's
principals, or nothing, which refuses the login.

    AuthorizedPrincipalsCommand /usr/bin/python3 -I -S -E login.py login.db %u %k

Before it looks, it leaves a record of who asks in the folder `sessions` beside the index: sshd's
process, which will own the session, the moment, and the certificate. By it the agent ends sessions.

Runs as an unprivileged user, with the agent stopped and the network down. Standard library only,
because it is started by the system's Python, not by ours. Every import costs a login time, so there
is neither SQLite, which takes as long to load as Python to start, nor hashlib, which loads OpenSSL.
"""

from __future__ import annotations

import binascii
import os
import struct
import sys
import syslog
import time

try:
    from _sha2 import sha256  # Python 3.12 and later
except ImportError:
    try:
        from _sha256 import sha256
    except ImportError:
        from hashlib import sha256

INDEX_VERSION = 3

# The index begins with its name, its version and how many certificates follow: hash, serial, place
# of the CA among those that follow, and end. They are in order, and no two begin alike.
HEAD = struct.Struct(">16sII")
INDEX_NAME = b"dpki login index"
CERTIFICATE = struct.Struct(">32sQI")
END = struct.Struct(">Q")

# Of each CA: its id, its longest validity, the time of the block, the time after which nobody gets
# in, and how many pairs of strings follow its key: an account, and a principal that may use it.
AUTHORITY = struct.Struct(">32sQQQI")
LENGTH = struct.Struct(">I")

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
SERIAL_AND_KIND = struct.Struct(">QI")
VALIDITY = struct.Struct(">QQ")
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


class Reader:
    """Takes apart what is made of numbers, and of strings with their length before them.

    Raises:
        struct.error: It ends too early.
    """

    def __init__(self, blob: bytes) -> None:
        self.blob = blob
        self.position = 0

    def take(self, length: int) -> bytes:
        """Return the next bytes."""
        start, self.position = self.position, self.position + length
        if self.position > len(self.blob):
            raise struct.error("it ends too early")
        return self.blob[start : self.position]

    def string(self) -> bytes:
        """Return the next string."""
        (length,) = LENGTH.unpack(self.take(LENGTH.size))
        return self.take(length)


def parse_certificate(blob: bytes) -> tuple[int, int, int, bytes, bytes]:
    """Return (serial, valid after, valid before, extensions, CA key blob) of a user certificate.

    sshd has parsed the whole certificate already; these are the fields that must equal the chain's.

    Raises:
        Refused: It is none.
    """
    reader = Reader(blob)
    try:
        fields = KEY_FIELDS.get(reader.string())
        if fields is None:
            raise Refused("not a certificate of a known type")
        for _ in range(1 + fields):
            reader.string()
        serial, kind = SERIAL_AND_KIND.unpack(reader.take(SERIAL_AND_KIND.size))
        reader.string(), reader.string()
        valid_after, valid_before = VALIDITY.unpack(reader.take(VALIDITY.size))
        reader.string()
        extensions = reader.string()
        reader.string()
        authority = reader.string()
        reader.string()
    except struct.error:
        raise Refused("the certificate is truncated") from None
    if kind != USER_CERTIFICATE or reader.position != len(blob):
        raise Refused("not a user certificate")
    return serial, valid_after, valid_before, extensions, authority


class Authority:
    """One CA of the index."""

    def __init__(self, reader: Reader) -> None:
        numbers = AUTHORITY.unpack(reader.take(AUTHORITY.size))
        self.id, self.maximum_lifetime, self.chain_time, self.fresh_until, pairs = numbers
        self.key = reader.string()
        self.access = [(reader.string(), reader.string()) for _ in range(pairs)]


def read_authorities(index: int, count: int) -> list[Authority]:
    """Return the CAs behind so many certificates."""
    start = HEAD.size + count * (CERTIFICATE.size + END.size)
    reader = Reader(os.pread(index, os.fstat(index).st_size - start, start))
    authorities = []
    while reader.position < len(reader.blob):
        authorities.append(Authority(reader))
    return authorities


def find_end(index: int, count: int, certificate: bytes) -> int:
    """Return when one of the index's certificates ends.

    Raises:
        Refused: It does not stand there.
    """
    low, high, size = 0, count, CERTIFICATE.size + END.size
    while low < high:
        middle = (low + high) // 2
        record = os.pread(index, size, HEAD.size + middle * size)
        found = record[: CERTIFICATE.size]
        if found == certificate:
            return int(END.unpack_from(record, CERTIFICATE.size)[0])
        low, high = (middle + 1, high) if found < certificate else (low, middle)
    raise Refused("the certificate is not anchored, or revoked, or not for this device")


def allowed_principals(index: int, account: str, blob: bytes, clock: float) -> list[str]:
    """Return the principals that may use the account with this certificate.

    Args:
        index: A descriptor of the agent's index.
        account: The local account's name.
        blob: The certificate, as on the wire.
        clock: Seconds since 1970 by this machine.

    Raises:
        Refused: The certificate, or the index, does not allow this login.
        ValueError: It is no index.
        struct.error: It is damaged.
    """
    name, version, count = HEAD.unpack(os.pread(index, HEAD.size, 0))
    if name != INDEX_NAME:
        raise ValueError("it is no login index")
    if version != INDEX_VERSION:
        raise Refused("the index is of another version; run the agent")
    serial, valid_after, valid_before, _, key = parse_certificate(blob)
    authorities = read_authorities(index, count)
    places = [place for place, each in enumerate(authorities) if each.key == key]
    if not places:
        raise Refused("the certificate's CA is not trusted here")
    # By the CA and the serial that it names, too: whoever may anchor can anchor a certificate a
    # second time, or another CA's, and what is revoked would come back.
    named = CERTIFICATE.pack(sha256(blob).digest(), serial, places[0])
    not_after = find_end(index, count, named)
    authority = authorities[places[0]]
    now = max(clock, authority.chain_time)
    if now > authority.fresh_until:
        raise Refused("the index is too old: the agent has not reached the chain for too long")
    lifetime = valid_before - valid_after
    if valid_before != not_after or not 0 < lifetime <= authority.maximum_lifetime:
        raise Refused("the certificate's validity is not the anchored one")
    if now >= not_after:
        raise Refused("the certificate has expired")
    return [principal.decode() for name, principal in authority.access if name == account.encode()]


def ends_sessions(blob: bytes) -> bool:
    """Return whether a certificate says that the sessions that it opens end with it."""
    # Its name as a string, with its length before it and an empty value after it.
    option = LENGTH.pack(len(END_SESSIONS)) + END_SESSIONS + LENGTH.pack(0)
    return option in parse_certificate(blob)[3]


def boot_id() -> str:
    """Return what tells this boot from every other: process ids begin anew with each."""
    with open("/proc/sys/kernel/random/boot_id", "rb") as file:
        return file.read(8).decode()


def name_of(blob: bytes) -> str:
    """Return what a certificate is called in a record: by its CA's key, its serial and itself."""
    serial, *_, key = parse_certificate(blob)
    return f"{sha256(key).hexdigest()}-{serial}-{sha256(blob).hexdigest()}"


def leave_record(directory: str, process: int, certificate: str, marked: bool) -> str:
    """Write down that sshd's process asked for a certificate, and return the file.

    Raises:
        OSError: It could not be written.
    """
    moment = int(time.clock_gettime(time.CLOCK_BOOTTIME) * 1000)
    name = f"{process}-{boot_id()}-{moment}-{certificate}{MARKED if marked else ''}"
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
        # The agent replaces the file, and never writes into it, so there is nothing to lock.
        index = os.open(path, os.O_RDONLY)
        try:
            principals = allowed_principals(index, account, blob, time.time())
            option = FIDO_OPTION if blob[4:7] == b"sk-" else ""
            return "\n".join(option + principal for principal in principals)
        finally:
            os.close(index)
    except (ValueError, OverflowError, MemoryError, struct.error, OSError) as error:
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
        return leave_record(directory, os.getppid(), name_of(blob), marked)
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
