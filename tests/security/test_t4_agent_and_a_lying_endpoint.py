"""T4: what a lying, stale or withholding endpoint can do to an agent, and what it can't."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.chain import layout
from dpki.chain.rpc import Call
from dpki.errors import ContentUnavailable, CouldNotCheck, EndpointUnavailable
from dpki.model import AuthorityState, Entry, Hash32
from tests.chain_world import ChainWorld, Liar, open_world
from tests.device import private_key_file
from tests.world import Ca


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ChainWorld]:
    with open_world(tmp_path) as opened:
        yield opened


def withholding(world: ChainWorld) -> Liar:
    """An endpoint that shows no events."""

    def tell(call: Call, answer: object) -> object:
        return [] if call.method == "eth_getLogs" else answer

    return Liar(world.reader, tell)


def test_the_truth_is_seen(world: ChainWorld) -> None:
    first, second = world.sign_user(1), world.sign_user(2)
    world.anchor_users(first, second)
    host = world.issue_host()
    seen = world.observe()
    users = [k for k in seen.known if k.authority == world.users.id]
    assert [k.entry.certificate_hash for k in users] == [first.hash, second.hash]
    assert seen.host is not None
    assert seen.host.certificate == host
    assert seen.problems == ()


def test_withheld_events_delay_and_are_noticed_and_the_truth_is_believed_afterwards(
    world: ChainWorld,
) -> None:
    world.anchor_users(world.sign_user())
    world.issue_host()
    lied_to = world.observe(withholding(world))
    assert lied_to.known == ()
    assert lied_to.host is None
    assert any("does not show them" in problem for problem in lied_to.problems)
    seen = world.observe()
    assert seen.host is not None
    assert len([k for k in seen.known if k.authority == world.users.id]) == 1
    assert seen.problems == ()


def test_withheld_events_hold_up_no_revocation(world: ChainWorld) -> None:
    world.anchor_users(world.sign_user())
    world.observe()
    world.writer.revoke(world.users.id, [1])
    seen = world.observe(withholding(world))
    assert seen.snapshot.authorities[world.users.id].is_revoked(1)


@pytest.mark.parametrize("position", [0, 1, 2], ids=["hash", "notAfter", "locator"])
def test_altered_events_never_become_certificates(world: ChainWorld, position: int) -> None:
    world.anchor_users(world.sign_user())

    def tell(call: Call, answer: Any) -> object:
        if call.method != "eth_getLogs":
            return answer
        altered = []
        for log in answer:
            data = bytearray.fromhex(log["data"][2:])
            if len(data) == 96:
                data[32 * position + 31] ^= 1
            altered.append({**log, "data": f"0x{data.hex()}"})
        return altered

    seen = world.observe(Liar(world.reader, tell))
    if position == 2:
        # A forged locator is in no leaf: it can only lead astray, and a user's leads nowhere.
        assert len(seen.known) == 1
    else:
        assert seen.known == ()
        assert seen.problems


def test_invented_host_certificates_are_not_installed(world: ChainWorld) -> None:
    """Events in which another certificate hash stands lead to no bundle that fits."""
    real = world.issue_host()

    def tell(call: Call, answer: Any) -> object:
        if call.method != "eth_getLogs":
            return answer
        return [{**log, "data": f"0x{'11' * 32}{log['data'][66:]}"} for log in answer]

    seen = world.observe(Liar(world.reader, tell))
    assert seen.host is None
    assert seen.problems
    after = world.observe()
    assert after.host is not None
    assert after.host.certificate == real


def test_a_newer_host_certificate_is_found_once_its_events_are_no_longer_forged(
    world: ChainWorld,
) -> None:
    """The older one still serves, so nothing else would make the device look again."""
    first = world.issue_host()
    world.reader.call("evm_mine")
    world.observe()
    second = world.issue_host()

    def tell(call: Call, answer: Any) -> object:
        if call.method != "eth_getLogs":
            return answer
        return [{**log, "data": f"0x{'11' * 32}{log['data'][66:]}"} for log in answer]

    lied_to = world.observe(Liar(world.reader, tell))
    assert lied_to.host is not None
    assert lied_to.host.certificate == first
    assert lied_to.problems
    seen = world.observe()
    assert seen.host is not None
    assert seen.host.certificate == second
    assert seen.problems == ()


def test_who_withholds_users_events_is_not_believed_about_the_device_s(world: ChainWorld) -> None:
    world.issue_host()
    world.observe()
    second = world.issue_host()
    world.anchor_users(world.sign_user())
    assert world.observe(withholding(world)).problems
    seen = world.observe()
    assert seen.host is not None
    assert seen.host.certificate == second


def test_an_older_chain_is_not_believed_once_a_newer_one_was_final(world: ChainWorld) -> None:
    world.anchor_users(world.sign_user())
    world.observe()
    world.anchor_users(world.sign_user())
    world.observe()
    old = world.reader.call("eth_getBlockByNumber", [hex(world.domain.block.number), False])

    def tell(call: Call, answer: object) -> object:
        return old if call.params[:1] == ["latest"] else answer

    with pytest.raises(EndpointUnavailable, match="already final"):
        world.observe(Liar(world.reader, tell))
    assert len([k for k in world.observe().known if k.authority == world.users.id]) == 2


def test_another_block_at_a_final_height_is_a_fork(world: ChainWorld) -> None:
    world.anchor_users(world.sign_user())
    world.observe()
    world.anchor_users(world.sign_user())
    world.observe()

    def tell(call: Call, answer: Any) -> object:
        if call.method != "eth_getBlockByNumber" or str(call.params[0]) == "latest":
            return answer
        return {**answer, "hash": str(Hash32(b"\x66" * 32))}

    with pytest.raises(CouldNotCheck, match="not on the chain"):
        world.observe(Liar(world.reader, tell))


def test_a_zero_word_un_revokes_nothing(world: ChainWorld) -> None:
    """The count says that something is missing; and what was seen revoked stays so."""
    world.anchor_users(world.sign_user(1), world.sign_user(2))
    world.writer.revoke(world.users.id, [1])
    world.observe()

    bitmap = f"0x{layout.revocation_slot(world.users.id, 0):064x}"

    def tell(call: Call, answer: object) -> object:
        is_bitmap = call.method == "eth_getStorageAt" and call.params[1] == bitmap
        return f"0x{0:064x}" if is_bitmap else answer

    with pytest.raises(CouldNotCheck):
        world.observe(Liar(world.reader, tell))


def test_a_ca_that_was_final_can_not_be_kept_from_us(world: ChainWorld) -> None:
    """Else an endpoint could lock everybody out by naming no CAs at all."""
    world.anchor_users(world.sign_user())
    world.observe()
    world.anchor_users(world.sign_user())
    world.observe()
    length = f"0x{layout.authority_count_slot():064x}"

    def tell(call: Call, answer: object) -> object:
        is_length = call.method == "eth_getStorageAt" and call.params[:2] == [
            str(world.domain.authorities),
            length,
        ]
        return f"0x{0:064x}" if is_length else answer

    with pytest.raises(EndpointUnavailable, match="gone"):
        world.observe(Liar(world.reader, tell))


def test_a_real_reorg_revives_no_revoked_certificate(world: ChainWorld) -> None:
    world.anchor_users(world.sign_user())
    snapshot = world.reader.call("evm_snapshot")
    world.writer.revoke(world.users.id, [1])
    assert world.observe().snapshot.authorities[world.users.id].is_revoked(1)
    world.reader.call("evm_revert", [snapshot])
    for _ in range(3):
        world.reader.call("evm_mine")
    assert world.observe().snapshot.authorities[world.users.id].is_revoked(1)


def test_a_real_reorg_replaces_certificates_that_it_replaced(world: ChainWorld) -> None:
    """The same serial, another certificate: the index follows the chain."""
    first = world.sign_user(1)
    snapshot = world.reader.call("evm_snapshot")
    world.anchor_users(first)
    lagging = replace_finality(world)
    assert [k.entry.certificate_hash for k in world.observe(lagging).known] == [first.hash]
    world.reader.call("evm_revert", [snapshot])
    world.users.next_serial = 1
    second = world.sign_user(1)
    world.anchor_users(second)
    assert [k.entry.certificate_hash for k in world.observe(lagging).known] == [second.hash]


def replace_finality(world: ChainWorld) -> Liar:
    """An honest endpoint on which nothing after the domain's deployment is final yet."""
    deployed = world.domain.block
    asked = {"latest": 0}

    def tell(call: Call, answer: object) -> object:
        if call.method == "eth_getBlockByNumber" and call.params[0] == "latest":
            asked["latest"] += 1
            if asked["latest"] % 2 == 1:  # the agent asks for the final block first
                return world.reader.call("eth_getBlockByNumber", [hex(deployed.number), False])
        return answer

    return Liar(world.reader, tell)


