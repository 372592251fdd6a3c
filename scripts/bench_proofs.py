"""Proofs: what several endpoints cost in process, how large bundles are, how long one takes.

One Anvil under several names stands for several endpoints: the cost of asking them, without that of
a slow network.
"""

from __future__ import annotations

import secrets
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.certificates.keys import spki_of, ssh_blob
from dpki.certificates.profile import Profile, Subject
from dpki.certificates.ssh import SshCertificate, build_ssh_certificate
from dpki.chain import merkle
from dpki.chain.domain import Domain, fetch_domain
from dpki.chain.rpc import Call, Endpoint
from dpki.devnet.accounts import development_wallet
from dpki.devnet.anvil import CHAIN_ID, Anvil
from dpki.model import Address, AuthorityKind, Entry, Hash32
from dpki.transactions.deploy import deploy_domain
from dpki.transactions.writer import DomainWriter
from dpki.verification.check import verify_certificate
from dpki.verification.export import Exported, export_proof
from dpki.verification.offline import TrustedBlock, check_proof_bundle
from dpki.verification.proof import CertificateProof, encode_proof
from dpki.verification.proof_bundle import parse_proof_bundle
from dpki.verification.verdict import Verdict
from scripts.stage import dpki_command

LIFETIME = timedelta(days=30)
ACCOUNTS = 10_000
BATCH = 1_000


@dataclass(frozen=True)
class ProofFigure:
    """One bundle: of what, its size in bytes, and seconds to check it in process and by command."""

    what: str
    size: int
    check: float
    command: float


@dataclass(frozen=True)
class OnlineFigure:
    """Seconds that one verdict takes in process."""

    what: str
    seconds: float


