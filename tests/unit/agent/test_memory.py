"""What was seen is never unseen (claims T3, T4)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from dpki.agent.memory import Memory, newest_final, remember, verify_floor, with_memory
from dpki.chain.layout import Progress
from dpki.errors import EndpointUnavailable
from dpki.model import Address, AuthorityState, DeviceState
from tests.world import NOW, Ca, block, snapshot

DEVICE = Address(b"\xaa" * 20)


def test_a_revocation_survives_a_reorg() -> None:
    users = Ca.users()
    users.issue()
    users.revoked.add(1)
    users.revoked_below = 1
    memory = remember(Memory(), snapshot(users), block(1), NOW)
    users.revoked.clear()
    users.revoked_below = 0
    seen = with_memory(snapshot(users), memory)
    assert seen.authorities[users.id].is_revoked(1)


def test_a_watermark_never_sinks() -> None:
    users = Ca.users()
    users.revoked_below = 7
    memory = remember(Memory(), snapshot(users), block(1), NOW)
    users.revoked_below = 3
    memory = remember(memory, snapshot(users), block(1), NOW)
    assert with_memory(snapshot(users), memory).authorities[users.id].revoked_below == 7


def test_a_retired_ca_stays_retired_and_a_suspended_one_may_come_back() -> None:
    users = Ca.users()
    users.state = AuthorityState.SUSPENDED
    memory = remember(Memory(), snapshot(users), block(1), NOW)
    users.state = AuthorityState.ACTIVE
    seen = with_memory(snapshot(users), memory)
    assert seen.authorities[users.id].state is AuthorityState.ACTIVE
    users.state = AuthorityState.RETIRED
    memory = remember(memory, snapshot(users), block(1), NOW)
    users.state = AuthorityState.ACTIVE
    seen = with_memory(snapshot(users), memory)
    assert seen.authorities[users.id].state is AuthorityState.RETIRED


def test_a_retired_device_stays_retired_whatever_is_said_later() -> None:
    retired = snapshot(devices={DEVICE: DeviceState.RETIRED})
    memory = remember(Memory(), retired, block(1), NOW)
    for later in (DeviceState.ACTIVE, DeviceState.UNREGISTERED):
        seen = with_memory(snapshot(devices={DEVICE: later}), memory)
        assert seen.devices[DEVICE].state is DeviceState.RETIRED
    other = Address(b"\xbb" * 20)
    seen = with_memory(snapshot(devices={other: DeviceState.ACTIVE}), memory)
    assert seen.devices[other].state is DeviceState.ACTIVE
    ahead = snapshot(devices={other: DeviceState.RETIRED}, at=block(9, NOW + timedelta(hours=1)))
    assert remember(memory, ahead, block(1), NOW) == memory, "a block from the future"


def test_the_candidate_becomes_the_floor_once_it_is_final() -> None:
    users = Ca.users()
    memory = remember(Memory(), snapshot(users, at=block(100)), block(90), NOW)
    assert memory.floor is None
    memory = remember(memory, snapshot(users, at=block(101)), block(99), NOW)
    assert memory.floor is None
    memory = remember(memory, snapshot(users, at=block(110)), block(100), NOW)
    assert memory.floor is not None
    assert memory.floor.block.number == 100


def final(users: Ca, devices: dict[Address, DeviceState] | None = None) -> Memory:
    memory = remember(Memory(), snapshot(users, devices=devices), block(1), NOW)
    return remember(memory, snapshot(users, devices=devices), block(100), NOW)


def test_a_later_block_of_an_earlier_time_is_not_believed() -> None:
    """Else everybody is locked out: the index would be too old, and no CA final yet."""
    users = Ca.users()
    memory = final(users)
    earlier = replace(block(101), time=NOW - timedelta(seconds=1))
    with pytest.raises(EndpointUnavailable, match="already final"):
        verify_floor(memory, snapshot(users, at=earlier))


def test_what_was_final_is_final_whatever_is_said_today() -> None:
    users = Ca.users()
    assert newest_final(Memory(), block(3)) == block(3)
    assert newest_final(final(users), block(3)) == block(100)
    assert newest_final(final(users), block(101)) == block(101)


def test_older_than_the_floor_is_not_believed() -> None:
    users = Ca.users()
    memory = final(users)
    with pytest.raises(EndpointUnavailable, match="already final"):
        verify_floor(memory, snapshot(users, at=block(99)))
    verify_floor(memory, snapshot(users, at=block(100)))


def test_final_certificates_can_not_vanish() -> None:
    users = Ca.users()
    users.issue()
    memory = final(users)
    users.next_serial = 1
    with pytest.raises(EndpointUnavailable, match="gone"):
        verify_floor(memory, snapshot(users))
    with pytest.raises(EndpointUnavailable, match="gone"):
        verify_floor(memory, snapshot())


def test_a_final_update_of_a_device_can_not_vanish() -> None:
    users = Ca.users()
    memory = final(users, {DEVICE: DeviceState.ACTIVE})
    seen = snapshot(users, devices={DEVICE: DeviceState.ACTIVE})
    verify_floor(memory, seen)
    record = replace(seen.devices[DEVICE], nonce=0)
    with pytest.raises(EndpointUnavailable, match="update of device"):
        verify_floor(memory, replace(seen, devices={DEVICE: record}))


def test_an_absurd_head_is_not_remembered() -> None:
    """A liar's far future makes neither the truth look old nor good certificates revoked."""
    users = Ca.users()
    users.issue()
    users.revoked.add(1)
    absurd = snapshot(users, at=block(10**9, NOW + timedelta(days=3650)))
    memory = remember(Memory(), absurd, block(10**9), NOW)
    memory = remember(memory, absurd, block(10**9), NOW)
    assert memory == Memory()
    users.revoked.clear()
    seen = with_memory(verify_floor(memory, snapshot(users)), memory)
    assert not seen.authorities[users.id].is_revoked(1)


