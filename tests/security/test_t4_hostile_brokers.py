"""T4: whoever carries messages can delay them, and what he does costs a bounded time.

What the messages themselves are proof against stands in test_t4_acknowledgements.py.
"""

from __future__ import annotations

import secrets
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from dpki.errors import ConfigError, NotAllowed, TransportUnavailable
from dpki.model import Address
from dpki.transport.address import Broker
from dpki.transport.base import MESSAGE_LIMIT, Kind, Message, Topic
from dpki.transport.connect import open_broker
from dpki.transport.mqtt_connection import LARGEST, WAITING
from dpki.transport.ssh import SshTransport, parse_line
from tests.brokers import CONNACK, HUNG, Authority, HostileBroker, Mosquitto, over_tls
from tests.ssh_outbox import Host

TOPIC = Topic(Kind.ACKNOWLEDGEMENT, Address(b"\x01" * 20))
SOON = timedelta(seconds=1)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.create(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def serve(
    authority: Authority, mosquitto: Mosquitto
) -> Iterator[Callable[[Callable[[socket.socket], None]], Broker]]:
    running: list[HostileBroker] = []

    def start(behave: Callable[[socket.socket], None]) -> Broker:
        running.append(HostileBroker(authority, behave))
        address = replace(mosquitto.broker.address, port=running[-1].port)
        return replace(mosquitto.broker, address=address, authority=authority.certificate)

    yield start
    for broker in running:
        broker.close()


def until_hung_up(connection: socket.socket) -> None:
    """Read until the other side is gone."""
    while connection.recv(4096):
        pass


def drip(connection: socket.socket) -> None:
    """Send a byte from time to time of a record that never ends."""
    connection.sendall(b"\x16\x03\x03\x40\x00")
    while True:
        connection.sendall(b"\x02")
        time.sleep(0.05)


class TestTheConnection:
    def test_one_that_nobody_vouches_for_gets_no_password(
        self, mosquitto: Mosquitto, authority: Authority
    ) -> None:
        broker = replace(mosquitto.broker, authority=authority.certificate)
        with pytest.raises(TransportUnavailable, match="not who it should be"):
            open_broker(broker).send(TOPIC, b"x", SOON)
        # Nor does one that the system's authorities don't know.
        with pytest.raises(TransportUnavailable, match="not who it should be"):
            open_broker(replace(broker, authority=None)).send(TOPIC, b"x", SOON)

    def test_a_certificate_of_another_host_does_not_do(self, mosquitto: Mosquitto) -> None:
        address = replace(mosquitto.broker.address, host="localhost")
        with pytest.raises(TransportUnavailable, match="not who it should be"):
            open_broker(replace(mosquitto.broker, address=address)).send(TOPIC, b"x", SOON)

    def test_a_wrong_password_is_a_no(self, mosquitto: Mosquitto, tmp_path: Path) -> None:
        wrong = tmp_path / "password"
        wrong.touch(mode=0o600)
        wrong.write_text("hunter2")
        broker = replace(mosquitto.broker, password=f"file:{wrong}")
        with pytest.raises(NotAllowed) as caught:
            open_broker(broker).send(TOPIC, b"x", timedelta(seconds=10))
        assert "hunter2" not in str(caught.value)

    def test_an_authority_that_is_none_is_a_mistake_of_the_configuration(
        self, mosquitto: Mosquitto, tmp_path: Path
    ) -> None:
        (tmp_path / "ca.pem").write_text("no certificate")
        for path in (tmp_path / "ca.pem", tmp_path / "missing.pem"):
            with pytest.raises(ConfigError):
                open_broker(replace(mosquitto.broker, authority=path)).send(TOPIC, b"x", SOON)

    def test_a_broker_that_is_down(self, mosquitto: Mosquitto) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        address = replace(mosquitto.broker.address, port=port)
        with pytest.raises(TransportUnavailable, match="could not be used"):
            open_broker(replace(mosquitto.broker, address=address)).send(TOPIC, b"x", SOON)


class TestHostile:
    @pytest.mark.parametrize("behave", [until_hung_up, drip])
    def test_a_handshake_that_never_ends(
        self, serve: Callable[..., Broker], behave: Callable[[socket.socket], None]
    ) -> None:
        began = time.monotonic()
        with pytest.raises(TransportUnavailable):
            open_broker(serve(behave)).send(TOPIC, b"x", SOON)
        assert time.monotonic() - began < HUNG

    @pytest.mark.parametrize(
        "answer",
        [
            b"",
            b"\x20",
            b"GET / HTTP/1.1\r\n\r\n",
            bytes(64),
            b"\xff" * 64,
            b"\x20\x02\x00\x03",
            b"\x20\x00",
            b"\x30\x02\x00\x09",
            secrets.token_bytes(512),
        ],
    )
    def test_nonsense_in_place_of_a_welcome(
        self, serve: Callable[..., Broker], authority: Authority, answer: bytes
    ) -> None:
        def talk(connection: ssl.SSLSocket) -> None:
            connection.sendall(answer)
            until_hung_up(connection)

        with pytest.raises(TransportUnavailable):
            open_broker(serve(over_tls(authority, talk))).send(TOPIC, b"x", SOON)

    @pytest.mark.parametrize(
        "packet",
        [
            # A packet of 256 MB is announced, and not read.
            b"\x30\xff\xff\xff\x7f" + bytes(4096),
            b"\x30\x02\x00\x09",
            b"\x30\x05\x00\x03\xff\xfe\xfd",
            b"\x90\x03\x00\x01\x80",
            b"\x40\x02\x00\x01",
            b"\x62\x01\x00",
        ],
    )
    def test_nonsense_in_place_of_messages(
        self, serve: Callable[..., Broker], authority: Authority, packet: bytes
    ) -> None:
        def talk(connection: ssl.SSLSocket) -> None:
            connection.sendall(CONNACK)
            connection.recv(4096)
            connection.sendall(packet)
            until_hung_up(connection)

        transport = open_broker(serve(over_tls(authority, talk)))
        with pytest.raises(TransportUnavailable):
            list(transport.receive(Kind.ACKNOWLEDGEMENT, SOON))

    def test_a_flood_is_hung_up_on(
        self,
        serve: Callable[..., Broker],
        authority: Authority,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("dpki.transport.mqtt.MAXIMUM_MESSAGES", 50)
        topic = f"test/{TOPIC.text}".encode()
        body = len(topic).to_bytes(2, "big") + topic + b"x"
        packet = b"\x30" + bytes([len(body)]) + body

        def talk(connection: ssl.SSLSocket) -> None:
            connection.sendall(CONNACK)
            connection.recv(4096)
            connection.sendall(b"\x90\x03\x00\x01\x00")
            while True:
                connection.sendall(packet * 100)

        transport = open_broker(serve(over_tls(authority, talk)))
        with pytest.raises(TransportUnavailable, match="more than"):
            list(transport.receive(Kind.ACKNOWLEDGEMENT, timedelta(seconds=HUNG)))

    @pytest.mark.parametrize("quality", [1, 2])
    def test_messages_that_would_be_kept_until_the_broker_says_so(
        self, serve: Callable[..., Broker], authority: Authority, quality: int
    ) -> None:
        """Asked for is quality of service 0, which needs no memory (MQTT 3.1.1, 3.8.4)."""
        body = len(TOPIC.text).to_bytes(2, "big") + TOPIC.text.encode() + b"\x00\x01x"

        def talk(connection: ssl.SSLSocket) -> None:
            connection.sendall(CONNACK)
            connection.recv(4096)
            connection.sendall(b"\x90\x03\x00\x01\x00")
            connection.sendall(bytes([0x30 | quality << 1, len(body)]) + body)
            until_hung_up(connection)

        transport = open_broker(serve(over_tls(authority, talk)))
        with pytest.raises(TransportUnavailable, match="ended the connection"):
            list(transport.receive(Kind.ACKNOWLEDGEMENT, timedelta(seconds=HUNG)))

    def test_a_flood_before_it_agrees_fills_no_memory(
        self,
        serve: Callable[..., Broker],
        authority: Authority,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("dpki.transport.mqtt.MAXIMUM_MESSAGES", 50)
        body = len(TOPIC.text).to_bytes(2, "big") + TOPIC.text.encode() + bytes(16_000)
        length = bytes([len(body) & 127 | 128, len(body) >> 7 & 127 | 128, len(body) >> 14])

        def talk(connection: ssl.SSLSocket) -> None:
            connection.sendall(CONNACK)
            connection.recv(4096)
            while True:
                connection.sendall(b"\x30" + length + body)

        broker = serve(over_tls(authority, talk))
        with pytest.raises(TransportUnavailable, match="more than"):
            list(open_broker(broker).receive(Kind.REQUEST, timedelta(seconds=HUNG)))
        with pytest.raises(TransportUnavailable, match="sends what nobody waits for"):
            open_broker(broker).send(TOPIC, b"x", timedelta(seconds=HUNG))

    def test_all_that_it_keeps_it_may_say_before_it_agrees(
        self, serve: Callable[..., Broker], authority: Authority
    ) -> None:
        """No hostility: of a fleet that is larger than `WAITING` nobody is lost (3.8.4)."""
        fleet = [Topic(Kind.REQUEST, Address(n.to_bytes(20))) for n in range(WAITING + 50)]

        def talk(connection: ssl.SSLSocket) -> None:
            connection.sendall(CONNACK)
            connection.recv(4096)
            for topic in fleet:
                body = f"test/{topic.text}".encode()
                body = len(body).to_bytes(2, "big") + body + b"x"
                connection.sendall(b"\x30" + bytes([len(body)]) + body)
            connection.sendall(b"\x90\x03\x00\x01\x00")
            until_hung_up(connection)

        transport = open_broker(serve(over_tls(authority, talk)))
        received = transport.receive(Kind.REQUEST, timedelta(seconds=HUNG))
        assert [message.topic for message in received] == fleet

    def test_topics_that_nobody_asked_for_are_passed_over(
        self, serve: Callable[..., Broker], authority: Authority
    ) -> None:
        topics = [
            b"test/acknowledgement/0x12",
            b"test/\xff\xfe",
            f"other/{TOPIC.text}".encode(),
            TOPIC.text.encode(),
            f"test/request/0x{'01' * 20}".encode(),
            f"test/{TOPIC.text}".encode(),
        ]
        packets = b""
        for topic in topics:
            body = len(topic).to_bytes(2, "big") + topic + b"x"
            packets += b"\x30" + bytes([len(body)]) + body

        def talk(connection: ssl.SSLSocket) -> None:
            connection.sendall(CONNACK)
            connection.recv(4096)
            connection.sendall(b"\x90\x03\x00\x01\x00" + packets)
            until_hung_up(connection)

        transport = open_broker(serve(over_tls(authority, talk)))
        received = list(transport.receive(Kind.ACKNOWLEDGEMENT, timedelta(seconds=HUNG)))
        assert received == [Message(TOPIC, b"x")]

    def test_a_packet_of_ours_is_never_too_large(self) -> None:
        assert MESSAGE_LIMIT + 512 < LARGEST


class TestHosts:
    def test_another_host_key_ends_it_before_anything_is_said(
        self, ssh_host: Host, tmp_path: Path
    ) -> None:
        transport = SshTransport(ssh_host.folder(tmp_path), ssh_host.stranger)
        with pytest.raises(TransportUnavailable, match="host key"):
            transport.send(TOPIC, b"x", timedelta(seconds=20))
        assert list(tmp_path.iterdir()) == []

    def test_nor_is_a_connection_taken_over_that_asked_for_no_key(
        self, ssh_host: Host, tmp_path: Path
    ) -> None:
        """Somebody's own ssh stands open to that host, by rules of its own."""
        shared, config, outbox = tmp_path / "shared", tmp_path / "config", tmp_path / "outbox"
        config.write_text(f"ControlPath {shared}\n{ssh_host.stranger.read_text()}")
        where = ssh_host.folder(outbox)
        command = ["ssh", "-F", config, "-MN", "-p", str(where.port), "-l", where.user, where.host]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as standing:
            try:
                until = time.monotonic() + HUNG
                while not shared.exists():
                    assert time.monotonic() < until, "ssh never connected"
                    time.sleep(0.05)
                with pytest.raises(TransportUnavailable, match="host key"):
                    SshTransport(where, config).send(TOPIC, b"x", timedelta(seconds=20))
            finally:
                standing.terminate()
        assert not outbox.exists()

    def test_a_folder_that_is_not_there_is_no_empty_one(
        self, ssh_host: Host, tmp_path: Path
    ) -> None:
        transport = SshTransport(ssh_host.folder(tmp_path / "none"), ssh_host.config)
        with pytest.raises(TransportUnavailable, match="failed with status 9"):
            list(transport.receive(Kind.REQUEST, timedelta(seconds=20)))

    def test_a_folders_name_is_no_command(self, ssh_host: Host, tmp_path: Path) -> None:
        folder = tmp_path / "'; touch $(echo hit) `id`; \"x"
        transport = SshTransport(ssh_host.folder(folder), ssh_host.config)
        transport.send(TOPIC, b"x", timedelta(seconds=20))
        assert [path.name for path in tmp_path.iterdir()] == [folder.name]

    def test_a_host_that_hangs(self, ssh_host: Host, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            address = replace(ssh_host.folder(tmp_path), port=silent.getsockname()[1])
            with pytest.raises(TransportUnavailable, match="in time"):
                list(SshTransport(address, ssh_host.config).receive(Kind.REQUEST, SOON))

    def test_a_host_that_prints_without_end(self, tmp_path: Path, fake_ssh: Path) -> None:
        fake_ssh.write_text("#!/bin/sh\nexec cat /dev/zero\n")
        with pytest.raises(TransportUnavailable, match="without end"):
            list(_gate().receive(Kind.REQUEST, timedelta(seconds=HUNG)))

    def test_a_host_that_prints_lines_without_end(self, fake_ssh: Path) -> None:
        fake_ssh.write_text("#!/bin/sh\nexec yes\n")
        with pytest.raises(TransportUnavailable, match="in time"):
            _gate().send(TOPIC, b"x", SOON)
        with pytest.raises(TransportUnavailable, match="more than"):
            list(_gate().receive(Kind.REQUEST, timedelta(seconds=HUNG)))

    def test_a_host_that_complains_without_end(self, fake_ssh: Path) -> None:
        fake_ssh.write_text("#!/bin/sh\nhead -c 1000000 /dev/zero >&2; echo gone >&2; exit 1\n")
        with pytest.raises(TransportUnavailable, match=r"status 1: .*gone"):
            _gate().send(TOPIC, b"x", timedelta(seconds=HUNG))

    def test_half_of_what_is_there_is_not_all_of_it(self, fake_ssh: Path) -> None:
        fake_ssh.write_text("#!/bin/sh\necho nothing; echo 'lost\x1b[31m' >&2; exit 255\n")
        with pytest.raises(TransportUnavailable, match=r"status 255: lost\?\[31m"):
            list(_gate().receive(Kind.REQUEST, timedelta(seconds=HUNG)))

    def test_no_secret_and_no_question_in_its_arguments(
        self, tmp_path: Path, fake_ssh: Path
    ) -> None:
        fake_ssh.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/argv; cat > /dev/null\n')
        _gate().send(TOPIC, b"what is said", timedelta(seconds=HUNG))
        argv = (tmp_path / "argv").read_text()
        assert "what is said" not in argv
        for option in ("BatchMode=yes", "StrictHostKeyChecking=yes", "ForwardAgent=no"):
            assert option in argv
        assert "\n--\ngate-1\n" in argv

    def test_there_may_be_no_ssh(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(TransportUnavailable, match="could not be started"):
            _gate().send(TOPIC, b"x", SOON)

    @pytest.mark.parametrize(
        "line",
        [
            b"",
            b"Welcome to gate-1!",
            b"../../etc/passwd eA==",
            f"acknowledgement-0x{'01' * 20}.message".encode(),
            f"acknowledgement-0x{'01' * 20}.message !!!!".encode(),
            f"acknowledgement-0x{'01' * 20}.message eA".encode(),
        ],
    )
    def test_lines_that_are_no_messages(self, line: bytes) -> None:
        assert parse_line(line) is None


def _gate() -> SshTransport:
    from dpki.transport.address import SshAddress

    return SshTransport(SshAddress("gate-1", "/outbox"))