@dataclass
class BenchChain:
    """A domain on a chain, with one CA."""

    url: str
    endpoint: Endpoint
    domain: Domain
    writer: DomainWriter
    key: Ed25519PrivateKey
    next_serial: int = 1

    def issue(self, count: int) -> tuple[SshCertificate, bytes]:
        """Anchor a batch whose middle one is a real certificate; return it and its proof."""
        serial = self.next_serial + count // 2
        certificate = self._sign(serial)
        until = certificate.valid_before
        entries = [
            Entry(Hash32(secrets.token_bytes(32)), Address.zero(), until, Hash32.zero())
            for _ in range(count)
        ]
        entries[count // 2] = Entry(certificate.hash, Address.zero(), until, Hash32.zero())
        ca = certificate.authority_id
        context = merkle.leaf_context(CHAIN_ID, self.domain.certificates, ca)
        tree = merkle.Tree(
            [merkle.leaf(context, self.next_serial + i, e) for i, e in enumerate(entries)]
        )
        self.writer.issue(ca, self.next_serial, entries)
        path = tree.path(count // 2, self.next_serial)
        self.next_serial += count
        return certificate, encode_proof(CertificateProof(self.domain.id, ca, serial, path))

    def export(self, issued: tuple[SshCertificate, bytes]) -> Exported:
        """Make a certificate's bundle."""
        certificate, proof = issued
        return export_proof(certificate.blob, domain_id=self.domain.id, rpc=[self.url], proof=proof)

    def _sign(self, serial: int) -> SshCertificate:
        now = datetime.now(UTC).replace(microsecond=0)
        return build_ssh_certificate(
            self.key,
            Profile.user(LIFETIME),
            Subject(ssh_blob(Ed25519PrivateKey.generate().public_key()), ("ops",), "bench"),
            serial=serial,
            key_id="bench",
            valid_after=now - timedelta(minutes=5),
            valid_before=now + timedelta(days=1),
        )


def measure_proofs(
    rounds: int = 20, accounts: int = ACCOUNTS, batches: int = 10
) -> tuple[list[OnlineFigure], list[ProofFigure]]:
    """Measure verdicts through endpoints, and bundles of a small and of a larger chain."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Anvil(Path(folder)) as anvil,
        Endpoint(anvil.url) as endpoint,
    ):
        chain = deploy_chain(anvil.url, endpoint)
        issued = chain.issue(1)
        asked = ((1, 1), (3, 2), (5, 3))
        online = [_online(chain, issued, *of, rounds) for of in asked]
        first = _bundle("the only certificate of a new domain", chain, issued, rounds)
        crowd(endpoint, accounts)
        for _ in range(batches):
            issued = chain.issue(BATCH)
        chain.writer.revoke(issued[0].authority_id, range(1, chain.next_serial, 100))
        what = (
            f"one of {batches * BATCH + 1:,}, in a batch of {BATCH:,}, 1 in 100 revoked;"
            f" {accounts:,} accounts"
        )
        return online, [first, _bundle(what, chain, issued, rounds)]


def proofs_section(online: Sequence[OnlineFigure], bundles: Sequence[ProofFigure]) -> list[str]:
    """Return the report's part about proofs."""
    base = online[0].seconds
    return [
        "## Proofs",
        "",
        (
            "A verdict in a process that runs already, with the certificate's proof file, on"
            " loopback: connecting, finding the domain, agreeing on the newest block, and its"
            " state, proven where several must agree."
        ),
        "",
        "| what | median | times the trusting one |",
        "|---|---:|---:|",
        *(f"| {f.what} | {f.seconds * 1000:.1f} ms | {f.seconds / base:.1f} |" for f in online),
        "",
        (
            "Proof bundles (`dpki verify --export`), checked with no network. On a chain with"
            " hundreds of millions of accounts the ways to the contracts' accounts are about four"
            " nodes longer, 532 bytes each, for each of three or four contracts."
        ),
        "",
        "| of what | bytes | check, in process | `dpki verify proof.cbor` |",
        "|---|---:|---:|---:|",
        *(
            f"| {f.what} | {f.size:,} | {f.check * 1000:.1f} ms | {f.command:.3f} s |"
            for f in bundles
        ),
        "",
    ]


def deploy_chain(url: str, endpoint: Endpoint) -> BenchChain:
    """Return a new domain with one CA."""
    wallet = development_wallet(0, chain_id=CHAIN_ID)
    id, _ = deploy_domain(endpoint, wallet, governor=wallet.address, registrars=[wallet.address])
    domain = fetch_domain(endpoint, id)
    writer = DomainWriter(endpoint, domain, wallet)
    key = Ed25519PrivateKey.generate()
    writer.register_authority(
        AuthorityKind.SSH_USER,
        spki_of(key.public_key()),
        Hash32(secrets.token_bytes(32)),
        operator=wallet.address,
        maximum_lifetime=LIFETIME,
    )
    return BenchChain(url, endpoint, domain, writer, key)


def crowd(endpoint: Endpoint, accounts: int) -> None:
    """Give the chain as many accounts more."""
    endpoint.batch(
        [
            Call("anvil_setBalance", [str(Address(secrets.token_bytes(20))), "0x1"])
            for _ in range(accounts)
        ]
    )
    endpoint.call("evm_mine")


def _online(
    chain: BenchChain,
    issued: tuple[SshCertificate, bytes],
    endpoints: int,
    quorum: int,
    rounds: int,
) -> OnlineFigure:
    certificate, proof = issued
    rpc = [f"{chain.url}/?name={number}" for number in range(endpoints)]

    def verify() -> None:
        finding = verify_certificate(
            certificate.blob, domain_id=chain.domain.id, rpc=rpc, quorum=quorum, proof=proof
        )
        assert finding.verdict is Verdict.VALID

    what = "one endpoint, trusted" if quorum == 1 else f"{quorum} of {endpoints}, state proven"
    return OnlineFigure(what, _median(verify, rounds))


def _bundle(
    what: str, chain: BenchChain, issued: tuple[SshCertificate, bytes], rounds: int
) -> ProofFigure:
    made = chain.export(issued)
    trusted, domain_id = TrustedBlock(made.block.hash), chain.domain.id
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "proof.cbor")
        file.write_bytes(made.bundle)
        words = ["--domain", str(domain_id), "--checkpoint", str(made.block.hash), "--at", "block"]

        def check() -> None:
            found = check_proof_bundle(
                parse_proof_bundle(made.bundle), trusted, domain_id=domain_id
            )
            assert found.finding.verdict is Verdict.VALID

        def command() -> None:
            subprocess.run(
                [dpki_command(), "verify", str(file), *words], check=True, capture_output=True
            )

        return ProofFigure(
            what, len(made.bundle), _median(check, rounds), _median(command, max(3, rounds // 4))
        )


def _median(action: Callable[[], None], rounds: int) -> float:
    action()
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)
