from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from dpki.chain import layout, merkle
from dpki.chain.snapshot import (
    MAXIMUM_AUTHORITIES,
    MAXIMUM_REVOCATION_WORDS,
    Authority,
    Snapshot,
    extend_snapshot,
    fetch_snapshot,
)
from dpki.errors import CouldNotCheck, EndpointUnavailable, UsageError, WrongDomain
from dpki.model import Address, AuthorityId, AuthorityKind, AuthorityState, DeviceState, Hash32
from tests.fakes.chain import ISSUER_KEY, OPERATOR, FakeChain, entries

DEVICE = Address(b"\xdd" * 20)


@pytest.fixture
def chain() -> FakeChain:
    return FakeChain()


def only(snapshot: Snapshot) -> Authority:
    (authority,) = snapshot.authorities.values()
    return authority


class TestContent:
    def test_an_empty_domain(self, chain: FakeChain) -> None:
        snapshot = fetch_snapshot(chain, chain.domain)
        assert snapshot == Snapshot(chain.domain, chain.head, {}, {}, {})

    def test_an_authority(self, chain: FakeChain) -> None:
        ca = chain.register(b"p" * 91, AuthorityKind.SSH_HOST, lifetime=timedelta(days=30))
        registered = chain.head
        chain.issue(ca, entries(300))
        chain.revoke(ca, [1, 255, 256, 300])
        chain.revoke_below(ca, 7)
        chain.set_state(ca, AuthorityState.CLOSED)
        assert only(fetch_snapshot(chain, chain.domain)) == Authority(
            id=ca,
            kind=AuthorityKind.SSH_HOST,
            public_key=b"p" * 91,
            issuer_key=ISSUER_KEY,
            parent=None,
            registered_at=registered.time,
            operator=OPERATOR,
            next_serial=301,
            revoked_count=4,
            maximum_lifetime=timedelta(days=30),
            state=AuthorityState.CLOSED,
            revoked_below=7,
            revoked=frozenset({1, 255, 256, 300}),
        )

    def test_several_in_the_order_of_registration(self, chain: FakeChain) -> None:
        ids = [chain.register(bytes([i]) * (44 + i)) for i in range(5)]
        child = chain.register(b"c" * 31, parent=ids[0])
        chain.issue(ids[3], entries(600))
        chain.revoke(ids[3], [600])
        found = fetch_snapshot(chain, chain.domain).authorities
        assert list(found) == [*ids, child]
        assert found[child].parent == ids[0]
        assert found[child].public_key == b"c" * 31
        assert found[ids[3]].revoked == {600}
        assert found[ids[4]].revoked == frozenset()

    def test_devices_and_batches_that_were_asked_for(self, chain: FakeChain) -> None:
        ca = chain.register()
        batch = entries(3)
        chain.issue(ca, entries(1))
        first = chain.issue(ca, batch)
        chain.enroll(DEVICE, Hash32(b"\x05" * 32), nonce=4)
        stranger = Address(b"\x01" * 20)
        snapshot = fetch_snapshot(
            chain, chain.domain, devices=[DEVICE, stranger, DEVICE], batches=[(ca, first), (ca, 3)]
        )
        device = snapshot.devices[DEVICE]
        assert (device.key_document, device.state, device.nonce) == (
            Hash32(b"\x05" * 32),
            DeviceState.ACTIVE,
            4,
        )
        assert snapshot.devices[stranger].state is DeviceState.UNREGISTERED
        context = merkle.leaf_context(31337, chain.domain.certificates, ca)
        tree = merkle.Tree([merkle.leaf(context, 2 + i, e) for i, e in enumerate(batch)])
        assert snapshot.commitments == {(ca, 2): tree.commitment, (ca, 3): Hash32.zero()}

    def test_is_revoked_by_bit_or_watermark(self, chain: FakeChain) -> None:
        ca = chain.register()
        chain.issue(ca, entries(10))
        chain.revoke(ca, [8])
        chain.revoke_below(ca, 3)
        authority = only(fetch_snapshot(chain, chain.domain))
        assert [s for s in range(1, 12) if authority.is_revoked(s)] == [1, 2, 8]
        assert [s for s in range(12) if authority.is_issued(s)] == list(range(1, 11))

    def test_can_not_be_changed(self, chain: FakeChain) -> None:
        chain.register()
        snapshot = fetch_snapshot(chain, chain.domain, devices=[DEVICE])
        for mapping in (snapshot.authorities, snapshot.devices, snapshot.commitments):
            with pytest.raises(TypeError):
                mapping["x"] = 1  # type: ignore[index]