@pytest.mark.parametrize(
    "state", [AuthorityState.SUSPENDED, AuthorityState.RETIRED], ids=lambda s: s.label
)
def test_a_host_ca_that_counts_no_more(world: ChainWorld, state: AuthorityState) -> None:
    world.issue_host()
    assert world.observe().host is not None
    if state is AuthorityState.SUSPENDED:
        world.writer.suspend(world.hosts.id)
    else:
        world.writer.retire(world.hosts.id)
    assert world.observe().host is None


def test_a_bundle_for_another_context_is_not_installed(world: ChainWorld) -> None:
    world.issue_host(lambda bundle: replace(bundle, context=Hash32(b"\x01" * 32)))
    seen = world.observe()
    assert seen.host is None
    assert seen.problems


def test_a_bundle_with_anothers_private_key_is_not_installed(world: ChainWorld) -> None:
    other = private_key_file(Ed25519PrivateKey.generate())
    world.issue_host(lambda bundle: replace(bundle, key=other))
    seen = world.observe()
    assert seen.host is None
    assert any("not the certificate's" in problem for problem in seen.problems)


def test_a_bundle_that_opens_and_holds_another_certificate_is_not_installed(
    world: ChainWorld,
) -> None:
    """A good one of this very device, signed by the right CA and anchored, but not here."""
    first = world.issue_host()
    world.issue_host(lambda bundle: replace(bundle, certificate=first.blob))
    seen = world.observe()
    assert seen.host is not None
    assert seen.host.certificate == first
    assert any("another certificate than the anchored" in problem for problem in seen.problems)


