"""T1 under watchdogs, on a real chain: what they have yet to confirm is not anchored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from dpki.agent.decide import decide
from dpki.agent.observation import Observation
from dpki.agent.state import open_state
from dpki.chain import layout
from dpki.chain.layout import Watchdog
from dpki.chain.rpc import Call, Reader
from dpki.chain.snapshot import extend_snapshot, fetch_snapshot
from dpki.config.device import Access, DeviceConfig, Grant
from dpki.devnet.accounts import development_wallet
from dpki.errors import (
    CouldNotCheck,
    EndpointUnavailable,
    TransactionForbidden,
    TransactionReverted,
)
from dpki.model import AuthorityId, AuthorityKind, Hash32
from dpki.transactions.confirmations import Confirmation, sign_confirmation
from dpki.transactions.wallet import Wallet
from dpki.transactions.writer import DomainWriter
from dpki.verification.check import check
from dpki.verification.reviews import fetch_watchdogs, find_unconfirmed
from dpki.verification.verdict import Verdict
from tests.chain_world import ChainWorld, Liar, open_world

BOTH = (AuthorityKind.SSH_USER, AuthorityKind.SSH_HOST)


@dataclass
class Watched:
    """A world whose user CA is watched: weights 10, 20 and 30, of which 40 must agree."""

    world: ChainWorld
    wallets: tuple[Wallet, ...]

    @property
    def ca(self) -> AuthorityId:
        return self.world.users.id

    @property
    def named(self) -> list[Watchdog]:
        return [
            Watchdog(wallet.address, 10 * (i + 1), Hash32(bytes([7 + i]) * 32))
            for i, wallet in enumerate(self.wallets)
        ]

    def watch(self, ca: AuthorityId | None = None) -> None:
        self.world.writer.set_watch(ca or self.ca, self.named, 40)

    def commitment(self, first: int, ca: AuthorityId | None = None) -> Hash32:
        place = (ca or self.ca, first)
        seen = fetch_snapshot(self.world.reader, self.world.domain, batches=[place])
        return seen.commitments[place]

    def writer(self, index: int) -> DomainWriter:
        return DomainWriter(self.world.reader, self.world.domain, self.wallets[index])

    def confirm(self, first: int, *indices: int, ca: AuthorityId | None = None) -> None:
        for index in indices:
            commitment = self.commitment(first, ca)
            self.writer(index).confirm_batch(ca or self.ca, first, commitment)

    def signed(self, first: int, index: int, version: int = 1) -> Confirmation:
        return sign_confirmation(
            self.wallets[index],
            self.world.domain,
            self.ca,
            version=version,
            first_serial=first,
            commitment=self.commitment(first),
            deadline=self.world.now + timedelta(hours=1),
        )

    def let_in(self, seen: Observation) -> list[int]:
        """Return the serials that a device with this observation lets in."""
        config = DeviceConfig(
            domain=self.world.domain.id,
            rpc=("unused",),
            access=Access(console_access=True),
            accounts={"root": (Grant(self.ca, "ops"),)},
        )
        plan = decide(config, self.world.keys.address, seen, self.world.now)
        return [certificate.serial for certificate in plan.index.certificates]


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with open_world(tmp_path) as world:
        wallets = tuple(development_wallet(i, chain_id=31337) for i in (1, 2, 3))
        yield Watched(world, wallets)


def one_more(watched: Watched) -> int:
    """Anchor a user certificate, as a thief of both keys would; return its serial."""
    serial = watched.world.users.next_serial
    watched.world.anchor_users(watched.world.sign_user(serial))
    return serial


def test_anchored_waits_for_the_watchdogs(watched: Watched) -> None:
    before = one_more(watched)
    watched.watch()
    serial = one_more(watched)
    seen = watched.world.observe()
    assert watched.let_in(seen) == [before]
    assert [u.reason for u in seen.unconfirmed] == ["awaiting watchdogs: 0 of 40"]
    assert seen.problems == ()
    watched.confirm(serial, 0)
    seen = watched.world.observe()
    assert [u.reason for u in seen.unconfirmed] == ["awaiting watchdogs: 10 of 40"]
    watched.confirm(serial, 2)
    seen = watched.world.observe()
    assert (watched.let_in(seen), seen.unconfirmed) == ([before, serial], ())


def test_the_thief_of_both_keys_is_no_watchdog(watched: Watched) -> None:
    """The operator's own account confirms nothing, and can't unname those who do."""
    operator = development_wallet(4, chain_id=31337)
    watched.world.writer.set_operator(watched.ca, operator.address)
    watched.watch()
    thief = DomainWriter(watched.world.reader, watched.world.domain, operator)
    certificate = watched.world.sign_user()
    watched.world.writer, governor = thief, watched.world.writer
    watched.world.anchor_users(certificate)
    watched.world.writer = governor
    with pytest.raises(TransactionForbidden):
        thief.confirm_batch(watched.ca, 1, watched.commitment(1))
    with pytest.raises(TransactionForbidden):
        thief.set_watch(watched.ca, [Watchdog(operator.address, 1, Hash32(b"\x01" * 32))], 1)
    forged = replace(watched.signed(1, 0), watchdog=watched.wallets[2].address)
    thief.relay_confirmations([forged])
    assert watched.let_in(watched.world.observe()) == []


def test_signatures_that_others_bring(watched: Watched) -> None:
    watched.watch()
    one_more(watched)
    watched.world.writer.relay_confirmations([watched.signed(1, 0), watched.signed(1, 2)])
    assert watched.let_in(watched.world.observe()) == [1]


def test_an_objection_takes_back_what_was_signed(watched: Watched) -> None:
    watched.watch()
    one_more(watched)
    signed = watched.signed(1, 2)
    watched.writer(2).object_to_batch(watched.ca, 1, watched.commitment(1), "nobody asked for it")
    watched.world.writer.relay_confirmations([watched.signed(1, 0), signed])
    (unconfirmed,) = watched.world.observe().unconfirmed
    assert unconfirmed.reason == "awaiting watchdogs: 10 of 40, 1 objected"
    with pytest.raises(TransactionReverted, match="Objected"):
        watched.confirm(1, 2)


def test_signed_under_other_watchdogs(watched: Watched) -> None:
    watched.watch()
    one_more(watched)
    signed = [watched.signed(1, 0), watched.signed(1, 2)]
    watched.watch()
    watched.world.writer.relay_confirmations(signed)
    assert watched.let_in(watched.world.observe()) == []
    again = [watched.signed(1, 0, version=2), watched.signed(1, 2, version=2)]
    watched.world.writer.relay_confirmations(again)
    assert watched.let_in(watched.world.observe()) == [1]


def test_a_reorg_that_takes_the_confirmation_takes_the_login(watched: Watched) -> None:
    """Until it is final: nothing about it was remembered."""
    watched.watch()
    one_more(watched)
    before = watched.world.reader.call("evm_snapshot")
    watched.confirm(1, 0, 2)
    assert watched.let_in(watched.world.observe()) == [1]
    watched.world.reader.call("evm_revert", [before])
    watched.world.reader.call("evm_mine")
    assert watched.let_in(watched.world.observe()) == []


def test_what_was_final_is_not_asked_again(watched: Watched) -> None:
    watched.watch()
    one_more(watched)
    watched.confirm(1, 0, 2)
    # Anvil's newest block is final here: seen, then a candidate, then the floor.
    for _ in range(3):
        assert watched.let_in(watched.world.observe()) == [1]
        watched.world.reader.call("evm_mine")
    with open_state(watched.world.directory / "device") as state:
        assert state.watched() == ()
    slot = f"0x{layout.progress_slot(watched.ca, 1):064x}"
    denied = answering(watched, slot, 0)
    assert watched.let_in(watched.world.observe(denied)) == [1]


def test_an_endpoint_can_not_deny_a_final_watch(watched: Watched) -> None:
    watched.watch()
    for _ in range(3):
        watched.world.observe()
        watched.world.reader.call("evm_mine")
    one_more(watched)
    slot = f"0x{layout.watch_slot(watched.ca):064x}"
    with pytest.raises(EndpointUnavailable, match="is watched was final"):
        watched.world.observe(answering(watched, slot, 0))
    assert watched.let_in(watched.world.observe()) == []


def test_a_watch_that_was_hidden_at_first_is_made_up_for(watched: Watched) -> None:
    """Whatever an endpoint made us believe before the watch was final here does not last."""
    watched.watch()
    one_more(watched)
    slot = f"0x{layout.watch_slot(watched.ca):064x}"
    lied_to = watched.world.observe(answering(watched, slot, 0))
    assert watched.let_in(lied_to) == [1]
    seen = watched.world.observe()
    assert (watched.let_in(seen), seen.problems) == ([], ())
    watched.confirm(1, 0, 2)
    assert watched.let_in(watched.world.observe()) == [1]


def test_a_watch_that_was_invented_holds_nothing_up_afterwards(watched: Watched) -> None:
    one_more(watched)
    slot = f"0x{layout.watch_slot(watched.ca):064x}"
    invented = 1 | 1 << 32 | 40 << 64 | 60 << 96
    assert watched.let_in(watched.world.observe(answering(watched, slot, invented))) == []
    assert watched.let_in(watched.world.observe()) == [1]


def answering(watched: Watched, slot: str, word: int) -> Liar:
    """An endpoint that gives one word of the WatchdogRegistry another value."""
    registry = str(watched.world.domain.watchdogs)

    def tell(call: Call, answer: object) -> object:
        is_it = call.method == "eth_getStorageAt" and call.params[:2] == [registry, slot]
        return f"0x{word:064x}" if is_it else answer

    return Liar(watched.world.reader, tell)


def test_a_host_certificate_waits_and_the_one_before_serves(watched: Watched) -> None:
    world = watched.world
    first = world.issue_host()
    watched.watch(world.hosts.id)
    second = world.issue_host()
    seen = world.observe()
    assert seen.host is not None
    assert seen.host.certificate == first
    assert seen.waiting == (
        f"host certificate 2 of CA {world.hosts.id}: awaiting watchdogs: 0 of 40",
    )
    assert seen.problems == ()
    watched.confirm(2, 0, 2, ca=world.hosts.id)
    seen = world.observe()
    assert seen.host is not None
    assert (seen.host.certificate, seen.waiting) == (second, ())


def test_verify_says_what_it_waits_for(watched: Watched) -> None:
    world = watched.world
    watched.watch()
    certificate = world.sign_user()
    world.anchor_users(certificate)
    watched.confirm(1, 1)
    finding = check(world.reader, world.domain, certificate, None, world.now)
    assert finding.verdict is Verdict.NOT_ANCHORED
    assert (finding.reason, finding.exit_status) == ("awaiting watchdogs: 20 of 40", 3)
    watched.confirm(1, 2)
    finding = check(world.reader, world.domain, certificate, None, world.now)
    assert finding.verdict is Verdict.VALID


class TestLists:
    """What clients' lists hold, from the chain alone."""

    def unconfirmed(self, watched: Watched, reader: Reader | None = None) -> list[range]:
        reader = reader or watched.world.reader
        seen = fetch_snapshot(reader, watched.world.domain)
        return find_unconfirmed(reader, seen, BOTH).get(watched.ca, [])

    def test_unconfirmed_serials(self, watched: Watched) -> None:
        one_more(watched)
        assert self.unconfirmed(watched) == []
        watched.watch()
        assert self.unconfirmed(watched) == []
        first, second, _ = (one_more(watched) for _ in range(3))
        assert self.unconfirmed(watched) == [range(2, 5)]
        watched.confirm(second, 0, 2)
        assert self.unconfirmed(watched) == [range(2, 3), range(4, 5)]
        watched.confirm(first, 0, 2)
        assert self.unconfirmed(watched) == [range(4, 5)]

    def test_withheld_events_confirm_nothing(self, watched: Watched) -> None:
        watched.watch()
        watched.confirm(one_more(watched), 0, 2)
        assert self.unconfirmed(watched) == []

        def tell(call: Call, answer: object) -> object:
            return [] if call.method == "eth_getLogs" else answer

        assert self.unconfirmed(watched, Liar(watched.world.reader, tell)) == [range(1, 2)]

    def test_who_watches(self, watched: Watched) -> None:
        seen = fetch_snapshot(watched.world.reader, watched.world.domain)
        assert fetch_watchdogs(watched.world.reader, seen, watched.ca) == ()
        watched.watch()
        seen = fetch_snapshot(watched.world.reader, watched.world.domain)
        found = fetch_watchdogs(watched.world.reader, seen, watched.ca)
        assert found == tuple(watched.named)

    @pytest.mark.parametrize("count", [0, 2, 33])
    def test_watchdogs_that_do_not_add_up(self, watched: Watched, count: int) -> None:
        watched.watch()
        slot = f"0x{layout.watchdog_count_slot(watched.ca):064x}"
        seen = fetch_snapshot(watched.world.reader, watched.world.domain)
        with pytest.raises(CouldNotCheck, match="do not weigh"):
            fetch_watchdogs(answering(watched, slot, count), seen, watched.ca)

    def test_a_watchdog_with_more_than_account_and_weight(self, watched: Watched) -> None:
        watched.watch()
        slot = f"0x{layout.watchdog_slots(watched.ca, 0)[0]:064x}"
        seen = fetch_snapshot(watched.world.reader, watched.world.domain)
        with pytest.raises(CouldNotCheck, match="do not weigh"):
            fetch_watchdogs(answering(watched, slot, 1 << 192), seen, watched.ca)


def test_a_confirmation_acts_as_deep_as_an_addition(watched: Watched) -> None:
    world = watched.world
    watched.watch()
    one_more(watched)
    for _ in range(5):
        world.reader.call("evm_mine")
    watched.confirm(1, 0, 2)
    place = [(watched.ca, 1)]
    head = fetch_snapshot(world.reader, world.domain, batches=place)
    assert head.awaited(*place[0]) is None
    world.confirmations = 2
    assert watched.let_in(world.observe()) == []
    world.reader.call("evm_mine")
    assert watched.let_in(world.observe()) == [1]
    assert extend_snapshot(world.reader, head, batches=place) == head
