"""What a CA puts into the certificates that it signs: deny by default (claim T9)."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import ClassVar

from dpki.certificates.keys import verify_printable
from dpki.certificates.principals import verify_name, verify_principals
from dpki.errors import MalformedInput, UsageError
from dpki.model import AuthorityKind

USER_EXTENSIONS = frozenset(
    {
        "no-touch-required",
        "permit-X11-forwarding",
        "permit-agent-forwarding",
        "permit-port-forwarding",
        "permit-pty",
        "permit-user-rc",
    }
)
"""Extensions that OpenSSH knows in user certificates; it knows none in host certificates
(PROTOCOL.certkeys)."""

USER_CRITICAL_OPTIONS = frozenset({"force-command", "source-address", "verify-required"})
"""Critical options that OpenSSH knows in user certificates; it knows none in host certificates."""

SSH_KINDS = (AuthorityKind.SSH_USER, AuthorityKind.SSH_HOST)


@dataclass(frozen=True)
class Profile:
    """What every certificate of one CA has in common.

    Take `Profile.user` or `Profile.host` for the defaults. Nothing is allowed that is not named
    here.

    Attributes:
        kind: SSH user or SSH host.
        maximum_validity: The longest time between valid-after and valid-before.
        extensions: Names of extensions, such as `permit-pty`; users only.
        critical_options: (name, value) pairs, such as `("source-address", "192.0.2.0/24")`; users
            only.

    Raises:
        UsageError: Something that OpenSSH doesn't know, or that makes no sense for the kind.
    """

    kind: AuthorityKind
    maximum_validity: timedelta
    extensions: frozenset[str] = frozenset()
    critical_options: tuple[tuple[str, str], ...] = ()

    DEFAULT_USER_EXTENSIONS: ClassVar[frozenset[str]] = frozenset({"permit-pty"})

    def __post_init__(self) -> None:
        """Check everything that can be checked without a certificate."""
        if self.kind not in SSH_KINDS:
            raise UsageError(f"a {self.kind.label} CA does not sign SSH certificates")
        if self.maximum_validity <= timedelta(0):
            raise UsageError("the maximum validity of certificates must be positive")
        is_user = self.kind is AuthorityKind.SSH_USER
        unknown = self.extensions - (USER_EXTENSIONS if is_user else frozenset())
        if unknown:
            raise UsageError(
                f"{self.kind.label} certificates have no extension {sorted(unknown)[0]!r}"
            )
        names = [name for name, _ in self.critical_options]
        if len(set(names)) != len(names):
            raise UsageError("a critical option is given twice")
        for name, value in self.critical_options:
            if not is_user or name not in USER_CRITICAL_OPTIONS:
                raise UsageError(f"{self.kind.label} certificates have no critical option {name!r}")
            _verify_option(name, value)

    @classmethod
    def user(cls, maximum_validity: timedelta) -> Profile:
        """Return the default for people: a terminal, and no forwarding of anything."""
        return cls(AuthorityKind.SSH_USER, maximum_validity, cls.DEFAULT_USER_EXTENSIONS)

    @classmethod
    def host(cls, maximum_validity: timedelta) -> Profile:
        """Return the default for hosts."""
        return cls(AuthorityKind.SSH_HOST, maximum_validity)


@dataclass(frozen=True)
class Subject:
    """Whom a certificate is for.

    Attributes:
        public_key: Their SSH public key blob.
        principals: The names that they may use.
        key_id_subject: How logs name them: the last part of the key id.

    Raises:
        InvalidPrincipal: A principal, or the name, is none.
    """

    public_key: bytes = field(repr=False)
    principals: tuple[str, ...]
    key_id_subject: str

    def __post_init__(self) -> None:
        """Check the names."""
        verify_principals(self.principals)
        verify_name(self.key_id_subject)


def _verify_option(name: str, value: str) -> None:
    """Refuse values that sshd would refuse, or understand differently than they look."""
    if name == "verify-required":
        if value:
            raise UsageError("critical option verify-required takes no value")
        return
    if not value:
        raise UsageError(f"critical option {name} needs a value")
    try:
        verify_printable(value, f"value of {name}")
    except MalformedInput as error:
        raise UsageError(error.message) from error
    if name == "source-address":
        for network in value.split(","):
            try:
                ipaddress.ip_network(network)
            except ValueError as error:
                raise UsageError(
                    f"{network[:60]!r} in source-address is not an address or a network",
                    hint="write them in CIDR form, separated by commas: 192.0.2.0/24,2001:db8::/32",
                ) from error
