"""What a CA puts into the certificates that it signs: deny by default (claim T9)."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import ClassVar

from dpki.certificates.key_id import KEY_ID_PARTS, verify_key_id_parts, verify_reason
from dpki.certificates.keys import FIELDS_OF_TYPE, is_security_key, verify_printable
from dpki.certificates.principals import matches, verify_name, verify_pattern, verify_principals
from dpki.errors import InvalidPrincipal, MalformedInput, NotAllowed, UsageError
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

END_SESSIONS = "end-sessions@dpki"
"""Our own extension, for users: the device's agent ends what the certificate opened when it ends.

OpenSSH passes over extensions that it does not know (PROTOCOL.certkeys), and this one takes rights
away: nobody needs a right to it.
"""

SSH_KINDS = (AuthorityKind.SSH_USER, AuthorityKind.SSH_HOST)

_NETWORK = re.compile(r"[0-9a-fA-F.:]+(/[0-9]{1,3})?")

KEY_TYPES = frozenset(FIELDS_OF_TYPE)
"""Types of SSH keys that can be certified."""


@dataclass(frozen=True)
class PrincipalRule:
    """Which principals a CA may certify: those that match `allow` and don't match `deny`.

    Attributes:
        allow: Principals, in which `*` may stand for any characters; none allows nothing.
        deny: The same; goes before `allow`.

    Raises:
        InvalidPrincipal: A pattern holds what no principal can.
    """

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the patterns."""
        for patterns in (self.allow, self.deny):
            for pattern in patterns:
                verify_pattern(pattern)
                if patterns.count(pattern) > 1:
                    raise InvalidPrincipal(f"the pattern {pattern!r} is given twice")

    def allows(self, name: str) -> bool:
        """Return whether a certificate may name this principal."""
        if any(matches(pattern, name) for pattern in self.deny):
            return False
        return any(matches(pattern, name) for pattern in self.allow)


ANYBODY = PrincipalRule(allow=("*",))


