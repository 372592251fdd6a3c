"""From signed certificates to what goes on chain and onto IPFS. Pure but for randomness.

The order matters: the tree first, because each bundle carries its path; then the seal; then the
locator, because it masks the sealed bundle's digest. That is possible because the locator is not
in the leaf.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from dpki.bundle.cid import digest_of
from dpki.bundle.content import Bundle, bundle_context, seal_bundle
from dpki.bundle.locator import IssuerKey, locator_for
from dpki.certificates.ssh import SshCertificate
from dpki.chain.domain import Domain
from dpki.chain.merkle import Tree, leaf, leaf_context
from dpki.devices.document import Prekey
from dpki.issuance.plan import Recipient
from dpki.model import Address, AuthorityId, Entry, Hash32, Path


@dataclass(frozen=True)
class Signed:
    """A signed certificate on its way.

    Attributes:
        certificate: The certificate.
        recipient: The device that gets a bundle; None for none.
        private_key: OpenSSH private key file that was made here, until it is sealed.
        prekey: The device's one-time key that the bundle is sealed for; None for its lasting keys.
    """

    certificate: SshCertificate
    recipient: Recipient | None
    private_key: bytes | None = field(default=None, repr=False)
    prekey: Prekey | None = None

    @property
    def device(self) -> Address:
        """The device on chain; zero for none."""
        return Address.zero() if self.recipient is None else self.recipient.address


@dataclass(frozen=True)
class Sealed:
    """What one certificate puts on chain and, for a device, onto IPFS."""

    entry: Entry
    bundle: bytes | None = field(repr=False)


def batch_tree(
    domain: Domain, ca: AuthorityId, first_serial: int, entries: Sequence[Entry]
) -> Tree:
    """Return the tree that the contract will compute from the entries; locators don't matter."""
    context = leaf_context(domain.id.chain_id, domain.certificates, ca)
    return Tree([leaf(context, first_serial + i, entry) for i, entry in enumerate(entries)])


def seal_batch(
    domain: Domain,
    ca: AuthorityId,
    issuer_key: IssuerKey,
    batch: Sequence[Signed],
    progress: Callable[[int], None],
    *,
    overlap: timedelta | None = None,
) -> tuple[Sealed, ...]:
    """Seal the bundles of a batch and return its entries, in the order of the serials.

    Args:
        issuer_key: The CA's key for locators.
        batch: At least one, with consecutive serials.
        progress: Told how many are sealed, after each.
        overlap: What the CA's profile says of it.
    """
    first = batch[0].certificate.serial
    bare = [
        Entry(
            signed.certificate.hash,
            signed.device,
            signed.certificate.valid_before,
            Hash32.zero(),
        )
        for signed in batch
    ]
    tree = batch_tree(domain, ca, first, bare)
    sealed = []
    for index, (signed, entry) in enumerate(zip(batch, bare, strict=True)):
        path = tree.path(index, first)
        sealed.append(_seal(domain, ca, issuer_key, signed, entry, path, overlap))
        progress(len(sealed))
    return tuple(sealed)


def _seal(
    domain: Domain,
    ca: AuthorityId,
    issuer_key: IssuerKey,
    signed: Signed,
    entry: Entry,
    path: Path,
    overlap: timedelta | None,
) -> Sealed:
    if signed.recipient is None:
        return Sealed(entry, None)
    certificate, device = signed.certificate, signed.recipient.address
    context = bundle_context(domain.id, ca, certificate.serial, device)
    content = Bundle(
        certificate=certificate.blob,
        key=signed.private_key,
        path=path,
        context=context,
        overlap=overlap,
    )
    lasting, prekey = signed.recipient.sealing, signed.prekey
    sealed = seal_bundle(content, lasting if prekey is None else lasting.for_prekey(prekey.x25519))
    locator = locator_for(
        issuer_key,
        lasting.x25519,
        ca,
        device,
        certificate.hash,
        digest_of(sealed),
    )
    return Sealed(Entry(entry.certificate_hash, device, entry.not_after, locator), sealed)
