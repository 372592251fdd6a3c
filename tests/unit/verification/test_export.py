"""Making proof bundles through endpoints that prove, of which some lie."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from dpki.certificates.ssh import SshCertificate, ssh_line
from dpki.chain.panel import Panel
from dpki.chain.rpc import Call, RpcError
from dpki.errors import CouldNotCheck, MalformedInput, WrongContext, WrongDomain
from dpki.model import Address, DomainId, Hash32
from dpki.verification import export
from dpki.verification.export import export_proof
from dpki.verification.offline import TrustedBlock
from dpki.verification.proof import encode_proof
from dpki.verification.proof_bundle import parse_proof_bundle
from dpki.verification.verdict import Verdict
from tests.fakes.chain import entries
from tests.fakes.proving import ProvingChain, Source, Tell, truth
from tests.proving_world import ProvingWorld

OTHER = DomainId(31337, Address(b"\x66" * 20), Hash32(b"\7" * 32))


@pytest.fixture
def world() -> ProvingWorld:
    return ProvingWorld()


def without_proofs(call: Call, answer: Callable[[], object]) -> object:
    if call.method == "eth_getProof":
        raise RpcError("rpc", call.method, -32601, "no such method")
    return answer()


def without_events(call: Call, answer: Callable[[], object]) -> object:
    return [] if call.method == "eth_getLogs" else answer()


def test_one_endpoint_is_enough_to_make_it(world: ProvingWorld) -> None:
    """It is worth what the block's hash is worth, whoever told it."""
    found = world.export(world.issue(), panel=world.panel(truth)).found.finding
    assert found.verdict is Verdict.VALID
    assert found.evidence is not None
    assert found.evidence.level == "trusted"


def test_from_the_proof_file_no_events_are_needed(world: ProvingWorld) -> None:
    batch = [world.sign(serial) for serial in (1, 2, 3)]
    world.anchor(*batch)
    proof = world.proof(*batch, index=1)
    made = world.export(batch[1], proof=proof, panel=world.panel(without_events))
    assert made.found.finding.verdict is Verdict.VALID
    assert made.bundle == world.export(batch[1]).bundle


def test_a_wrong_proof_file_is_no_reason_not_to_look(world: ProvingWorld) -> None:
    batch = [world.sign(serial) for serial in (1, 2, 3)]
    world.anchor(*batch)
    wrong = replace(world.proof(*batch, index=1), serial=1)
    assert world.export(batch[0], proof=wrong).found.finding.verdict is Verdict.VALID


def test_where_nothing_was_issued_no_events_are_looked_for(world: ProvingWorld) -> None:
    made = world.export(world.sign(), panel=world.panel(without_events))
    assert made.found.finding.verdict is Verdict.NOT_ANCHORED


def test_withheld_events(world: ProvingWorld) -> None:
    with pytest.raises(CouldNotCheck, match="does not show in which batch"):
        world.export(world.issue(), panel=world.panel(without_events))


def test_invented_events(world: ProvingWorld) -> None:
    """One that sends another batch's events proves nothing with them."""
    certificate = world.issue()
    other = ProvingChain()
    ca = other.register(world.ca.spki, world.ca.kind)
    other.issue(ca, entries(3))

    def lie(call: Call, answer: Callable[[], object]) -> object:
        return other.call(*_of(call)) if call.method == "eth_getLogs" else answer()

    with pytest.raises(CouldNotCheck, match="not the ones that the chain committed to"):
        world.export(certificate, panel=world.panel(lie))


def _of(call: Call) -> tuple[str, Sequence[object]]:
    return call.method, call.params


def test_where_nobody_proves_there_is_no_bundle(world: ProvingWorld) -> None:
    certificate = world.issue()
    with pytest.raises(CouldNotCheck, match="no endpoint proves the state") as caught:
        world.export(certificate, panel=world.panel(without_proofs, without_proofs))
    assert "eth_getProof" in caught.value.hint
    assert "no such method" in caught.value.message


def test_one_that_forges_is_passed_over(world: ProvingWorld) -> None:
    def lie(call: Call, answer: Callable[[], object]) -> object:
        told = answer()
        if call.method == "eth_getProof":
            assert isinstance(told, dict)
            told["accountProof"] = told["accountProof"][:-1]
        return told

    certificate = world.issue()
    made = world.export(certificate, panel=world.panel(lie, truth, truth, quorum=2))
    assert made.bundle == world.export(certificate).bundle


