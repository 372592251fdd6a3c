from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from eth_account import Account

from dpki.bundle.codec import dumps
from dpki.certificates.keys import ssh_blob
from dpki.devices.keys import (
    HOST_DIRECTORY,
    DeviceKeys,
    add_host_key,
    add_user_key,
    erase_keys,
    generate_device_keys,
    load_device_keys,
    save_device_keys,
)
from dpki.devices.prekeys import PrekeySecret, add_prekeys, erase_prekey
from dpki.errors import DpkiError, MalformedInput


def everything_of(keys: DeviceKeys) -> tuple[object, ...]:
    return (
        keys.identity.secret,
        keys.sealing,
        tuple(key.private_bytes_raw() for key in keys.ssh_host),
        tuple(key.private_bytes_raw() for key in keys.ssh_user),
    )


def content_of(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.fixture
def keys() -> DeviceKeys:
    return generate_device_keys()


@pytest.fixture
def folder(tmp_path: Path, keys: DeviceKeys) -> Path:
    save_device_keys(tmp_path / "keys", keys)
    return tmp_path / "keys"


class TestGenerate:
    def test_no_two_devices_are_alike(self, keys: DeviceKeys) -> None:
        other = generate_device_keys()
        for one, two in zip(everything_of(keys), everything_of(other), strict=True):
            assert one != two

    def test_the_address_is_the_identity_s(self, keys: DeviceKeys) -> None:
        assert str(keys.address) == Account.from_key(keys.identity.secret).address

    def test_both_suites_are_offered(self, keys: DeviceKeys) -> None:
        assert keys.sealing.public.hybrid is not None


class TestSave:
    def test_what_is_saved_is_loaded(self, folder: Path, keys: DeviceKeys) -> None:
        assert everything_of(load_device_keys(folder)) == everything_of(keys)

    def test_everything_is_for_the_owner_only(self, tmp_path: Path, keys: DeviceKeys) -> None:
        previous = os.umask(0)
        try:
            save_device_keys(tmp_path / "keys", keys)
        finally:
            os.umask(previous)
        for path in [tmp_path / "keys", *(tmp_path / "keys").rglob("*")]:
            expected = 0o700 if path.is_dir() else 0o600
            assert stat.S_IMODE(path.stat().st_mode) == expected, path

    def test_nothing_else_is_left_behind(self, folder: Path) -> None:
        assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()) == [
            "identity.key",
            "sealing.key",
            "ssh_host/1.key",
            "ssh_user/1.key",
        ]
        assert [path.name for path in folder.parent.iterdir()] == ["keys"]

    def test_existing_keys_are_never_overwritten(self, folder: Path) -> None:
        before = content_of(folder)
        with pytest.raises(DpkiError, match="not overwritten"):
            save_device_keys(folder, generate_device_keys())
        assert content_of(folder) == before
        assert [path.name for path in folder.parent.iterdir()] == ["keys"]

    def test_nor_by_somebody_who_was_quicker(
        self, tmp_path: Path, keys: DeviceKeys, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        target = tmp_path / "keys"
        rename = Path.rename

        def late(self: Path, other: Path) -> Path:
            target.mkdir()
            (target / "identity.key").write_text("the other's")
            return rename(self, other)

        monkeypatch.setattr(Path, "rename", late)
        with pytest.raises(DpkiError, match=r"could not write .*/keys: Directory not empty"):
            save_device_keys(target, keys)
        assert [path.name for path in tmp_path.iterdir()] == ["keys"]
        assert (target / "identity.key").read_text() == "the other's"

    def test_a_failure_leaves_nothing(
        self, tmp_path: Path, keys: DeviceKeys, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(DpkiError, match="No space left"):
            save_device_keys(tmp_path / "keys", keys)
        assert list(tmp_path.iterdir()) == []

    def test_what_a_killed_one_left_is_swept(self, tmp_path: Path, keys: DeviceKeys) -> None:
        left = tmp_path / ".keys.0123456789ab.tmp"
        left.mkdir()
        (left / "identity.key").write_text("somebody's")
        save_device_keys(tmp_path / "keys", keys)
        assert [path.name for path in tmp_path.iterdir()] == ["keys"]


class TestLoad:
    def test_no_keys(self, tmp_path: Path) -> None:
        with pytest.raises(DpkiError, match="no device keys") as caught:
            load_device_keys(tmp_path / "keys")
        assert "dpki device init" in caught.value.hint

    @pytest.mark.parametrize(
        "name", ["identity.key", "sealing.key", "ssh_host/1.key", "ssh_user/1.key"]
    )
    def test_a_key_that_others_can_read(self, folder: Path, name: str) -> None:
        (folder / name).chmod(0o640)
        with pytest.raises(DpkiError, match="read by others"):
            load_device_keys(folder)

    @pytest.mark.parametrize("name", ["identity.key", "sealing.key"])
    def test_a_missing_key(self, folder: Path, name: str) -> None:
        (folder / name).unlink()
        with pytest.raises(DpkiError, match=name):
            load_device_keys(folder)

    def test_no_host_key(self, folder: Path) -> None:
        (folder / "ssh_host/1.key").unlink()
        with pytest.raises(DpkiError, match="no SSH host key"):
            load_device_keys(folder)

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("identity.key", b""),
            ("identity.key", b"0x" + b"1" * 64 + b"\n"),
            ("identity.key", b"1" * 63 + b"\n"),
            ("identity.key", b"0" * 64 + b"\n"),
            ("identity.key", b"f" * 64 + b"\n"),
            ("sealing.key", b"\xa1"),
            ("ssh_host/1.key", b"-----BEGIN OPENSSH PRIVATE KEY-----\n"),
            ("ssh_user/1.key", b""),
        ],
    )
    def test_a_damaged_key_is_named_and_not_shown(
        self, folder: Path, name: str, content: bytes
    ) -> None:
        (folder / name).write_bytes(content)
        with pytest.raises(MalformedInput, match=name) as caught:
            load_device_keys(folder)
        shown = f"{caught.value}{caught.value.__cause__}"
        assert content.strip() == b"" or content.strip().decode("latin-1") not in shown

    def test_a_number_beyond_the_curve_is_not_in_the_chain_of_errors(self, folder: Path) -> None:
        (folder / "identity.key").write_bytes(b"f" * 64 + b"\n")
        with pytest.raises(MalformedInput) as caught:
            load_device_keys(folder)
        assert caught.value.__suppress_context__

    def test_an_ssh_key_of_another_type(self, folder: Path) -> None:
        from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            NoEncryption,
            PrivateFormat,
        )

        other = generate_private_key(SECP256R1()).private_bytes(
            Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()
        )
        (folder / "ssh_host/1.key").write_bytes(other)
        with pytest.raises(MalformedInput, match="not an Ed25519 key"):
            load_device_keys(folder)


