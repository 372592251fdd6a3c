"""T1, T4 and T6, how a device comes by its own user certificate, and by which hosts' count.

On a real chain. The attacks: a bundle that holds something else, an endpoint that withholds what
was anchored, a copy of every bundle kept until the device is stolen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dpki.agent.decide import decide
from dpki.agent.observation import Observation
from dpki.agent.outward import OutwardPlan
from dpki.bundle.content import Bundle
from dpki.certificates.keys import public_blob, ssh_blob
from dpki.chain.rpc import Call
from dpki.config.device import Access, DeviceConfig, Outage
from dpki.config.outbound import Outbound
from dpki.devices.keys import generate_device_keys, load_device_keys, save_device_keys
from dpki.devices.prekeys import add_prekeys
from dpki.model import Entry, Hash32
from tests.chain_world import ChainWorld, Liar, open_world


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChainWorld]:
    with open_world(tmp_path_factory.mktemp("chain")) as world:
        (world.directory / "device").mkdir()
        save_device_keys(world.key_folder, world.keys)
        yield world


@pytest.fixture
def world(chain: ChainWorld, tmp_path: Path) -> ChainWorld:
    """The world of before, with an agent that knows nothing, for an account that logs in."""
    for path in (chain.directory / "device").glob("agent.db*"):
        path.unlink()
    chain.outbound = Outbound("telemetry", tmp_path)
    chain.keys = load_device_keys(chain.key_folder)
    return chain


def plan(world: ChainWorld, seen: Observation, outage: Outage = Outage.CLOSED) -> OutwardPlan:
    config = DeviceConfig(
        domain=world.domain.id,
        rpc=("unused",),
        access=Access(console_access=True, outage=outage),
        outbound=world.outbound,
    )
    outward = decide(config, world.keys.address, seen, datetime.now(UTC)).outward
    assert outward is not None
    return outward


def test_it_finds_and_opens_its_own(world: ChainWorld) -> None:
    certificate = world.issue_client()
    seen = world.observe()
    assert seen.problems == ()
    assert seen.client is not None
    assert seen.client.certificate == certificate
    assert public_blob(seen.client.key) == ssh_blob(world.keys.ssh_user[-1].public_key())
    (client,) = plan(world, seen).clients
    assert client == seen.client
    world.outbound = None
    assert world.observe().client is None, "nobody uses it"


def test_one_for_a_one_time_key_becomes_the_clients(world: ChainWorld) -> None:
    add_prekeys(world.key_folder, 1)
    world.keys = load_device_keys(world.key_folder)
    prekey = world.keys.prekeys[0]
    certificate = world.issue_client(prekey=prekey)
    seen = world.observe()
    assert seen.client is not None
    assert seen.client.certificate == certificate
    keys = load_device_keys(world.key_folder)
    blob = ssh_blob(prekey.ssh.public_key())
    assert keys.user_blobs[-1] == blob
    assert blob not in keys.host_blobs
    assert prekey.number not in {one.number for one in keys.prekeys}


def test_a_bundle_that_holds_another_certificate(world: ChainWorld) -> None:
    good = world.issue_client()
    other = world.sign_user(99)
    world.issue_client(lambda bundle: replace(bundle, certificate=other.blob))
    seen = world.observe()
    assert any("another certificate than the anchored one" in p for p in seen.problems)
    assert seen.client is not None
    assert seen.client.certificate == good, "the one before serves"


def test_a_bundle_that_holds_another_private_key(world: ChainWorld) -> None:
    world.issue_client()
    stranger = generate_device_keys()

    def swap(bundle: Bundle) -> Bundle:
        key = stranger.host_key_for(stranger.host_blobs[0])
        assert key is not None
        return replace(bundle, key=key)

    bad = world.issue_client(swap)
    seen = world.observe()
    assert any("is not the certificate's" in p for p in seen.problems)
    assert seen.client is not None
    assert seen.client.certificate != bad


def test_once_it_is_revoked_or_retired_it_has_none(world: ChainWorld) -> None:
    certificate = world.issue_client()
    assert plan(world, world.observe()).usable >= {certificate.hash}
    world.writer.revoke(world.users.id, [certificate.serial])
    seen = world.observe()
    assert seen.client is None or seen.client.certificate != certificate
    assert certificate.hash not in plan(world, seen).usable


def anchor_another_host(world: ChainWorld) -> Hash32:
    """Enrol another device, and anchor a host certificate for it."""
    keys = generate_device_keys()
    world.enroll(keys)
    certificate = world.hosts.sign(
        valid_after=world.now - timedelta(minutes=5), valid_before=world.now + timedelta(days=1)
    )
    entry = Entry(certificate.hash, keys.address, certificate.valid_before, Hash32.zero())
    world.writer.issue(world.hosts.id, world.hosts.next_serial, [entry])
    world.hosts.next_serial += 1
    world.stranger = keys.address  # type: ignore[attr-defined]
    return certificate.hash


def hosts(world: ChainWorld, seen: Observation) -> set[Hash32]:
    return {host.hash for host in plan(world, seen).hosts.certificates}


def test_it_knows_every_host_that_is_anchored_and_enrolled(world: ChainWorld) -> None:
    own = world.issue_host()
    other = anchor_another_host(world)
    assert hosts(world, world.observe()) >= {own.hash, other}
    world.writer.retire_device(world.stranger)  # type: ignore[attr-defined]
    found = hosts(world, world.observe())
    assert own.hash in found
    assert other not in found


def test_hosts_count_also_where_it_becomes_a_client_only_later(world: ChainWorld) -> None:
    wanted, world.outbound = world.outbound, None
    own = world.issue_host()
    other = anchor_another_host(world)
    seen = world.observe()
    assert other not in {known.entry.certificate_hash for known in seen.known}
    world.outbound = wanted
    assert hosts(world, world.observe()) >= {own.hash, other}
    world.outbound = None
    later = world.issue_host()
    seen = world.observe()
    assert seen.host is not None
    assert seen.host.certificate == later


def test_an_endpoint_that_withholds_a_host_is_found_out(world: ChainWorld) -> None:
    """It is told, and that host is not believed; nothing else is held up."""
    own = world.issue_host()
    client = world.issue_client()
    world.observe()
    other = anchor_another_host(world)

    def tell(call: Call, answer: object) -> object:
        return [] if call.method == "eth_getLogs" else answer

    seen = world.observe(Liar(world.reader, tell))
    assert any("does not show them" in problem for problem in seen.problems)
    assert other not in hosts(world, seen)
    assert own.hash in hosts(world, seen)
    assert seen.client is not None
    assert seen.client.certificate == client
    seen = world.observe()
    assert seen.problems == ()
    assert other in hosts(world, seen)


def test_how_long_it_believes_hosts_without_the_chain(world: ChainWorld) -> None:
    seen = world.observe()
    made = seen.snapshot.block.time
    assert plan(world, seen).hosts.fresh_until == made + timedelta(hours=24)
    assert plan(world, seen, Outage.OPEN).hosts.fresh_until.year == 9999
