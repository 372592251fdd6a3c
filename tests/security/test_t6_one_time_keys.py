"""T6: who keeps every bundle and steals the device later opens none that a one-time key opened."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from dpki.agent.observation import Observation
from dpki.bundle.content import Bundle
from dpki.certificates.keys import public_blob, ssh_blob
from dpki.certificates.ssh import SshCertificate
from dpki.chain.rpc import Call, Reader
from dpki.devices.keys import load_device_keys, save_device_keys
from dpki.devices.prekeys import PREKEY_DIRECTORY, PrekeySecret, add_prekeys, erase_prekey
from dpki.errors import DpkiError
from tests.chain_world import ChainWorld, open_world
from tests.faults import killed_anywhere


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChainWorld]:
    with open_world(tmp_path_factory.mktemp("chain")) as world:
        (world.directory / "device").mkdir()
        save_device_keys(world.key_folder, world.keys)
        yield world


@pytest.fixture
def world(chain: ChainWorld) -> ChainWorld:
    """The world of before, with a fresh agent and four one-time keys that were never used."""
    for name in ("bundles", "agent.db"):
        path = chain.directory / "device" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    add_prekeys(chain.key_folder, 4)
    return reloaded(chain)


def reloaded(world: ChainWorld) -> ChainWorld:
    world.keys = load_device_keys(world.key_folder)
    return world


@dataclass(frozen=True)
class Behind:
    """An endpoint that has not heard of the newest blocks."""

    reader: Reader
    number: int
    name: str = "behind"

    def call(self, method: str, params: Sequence[object] = ()) -> object:
        if method == "eth_getBlockByNumber" and params[0] in ("latest", "safe", "finalized"):
            params = [hex(self.number), *params[1:]]
        return self.reader.call(method, params)

    def batch(self, calls: Sequence[Call]) -> list[object]:
        return [self.call(call.method, call.params) for call in calls]


def supply(world: ChainWorld) -> dict[int, PrekeySecret]:
    return {prekey.number: prekey for prekey in load_device_keys(world.key_folder).prekeys}


def presented(seen: Observation) -> SshCertificate | None:
    return None if seen.host is None else seen.host.certificate


def loot(world: ChainWorld) -> bytes:
    """Return everything that is on the device."""
    files = sorted(path for path in (world.directory / "device").rglob("*") if path.is_file())
    return b"".join(path.read_bytes() for path in files)


def test_what_it_opened_is_installed_and_the_key_erased(world: ChainWorld) -> None:
    first = world.keys.prekeys[0]
    certificate = world.issue_host(prekey=first)
    seen = world.observe()
    assert presented(seen) == certificate
    assert seen.host is not None
    blob = ssh_blob(first.ssh.public_key())
    assert public_blob(seen.host.key) == blob
    assert blob == load_device_keys(world.key_folder).host_blobs[-1]
    assert first.number not in supply(world)
    assert first.x25519 not in loot(world)
    # It goes on counting, with the bundle's source away and the agent's own copy the only one.
    away = world.store_directory.with_name("away")
    world.store_directory.rename(away)
    try:
        assert presented(reloaded(world).observe()) == certificate
    finally:
        away.rename(world.store_directory)


def test_a_copy_of_the_bundle_and_the_whole_device_open_nothing(world: ChainWorld) -> None:
    certificate = world.issue_host(prekey=world.keys.prekeys[0])
    assert presented(world.observe()) == certificate
    # The thief has all keys that are left, and the bundle; only what was kept as opened is gone.
    for path in (world.directory / "device/bundles").glob("*.opened"):
        path.unlink()
    seen = reloaded(world).observe()
    assert presented(seen) != certificate
    assert any("do not open the bundle" in problem for problem in seen.problems)


def test_it_counts_again_once_its_ca_is_lifted(world: ChainWorld) -> None:
    """Nobody can open its bundle a second time: what it said is kept until it counts no more."""
    certificate = world.issue_host(prekey=world.keys.prekeys[0])
    assert presented(world.observe()) == certificate
    world.writer.suspend(world.hosts.id)
    assert presented(reloaded(world).observe()) is None
    world.writer.lift(world.hosts.id)
    assert presented(reloaded(world).observe()) == certificate
    world.writer.revoke(world.hosts.id, [certificate.serial])
    assert presented(reloaded(world).observe()) != certificate
    assert not list((world.directory / "device/bundles").glob("*.opened"))


def test_an_endpoint_that_is_behind_takes_nothing_away(world: ChainWorld) -> None:
    """It does not know of the certificate yet; once it does, nothing else opens the bundle."""
    older = world.issue_host()
    earlier = int(str(world.reader.call("eth_blockNumber")), 16)
    certificate = world.issue_host(prekey=world.keys.prekeys[0])
    assert presented(world.observe()) == certificate
    assert presented(reloaded(world).observe(Behind(world.reader, earlier))) == older
    assert presented(reloaded(world).observe()) == certificate


def test_a_second_certificate_for_it_is_refused(world: ChainWorld) -> None:
    first = world.keys.prekeys[0]
    good = world.issue_host(prekey=first)
    assert presented(world.observe()) == good
    second = world.issue_host(prekey=first)
    seen = reloaded(world).observe()
    assert presented(seen) == good
    assert any(f"host certificate {second.serial}" in problem for problem in seen.problems)


def test_of_two_for_one_key_at_once_only_one_counts(world: ChainWorld) -> None:
    first = world.keys.prekeys[0]
    one, two = world.issue_host(prekey=first), world.issue_host(prekey=first)
    assert presented(world.observe()) == two
    seen = reloaded(world).observe()
    assert presented(seen) == two
    world.writer.revoke(world.hosts.id, [two.serial])
    seen = reloaded(world).observe()
    assert presented(seen) not in (one, two)


def test_what_does_not_count_uses_nothing_up(world: ChainWorld) -> None:
    """A bundle that opens, and holds another certificate than was anchored."""
    first = world.keys.prekeys[0]
    other = world.hosts.sign(principals=["other.example"], subject=first.ssh)

    def swap(bundle: Bundle) -> Bundle:
        return replace(bundle, certificate=other.blob)

    world.issue_host(swap, prekey=first)
    seen = world.observe()
    assert any("another certificate" in problem for problem in seen.problems)
    assert first.number in supply(world)
    assert presented(world.observe()) != other
    good = world.issue_host(prekey=first)
    assert presented(world.observe()) == good


@pytest.mark.parametrize("step", ["opened", "adopted", "erased"])
def test_killed_between_keeping_and_erasing_it_goes_on(
    world: ChainWorld, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise Killed

    point = {
        "opened": "dpki.agent.opened.write_atomic",
        "adopted": "dpki.devices.keys.create_atomic",
        "erased": "dpki.devices.keys.erase_prekey",
    }[step]
    first = world.keys.prekeys[0]
    certificate = world.issue_host(prekey=first)
    with monkeypatch.context() as patch:
        patch.setattr(point, die)
        with pytest.raises(Killed):
            world.observe()
    assert presented(reloaded(world).observe()) == certificate
    assert presented(reloaded(world).observe()) == certificate
    assert first.number not in supply(world)
    host = load_device_keys(world.key_folder).host_blobs
    assert host.count(ssh_blob(first.ssh.public_key())) == 1


def test_erasing_takes_what_a_killed_command_left_of_the_key(tmp_path: Path) -> None:
    """Else whoever takes the device later finds a copy of what was erased."""
    folder = tmp_path / "keys"
    folder.mkdir()
    for _ in killed_anywhere(lambda: add_prekeys(folder, 2), folder):
        for number in (1, 2):
            erase_prekey(folder, number)
        left = [path.name for path in (folder / PREKEY_DIRECTORY).glob("*")]
        assert not [name for name in left if ".key" in name], left


def test_a_disk_that_refuses_costs_no_certificate(
    world: ChainWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise DpkiError("no space left on device")

    first = world.keys.prekeys[0]
    certificate = world.issue_host(prekey=first)
    with monkeypatch.context() as patch:
        patch.setattr("dpki.agent.opened.write_atomic", refuse)
        seen = world.observe()
    assert presented(seen) == certificate
    assert any(f"one-time key {first.number} is not erased" in p for p in seen.problems)
    assert first.number in supply(world)
    assert presented(reloaded(world).observe()) == certificate
    assert first.number not in supply(world)


def test_a_damaged_copy_of_what_it_said_is_not_believed(world: ChainWorld) -> None:
    earlier = world.issue_host()
    certificate = world.issue_host(prekey=world.keys.prekeys[0])
    assert presented(world.observe()) == certificate
    (kept,) = (world.directory / "device/bundles").glob("*.opened")
    for content in (b"", b"\xa0", kept.read_bytes()[:-1]):
        damaged = Path(kept)
        damaged.write_bytes(content)
        assert presented(reloaded(world).observe()) == earlier


def test_what_is_damaged_and_nobodys_goes(world: ChainWorld) -> None:
    world.issue_host(prekey=world.keys.prekeys[0])
    world.observe()
    (kept,) = (world.directory / "device/bundles").glob("*.opened")
    stray = kept.with_name(f"{'00' * 32}.opened")
    stray.write_bytes(b"\xa0")
    reloaded(world).observe()
    assert not stray.exists()
    assert kept.exists()