class TestThroughConnections:
    """`export_proof` itself, with the chain in memory in the endpoints' place."""

    @pytest.fixture(autouse=True)
    def connected(self, world: ProvingWorld, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tell: Tell = truth

        @contextmanager
        def connect(rpc: Sequence[str], quorum: int, chain_id: int) -> Iterator[Panel[Source]]:
            assert chain_id == world.chain.chain_id
            yield world.panel(*[self.tell] * len(rpc), quorum=quorum)

        monkeypatch.setattr(export, "open_panel", connect)

    def export(
        self, world: ProvingWorld, certificate: SshCertificate, **more: object
    ) -> export.Exported:
        line = ssh_line(certificate, "alice").encode()
        return export_proof(
            line,
            domain_id=world.chain.domain.id,
            rpc=["one", "two"],
            **more,  # type: ignore[arg-type]
        )

    def test_at_the_newest_block(self, world: ProvingWorld) -> None:
        certificate = world.issue()
        made = self.export(world, certificate, quorum=2)
        assert made.block == world.head
        assert made.found.finding.verdict is Verdict.VALID
        assert made.found.finding.evidence is not None
        assert made.found.finding.evidence.level == "proven"
        assert parse_proof_bundle(made.bundle).certificate == certificate.blob

    def test_at_a_checkpoint_s_block(self, world: ProvingWorld) -> None:
        certificate = world.issue()
        block = world.head
        world.chain.revoke(world.ca.id, [certificate.serial])
        for domain in (None, world.chain.domain.id):
            trusted = TrustedBlock(block.hash, domain)
            made = self.export(world, certificate, trusted=trusted, at=block.time)
            assert made.block == block
            assert made.found.finding.verdict is Verdict.VALID

    def test_with_its_proof_file(self, world: ProvingWorld) -> None:
        batch = [world.sign(serial) for serial in (1, 2)]
        world.anchor(*batch)
        proof = encode_proof(world.proof(*batch, index=1))
        assert self.export(world, batch[1], proof=proof).found.finding.verdict is Verdict.VALID
        with pytest.raises(WrongContext, match="another certificate"):
            self.export(world, batch[0], proof=proof)

    def test_a_checkpoint_of_another_domain(self, world: ProvingWorld) -> None:
        with pytest.raises(WrongContext, match="another trust domain"):
            self.export(world, world.issue(), trusted=TrustedBlock(world.head.hash, OTHER))

    def test_a_block_that_nobody_has(self, world: ProvingWorld) -> None:
        with pytest.raises(CouldNotCheck, match="does not show block"):
            self.export(world, world.issue(), trusted=TrustedBlock(Hash32(b"\7" * 32)))

    def test_a_block_that_is_known_and_not_on_the_chain(self, world: ProvingWorld) -> None:
        """A node still knows the blocks of a fork that was left."""
        certificate = world.issue()
        fork = ProvingChain(salt=b"fork")
        left = fork.show(fork.head)

        def tell(call: Call, answer: Callable[[], object]) -> object:
            asked = call.method == "eth_getBlockByHash" and call.params[0] == left["hash"]
            return left if asked else answer()

        self.tell = tell
        with pytest.raises(CouldNotCheck, match="another block 1 than the checkpoint vouches for"):
            self.export(world, certificate, trusted=TrustedBlock(fork.head.hash))

    def test_a_block_before_the_domain(self, world: ProvingWorld) -> None:
        with pytest.raises(WrongDomain, match="older than the trust domain"):
            self.export(world, world.issue(), trusted=TrustedBlock(world.chain._blocks[0].hash))

    def test_an_endpoint_without_blocks(self, world: ProvingWorld) -> None:
        def tell(call: Call, answer: Callable[[], object]) -> object:
            asked = call.method == "eth_getBlockByNumber" and call.params[0] == "latest"
            return None if asked else answer()

        self.tell = tell
        with pytest.raises(CouldNotCheck, match="has no block latest"):
            self.export(world, world.issue())

    def test_a_certificate_that_is_none(self, world: ProvingWorld) -> None:
        with pytest.raises(MalformedInput):
            export_proof(b"none", domain_id=world.chain.domain.id, rpc=["one"])


def test_years_later_it_has_expired_and_was_valid(world: ProvingWorld) -> None:
    certificate = world.issue()
    made = world.export(certificate, at=world.head.time + timedelta(days=900))
    assert made.found.finding.verdict is Verdict.EXPIRED
    assert made.found.at_block.verdict is Verdict.VALID