class TestAdd:
    def test_the_newest_is_last_and_the_others_stay(self, folder: Path, keys: DeviceKeys) -> None:
        before = content_of(folder)
        added = [add_host_key(folder) for _ in range(10)]
        loaded = load_device_keys(folder)
        assert [key.private_bytes_raw() for key in loaded.ssh_host] == [
            key.private_bytes_raw() for key in (*keys.ssh_host, *added)
        ]
        assert before.items() <= content_of(folder).items()
        assert stat.S_IMODE((folder / "ssh_host/11.key").stat().st_mode) == 0o600

    def test_user_keys_too(self, folder: Path) -> None:
        added = add_user_key(folder)
        assert load_device_keys(folder).user_blobs[-1] == ssh_blob(added.public_key())

    def test_a_number_is_never_used_twice(self, folder: Path) -> None:
        add_host_key(folder)
        (folder / "ssh_host/1.key").unlink()
        add_host_key(folder)
        assert sorted(path.name for path in (folder / "ssh_host").iterdir()) == ["2.key", "3.key"]

    def test_without_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(DpkiError, match="could not write"):
            add_host_key(tmp_path)


class TestFind:
    def test_host_and_user_keys_by_their_public_key(self, keys: DeviceKeys) -> None:
        found = keys.host_key_for(keys.host_blobs[0])
        assert found is not None
        assert ssh_blob(load_ssh_private_key(found, None).public_key()) == keys.host_blobs[0]
        assert keys.user_key_for(keys.user_blobs[0]) is not None

    def test_another_s(self, keys: DeviceKeys) -> None:
        assert keys.host_key_for(keys.user_blobs[0]) is None
        assert keys.user_key_for(keys.host_blobs[0]) is None


def test_keys_print_without_their_secrets(keys: DeviceKeys) -> None:
    shown = f"{keys!r} {keys} {keys.sealing!r}"
    assert repr(keys) == f"DeviceKeys({keys.address})"
    assert keys.identity.to_hex() not in shown
    assert keys.sealing.x25519.hex() not in shown
    assert repr(keys.sealing.x25519)[2:-1] not in shown


