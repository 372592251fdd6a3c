"""A CA that its admin, who has the HSM and no wallet, asks the governor to register.

A file (docs/formats.md, CA request) with public keys only. It proves nothing: whoever registers it
compares the key's fingerprint with what the admin's machine says.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from dpki.bundle.codec import dumps, fields_of, loads_strict, verify_version
from dpki.certificates.keys import authority_id, parse_public_key, spki_of
from dpki.certificates.profile import SSH_KINDS
from dpki.errors import MalformedInput
from dpki.model import Address, AuthorityId, AuthorityKind, DomainId, Hash32

REQUEST_LIMIT = 4 << 10

_VERSION = 1
_WHAT = "CA request"
_FIELDS = {
    "v": int,
    "type": str,
    "domain": str,
    "kind": str,
    "key": bytes,
    "issuer": bytes,
    "operator": bytes,
    "minutes": int,
}
_KINDS = {kind.label: kind for kind in SSH_KINDS}
_MINUTE = timedelta(minutes=1)
_MAXIMUM_MINUTES = 2**24 - 1


@dataclass(frozen=True)
class AuthorityRequest:
    """Everything that registering a CA needs.

    Attributes:
        public_key: Canonical SubjectPublicKeyInfo, DER.
        issuer_key: X25519 public key for locators.
        operator: The account that is to anchor its certificates.
        maximum_lifetime: Whole minutes.
    """

    domain: DomainId
    kind: AuthorityKind
    public_key: bytes = field(repr=False)
    issuer_key: Hash32
    operator: Address
    maximum_lifetime: timedelta

    @property
    def id(self) -> AuthorityId:
        """The id that the CA will have."""
        return authority_id(self.public_key)


def encode_authority_request(request: AuthorityRequest) -> bytes:
    """Return the request's file."""
    return dumps(
        {
            "v": _VERSION,
            "type": _WHAT,
            "domain": str(request.domain),
            "kind": request.kind.label,
            "key": request.public_key,
            "issuer": bytes(request.issuer_key),
            "operator": bytes(request.operator),
            "minutes": request.maximum_lifetime // _MINUTE,
        }
    )


def parse_authority_request(data: bytes) -> AuthorityRequest:
    """Parse a CA request, its key included.

    Raises:
        MalformedInput: It is anything else than what `encode_authority_request` writes.
    """
    value = loads_strict(data, REQUEST_LIMIT)
    verify_version(value, _WHAT, _VERSION)
    fields = fields_of(value, _WHAT, required=_FIELDS, optional={})
    if fields["type"] != _WHAT:
        raise MalformedInput(f"this is a {fields['type'][:40]!r}, not a {_WHAT}")
    if fields["kind"] not in _KINDS:
        raise MalformedInput(f"{fields['kind'][:40]!r} is no kind of CA")
    if not 1 <= fields["minutes"] <= _MAXIMUM_MINUTES:
        raise MalformedInput("the CA request's maximum lifetime is none")
    if spki_of(parse_public_key(fields["key"])) != fields["key"]:
        raise MalformedInput("the CA request's key is spelled otherwise than on chain")
    return AuthorityRequest(
        DomainId.parse(fields["domain"]),
        _KINDS[fields["kind"]],
        fields["key"],
        Hash32(fields["issuer"]),
        Address(fields["operator"]),
        fields["minutes"] * _MINUTE,
    )