class TestWatched:
    @pytest.fixture
    def users(self) -> Ca:
        users = Ca.users()
        users.issue()
        users.watched()
        users.issue()
        return users

    def test_a_final_watch_can_not_be_denied(self, users: Ca) -> None:
        """Else an endpoint could spare a thief the watchdogs."""
        memory = final(users)
        verify_floor(memory, snapshot(users))
        users.watch = None
        with pytest.raises(EndpointUnavailable, match="is watched was final"):
            verify_floor(memory, snapshot(users))

    @pytest.mark.parametrize("change", [{"version": 1}, {"first_serial": 3}, {"first_serial": 1}])
    def test_nor_turned_back_or_moved(self, users: Ca, change: dict[str, int]) -> None:
        assert users.watch is not None
        users.watch = replace(users.watch, version=2)
        memory = final(users)
        before, users.watch = users.watch, replace(users.watch, **change)
        with pytest.raises(EndpointUnavailable, match="gone or another"):
            verify_floor(memory, snapshot(users))
        users.watch = replace(before, version=3, threshold=1, total=1)
        verify_floor(memory, snapshot(users))

    def test_what_is_accepted_at_a_final_block_is_settled(self, users: Ca) -> None:
        users.confirm(2, 40)
        memory = remember(Memory(), snapshot(users, at=block(100)), block(90), NOW)
        assert memory.floor is None
        memory = remember(memory, snapshot(users, at=block(110)), block(100), NOW)
        assert memory.floor is not None
        assert memory.floor.accepted == {(users.id, 1), (users.id, 2)}

    def test_what_is_not_accepted_or_not_there_is_not(self, users: Ca) -> None:
        users.confirm(2, 39)
        missing = [(users.id, 3)]
        seen = replace(
            snapshot(users, missing=missing),
            progress={(users.id, 2): users.progress[2], (users.id, 3): Progress(1, 40, 1, 0, True)},
        )
        memory = remember(remember(Memory(), seen, block(1), NOW), seen, block(100), NOW)
        assert memory.floor is not None
        assert memory.floor.accepted == {(users.id, 1)}
