"""The command that ssh asks about a host's key: is its certificate anchored (claim T1)?

ssh itself checks the CA's signature, the names, the validity. This adds the other half: the
certificate must stand in an index that was made of the chain. It prints the CA's known_hosts line,
or says no by its exit status, which ends the connection.

    KnownHostsCommand /usr/bin/python3 -I -S -E host_lookup.py hosts.db %I %H %K

A key that no CA of the index signed is none of its business: it prints nothing, and ssh goes by its
other known_hosts files. No network; standard library only, because the system's Python starts it.
"""

from __future__ import annotations

import binascii
import hashlib
import sqlite3
import struct
import sys
import time

INDEX_VERSION = 2
ORDER = "ORDER"

# Fields between the nonce and the serial, by certificate type (PROTOCOL.certkeys). The login
# command has a list of its own: each of the two stands alone where it is installed.
KEY_FIELDS = {
    b"ssh-ed25519-cert-v01@openssh.com": 1,
    b"ssh-rsa-cert-v01@openssh.com": 2,
    b"ecdsa-sha2-nistp256-cert-v01@openssh.com": 2,
    b"ecdsa-sha2-nistp384-cert-v01@openssh.com": 2,
    b"ecdsa-sha2-nistp521-cert-v01@openssh.com": 2,
}


class Refused(Exception):
    """This host is not to be believed; the message is for whoever called ssh."""


def decode(encoded: str) -> bytes:
    """Return what base64 hides; `binascii` is strict itself from Python 3.11 on only.

    Raises:
        ValueError: It is no base64.
    """
    blob = binascii.a2b_base64(encoded)
    if binascii.b2a_base64(blob, newline=False).decode() != encoded:
        raise ValueError("the key is not base64")
    return blob


def serial_of(certificate: bytes) -> int:
    """Return the serial that a certificate names.

    Raises:
        Refused: It is of a type that this command does not know.
        struct.error: It is cut off.
    """
    (length,) = struct.unpack_from(">I", certificate)
    fields = KEY_FIELDS.get(certificate[4 : 4 + length])
    if fields is None:
        raise Refused("the host's certificate is of an unknown type")
    position = 4 + length
    for _ in range(1 + fields):
        (length,) = struct.unpack_from(">I", certificate, position)
        position += 4 + length
    return int(struct.unpack_from(">Q", certificate, position)[0])


def known_hosts_lines(
    index: sqlite3.Connection, reason: str, host: str, key: bytes, clock: float
) -> list[str]:
    """Return the lines that ssh may go by.

    Args:
        index: An open connection to the index.
        reason: Why ssh asks: `ORDER` before it knows the host's key, else for that key.
        host: As ssh looks it up.
        key: The host's key or certificate, as on the wire.
        clock: Seconds since 1970 by this machine.

    Raises:
        Refused: A CA of the index signed the certificate, and it does not count; or nobody knows.
        struct.error: The certificate is cut off.
    """
    meta = dict(index.execute("SELECT key, value FROM meta"))
    if meta["version"] != INDEX_VERSION:
        raise Refused("the index is of another version; run dpki ssh known-hosts again")
    authorities = list(index.execute("SELECT id, key, line FROM authority ORDER BY id"))
    if reason == ORDER:
        return [line for _, _, line in authorities]
    # The CA's key as it stands in a certificate: a string, its length before it.
    signers = [
        (identifier, line)
        for identifier, authority, line in authorities
        if struct.pack(">I", len(authority)) + authority in key
    ]
    if not signers:
        return []
    identifier, line = signers[0]
    now = max(clock, meta["chain_time"])
    if now > meta["fresh_until"]:
        raise Refused(f"could not check {host}: the index is too old; run dpki ssh known-hosts")
    # By the serial that it names, too: what is revoked may have been anchored a second time. Text,
    # because SQLite's numbers are smaller than a serial may be.
    row = index.execute(
        "SELECT not_after FROM certificate WHERE hash = ? AND authority = ? AND serial = ?",
        (hashlib.sha256(key).digest(), identifier, str(serial_of(key))),
    ).fetchone()
    if row is None:
        raise Refused(f"{host} shows a certificate that is not anchored, or revoked")
    if now >= row[0]:
        raise Refused(f"{host} shows a certificate that has expired")
    return [line]


def main(arguments: list[str]) -> int:
    """Print the lines for `INDEX REASON HOST KEY`; return the exit status."""
    try:
        path, reason, host, encoded = arguments
        key = b"" if reason == ORDER else decode(encoded)
        # immutable: the file is replaced, never written into, so there is nothing to lock.
        index = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
        try:
            lines = known_hosts_lines(index, reason, host, key, time.time())
        finally:
            index.close()
    except Refused as refusal:
        print(f"dpki: {refusal}", file=sys.stderr)
        return 1
    # A damaged file can make SQLite ask for gigabytes.
    except (
        ValueError,
        TypeError,
        KeyError,
        MemoryError,
        struct.error,
        sqlite3.Error,
        OSError,
    ) as error:
        print(f"dpki: the host could not be checked: {error}", file=sys.stderr)
        return 1
    print("".join(lines), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
