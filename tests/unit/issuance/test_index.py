from dataclasses import replace
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


class TestLabels:
    @pytest.fixture
    def index(self, index: Index) -> Index:
        for name in ("one", "two"):
            device = FakeDevice.make(name)
            index.add_device(name, device.address, device.document, {"site": "hh", "fleet": name})
        return index

    def labels(self, index: Index) -> dict[str, dict[str, str]]:
        return {device.name: dict(device.labels) for device in index.devices()}

    def test_are_kept(self, index: Index) -> None:
        assert self.labels(index) == {
            "one": {"site": "hh", "fleet": "one"},
            "two": {"site": "hh", "fleet": "two"},
        }
        assert index.find_device("two").labels == {"site": "hh", "fleet": "two"}
        assert index.find_device("two").fleet == "two"

    def test_are_changed_and_taken_off(self, index: Index) -> None:
        index.label_devices([index.find_device("one")], {"site": "b", "rack": "7"}, ["fleet", "no"])
        assert self.labels(index)["one"] == {"rack": "7", "site": "b"}
        assert self.labels(index)["two"] == {"fleet": "two", "site": "hh"}
        assert index.find_device("one").fleet is None

    def test_a_key_that_is_taken_off_and_set_is_set(self, index: Index) -> None:
        index.label_devices(index.devices(), {"site": "b"}, ["site"])
        assert {device.labels["site"] for device in index.devices()} == {"b"}

    def test_what_is_no_label_changes_nothing(self, index: Index) -> None:
        before = self.labels(index)
        for labels in ({"site": "a b"}, {"fine": "x", "Site": "x"}):
            with pytest.raises(UsageError, match="can't be a label"):
                index.label_devices(index.devices(), labels, ["fleet"])
        new = FakeDevice.make("three")
        with pytest.raises(UsageError, match="can't be a label"):
            index.add_device("three", new.address, new.document, {"": "x"})
        assert self.labels(index) == before

    def test_enrolling_again_keeps_them(self, index: Index) -> None:
        device = FakeDevice.make("one")
        found = index.find_device("one")
        index.add_device("one", found.address, device.document, {"rack": "7"})
        assert self.labels(index)["one"] == {"fleet": "one", "rack": "7", "site": "hh"}

    def test_stay_with_a_renamed_device(self, index: Index) -> None:
        before = index.find_device("one")
        index.rename_device("one", "gate-1")
        assert index.find_device("gate-1") == replace(before, name="gate-1")
        assert [device.name for device in index.devices()] == ["gate-1", "two"]

    @pytest.mark.parametrize(
        ("name", "new", "message"),
        [
            ("one", "two", "the name two is taken"),
            ("one", "one", "the name one is taken"),
            ("one", "Gate", "can't be a name"),
            ("three", "four", "no device named 'three'"),
        ],
    )
    def test_names_that_can_not_be_had(
        self, index: Index, name: str, new: str, message: str
    ) -> None:
        before = index.devices()
        with pytest.raises(UsageError, match=message):
            index.rename_device(name, new)
        assert index.devices() == before