class TestBlock:
    def test_the_state_is_that_of_the_block(self, chain: FakeChain) -> None:
        ca = chain.register()
        chain.issue(ca, entries(2))
        before = chain.head
        chain.revoke(ca, [2])
        assert only(fetch_snapshot(chain, chain.domain, block=before.number)).revoked == frozenset()
        assert only(fetch_snapshot(chain, chain.domain)).revoked == {2}

    def test_confirmations_count_the_block_itself(self, chain: FakeChain) -> None:
        for _ in range(5):
            chain.mine()
        head = chain.head.number
        for confirmations, number in ((1, head), (2, head - 1), (4, head - 3)):
            snapshot = fetch_snapshot(chain, chain.domain, confirmations=confirmations)
            assert snapshot.block.number == number

    def test_confirmations_never_lead_behind_the_domain(self, chain: FakeChain) -> None:
        assert fetch_snapshot(chain, chain.domain, confirmations=50).block == chain.domain.block

    def test_no_confirmation_is_none(self, chain: FakeChain) -> None:
        with pytest.raises(UsageError):
            fetch_snapshot(chain, chain.domain, confirmations=0)

    def test_a_block_before_the_domain(self, chain: FakeChain) -> None:
        with pytest.raises(WrongDomain, match="older than the trust domain"):
            fetch_snapshot(chain, chain.domain, block=0)

    def test_a_block_that_is_not_there(self, chain: FakeChain) -> None:
        with pytest.raises(CouldNotCheck, match="no block 99"):
            fetch_snapshot(chain, chain.domain, block=99)

    def test_every_word_is_asked_by_the_blocks_hash(self, chain: FakeChain) -> None:
        ca = chain.register()
        chain.issue(ca, entries(1))
        chain.asked.clear()
        fetch_snapshot(chain, chain.domain, devices=[DEVICE], batches=[(ca, 1)])
        reads = [call.params[2] for call in chain.asked if call.method == "eth_getStorageAt"]
        assert len(reads) > 10
        assert all(
            at == {"blockHash": str(chain.head.hash), "requireCanonical": True} for at in reads
        )

    def test_an_extension_is_read_at_the_same_block(self, chain: FakeChain) -> None:
        snapshot = fetch_snapshot(chain, chain.domain)
        chain.enroll(DEVICE, Hash32(b"\x05" * 32))
        chain.asked.clear()
        extended = extend_snapshot(chain, snapshot, devices=[DEVICE])
        assert extended.devices[DEVICE].state is DeviceState.UNREGISTERED
        assert extended.block == snapshot.block
        chain.asked.clear()
        assert extend_snapshot(chain, extended, devices=[DEVICE]) is extended
        assert chain.asked == []


