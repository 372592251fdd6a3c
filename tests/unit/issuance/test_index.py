from pathlib import Path

import pytest

from dpki.devices.document import make_key_document
from dpki.errors import UsageError
from dpki.issuance.database import Database
from dpki.issuance.index import Index
from tests.fakes.issuing import FakeDevice
from tests.world import DOMAIN, Ca

A, B = Ca.users().id, Ca.hosts().id


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return Index(Database(tmp_path / "journal.db", DOMAIN.id))


class TestAuthorities:
    def test_are_found_by_name(self, index: Index) -> None:
        index.add_authority("users", A)
        index.add_authority("hosts", B)
        index.add_authority("users", A)
        assert index.authorities() == {"hosts": B, "users": A}
        assert index.find_authority("users") == A

    def test_unknown(self, index: Index) -> None:
        with pytest.raises(UsageError, match="no CA named 'x'") as caught:
            index.find_authority("x")
        assert "dpki ca list" in caught.value.hint

    def test_name_and_ca_belong_together(self, index: Index) -> None:
        index.add_authority("users", A)
        for name, ca in (("users", B), ("other", A)):
            with pytest.raises(UsageError, match="already stands for"):
                index.add_authority(name, ca)
        assert index.authorities() == {"users": A}

    def test_names_are_plain(self, index: Index) -> None:
        with pytest.raises(UsageError, match="can't be a name"):
            index.add_authority("../x", A)


class TestDevices:
    def test_are_found_by_name_and_address(self, index: Index) -> None:
        device = FakeDevice.make("gate-1")
        index.add_device("gate-1", device.address, device.document)
        found = index.find_device("gate-1")
        assert (found.address, found.document) == (device.address, device.document)
        assert index.device_at(device.address) == found
        assert index.device_at(FakeDevice.make("x").address) is None

    def test_unknown(self, index: Index) -> None:
        with pytest.raises(UsageError, match="no device named 'x'"):
            index.find_device("x")

    def test_name_and_device_belong_together(self, index: Index) -> None:
        one, two = FakeDevice.make("one"), FakeDevice.make("two")
        index.add_device("one", one.address, one.document)
        for name, device in (("one", two), ("two", one)):
            with pytest.raises(UsageError, match="already stands for"):
                index.add_device(name, device.address, device.document)
        assert [d.name for d in index.devices()] == ["one"]

    def test_take_a_newer_document(self, index: Index) -> None:
        device = FakeDevice.make("gate-1")
        index.add_device("gate-1", device.address, device.document)
        newer = make_key_document(device.keys, sequence=1)
        index.update_document(device.address, newer)
        assert index.find_device("gate-1").document == newer
        index.add_device("gate-1", device.address, device.document)
        assert index.find_device("gate-1").document == device.document
