"""What somebody typed about the CA that they want, before anything is opened."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from dpki.cli.options import argument
from dpki.config.durations import parse_duration
from dpki.config.values import verify_name
from dpki.errors import UsageError
from dpki.issuance.registration import AuthorityWish
from dpki.model import Address, AuthorityKind
from dpki.signer.base import KeyType


@dataclass(frozen=True)
class TypedAuthority:
    """What was typed, checked."""

    name: str
    kind: AuthorityKind
    key_type: KeyType
    operator: Address | None
    maximum_lifetime: timedelta

    def by(self, account: Address) -> AuthorityWish:
        """Return the wish, with the account as operator unless another was named."""
        return AuthorityWish(
            self.name, self.kind, self.key_type, self.operator or account, self.maximum_lifetime
        )


def parse_wish(
    name: str, kind: str, key_type: str, operator: str | None, validity: str
) -> TypedAuthority:
    """Check everything that was typed, before anything is opened."""
    kinds = {k.label: k for k in (AuthorityKind.SSH_USER, AuthorityKind.SSH_HOST)}
    types = {t.value: t for t in KeyType}
    if kind not in kinds:
        raise UsageError(f"--kind is {' or '.join(kinds)}, not {kind[:40]!r}")
    if key_type not in types:
        raise UsageError(f"--key-type is {' or '.join(types)}, not {key_type[:40]!r}")
    return TypedAuthority(
        verify_name(name),
        kinds[kind],
        types[key_type],
        None if operator is None else argument(Address.parse, operator),
        parse_duration(validity),
    )