@dataclass(frozen=True)
class Profile:
    """What a CA may issue, and what all of its certificates have in common.

    Take `Profile.user` or `Profile.host` for the defaults. Nothing is allowed that is not named
    here.

    Attributes:
        kind: SSH user or SSH host.
        maximum_validity: The longest time between valid-after and valid-before.
        extensions: Names of extensions, such as `permit-pty`; users only.
        critical_options: (name, value) pairs, such as `("source-address", "192.0.2.0/24")`; users
            only.
        principals: Which principals its certificates may name.
        key_types: Types of the keys that it certifies.
        key_id: The parts of key ids, in their order: see `key_id`.
        reason_required: Whether nothing is issued without a reason.
        overlap: How long a device keeps the certificate before a new one in use beside it; None to
            leave it to the device. Hosts only.

    Raises:
        UsageError: Something that OpenSSH doesn't know, or that makes no sense for the kind.
    """

    kind: AuthorityKind
    maximum_validity: timedelta
    extensions: frozenset[str] = frozenset()
    critical_options: tuple[tuple[str, str], ...] = ()
    principals: PrincipalRule = PrincipalRule()
    key_types: frozenset[str] = KEY_TYPES
    key_id: tuple[str, ...] = KEY_ID_PARTS
    reason_required: bool = False
    overlap: timedelta | None = None

    DEFAULT_USER_EXTENSIONS: ClassVar[frozenset[str]] = frozenset({"permit-pty"})

    def __post_init__(self) -> None:
        """Check everything that can be checked without a certificate."""
        if self.kind not in SSH_KINDS:
            raise UsageError(f"a {self.kind.label} CA does not sign SSH certificates")
        if self.maximum_validity <= timedelta(0):
            raise UsageError("the maximum validity of certificates must be positive")
        is_user = self.kind is AuthorityKind.SSH_USER
        unknown = self.extensions - (USER_EXTENSIONS | {END_SESSIONS} if is_user else frozenset())
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
            verify_option(name, value)
        if unknown := self.key_types - KEY_TYPES:
            raise UsageError(
                f"{sorted(unknown)[0]!r} is not a type of SSH key",
                hint="they are " + ", ".join(sorted(KEY_TYPES)),
            )
        verify_key_id_parts(self.key_id)
        if self.reason_required and "reason" not in self.key_id:
            raise UsageError("a reason is required, but key ids have none")
        if self.overlap is not None:
            if is_user:
                raise UsageError("only devices keep a certificate beside the one after it")
            if self.overlap < timedelta(seconds=1):
                raise UsageError("the overlap must be at least a second")

    @property
    def requires_verification(self) -> bool:
        """Whether sshd asks that a FIDO token has verified its holder, by PIN or fingerprint."""
        return any(name == "verify-required" for name, _ in self.critical_options)

    def narrowed(self, extensions: frozenset[str]) -> Profile:
        """Return the profile with no other of its extensions than these.

        `END_SESSIONS` may be among them in any case.
        """
        return replace(self, extensions=extensions & (self.extensions | {END_SESSIONS}))

    def verify_principals(self, names: tuple[str, ...]) -> None:
        """Refuse principals that the CA may not certify.

        Raises:
            NotAllowed: There is one.
        """
        for name in names:
            if not self.principals.allows(name):
                raise NotAllowed(
                    f"the CA's profile does not allow the principal {name!r}",
                    hint="see what it allows with: dpki ca profile lint NAME",
                )

    def verify_key_type(self, key_type: str) -> None:
        """Refuse a type of key that the CA may not certify.

        Raises:
            NotAllowed: It may not; or the profile requires verification, which sshd enforces with
                FIDO keys only: any other key would get around it.
        """
        if key_type not in self.key_types:
            raise NotAllowed(
                f"the CA's profile does not allow {key_type[:60]} keys",
                hint="it allows " + ", ".join(sorted(self.key_types)),
            )
        if self.requires_verification and not is_security_key(key_type):
            raise NotAllowed(
                f"the CA's profile has verify-required, and {key_type[:60]} keys can't obey it",
                hint="use a FIDO key: ssh-keygen -t ed25519-sk -O verify-required",
            )

    def verify_reason(self, reason: str) -> None:
        """Refuse a reason that key ids have no place for, or that is missing.

        Raises:
            NotAllowed: There is none, and the profile requires one.
            UsageError: It is misspelled, or the profile's key ids hold none.
        """
        if not reason:
            if self.reason_required:
                raise NotAllowed(
                    "the CA's profile requires a reason", hint="give one: --reason TICKET-17"
                )
            return
        verify_reason(reason)
        if "reason" not in self.key_id:
            raise UsageError(
                "the key ids of this CA's profile hold no reason",
                hint="leave --reason out, or add reason to the profile's key_id",
            )

    @classmethod
    def user(cls, maximum_validity: timedelta) -> Profile:
        """Return the default for people: a terminal, no forwarding, any principal."""
        return cls(
            AuthorityKind.SSH_USER,
            maximum_validity,
            cls.DEFAULT_USER_EXTENSIONS,
            principals=ANYBODY,
        )

    @classmethod
    def host(cls, maximum_validity: timedelta) -> Profile:
        """Return the default for hosts: any name."""
        return cls(AuthorityKind.SSH_HOST, maximum_validity, principals=ANYBODY)


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


def verify_option(name: str, value: str) -> None:
    """Refuse values of critical options that sshd refuses, and with them the whole certificate.

    Args:
        name: One of `USER_CRITICAL_OPTIONS`.
        value: Empty for none.

    Raises:
        UsageError: sshd would not take it, or it holds a control character.
    """
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
            if not _is_network(network):
                raise UsageError(
                    f"{network[:60]!r} in source-address is not an address or a network",
                    hint="write them in CIDR form, separated by commas: 192.0.2.0/24,2001:db8::/32",
                )


def _is_network(text: str) -> bool:
    # Python also takes 255.255.255.0 for a length and %eth0 for a zone; sshd refuses both.
    if _NETWORK.fullmatch(text) is None:
        return False
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True
