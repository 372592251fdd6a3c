"""What every place for checkpoints promises, asked of each of them."""

from __future__ import annotations

import functools
import http.server
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from dpki.errors import ContentUnavailable
from dpki.http import Deadline, HttpClient
from dpki.note import SIZE_LIMIT
from dpki.witness.source import LATEST, CheckpointSource, folder_of, open_source
from tests.hostile_server import HostileServer
from tests.witnesses import Witnessing, checkpoint
from tests.world import DOMAIN

WITNESS = Witnessing("w")
OTHER = replace(DOMAIN.id, chain_id=1)


def _soon() -> Deadline:
    return Deadline(timedelta(seconds=10))


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(params=["folder", "web", "web, deeper, with a slash"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CheckpointSource]:
    """A source of what lies in tmp_path."""
    if request.param == "folder":
        yield open_source(str(tmp_path), HttpClient())
        return
    root = tmp_path if request.param == "web" else tmp_path.parent
    path = "" if request.param == "web" else f"/{tmp_path.name}/"
    handler = functools.partial(_Quiet, directory=str(root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        client = HttpClient()
        yield open_source(f"http://127.0.0.1:{server.server_port}{path}", client)
        client.close()
        server.shutdown()
        thread.join()


class TestSources:
    def test_give_what_was_published(self, source: CheckpointSource, tmp_path: Path) -> None:
        WITNESS.publishes(tmp_path, checkpoint(4), checkpoint(8))
        note = WITNESS.note(checkpoint(8))
        assert source.fetch(DOMAIN.id, LATEST, _soon()) == note
        assert source.fetch(DOMAIN.id, "8", _soon()) == note
        assert source.fetch(DOMAIN.id, "4", _soon()) == WITNESS.note(checkpoint(4))

    def test_give_nothing_where_there_is_nothing(
        self, source: CheckpointSource, tmp_path: Path
    ) -> None:
        assert source.fetch(DOMAIN.id, LATEST, _soon()) is None
        WITNESS.publishes(tmp_path, checkpoint(4))
        assert source.fetch(DOMAIN.id, "5", _soon()) is None
        assert source.fetch(OTHER, LATEST, _soon()) is None

    def test_take_nothing_that_is_larger_than_a_checkpoint(
        self, source: CheckpointSource, tmp_path: Path
    ) -> None:
        place = tmp_path / folder_of(DOMAIN.id)
        place.mkdir()
        (place / LATEST).write_bytes(bytes(SIZE_LIMIT + 1))
        with pytest.raises(ContentUnavailable):
            source.fetch(DOMAIN.id, LATEST, _soon())
        (place / LATEST).write_bytes(bytes(SIZE_LIMIT))
        assert source.fetch(DOMAIN.id, LATEST, _soon()) == bytes(SIZE_LIMIT)

    def test_have_a_name(self, source: CheckpointSource, tmp_path: Path) -> None:
        assert source.name


def test_a_folder_is_not_left_by_a_link(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    place = tmp_path / "www" / folder_of(DOMAIN.id)
    place.mkdir(parents=True)
    (place / LATEST).symlink_to(secret)
    with pytest.raises(ContentUnavailable, match="could not be read"):
        open_source(str(tmp_path / "www"), HttpClient()).fetch(DOMAIN.id, LATEST, _soon())


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 302 Found\r\nLocation: http://x.example/\r\nContent-Length: 0\r\n\r\n", "302"),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", "500"),
        (b"nonsense\r\n\r\n", "connection broke"),
    ],
)
def test_a_server_that_misbehaves_has_no_checkpoint(answer: bytes, said: str) -> None:
    def misbehave(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(answer)

    server = HostileServer(misbehave)
    client = HttpClient()
    try:
        with pytest.raises(ContentUnavailable, match=said):
            open_source(server.url, client).fetch(DOMAIN.id, LATEST, _soon())
        assert len(server.requests) == 1
    finally:
        client.close()
        server.close()


def test_a_byte_a_while_ends_with_the_deadline() -> None:
    def misbehave(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not over.wait(0.05):
            connection.sendall(b"x")

    server = HostileServer(misbehave)
    client = HttpClient()
    try:
        with pytest.raises(ContentUnavailable, match=r"within 0\.3 s"):
            open_source(server.url, client).fetch(
                DOMAIN.id, LATEST, Deadline(timedelta(seconds=0.3))
            )
    finally:
        client.close()
        server.close()
