"""What somebody asked `dpki ssh issue` or `rotate` for, before anything is opened."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from dpki.certificates.key_id import verify_reason
from dpki.certificates.principals import verify_principals
from dpki.certificates.ssh import SshCertificate
from dpki.config.durations import parse_duration
from dpki.errors import UsageError
from dpki.model import AuthorityKind

NAME = "{name}"
"""Stands for the device's name in a host name or principal."""


@dataclass(frozen=True)
class IssueWish:
    """What was typed: a device with hostnames or principals, or somebody's key with principals.

    Attributes:
        same: The key of the device's last certificate, where it is to be used again or followed.
    """

    ca: str
    device: str | None
    hostnames: tuple[str, ...]
    keygen: str
    key: Path | None
    identity: str | None
    principals: tuple[str, ...]
    lifetime: str | None
    reason: str
    out: Path | None
    same: bytes | None = None


def verify_wish(wish: IssueWish) -> None:
    """Refuse what makes no sense, before anything is opened.

    Raises:
        UsageError: Two ways at once, or half of one.
        InvalidPrincipal: A hostname or principal is none.
    """
    if wish.keygen not in ("device", "admin", "same"):
        raise UsageError(f"--keygen is device, admin or same, not {wish.keygen[:40]!r}")
    if wish.lifetime is not None:
        parse_duration(wish.lifetime)
    if wish.reason:
        verify_reason(wish.reason)
    if (wish.device is None) == (wish.key is None):
        raise UsageError(
            "for whom?",
            hint="give --device NAME with --hostname (its server) or --principal (its client), or"
            " --key FILE.pub with --identity and --principal",
        )
    if wish.device is not None:
        if wish.identity is not None:
            raise UsageError("--identity goes with --key", hint="a device goes by its own name")
        if wish.hostnames and wish.principals:
            raise UsageError(
                "is it for the device's SSH server or for its SSH client?",
                hint="--hostname goes with a host CA, --principal with a user CA",
            )
        verify_principals(wish.hostnames or wish.principals)
        return
    if wish.hostnames or wish.keygen != "device":
        raise UsageError("--hostname and --keygen go with --device", hint="use --principal")
    if wish.identity is None:
        raise UsageError("whose key is it?", hint="name its holder with --identity")
    verify_principals([wish.identity])
    verify_principals(wish.principals)


def with_name(wish: IssueWish, name: str) -> IssueWish:
    """Return the wish with a device's name where `{name}` stands."""
    return replace(
        wish,
        hostnames=tuple(text.replace(NAME, name) for text in wish.hostnames),
        principals=tuple(text.replace(NAME, name) for text in wish.principals),
    )


def named_like(wish: IssueWish, last: SshCertificate) -> IssueWish:
    """Return the wish for the names and the next key of a device's last certificate."""
    is_host = last.kind is AuthorityKind.SSH_HOST
    hostnames, principals = (last.principals, ()) if is_host else ((), last.principals)
    return replace(wish, hostnames=hostnames, principals=principals, same=last.subject_key)