class TestContradictions:
    """Claims T4 and T11: what doesn't add up is 'could not check', and nothing else."""

    @pytest.mark.parametrize(
        ("slot", "value"),
        [
            ("list length", MAXIMUM_AUTHORITIES + 1),
            ("list length", 2**255),
            ("list length", 2),
            ("kind", 0),
            ("kind", 4),
            ("kind", 1 << 72 | 1),
            ("kind", 2**64 - 1 << 8 | 1),
            ("public key head", 0),
            ("public key head", 2 * 92 + 1),
            ("public key head", 2 * 90 + 1),
            ("public key", 1),
            ("watermark", 2**32),
            ("watermark", 12),
            ("state", 0),
            ("state", 6),
            ("next serial", 0),
            ("next serial", 2),
            ("next serial", 2**32 - 1),
            ("revoked count", 0),
            ("revoked count", 1),
            ("revoked count", 3),
            ("revoked count", 11),
            ("revocations", 0),
            ("revocations", 1 << 3),
            ("revocations", 1 << 3 | 1 << 5 | 1 << 6),
            ("revocations", 1 << 3 | 1 << 0),
            ("revocations", 1 << 3 | 1 << 11),
        ],
    )
    def test_in_a_words_content(self, chain: FakeChain, slot: str, value: int) -> None:
        ca = chain.register(b"p" * 91)
        chain.issue(ca, entries(10))
        chain.revoke(ca, [3, 5])
        authorities, certificates = chain.domain.authorities, chain.domain.certificates
        head = layout.authority_slots(ca)
        word = chain._storage[certificates, layout.issuer_slot(ca)]

        def packed(low: int, bits: int) -> int:
            return word & ~((1 << bits) - 1 << low) | value << low

        contract, at, new = {
            "list length": (authorities, layout.AUTHORITY_LIST, value),
            "kind": (authorities, head[0], value),
            "public key head": (authorities, head[3], value),
            "public key": (authorities, layout.public_key_slots(ca, 91)[0], value),
            "watermark": (certificates, layout.revoked_below_slot(ca), value),
            "state": (certificates, layout.issuer_slot(ca), packed(248, 8)),
            "next serial": (certificates, layout.issuer_slot(ca), packed(160, 32)),
            "revoked count": (certificates, layout.issuer_slot(ca), packed(192, 32)),
            "revocations": (certificates, layout.revocation_slot(ca, 0), value),
        }[slot]
        chain.put(contract, at, new)
        chain.mine()
        chain.asked.clear()
        with pytest.raises(CouldNotCheck) as caught:
            fetch_snapshot(chain, chain.domain)
        assert caught.value.exit_status == 5
        assert len(chain.asked) < 2 * MAXIMUM_AUTHORITIES

    def test_one_authority_twice(self, chain: FakeChain) -> None:
        ca = chain.register()
        chain.put(chain.domain.authorities, layout.AUTHORITY_LIST, 2)
        chain.put(chain.domain.authorities, layout.authority_id_slot(1), int.from_bytes(ca))
        chain.mine()
        with pytest.raises(CouldNotCheck, match="twice"):
            fetch_snapshot(chain, chain.domain)

    def test_as_many_certificates_as_a_reader_follows(self, chain: FakeChain) -> None:
        ca = chain.register()
        key = (chain.domain.certificates, layout.issuer_slot(ca))
        most = MAXIMUM_REVOCATION_WORDS << 8
        chain.put(*key, chain._storage[key] & ~(2**32 - 1 << 160) | most + 1 << 160)
        chain.mine()
        with pytest.raises(CouldNotCheck, match="more than a reader follows"):
            fetch_snapshot(chain, chain.domain)

    def test_in_a_devices_record(self, chain: FakeChain) -> None:
        chain.put(chain.domain.devices, layout.device_slots(DEVICE)[1], 3)
        chain.mine()
        with pytest.raises(CouldNotCheck, match="record of device"):
            fetch_snapshot(chain, chain.domain, devices=[DEVICE])

    def test_a_word_that_is_none(self, chain: FakeChain) -> None:
        def lie(method: str, params: Sequence[object], honest: object) -> object:
            return "0x00" if method == "eth_getStorageAt" else honest

        chain.lie = lie
        with pytest.raises(EndpointUnavailable, match="storage word has 1 bytes"):
            fetch_snapshot(chain, chain.domain)


