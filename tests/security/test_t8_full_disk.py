"""T7 and T8 on a full disk, and on a read-only one: sshd keeps what it has, whole, and the next run
with room repairs everything."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from dpki.agent import disk
from dpki.agent.client import ClientInstaller
from dpki.agent.host_index import write_lookup
from dpki.agent.install import pair_name
from dpki.agent.rollback import bring_back
from dpki.config.sshd import Mode
from dpki.errors import DpkiError
from tests.device import Device, open_device
from tests.faults import leftovers, refused, refusing, resting, walk
from tests.outbound import Client
from tests.small_disk import Disk, on_a_small_disk

NAMES = ("revoked.krl", "login.db", "login.py", "user_ca.pub")


@pytest.fixture
def device() -> Iterator[Device]:
    with open_device() as made:
        yield made


def contents(device: Device) -> dict[str, bytes]:
    """Return every file that sshd reads, under the names that stay."""
    found = {name: (device.files / name).read_bytes() for name in NAMES}
    if device.mode is Mode.FILES:
        account = device.stage.account
        found["account"] = (device.files / "accounts" / account).read_bytes()
    return found | {"drop-in": device.drop_in.read_bytes()}


def change_everything(device: Device) -> None:
    """Revoke what was good, anchor something new, and give the device another host key."""
    old, _ = device.sign()
    device.anchor(old)
    device.update()
    new, _ = device.sign()
    device.anchor(new)
    device.users.revoked.add(old.serial)
    device.new_host_pair()


class Before:
    """What is installed and known to sshd, to be put back."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.files = {
            path: (path.read_bytes(), path.stat().st_mode & 0o777) for path in self.paths()
        }
        self.contents = contents(device)
        device.update()
        self.after = contents(device)
        self.put_back()

    def paths(self) -> list[Path]:
        found = [*self.device.files.rglob("*"), self.device.drop_in]
        return [path for path in found if path.is_file()]

    def put_back(self) -> None:
        for path in self.paths():
            path.unlink()
        for path, (content, mode) in self.files.items():
            path.write_bytes(content)
            path.chmod(mode)

    def verify_whole(self) -> None:
        """Each file is the old one or the new one, nothing lies about, and sshd starts."""
        for name, found in contents(self.device).items():
            assert found in (self.contents[name], self.after[name]), name
        assert leftovers(self.device.directory) == []
        done = subprocess.run(
            ["/usr/sbin/sshd", "-t", "-f", self.device.main_config],
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("mode", Mode)
def test_a_disk_that_refuses_any_one_change_and_all_after_it(device: Device, mode: Mode) -> None:
    device.mode = mode
    change_everything(device)
    before, times = Before(device), 0
    for _ in walk(device.directory):
        with resting():
            before.put_back()
        if refused(device.update, device.directory) is not None:
            times += 1
        before.verify_whole()
        if times % 4 == 0:
            # The next run, with room, goes on from there. Not every time: one is like another.
            with resting():
                device.update()
                assert contents(device) == before.after
    assert times > 15
    assert contents(device) == before.after
    assert device.update().changed != ()  # the old pair goes
    assert device.update().changed == ()


def test_an_upgrade_of_the_login_command_is_done_or_not(device: Device) -> None:
    """Neither the old command nor the new one reads the other's index: both, or nobody gets in."""
    pair = device.files / "login.py", device.files / "login.db"
    change_everything(device)
    for path in pair:
        path.write_bytes(b"earlier " + path.name.encode())
    before, found = Before(device), set()
    for _ in walk(device.directory):
        with resting():
            before.put_back()
        refused(device.update, device.directory)
        found.add(tuple(path.read_bytes().startswith(b"earlier") for path in pair))
    assert found == {(True, True), (False, False)}


def test_an_upgrade_of_the_host_lookup_is_done_or_not(device: Device) -> None:
    """Neither of two versions reads the other's index: both, or ssh refuses every host."""
    client = Client(device)
    client.update()
    plan, folder = client.plan(), client.files.directory
    assert plan.outward is not None
    pair, found = (client.files.lookup, client.files.index), set()
    writers: list[Callable[[], object]] = [
        partial(ClientInstaller(client.outbound).install, plan.outward, plan.krl),
        partial(write_lookup, folder, b"index"),
    ]
    for write in writers:
        for _ in walk(folder):
            with resting():
                for path in pair:
                    path.write_bytes(b"earlier " + path.name.encode())
            refused(write, folder)
            found.add((write, *(path.read_bytes().startswith(b"earlier") for path in pair)))
    assert found == {(write, *both) for write in writers for both in [(True, True), (False, False)]}


def test_what_the_ssh_client_goes_by_is_the_old_or_the_new(device: Device) -> None:
    client = Client(device)
    client.update()
    first = client.pair
    client.certify()
    device.users.revoked.add(first.certificate.serial if first else 0)
    plan = client.plan()
    assert plan.outward is not None
    wanted, krl, folder = plan.outward, plan.krl, client.files.directory
    old = {path: path.read_bytes() for path in folder.iterdir()}
    client.installer.install(wanted, krl)
    new = {path: path.read_bytes() for path in folder.iterdir()}
    times = 0
    for _ in walk(folder):
        with resting():
            for path in folder.iterdir():
                path.unlink()
            for path, content in old.items():
                path.write_bytes(content)
                path.chmod(0o600 if path.suffix == "" and "client-" in path.name else 0o644)
        # A new one, which remembers nothing.
        fresh = ClientInstaller(client.outbound).install
        if refused(partial(fresh, wanted, krl), folder) is not None:
            times += 1
        for path in folder.iterdir():
            assert path.read_bytes() in (old.get(path), new.get(path)), path.name
        assert client.files.krl.exists()
    assert times > 10
    assert {path.name for path in folder.iterdir()} == {path.name for path in new}


def test_the_earlier_drop_in_comes_back_without_any_room(device: Device) -> None:
    """sshd refuses to take the new one into force, and the disk has become full meanwhile."""
    device.update()
    before = device.drop_in.read_bytes()
    device.new_host_pair()
    device.main_config.write_text("UsePAM no\n")
    for at in count(1):
        with refusing(at, device.directory) as refusal, pytest.raises(DpkiError) as caught:
            device.update()
        assert device.drop_in.read_bytes() == before, refusal.changes
        if "could not write" not in caught.value.message:
            break
    assert at > 5


def test_a_rollback_is_done_or_not(device: Device) -> None:
    assert device.host is not None
    old = device.host
    device.lead(old)
    device.update()
    device.update()
    new = device.new_host_pair()
    device.lead(new)
    device.update()
    device.update()
    before = {path: path.read_bytes() for path in (device.drop_in, device.files / "installed.cbor")}
    times = 0
    for _ in walk(device.directory):
        work = partial(bring_back, device.config, pair_name(old), device.now)
        times += refused(work, device.directory) is not None
        with resting():
            assert leftovers(device.directory) == []
            device.stage.run(["/usr/sbin/sshd", "-t", "-f", device.main_config])
            device.update()
            is_held = (device.files / "hold.cbor").exists()
            shown = device.drop_in.read_text().split("HostKey ")[1].split("\n")[0]
            assert shown.endswith(pair_name(old if is_held else new))
            (device.files / "hold.cbor").unlink(missing_ok=True)
            for path, content in before.items():
                path.write_bytes(content)
    assert times > 2


def really_mounted(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        # In a user namespace the folders above belong to nobody that it knows.
        monkeypatch.setattr(disk, "verify_ownership", lambda directory: None)


def test_a_disk_with_any_few_pages_left(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real full file system; how many pages it takes decides how far a run gets."""
    really_mounted(device, monkeypatch)
    change_everything(device)
    before = Before(device)

    def work(disk: Disk) -> None:
        times = 0
        for pages in count():
            disk.enlarge()
            before.put_back()
            disk.leave(pages)
            error = refused(device.update, device.directory)
            before.verify_whole()
            if error is None:
                break
            times += 1
            assert "No space left on device" in error.message
            assert error.hint.startswith(f"make room on the file system of {device.directory}")
        assert times > 3
        assert contents(device) == before.after

    on_a_small_disk(device.directory, work)


def test_a_read_only_disk(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    really_mounted(device, monkeypatch)
    change_everything(device)
    before = Before(device)

    def work(disk: Disk) -> None:
        disk.freeze()
        error = refused(device.update, device.directory)
        assert error is not None
        assert "Read-only file system" in error.message
        assert error.hint.startswith(f"mount the file system of {device.files} writable")
        assert contents(device) == before.contents
        disk.thaw()
        device.update()
        assert contents(device) == before.after

    on_a_small_disk(device.directory, work)


@pytest.mark.parametrize("name", [*NAMES, "drop-in"])
def test_a_mode_that_somebody_changed_is_restored(device: Device, name: str) -> None:
    device.update()
    device.update()
    path = device.drop_in if name == "drop-in" else device.files / name
    content = path.read_bytes()
    for mode in (0o600, 0o666, 0o755):
        path.chmod(mode)
        assert device.update().changed == (path.name,)
        assert (path.stat().st_mode & 0o7777, path.read_bytes()) == (0o644, content)
    target = path.rename(device.directory / "elsewhere")
    path.symlink_to(target)
    assert device.update().changed == (path.name,)
    assert not path.is_symlink()
    assert device.update().changed == ()


def test_an_owner_that_somebody_changed_is_restored(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For root by a real chown; for anybody else the agent's idea of itself is changed."""
    device.update()
    device.update()
    paths = [device.files / name for name in NAMES] + [device.drop_in]
    if os.geteuid() == 0:
        for path in paths:
            os.chown(path, 65534, 65534)
        assert set(device.update().changed) == {path.name for path in paths}
        assert {path.stat().st_uid for path in paths} == {0}
        assert device.update().changed == ()
        return
    monkeypatch.setattr(disk, "verify_ownership", lambda directory: None)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert set(device.update().changed) >= {path.name for path in paths}


def test_a_folder_that_the_login_commands_user_can_not_enter_is_opened(device: Device) -> None:
    device.update()
    device.files.chmod(0o700)
    device.update()
    assert device.files.stat().st_mode & 0o7777 == 0o755


def test_what_a_killed_check_left_is_swept(device: Device) -> None:
    device.update()
    left = device.files / ".revoked.krl.0123456789ab.tmp"
    left.write_bytes(b"half a KRL")
    device.update()
    assert not left.exists()