class TestPrekeys:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "keys"
        save_device_keys(folder, generate_device_keys())
        return folder

    def numbers(self, folder: Path) -> list[int]:
        return [prekey.number for prekey in load_device_keys(folder).prekeys]

    def test_a_device_has_none_at_first(self, folder: Path) -> None:
        assert self.numbers(folder) == []

    def test_the_supply_is_filled_up(self, folder: Path) -> None:
        added, loaded = add_prekeys(folder, 3), load_device_keys(folder).prekeys
        assert [prekey.dump() for prekey in added] == [prekey.dump() for prekey in loaded]
        assert self.numbers(folder) == [1, 2, 3]
        assert add_prekeys(folder, 2) == add_prekeys(folder, 3) == ()
        erase_prekey(folder, 2)
        assert [prekey.number for prekey in add_prekeys(folder, 4)] == [4, 5]
        assert self.numbers(folder) == [1, 3, 4, 5]

    def test_no_number_is_given_twice(self, folder: Path) -> None:
        add_prekeys(folder, 3)
        for number in (1, 2, 3):
            erase_prekey(folder, number)
        assert self.numbers(folder) == []
        add_prekeys(folder, 1)
        assert self.numbers(folder) == [4]

    def test_a_crash_between_record_and_keys_wastes_numbers(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> None:
            raise DpkiError("the disk is full")

        with monkeypatch.context() as patch:
            patch.setattr("dpki.devices.prekeys.create_atomic", fail)
            with pytest.raises(DpkiError, match="full"):
                add_prekeys(folder, 3)
        add_prekeys(folder, 1)
        assert self.numbers(folder) == [4]

    def test_a_lost_record_is_made_up_from_the_keys(self, folder: Path) -> None:
        add_prekeys(folder, 3)
        (folder / "prekeys" / "given").unlink()
        add_prekeys(folder, 4)
        assert self.numbers(folder) == [1, 2, 3, 4]

    def test_erasing_twice_is_no_error(self, folder: Path) -> None:
        erase_prekey(folder, 1)
        add_prekeys(folder, 1)
        erase_prekey(folder, 1)
        erase_prekey(folder, 1)
        assert self.numbers(folder) == []

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("given", b"0\n"),
            ("given", b"three\n"),
            ("given", b"1"),
            ("1.key", b""),
            ("1.key", dumps({"v": 1, "ssh": bytes(31), "x25519": bytes(32)})),
            ("1.key", dumps({"v": 1, "ssh": bytes(32), "x25519": bytes(33)})),
            ("1.key", dumps({"v": 2, "ssh": bytes(32), "x25519": bytes(32)})),
        ],
        ids=str,
    )
    def test_damaged(self, folder: Path, name: str, content: bytes) -> None:
        add_prekeys(folder, 1)
        path = folder / "prekeys" / name
        path.write_bytes(content)
        use = (
            (lambda: add_prekeys(folder, 2))
            if name == "given"
            else (lambda: load_device_keys(folder))
        )
        with pytest.raises(MalformedInput, match=str(path)):
            use()

    def test_others_may_not_read_them(self, folder: Path) -> None:
        add_prekeys(folder, 1)
        path = folder / "prekeys" / "1.key"
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
        path.chmod(0o640)
        with pytest.raises(DpkiError, match="can be read by others"):
            load_device_keys(folder)

    def test_print_without_their_secrets(self) -> None:
        prekey = PrekeySecret.generate(7)
        assert repr(prekey) == "PrekeySecret(number=7)"


def test_old_host_keys_are_erased_and_their_numbers_not_given_again(tmp_path: Path) -> None:
    save_device_keys(tmp_path / "keys", generate_device_keys())
    add_host_key(tmp_path / "keys")
    before = load_device_keys(tmp_path / "keys").host_blobs
    erase_keys(tmp_path / "keys", HOST_DIRECTORY, [])
    assert load_device_keys(tmp_path / "keys").host_blobs == before
    erase_keys(tmp_path / "keys", HOST_DIRECTORY, before[:1])
    erase_keys(tmp_path / "keys", HOST_DIRECTORY, before[:1])
    assert load_device_keys(tmp_path / "keys").host_blobs == before[1:]
    add_host_key(tmp_path / "keys")
    assert [path.name for path in sorted((tmp_path / "keys/ssh_host").iterdir())] == [
        "2.key",
        "3.key",
    ]