class TestWatched:
    def asked_of(self, chain: FakeChain, contract: Address) -> int:
        return sum(call.params[0] == str(contract) for call in chain.asked)

    def test_costs_one_word_where_nobody_watches(self, chain: FakeChain) -> None:
        ca = chain.register()
        chain.issue(ca, entries(3))
        chain.asked.clear()
        snapshot = fetch_snapshot(chain, chain.domain, batches=[(ca, 1)])
        assert only(snapshot).watch is None
        assert snapshot.progress == {}
        assert snapshot.awaited(ca, 1) is None
        assert self.asked_of(chain, chain.domain.watchdogs) == 1

    def test_from_unconfirmed_to_confirmed(self, chain: FakeChain) -> None:
        ca = chain.register()
        chain.issue(ca, entries(3))
        chain.watch(ca, threshold=40, total=60)
        chain.issue(ca, entries(2))
        chain.asked.clear()
        batches = [(ca, 1), (ca, 4)]
        snapshot = fetch_snapshot(chain, chain.domain, batches=batches)
        assert only(snapshot).watch == layout.Watch(1, 4, 40, 60)
        assert self.asked_of(chain, chain.domain.watchdogs) == 2
        assert snapshot.awaited(ca, 1) is None
        assert snapshot.awaited(ca, 4) == "awaiting watchdogs: 0 of 40"
        chain.confirm(ca, 4, weight=30, confirmed=False)
        snapshot = fetch_snapshot(chain, chain.domain, batches=batches)
        assert snapshot.awaited(ca, 4) == "awaiting watchdogs: 30 of 40"
        chain.watch(ca, threshold=20, total=20)
        snapshot = fetch_snapshot(chain, chain.domain, batches=batches)
        assert only(snapshot).watch == layout.Watch(2, 4, 20, 20)
        assert snapshot.awaited(ca, 4) == "awaiting watchdogs: 0 of 20"
        chain.confirm(ca, 4, weight=20, confirmed=True)
        chain.watch(ca, threshold=60, total=60)
        assert fetch_snapshot(chain, chain.domain, batches=batches).awaited(ca, 4) is None

    def test_objections_are_told(self) -> None:
        watch = layout.Watch(2, 1, 40, 60)
        told = watch.missing(layout.Progress(2, 10, 0b001, 0b110))
        assert told == "awaiting watchdogs: 10 of 40, 2 objected"
        assert watch.missing(layout.Progress(1, 10, 0b001, 0b110)) == "awaiting watchdogs: 0 of 40"

    def test_of_a_ca_that_is_none_everything_waits(self, chain: FakeChain) -> None:
        snapshot = fetch_snapshot(chain, chain.domain)
        assert snapshot.awaited(AuthorityId(b"\x09" * 32), 1) is not None

    @pytest.mark.parametrize(
        "word",
        [
            0 | 1 << 32 | 1 << 64 | 1 << 96,  # a first serial and no version
            1 | 0 << 32 | 1 << 64 | 1 << 96,
            1 | 1 << 32 | 0 << 64 | 1 << 96,
            1 | 1 << 32 | 2 << 64 | 1 << 96,  # more than all of them weigh
            1 | 2 << 32 | 1 << 64 | 1 << 96,  # from beyond the next serial
            1 | 1 << 32 | 1 << 64 | 1 << 96 | 1 << 128,
        ],
    )
    def test_a_watch_that_nobody_set(self, chain: FakeChain, word: int) -> None:
        ca = chain.register()
        chain.put(chain.domain.watchdogs, layout.watch_slot(ca), word)
        chain.mine()
        with pytest.raises(CouldNotCheck, match="can't have written"):
            fetch_snapshot(chain, chain.domain)

    @pytest.mark.parametrize("word", [1 | 1 << 64 | 1 << 96, 2 << 128])
    def test_confirmations_that_nobody_counted(self, chain: FakeChain, word: int) -> None:
        ca = chain.register()
        chain.watch(ca)
        chain.issue(ca, entries(1))
        chain.put(chain.domain.watchdogs, layout.progress_slot(ca, 1), word)
        chain.mine()
        with pytest.raises(CouldNotCheck, match="confirmations of batch 1"):
            fetch_snapshot(chain, chain.domain, batches=[(ca, 1)])
