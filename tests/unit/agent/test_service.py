"""The words of sd_notify(3), to a socket that stands for systemd's."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from dpki.agent.service import ServiceManager


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    is_path = request.param == "path"
    name = str(tmp_path / "notify") if is_path else f"@dpki-test-{tmp_path}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name if is_path else f"\0{name[1:]}")
        listener.settimeout(5)
        yield listener, name


def test_it_tells_the_socket_that_was_named(manager: tuple[socket.socket, str]) -> None:
    listener, name = manager
    service = ServiceManager({"NOTIFY_SOCKET": name})
    service.ready()
    service.alive()
    service.reloading(17)
    service.status("two\nlines")
    service.stopping()
    told = [listener.recv(1000).decode() for _ in range(5)]
    assert told == [
        "READY=1",
        "WATCHDOG=1",
        "RELOADING=1\nMONOTONIC_USEC=17",
        "STATUS=two lines",
        "STOPPING=1",
    ]


def test_without_a_manager_nobody_is_told() -> None:
    ServiceManager({}).ready()


def test_a_manager_that_went_away_stops_nothing(tmp_path: Path) -> None:
    ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()


@pytest.mark.parametrize(
    ("environment", "pulse"),
    [
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "3000000"}, 1.5),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "7"}, 1.5),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "8"}, None),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "soon"}, None),
        ({"NOTIFY_SOCKET": "/x"}, None),
        ({"WATCHDOG_USEC": "3000000"}, None),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "0"}, None),
    ],
)
def test_signs_of_life_come_twice_as_often_as_needed(
    environment: dict[str, str], pulse: float | None
) -> None:
    assert ServiceManager(environment, process=7).pulse == pulse
