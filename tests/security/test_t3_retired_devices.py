"""T3: a retired device is a client nowhere, whatever an endpoint or a reorg says later.

A user certificate may be anchored for a device: then it is that device's own, to log in elsewhere.
Every other device accepts it as long as its holder is enrolled. The attack: somebody takes a device
away, it is retired, and its client certificate lives on for weeks.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dpki.agent.decide import decide
from dpki.chain import layout
from dpki.chain.rpc import Call
from dpki.config.device import Access, DeviceConfig, Grant
from dpki.devices.keys import generate_device_keys
from dpki.errors import CouldNotCheck
from dpki.model import Address, DeviceState
from tests.chain_world import ChainWorld, Liar, open_world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ChainWorld]:
    with open_world(tmp_path) as opened:
        yield opened


def let_in(world: ChainWorld, reader: Liar | None = None) -> set[int]:
    """Look, and return the serials of those who get in."""
    seen = world.observe(reader)
    config = DeviceConfig(
        domain=world.domain.id,
        rpc=("unused",),
        access=Access(console_access=True),
        accounts={"root": (Grant(world.users.id, "ops"),)},
    )
    plan = decide(config, world.keys.address, seen, datetime.now(UTC))
    return {certificate.serial for certificate in plan.index.certificates}


@pytest.fixture
def thief(world: ChainWorld) -> Address:
    """A device that holds a certificate; so does a person."""
    keys = generate_device_keys()
    world.enroll(keys)
    world.anchor_users(world.sign_user())
    world.anchor_users(world.sign_user(), holder=keys.address)
    assert let_in(world) == {1, 2}
    return keys.address


def test_at_once(world: ChainWorld, thief: Address) -> None:
    world.writer.retire_device(thief)
    assert let_in(world) == {1}


def test_not_even_a_reorg_brings_it_back(world: ChainWorld, thief: Address) -> None:
    mark = world.reader.call("evm_snapshot")
    world.writer.retire_device(thief)
    assert let_in(world) == {1}
    world.reader.call("evm_revert", [mark])
    world.reader.call("anvil_mine", ["0x5"])
    seen = world.observe()
    assert seen.problems == ()
    assert seen.snapshot.devices[thief].state is DeviceState.RETIRED
    assert let_in(world) == {1}


def test_whoever_says_nothing_of_the_device_changes_nothing(
    world: ChainWorld, thief: Address
) -> None:
    """It is no answer: what was removed until now stays removed, and nothing is added."""
    slots = {f"0x{slot:064x}" for slot in layout.device_slots(thief)}

    def tell(call: Call, answer: object) -> object:
        is_it = call.method == "eth_getStorageAt" and call.params[1] in slots
        return "0x" if is_it else answer

    with pytest.raises(CouldNotCheck):
        world.observe(Liar(world.reader, tell))


def test_a_device_that_was_never_enrolled_holds_nothing(world: ChainWorld) -> None:
    world.anchor_users(world.sign_user())
    world.anchor_users(world.sign_user(), holder=Address(b"\x05" * 20))
    assert let_in(world) == {1}
