"""What people type: names, labels, and where secrets come from."""

from __future__ import annotations

import re

from dpki.certificates.keys import parse_ssh_public_key
from dpki.errors import UsageError

SECRET_SOURCES = ("env:NAME", "file:/PATH", "command:PROGRAM ARGUMENT…", "prompt")

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,31}")
_PATTERN = re.compile(r"[A-Za-z0-9.*?!,:\[\]_-]+")
_ACCOUNT = re.compile(r"[a-z_][a-z0-9_.-]{0,30}\$?")


def verify_name(name: str) -> str:
    """Return `name`, a CA's or device's local name.

    It becomes a file's name and a key's label in the token, so it is kept plain.

    Raises:
        UsageError: It is empty, too long, or holds something else.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name[:80]!r} can't be a name",
            hint="1 to 64 lower-case letters, digits, . _ and -, beginning with a letter or digit",
        )
    return name


def verify_label(label: str) -> str:
    """Return `label`, a PKCS#11 token's.

    Raises:
        UsageError: It is empty, longer than a token can hold, or holds something unusual.
    """
    if not _LABEL.fullmatch(label):
        raise UsageError(
            f"{label[:80]!r} can't be a token label",
            hint="1 to 32 letters, digits, spaces, . _ and -; the token's own tool shows it",
        )
    return label


def verify_secret_source(spec: str) -> str:
    """Return `spec`, which says where a secret comes from.

    What does not have one of the forms is not repeated in the error: it may be the secret itself.

    Raises:
        UsageError: It has none of the known forms.
    """
    forms = r"env:[A-Za-z_][A-Za-z0-9_]*|file:[^\0\n]+|command:[^\0\n]*\S[^\0\n]*|prompt"
    if not re.fullmatch(forms, spec):
        raise UsageError(
            "a secret must be given by where it comes from, never itself",
            hint="one of " + ", ".join(SECRET_SOURCES),
        )
    return spec


def verify_multiaddr(text: str) -> str:
    """Return `text`, the multiaddress of a Kubo RPC port.

    Raises:
        UsageError: It has another form.
    """
    if not re.fullmatch(
        r"/(ip4/[0-9.]+|ip6/[0-9a-fA-F:]+|dns[46]?/[A-Za-z0-9.-]+)/tcp/[0-9]{1,5}(/https?)?", text
    ):
        raise UsageError(
            f"{text[:120]!r} is not the multiaddress of a Kubo RPC port",
            hint="it reads like /ip4/127.0.0.1/tcp/5001",
        )
    return text


def verify_account(name: str) -> str:
    """Return `name`, a local account's name as Linux spells them.

    Raises:
        UsageError: It could be no account's name.
    """
    if not _ACCOUNT.fullmatch(name):
        raise UsageError(
            f"{name[:40]!r} is not an account name",
            hint="lower-case letters, digits, _ - and ., at most 32, beginning with a letter or _",
        )
    return name


def verify_host_pattern(pattern: str) -> str:
    """Return host patterns, separated by commas, as they stand in a known_hosts file (sshd(8)).

    Raises:
        UsageError: They could not stand there.
    """
    if not _PATTERN.fullmatch(pattern):
        raise UsageError(
            f"{pattern[:80]!r} is not a host pattern",
            hint="such as '*.example.org' or '[*.example.org]:2222', separated by commas",
        )
    return pattern


def verify_break_glass(line: str) -> str:
    """Return a public key line, tidied, that holds exactly one key and no options.

    Raises:
        UsageError: It is no public key, is a certificate, or holds more than one line.
        MalformedInput: The key itself is malformed.
    """
    line = line.strip()
    words = line.split()
    if not line.isprintable() or len(words) < 2 or not re.fullmatch(r"[a-z0-9@.-]+", words[0]):
        raise UsageError(
            "the break-glass key is not one line with a public key",
            hint='it reads like "ssh-ed25519 AAAA… comment"; make one with ssh-keygen',
        )
    if "-cert-" in words[0]:
        raise UsageError(
            "the break-glass key is a certificate",
            hint="it must be a plain public key: it has to work when certificates do not",
        )
    parse_ssh_public_key(line)
    return line
