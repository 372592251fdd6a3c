"""T7: put onto a host or taken off it, and killed or refused anywhere: the same command goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpki.agent.host import Host, load_made, plan_install, plan_uninstall
from dpki.agent.unit import render_unit
from dpki.devices.keys import (
    HOST_DIRECTORY,
    add_host_key,
    erase_keys,
    generate_device_keys,
    load_device_keys,
    save_device_keys,
)
from tests.faults import killed_anywhere, refused, resting, run_and_die, walk
from tests.service_host import (
    CONFIG,
    DIRECTORY,
    PROGRAM,
    carry_out,
    host_of,
    installed_by_the_agent,
    make_root,
    snapshot,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_root(tmp_path)


def put_on(root: Path) -> Host:
    """Run the command, on a host whose systemd has just been asked for the first time."""
    host = host_of(root)
    if host.unit.exists():
        host.systemd.reload_units()
    carry_out(plan_install(host))
    return host


def take_off(root: Path) -> None:
    host = host_of(root)
    host.systemd.reload_units()
    carry_out(plan_uninstall(host, purge=False))


def verify_whole(root: Path) -> None:
    """What stands there is whole: the note of what was made, and the unit."""
    host = host_of(root)
    load_made(host.manifest)
    if host.unit.exists():
        assert host.unit.read_bytes() == render_unit(PROGRAM, DIRECTORY, CONFIG)


def test_killed_anywhere_while_it_is_put_on(tmp_path: Path) -> None:
    """The command again does the rest; or the other one leaves the host as it was found."""
    wanted = make_root(tmp_path / "whole")
    put_on(wanted)
    for then in (put_on, take_off):
        deaths = 0
        while True:
            root = make_root(tmp_path / f"{then.__name__}-{deaths}")
            before = snapshot(root)
            if not run_and_die(lambda root=root: put_on(root), deaths + 1):  # type: ignore[misc]
                break
            deaths += 1
            verify_whole(root)
            then(root)
            assert snapshot(root) == (snapshot(wanted) if then is put_on else before), deaths
        assert deaths > 4


def test_killed_anywhere_while_it_is_taken_off(tmp_path: Path) -> None:
    deaths = 0
    while True:
        root = make_root(tmp_path / str(deaths))
        before = snapshot(root)
        put_on(root)
        installed_by_the_agent(root)
        if not run_and_die(lambda root=root: take_off(root), deaths + 1):  # type: ignore[misc]
            break
        deaths += 1
        verify_whole(root)
        take_off(root)
        assert snapshot(root) == before, deaths
    assert deaths > 10


def test_a_disk_that_refuses_any_one_change_and_all_after_it(tmp_path: Path) -> None:
    wanted = make_root(tmp_path / "whole")
    put_on(wanted)
    times = 0
    for refusal in walk(tmp_path):
        with resting():
            root = make_root(tmp_path / f"{refusal.at}")
            before = snapshot(root)
        if refused(lambda root=root: put_on(root), tmp_path) is None:  # type: ignore[misc]
            continue
        times += 1
        with resting():
            verify_whole(root)
            put_on(root) if times % 2 else take_off(root)
            assert snapshot(root) == (snapshot(wanted) if times % 2 else before)
    assert times > 4


def test_an_erased_host_key_leaves_no_copy_that_a_killed_command_made(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    save_device_keys(folder, generate_device_keys())
    for _ in killed_anywhere(lambda: add_host_key(folder), folder):
        add_host_key(folder)
        add_host_key(folder)
        erase_keys(folder, HOST_DIRECTORY, load_device_keys(folder).host_blobs[:-1])
        (left,) = (folder / HOST_DIRECTORY).iterdir()
        assert left.suffix == ".key"


def test_old_host_keys_are_erased_one_by_one(tmp_path: Path) -> None:
    """Killed in between, the device has all its newer keys, and the next look erases the rest."""
    folder = tmp_path / "keys"
    save_device_keys(folder, generate_device_keys())
    for _ in range(3):
        add_host_key(folder)
    blobs = load_device_keys(folder).host_blobs

    def erase() -> None:
        erase_keys(folder, HOST_DIRECTORY, blobs[:3])

    for deaths in range(3):
        assert run_and_die(erase, 2) is (deaths < 2)
        assert load_device_keys(folder).host_blobs == blobs[deaths + 1 :]
    assert not run_and_die(erase, 1)
    assert load_device_keys(folder).host_blobs == blobs[3:]
