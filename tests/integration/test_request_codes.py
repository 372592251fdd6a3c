"""A device that nobody can carry a file from: its request is read off a screen, code by code."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dpki.config.admin import StoreConfig
from dpki.devices.enrollment import parse_request, request_line
from dpki.devnet.anvil import Anvil
from tests.admins import Admin, make_admin_of
from tests.issuing_world import RUN, World, ok
from tests.scanner import codes_in, scan
from tests.soft_tokens import SoftHsmFolder
from tests.terminal import Terminal


@pytest.fixture(scope="module")
def services(
    tmp_path_factory: pytest.TempPathFactory, softhsm: SoftHsmFolder
) -> Iterator[tuple[Anvil, Admin]]:
    folder = tmp_path_factory.mktemp("codes")
    store = StoreConfig(directories=(folder / "store",))
    with Anvil(folder) as anvil:
        yield anvil, make_admin_of(folder / "admin", anvil, store, softhsm.token())


def init_words(world: World, folder: Path) -> tuple[str | Path, ...]:
    public = ("--domain", world.domain, "--rpc", world.anvil.url, "--console-access")
    return ("device", "init", "--dir", folder, *public, "--qr")


def look_at(terminal: Terminal, count: int) -> list[str]:
    """Scan one code after the other."""
    scanned = []
    for number in range(1, count + 1):
        before = len(terminal.shown)
        terminal.read_until(f"code {number} of {count}; Enter for the next, or a number: ")
        scanned += scan(terminal.shown[before:])
        terminal.type("\n")
    return scanned


def save(path: Path, lines: list[str]) -> Path:
    """Save lines as a scanner's program may: in no order, some twice, with Windows' line ends."""
    shuffled = random.Random(1).sample([*lines, *lines[:2], ""], len(lines) + 3)
    path.write_bytes("\r\n".join(shuffled).encode())
    return path


def standing(world: World, name: str) -> dict[str, object]:
    devices = ok(world.dpki("device", "list", *world.admin.option))["devices"]
    (found,) = (device for device in devices if device["name"] == name)
    return dict(found)


def test_a_device_with_one_time_keys_is_enrolled_by_what_a_window_showed(world: World) -> None:
    folder = world.directory / "device"
    with Terminal(120, 54, *init_words(world, folder)) as terminal:
        scanned = look_at(terminal, 7)
        assert terminal.end() == 0
    request = parse_request((folder / "enroll.request").read_bytes())
    assert request.fingerprint in terminal.shown
    assert terminal.shown.rstrip().endswith(str(request.device))
    lines = save(world.directory / "scanned.txt", scanned)
    some = save(world.directory / "some.txt", [*scanned[:2], *scanned[4:]])
    missing = world.dpki("device", "enroll", some, "--name", "codes-1", *world.admin.option)
    assert missing.status == 3
    assert missing.message == "the request has 7 parts; missing: 3-4"
    ok(world.dpki("device", "enroll", lines, "--name", "codes-1", *world.admin.option))
    device = standing(world, "codes-1")
    assert (device["device"], device["prekeys"]) == (str(request.device), 16)


def test_an_update_from_where_no_terminal_is_to_standard_input(world: World) -> None:
    folder = world.directory / "device"
    ok(world.dpki(*init_words(world, folder)))
    request = folder / "enroll.request"
    ok(world.dpki("device", "enroll", request, "--name", "codes-2", *world.admin.option))
    shown = world.dpki("device", "topup", "--dir", folder, "--prekeys", "20", "--qr")
    assert max(len(line) for code in codes_in(shown.err) for line in code) <= 80
    words = ["device", "update", "-", *world.admin.option]
    lines = "\n".join(scan(shown.err)).encode()
    subprocess.run([sys.executable, "-c", RUN, *words], input=lines, check=True)
    assert standing(world, "codes-2")["prekeys"] == 20


def test_whoever_has_seen_enough_has_the_file(world: World) -> None:
    folder = world.directory / "device"
    with Terminal(80, 24, *init_words(world, folder)) as terminal:
        terminal.read_until("Enter for the next")
        terminal.type("5\n")
        terminal.read_until("code 5 of ")
        terminal.type("\x03")
        assert terminal.end() == 0
    file = folder / "enroll.request"
    request = parse_request(file.read_bytes())
    assert "the request's file has all of it" in terminal.shown
    # The same again, in a window that has room for a code that says the line.
    small = (*init_words(world, world.directory / "small"), "--prekeys", "0")
    with Terminal(240, 92, *small) as terminal:
        (line,) = look_at(terminal, 1)
        assert terminal.end() == 0
    other = parse_request((world.directory / "small/enroll.request").read_bytes())
    assert line == request_line(other)
    again = ("device", "request", "--dir", folder, "--if-expired", "--qr")
    scanned = scan(world.dpki(*again).err)
    assert parse_request("\n".join(scanned).encode()) == request
