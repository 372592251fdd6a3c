"""What people type: names, labels, and where secrets come from."""

from __future__ import annotations

import re

from dpki.errors import UsageError

SECRET_SOURCES = ("env:NAME", "file:/PATH", "command:PROGRAM ARGUMENT…", "prompt")

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,31}")
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
