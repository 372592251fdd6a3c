"""A request that nobody relayed in time is made anew, for the same keys, on a real chain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dpki.agent.follow import KEYS
from dpki.cli.device_setup import REQUEST_LIFETIME
from dpki.config.device import load_device_config, save_device_config
from dpki.devices.document import (
    KeyDocument,
    document_digest,
    make_key_document,
    parse_key_document,
)
from dpki.devices.enrollment import (
    EnrollmentRequest,
    VerifiedRequest,
    encode_request,
    make_enrollment_request,
    parse_request,
    verify_in_time,
    verify_request,
)
from dpki.devices.keys import load_device_keys
from dpki.errors import Expired
from dpki.issuance.database import Database
from dpki.issuance.enrolment import Enrolment, enroll_devices
from dpki.issuance.index import Index
from tests.admins import Run, runner
from tests.chain_world import ChainWorld, open_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChainWorld]:
    with open_world(tmp_path_factory.mktemp("world")) as world:
        yield world


@pytest.fixture
def dpki(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


class Device:
    """A device that was set up by `dpki device init`, and the command to do so again."""

    def __init__(self, folder: Path, world: ChainWorld, dpki: Run) -> None:
        self.folder, self.world, self.dpki = folder, world, dpki
        self.init = (
            *("device", "init", "--dir", folder, "--domain", str(world.domain.id)),
            *("--rpc", world.reader.name, "--console-access", "--prekeys", "2"),
        )
        assert dpki(*self.init).status == 0

    @property
    def file(self) -> Path:
        return self.folder / "enroll.request"

    @property
    def request(self) -> EnrollmentRequest:
        return parse_request(self.file.read_bytes())

    def verify(self) -> VerifiedRequest:
        domain = self.world.domain
        verify_in_time(self.request, datetime.now(UTC))
        return verify_request(self.request, domain.id, domain.devices)

    def let_it_expire(self, left: timedelta = timedelta(seconds=-1)) -> EnrollmentRequest:
        keys, domain = load_device_keys(self.folder / KEYS), self.world.domain
        old = make_enrollment_request(
            keys, domain.id, domain.devices, make_key_document(keys), datetime.now(UTC) + left
        )
        self.file.write_bytes(encode_request(old))
        return old

    def ask_again(self, *options: str | Path) -> dict[str, object]:
        result = self.dpki("device", "request", "--dir", self.folder, *options)
        assert result.status == 0, result
        return result.document


@pytest.fixture
def device(tmp_path: Path, world: ChainWorld, dpki: Run) -> Device:
    return Device(tmp_path / "device", world, dpki)


def keys_of(request: EnrollmentRequest) -> KeyDocument:
    """Return the keys in it; the salt is another each time."""
    return replace(parse_key_document(request.document), salt=bytes(16))


def test_one_that_expired_is_made_anew_for_the_same_keys(device: Device) -> None:
    old = device.let_it_expire()
    with pytest.raises(Expired) as refused:
        device.verify()
    assert "dpki device request" in refused.value.hint
    said = device.ask_again()
    new = device.verify()
    assert (said["device"], new.device) == (str(old.device), old.device)
    assert new.deadline - datetime.now(UTC) > REQUEST_LIFETIME - timedelta(minutes=5)
    assert keys_of(device.request) == keys_of(old)
    assert device.request.proofs != old.proofs


def test_so_does_setting_it_up_again(device: Device) -> None:
    old = device.let_it_expire()
    assert device.dpki(*device.init).status == 0
    assert device.verify().device == old.device
    assert keys_of(device.request) == keys_of(old)


def test_what_was_set_up_otherwise_is_left_alone(device: Device) -> None:
    config = load_device_config(device.folder)
    save_device_config(device.folder, replace(config, successors=True))
    old = device.let_it_expire()
    result = device.dpki(*device.init)
    assert result.status != 0
    assert "says something else" in str(result.document["error"])
    assert device.request == old


def test_one_that_still_counts_can_be_left(device: Device) -> None:
    before = device.file.read_bytes()
    device.ask_again("--if-expired")
    assert device.file.read_bytes() == before
    for left in (timedelta(minutes=1), timedelta(seconds=-1)):
        device.let_it_expire(left)
        device.ask_again("--if-expired")
        assert device.verify()
    for lost in (lambda: device.file.write_bytes(b"damaged"), device.file.unlink):
        lost()
        device.ask_again("--if-expired")
        assert device.verify()


def test_what_the_chain_took_in_time_gets_its_name_later(device: Device, tmp_path: Path) -> None:
    """Killed between the transaction and the name, and gone on with when the request is old."""
    world, old = device.world, device.let_it_expire(timedelta(seconds=30))
    later = old.deadline + timedelta(days=1)
    with Database(tmp_path / "journal.db", world.domain.id) as database:
        index = Index(database)
        wishes = [Enrolment(old, "pump-17")]
        with pytest.raises(Expired):
            enroll_devices(world.reader, world.writer, index, wishes, later)
        document = document_digest(old.document)
        world.writer.enroll_device(old.device, document, old.deadline, old.signature)
        (found,) = enroll_devices(world.reader, world.writer, index, wishes, later)
        assert (found.name, found.receipt) == ("pump-17", None)
        assert index.find_device("pump-17").address == old.device


def test_whoever_is_enrolled_or_retired_has_nothing_to_ask_for(device: Device) -> None:
    request, writer = device.verify(), device.world.writer
    writer.enroll_device(request.device, request.key_document, request.deadline, request.signature)
    old = device.let_it_expire()
    assert device.ask_again("--if-expired") == {"device": str(old.device), "request": None}
    assert device.request == old
    again = device.dpki(*device.init)
    assert "its device is enrolled" in str(again.document["error"])
    writer.retire_device(request.device)
    result = device.dpki("device", "request", "--dir", device.folder)
    assert result.status == 3
    assert "is retired" in str(result.document["error"])
