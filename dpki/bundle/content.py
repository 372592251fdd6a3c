"""The bundle: a certificate, its place on chain, and its private key where the admin made one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import timedelta

from dpki.bundle.codec import dumps, fields_of, loads_strict, verify_version
from dpki.bundle.seal import MAXIMUM_PLAINTEXT, SealingKeys, SealingSecrets, open_sealed, seal
from dpki.errors import MalformedInput, WrongContext
from dpki.model import MAXIMUM_BATCH, Address, AuthorityId, DomainId, Hash32, Path

_VERSION = 1
_WITH_OVERLAP = 2
_WHAT = "bundle"
_REQUIRED = {
    "v": int,
    "context": bytes,
    "certificate": bytes,
    "first": int,
    "count": int,
    "path": list,
}
_OPTIONAL = {"key": bytes}
_OVERLAP = {"overlap": int}
_LONGEST_OVERLAP = (1 << 32) - 1
_MAXIMUM_SERIAL = (1 << 32) - 1
_MAXIMUM_SIBLINGS = (MAXIMUM_BATCH - 1).bit_length()


@dataclass(frozen=True)
class Bundle:
    """What one device gets with one certificate.

    Attributes:
        certificate: The SSH certificate blob, or a DER certificate.
        key: An unencrypted OpenSSH private key file; None where the device made its own.
        path: The certificate's place in its batch.
        context: From `bundle_context`: what domain, CA, serial and device it is for.
        overlap: How long the certificate before this one stays in use beside it, in whole seconds;
            None where its CA's profile does not say.
    """

    certificate: bytes
    key: bytes | None = field(repr=False)
    path: Path
    context: Hash32
    overlap: timedelta | None = None


def bundle_context(domain: DomainId, ca: AuthorityId, serial: int, device: Address) -> Hash32:
    """Return what binds a bundle to one domain, CA, serial and device (docs/formats.md)."""
    described = ["dpki bundle", _VERSION, str(domain), bytes(ca), serial, bytes(device)]
    return Hash32(hashlib.sha256(dumps(described)).digest())


def encode_bundle(bundle: Bundle) -> bytes:
    """Return the bundle's plaintext.

    Of version 1, which every agent reads, unless it says an overlap.
    """
    value: dict[str, object] = {
        "v": _VERSION if bundle.overlap is None else _WITH_OVERLAP,
        "context": bytes(bundle.context),
        "certificate": bundle.certificate,
        "first": bundle.path.first_serial,
        "count": bundle.path.count,
        "path": [bytes(sibling) for sibling in bundle.path.siblings],
    }
    if bundle.key is not None:
        value["key"] = bundle.key
    if bundle.overlap is not None:
        value["overlap"] = int(bundle.overlap.total_seconds())
    return dumps(value)


def parse_bundle(data: bytes) -> Bundle:
    """Parse a bundle's plaintext. Its context and certificate are still unchecked.

    Raises:
        MalformedInput: It is anything else than what `encode_bundle` writes.
    """
    value = loads_strict(data, MAXIMUM_PLAINTEXT)
    is_second = isinstance(value, dict) and value.get("v") == _WITH_OVERLAP
    verify_version(value, _WHAT, _WITH_OVERLAP if is_second else _VERSION)
    required = _REQUIRED | _OVERLAP if is_second else _REQUIRED
    fields = fields_of(value, _WHAT, required=required, optional=_OPTIONAL)
    first, count, siblings = fields["first"], fields["count"], fields["path"]
    if not (1 <= count <= MAXIMUM_BATCH and 1 <= first <= _MAXIMUM_SERIAL - count + 1):
        raise MalformedInput("the bundle's batch is empty, too large, or beyond the last serial")
    if len(siblings) > _MAXIMUM_SIBLINGS or not all(type(item) is bytes for item in siblings):
        raise MalformedInput("the bundle's path is not a short list of hashes")
    if not fields["certificate"] or fields.get("key") == b"":
        raise MalformedInput("the bundle's certificate or key is empty")
    overlap = None
    if is_second:
        if not 1 <= fields["overlap"] <= _LONGEST_OVERLAP:
            raise MalformedInput("the bundle's overlap is none")
        overlap = timedelta(seconds=fields["overlap"])
    path = Path(first, count, tuple(Hash32(sibling) for sibling in siblings))
    return Bundle(
        fields["certificate"], fields.get("key"), path, Hash32(fields["context"]), overlap
    )


def seal_bundle(bundle: Bundle, keys: SealingKeys) -> bytes:
    """Return the bundle sealed for the device with these keys: one raw IPFS block.

    Raises:
        MalformedInput: It is too large.
    """
    return seal(encode_bundle(bundle), keys, bundle.context)


def open_bundle(
    sealed: bytes, secrets: SealingSecrets, context: Hash32, prekey: bytes | None = None
) -> Bundle:
    """Open a sealed bundle that should be for this context.

    Args:
        context: From `bundle_context`, of what the chain says that it is.
        prekey: The X25519 private key of a one-time key; None to open with the lasting keys.

    Raises:
        MalformedInput, NotForThisDevice: As `dpki.bundle.seal.open_sealed` says.
        WrongContext: It opens, but was made for another domain, CA, serial or device.
    """
    bundle = parse_bundle(open_sealed(sealed, secrets, context, prekey))
    if bundle.context != context:
        raise WrongContext(
            "the bundle was made for another domain, CA, serial or device than the chain says"
        )
    return bundle