def test_the_overlap_that_a_profile_names_comes_with_the_bundle(world: ChainWorld) -> None:
    world.issue_host(lambda bundle: replace(bundle, overlap=timedelta(hours=12)))
    seen = world.observe()
    assert seen.host is not None
    assert seen.host.overlap == timedelta(hours=12)


def test_rotation_and_going_back(world: ChainWorld) -> None:
    """The newest good certificate wins; when it is revoked the earlier one serves again."""
    first, second = world.issue_host(), world.issue_host()
    seen = world.observe()
    assert seen.host is not None
    assert seen.host.certificate == second
    world.writer.revoke(world.hosts.id, [2])
    seen = world.observe()
    assert seen.host is not None
    assert seen.host.certificate == first
    world.writer.revoke(world.hosts.id, [1])
    assert world.observe().host is None


def test_a_flood_of_anchors_without_bundles_holds_nothing_up(
    world: ChainWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stolen operator wallet can anchor thousands for one device, each leading nowhere."""
    good = world.issue_host()
    assert world.observe().host is not None
    flood = [
        Entry(Hash32(bytes([n]) * 32), world.keys.address, good.valid_before, Hash32.zero())
        for n in range(1, 101)
    ]
    world.writer.issue(world.hosts.id, world.hosts.next_serial, flood)
    asked: list[timedelta] = []

    def slow(digest: Hash32, sources: object, deadline: timedelta, **_: object) -> bytes:
        asked.append(deadline)
        clock[0] += deadline.total_seconds()
        raise ContentUnavailable("nobody has it")

    clock = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr("dpki.agent.opener.fetch_first", slow)
    seen = world.observe()
    assert sum(asked, timedelta(0)) <= timedelta(seconds=60)
    assert seen.host is not None
    assert seen.host.certificate == good
    assert any("used up" in problem for problem in seen.problems)


def test_a_ca_with_an_unusable_issuer_key_holds_nothing_up(world: ChainWorld) -> None:
    """A low-order point, which no contract can tell: its leads lead nowhere, others go on."""
    good = world.issue_host()
    odd = Ca.hosts()
    world.writer.register_authority(
        odd.kind,
        odd.spki,
        Hash32(bytes([1]) + bytes(31)),
        operator=world.writer.account,
        maximum_lifetime=timedelta(days=30),
    )
    lead = Entry(Hash32(b"\x01" * 32), world.keys.address, good.valid_before, Hash32(b"\x02" * 32))
    world.writer.issue(odd.id, 1, [lead])
    seen = world.observe()
    assert seen.host is not None
    assert seen.host.certificate == good
    assert any("low order" in problem for problem in seen.problems)
