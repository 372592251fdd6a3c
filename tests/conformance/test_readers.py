"""Every `Reader`: one endpoint over Anvil and over go-ethereum, several that must agree and prove,
and the chain in memory that tests use instead.

The same story is told to all; what can be read afterwards must be the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import pytest

from dpki.chain.domain import Domain, fetch_domain
from dpki.chain.events import fetch_batches, fetch_issued, verify_batch
from dpki.chain.panel import Panel
from dpki.chain.proven import ProvenReader
from dpki.chain.rpc import Call, Endpoint, Reader, RpcError, fetch_block
from dpki.chain.snapshot import Authority, extend_snapshot, fetch_snapshot
from dpki.devnet.anvil import Anvil
from dpki.errors import DomainNotShown, EndpointUnavailable, WrongDomain
from dpki.model import (
    Address,
    AuthorityId,
    AuthorityKind,
    AuthorityState,
    DeviceState,
    DomainId,
    Entry,
    Hash32,
)
from tests.domains import Deployed, Node, deploy, fresh_entries
from tests.fakes.chain import FakeChain
from tests.fakes.proving import ProvingChain
from tests.geth import Geth

DEVICE = Address(b"\xdd" * 20)
NOWHERE = Hash32(b"\x66" * 32)
NOBODY = AuthorityId(b"\x55" * 32)
FAKES = ("fake", "fake-proven")


class World(Protocol):
    """A chain with a domain on it, and what can happen there."""

    @property
    def reader(self) -> Reader: ...
    @property
    def domain(self) -> Domain: ...
    def register(self, length: int) -> AuthorityId: ...
    def issue(self, ca: AuthorityId, first: int, entries: Sequence[Entry]) -> None: ...
    def revoke(self, ca: AuthorityId, serials: Sequence[int]) -> None: ...
    def revoke_below(self, ca: AuthorityId, serial: int) -> None: ...
    def suspend(self, ca: AuthorityId) -> None: ...


@dataclass
class RealWorld:
    deployed: Deployed

    @property
    def reader(self) -> Reader:
        return self.deployed.endpoint

    @property
    def domain(self) -> Domain:
        return self.deployed.domain

    def register(self, length: int) -> AuthorityId:
        return self.deployed.register(AuthorityKind.SSH_USER, length)

    def issue(self, ca: AuthorityId, first: int, entries: Sequence[Entry]) -> None:
        self.deployed.writer(self.deployed.operator).issue(ca, first, entries)

    def revoke(self, ca: AuthorityId, serials: Sequence[int]) -> None:
        self.deployed.writer().revoke(ca, serials)

    def revoke_below(self, ca: AuthorityId, serial: int) -> None:
        self.deployed.writer().revoke_below(ca, serial)

    def suspend(self, ca: AuthorityId) -> None:
        self.deployed.writer(self.deployed.guardian).suspend(ca)


@dataclass
class ProvenWorld(RealWorld):
    @property
    def reader(self) -> Reader:
        return agreeing([self.deployed.endpoint] * 3)


@dataclass
class FakeWorld:
    chain: FakeChain

    @property
    def reader(self) -> Reader:
        return self.chain

    @property
    def domain(self) -> Domain:
        return self.chain.domain

    def register(self, length: int) -> AuthorityId:
        return self.chain.register(b"k" * length, lifetime=timedelta(days=30))

    def issue(self, ca: AuthorityId, first: int, entries: Sequence[Entry]) -> None:
        assert self.chain.issue(ca, entries) == first

    def revoke(self, ca: AuthorityId, serials: Sequence[int]) -> None:
        self.chain.revoke(ca, serials)

    def revoke_below(self, ca: AuthorityId, serial: int) -> None:
        self.chain.revoke_below(ca, serial)

    def suspend(self, ca: AuthorityId) -> None:
        self.chain.set_state(ca, AuthorityState.SUSPENDED)


@dataclass
class ProvenFakeWorld(FakeWorld):
    @property
    def reader(self) -> Reader:
        return agreeing([self.chain] * 3)


def agreeing(sources: Sequence[Reader]) -> ProvenReader:
    """Return a reader of endpoints of which two must agree, and that proves."""
    return ProvenReader(Panel(sources, 2, 31337))


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory, geth: Geth) -> Iterator[dict[str, Node]]:
    with (
        Anvil(tmp_path_factory.mktemp("anvil")) as plain,
        Anvil(tmp_path_factory.mktemp("anvil"), optimism=True) as optimism,
    ):
        yield {"anvil": plain, "anvil-optimism": optimism, "geth": geth}


@pytest.fixture(params=[*FAKES, "anvil", "anvil-optimism", "anvil-proven", "geth", "geth-proven"])
def world(request: pytest.FixtureRequest, nodes: dict[str, Node]) -> Iterator[World]:
    if request.param == "fake":
        yield FakeWorld(FakeChain())
        return
    if request.param == "fake-proven":
        yield ProvenFakeWorld(ProvingChain())
        return
    node = nodes[request.param.removesuffix("-proven")]
    with Endpoint(node.url) as endpoint:
        deployed = deploy(node, endpoint)
        proven = request.param.endswith("-proven")
        yield ProvenWorld(deployed) if proven else RealWorld(deployed)


def test_it_has_a_name_without_secrets(world: World) -> None:
    assert world.reader.name
    assert "@" not in world.reader.name


def test_a_batch_answers_in_the_order_of_the_questions(world: World) -> None:
    numbers = [0, world.domain.block.number, 0, world.domain.block.number]
    calls = [Call("eth_getBlockByNumber", [hex(number), False]) for number in numbers]
    answers = world.reader.batch(calls)
    assert [int(answer["number"], 16) for answer in answers] == numbers  # type: ignore[index,call-overload]


def test_an_unknown_method_is_refused(world: World) -> None:
    with pytest.raises(RpcError):
        world.reader.call("dpki_nothing")
    with pytest.raises(RpcError):
        world.reader.batch([Call("eth_chainId"), Call("dpki_nothing")])


def test_blocks_by_number_tag_and_hash(world: World) -> None:
    block = world.domain.block
    assert fetch_block(world.reader, block.number) == block
    assert fetch_block(world.reader, block.hash) == block
    latest = fetch_block(world.reader, "latest")
    assert latest is not None
    assert latest.number >= block.number
    assert fetch_block(world.reader, latest.number + 1000) is None
    assert fetch_block(world.reader, NOWHERE) is None


def test_what_is_safe_and_final_is_on_the_chain_and_no_newer(world: World) -> None:
    world.register(44)
    final, safe, latest = (
        fetch_block(world.reader, tag) for tag in ("finalized", "safe", "latest")
    )
    assert latest is not None
    numbers = [-1 if block is None else block.number for block in (final, safe, latest)]
    assert numbers == sorted(numbers)
    for block in (final, safe):
        assert block is None or fetch_block(world.reader, block.number) == block


def test_what_was_never_written_is_zero(world: World) -> None:
    """In an account with storage, in one without, and in one that is none."""
    world.register(44)
    latest = fetch_block(world.reader, "latest")
    assert latest is not None
    at = {"blockHash": str(latest.hash), "requireCanonical": True}
    slot = "0x" + "77" * 32
    contracts = [world.domain.authorities, world.domain.devices, DEVICE]
    calls = [Call("eth_getStorageAt", [str(contract), slot, at]) for contract in contracts]
    assert world.reader.batch(calls) == ["0x" + "00" * 32] * 3


def test_events_of_just_the_blocks_asked_for(world: World) -> None:
    ca = world.register(44)
    batches = [fresh_entries(1), fresh_entries(2), fresh_entries(1)]
    blocks: list[int] = []
    for first, entries in zip((1, 2, 4), batches, strict=True):
        world.issue(ca, first, entries)
        latest = fetch_block(world.reader, "latest")
        assert latest is not None
        blocks.append(latest.number)

    def found(start: int, end: int) -> list[int]:
        return [b.first_serial for b in fetch_batches(world.reader, world.domain, start, end)]

    assert found(blocks[0], blocks[2]) == [1, 2, 4]
    assert found(blocks[0] + 1, blocks[2] - 1) == [2]
    assert found(blocks[1], blocks[1]) == [2]
    assert found(0, blocks[0] - 1) == []
    assert fetch_batches(world.reader, world.domain, blocks[0], blocks[2], ca=NOBODY) == ()


def test_storage_at_an_unknown_block_is_refused(world: World) -> None:
    at = {"blockHash": str(NOWHERE), "requireCanonical": True}
    with pytest.raises(EndpointUnavailable):
        world.reader.call("eth_getStorageAt", [str(world.domain.devices), "0x" + "00" * 32, at])


def test_a_domain_that_is_not_there(world: World) -> None:
    there = world.domain.id
    assert fetch_domain(world.reader, there) == world.domain
    with pytest.raises(WrongDomain):
        fetch_domain(world.reader, DomainId(there.chain_id + 1, there.address, there.block_hash))
    for unseen in (
        DomainId(there.chain_id, DEVICE, there.block_hash),
        DomainId(there.chain_id, there.address, NOWHERE),
    ):
        with pytest.raises(DomainNotShown):
            fetch_domain(world.reader, unseen)


@pytest.mark.parametrize("length", [31, 44, 91])
def test_the_whole_story(world: World, length: int) -> None:
    """Keys that lie in storage in three ways: inside the head word, in two words, in three."""
    first, second = world.register(length), world.register(length + 1)
    batches = [fresh_entries(1), fresh_entries(300, DEVICE), fresh_entries(7)]
    world.issue(first, 1, batches[0])
    world.issue(first, 2, batches[1])
    world.issue(second, 1, batches[2])
    before = fetch_snapshot(world.reader, world.domain)
    world.revoke(first, [1, 255, 256, 301])
    world.revoke_below(first, 5)
    world.suspend(second)

    assert only(before.authorities[first]) == (302, 0, AuthorityState.ACTIVE, 0, frozenset())
    snapshot = fetch_snapshot(world.reader, world.domain)
    assert list(snapshot.authorities) == [first, second]
    one, two = snapshot.authorities.values()
    assert only(one) == (302, 4, AuthorityState.ACTIVE, 5, {1, 255, 256, 301})
    assert only(two) == (8, 0, AuthorityState.SUSPENDED, 0, frozenset())
    assert len(one.public_key) == length
    assert one.maximum_lifetime == timedelta(days=30)
    assert one.parent is None
    again = fetch_snapshot(world.reader, world.domain, block=before.block.number)
    assert again == before

    to_block = snapshot.block.number
    found = fetch_batches(world.reader, world.domain, 0, to_block)
    assert [(b.ca, b.first_serial, list(b.entries)) for b in found] == [
        (first, 1, batches[0]),
        (first, 2, batches[1]),
        (second, 1, batches[2]),
    ]
    full = extend_snapshot(
        world.reader,
        snapshot,
        devices=[DEVICE],
        batches=[*((b.ca, b.first_serial) for b in found), (first, 3)],
    )
    for batch in found:
        verify_batch(batch, full)
    assert full.commitments[first, 3] == Hash32.zero()
    assert full.devices[DEVICE].state is DeviceState.UNREGISTERED

    of_device = fetch_issued(world.reader, world.domain, 0, to_block, device=DEVICE)
    assert [(e.ca, e.serial) for e in of_device] == [(first, s) for s in range(2, 302)]
    (one_event,) = fetch_issued(world.reader, world.domain, 0, to_block, ca=first, serial=100)
    assert one_event.entry == batches[1][98]


def only(authority: Authority) -> tuple[int, int, AuthorityState, int, frozenset[int]]:
    return (
        authority.next_serial,
        authority.revoked_count,
        authority.state,
        authority.revoked_below,
        authority.revoked,
    )
