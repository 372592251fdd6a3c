"""One CA with real keys on a chain in memory that proves its state, for tests of proof bundles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from dpki.certificates.ssh import SshCertificate
from dpki.chain import layout, merkle
from dpki.chain.panel import Panel
from dpki.chain.rpc import fetch_block
from dpki.model import Address, Block, DeviceState, Entry, Hash32
from dpki.verification.export import Exported, export_at
from dpki.verification.offline import OfflineFinding, TrustedBlock, check_proof_bundle
from dpki.verification.proof import CertificateProof
from dpki.verification.proof_bundle import ProofBundle, encode_proof_bundle, parse_proof_bundle
from tests.fakes.proving import ProvingChain, Source, Tell, sources, truth
from tests.world import NOBODY, Ca

DEVICE = Address(b"\xdd" * 20)


@dataclass
class ProvingWorld:
    """The chain's CA has anchored what `anchor` was given."""

    chain: ProvingChain = field(default_factory=ProvingChain)
    ca: Ca = field(default_factory=Ca.users)

    def __post_init__(self) -> None:
        self.chain.register(self.ca.spki, self.ca.kind, lifetime=timedelta(days=30))

    @property
    def head(self) -> Block:
        return self.chain.head

    def sign(self, serial: int | None = None) -> SshCertificate:
        """Return a certificate with the next serial, or another."""
        return self.ca.sign(serial)

    def anchor(self, *certificates: SshCertificate, device: Address = NOBODY) -> None:
        """Anchor certificates as one batch."""
        entries = [Entry(c.hash, device, c.valid_before, Hash32.zero()) for c in certificates]
        self.chain.issue(self.ca.id, entries)
        self.ca.next_serial += len(entries)

    def issue(self, device: Address = NOBODY) -> SshCertificate:
        """Sign and anchor one certificate between two others."""
        first = self.ca.next_serial
        before, certificate, after = (self.sign(first + i) for i in range(3))
        self.anchor(before, certificate, after, device=device)
        return certificate

    def proof(self, *batch: SshCertificate, index: int) -> CertificateProof:
        """Return what would lie beside one certificate of a batch as a …-cert.proof."""
        first = batch[0].serial
        domain = self.chain.domain
        context = merkle.leaf_context(domain.id.chain_id, domain.certificates, self.ca.id)
        leaves = [
            merkle.leaf(
                context, c.serial, Entry(c.hash, Address.zero(), c.valid_before, Hash32.zero())
            )
            for c in batch
        ]
        path = merkle.Tree(leaves).path(index, first)
        return CertificateProof(domain.id, self.ca.id, batch[index].serial, path)

    def retire(self, device: Address) -> None:
        _, slot = layout.device_slots(device)
        self.chain.put(self.chain.domain.devices, slot, DeviceState.RETIRED | 1 << 8)
        self.chain.mine()

    def panel(self, *tells: Tell, quorum: int = 1) -> Panel[Source]:
        return Panel(sources(self.chain, *tells), quorum, self.chain.chain_id)

    def export(
        self,
        certificate: SshCertificate,
        *,
        proof: CertificateProof | None = None,
        block: Block | None = None,
        at: datetime | None = None,
        panel: Panel[Source] | None = None,
    ) -> Exported:
        """Return a certificate's proof bundle at the newest block, or another."""
        panel = panel or self.panel(truth, truth, quorum=2)
        agreed = fetch_block(panel, "latest" if block is None else block.number)
        assert agreed is not None
        return export_at(panel, self.chain.domain, agreed, certificate, proof, at)

    def bundle(self, certificate: SshCertificate) -> ProofBundle:
        return parse_proof_bundle(self.export(certificate).bundle)

    def check(
        self, bundle: ProofBundle, at: datetime | None = None, block: Block | None = None
    ) -> OfflineFinding:
        """Check a bundle as anybody would who knows the newest block's hash."""
        reread = parse_proof_bundle(encode_proof_bundle(bundle))
        return check_proof_bundle(
            reread,
            TrustedBlock((block or self.head).hash),
            domain_id=self.chain.domain.id,
            at=at,
        )


def with_nodes(bundle: ProofBundle, nodes: Sequence[bytes]) -> ProofBundle:
    """Return the bundle with other nodes, in their order."""
    return ProofBundle(
        bundle.domain,
        bundle.certificate,
        bundle.position,
        bundle.header,
        tuple(sorted(set(nodes))),
    )
