"""One connection to a broker: TLS, user and password, and an end to everything (MQTT 3.1.1).

paho's client speaks the protocol; what it leaves to chance is decided here. A broker is a stranger:
each step has one deadline for all of it, and a packet that is larger than any of ours ends the
connection before it is read. (https://docs.oasis-open.org/mqtt/mqtt/v3.1.1/os/mqtt-v3.1.1-os.html)
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion

from dpki.errors import ConfigError, NotAllowed, TransportUnavailable
from dpki.signer.pin import PinSource
from dpki.transport.address import BrokerAddress

LARGEST = 256 << 10
"""Bytes of a packet, at most: a message of 192 KiB and its topic."""

WAITING = 256
"""Messages that wait to be taken, at most."""

KEEPALIVE = 30
"""Seconds after which a silent connection is asked whether it still stands."""

# What hostile packets bring about in paho, beside what it means to raise.
_BROKEN = (OSError, ValueError, LookupError, TypeError, struct.error)
_REFUSED = "Not authorized", "Bad user name or password"
# The first byte of a PUBLISH packet, and in it of all but quality of service 0.
_PUBLISH, _TYPE, _QUALITY = 0x30, 0xF0, 0x06


class _Bounded(Client):
    """paho's client, with a deadline for the handshake and a limit for what is read."""

    def __init__(self, address: BrokerAddress, context: ssl.SSLContext, end: float) -> None:
        super().__init__(
            CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv311, client_id=""
        )
        self._address, self._tls, self._end = address, context, end

    def _create_socket(self) -> ssl.SSLSocket:
        left = max(0.001, self._end - time.monotonic())
        raw = socket.create_connection((self._address.host, self._address.port), left)
        try:
            raw.settimeout(0)
            wrapped = self._tls.wrap_socket(
                raw, server_hostname=self._address.host, do_handshake_on_connect=False
            )
        except BaseException:
            raw.close()
            raise
        try:
            # Not by a timeout, which bounds each read: a byte a second would hold us for hours.
            while True:
                try:
                    wrapped.do_handshake()
                except ssl.SSLWantReadError:
                    ready = select.select([wrapped.fileno()], [], [], self._left())[0]
                except ssl.SSLWantWriteError:
                    ready = select.select([], [wrapped.fileno()], [], self._left())[1]
                else:
                    return wrapped
                if not ready:
                    raise TimeoutError("the handshake took too long")
        except BaseException:
            wrapped.close()
            raise

    def _left(self) -> float:
        return max(0.0, self._end - time.monotonic())

    def _sock_recv(self, bufsize: int) -> bytes:
        if self._in_packet["remaining_length"] > LARGEST:
            raise ConnectionError("a packet is too large")
        command = self._in_packet["command"]
        if command & _TYPE == _PUBLISH and command & _QUALITY:
            # Nobody asked for it, and paho would keep it until the broker says otherwise.
            raise ConnectionError("a message is to be kept")
        return super()._sock_recv(bufsize)


class Connection:
    """A connection that stands; see `connected`."""

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self._name = name
        self._answers: list[bool] = []
        self.inbox: deque[MQTTMessage] = deque()
        client.on_message = lambda _client, _data, message: self.inbox.append(message)

    def publish(self, topic: str, data: bytes, end: float, *, retain: bool) -> None:
        """Give the broker a message, and wait until it says that it has it.

        Raises:
            TransportUnavailable: It does not, in time.
        """
        sent = self._client.publish(topic, data, qos=1, retain=retain)
        while not sent.is_published():
            self.turn(end)

    def subscribe(self, topic: str) -> None:
        """Ask for a topic's messages, which may begin to come before the broker `has_agreed`."""
        self._client.on_subscribe = lambda _client, _data, _mid, codes, _properties: (
            self._answers.extend(code.is_failure for code in codes)
        )
        self._client.subscribe(topic, 0)

    def has_agreed(self) -> bool:
        """Whether the broker has said yes to what was asked for.

        Raises:
            TransportUnavailable: It has said no.
        """
        if any(self._answers):
            raise TransportUnavailable(
                f"{self._name} refuses a subscription", hint="may this user read this topic?"
            )
        return bool(self._answers)

    def turn(self, end: float, longest: float = 1.0) -> None:
        """Do what there is to do, or wait for it, for `longest` seconds at most.

        Raises:
            TransportUnavailable: The end has come, or the connection's.
        """
        left = end - time.monotonic()
        if left <= 0:
            raise TransportUnavailable(f"{self._name} did not answer in time")
        with broken(self._name):
            code = self._client.loop(min(left, longest))
        if code is not MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise TransportUnavailable(f"{self._name} ended the connection")
        if len(self.inbox) > WAITING:
            raise TransportUnavailable(f"{self._name} sends what nobody waits for")


@contextmanager
def connected(
    name: str,
    address: BrokerAddress,
    user: str,
    password: PinSource,
    authority: Path | None,
    end: float,
) -> Iterator[Connection]:
    """Yield a connection, and end it after the block.

    Args:
        end: Of the monotonic clock: until when it must stand.

    Raises:
        ConfigError: The password or the authority can't be read.
        NotAllowed: The broker knows no such user and password.
        TransportUnavailable: It is not there in time, or is not who it should be.
    """
    context = _context(authority)
    secret = password(f"the password of {user} at {name}")
    client = _Bounded(address, context, end)
    client.username_pw_set(user, secret)
    answers: list[str] = []
    client.on_connect = lambda _client, _data, _flags, code, _properties: answers.append(str(code))
    connection = Connection(client, name)
    try:
        with broken(name):
            client.connect(address.host, address.port, KEEPALIVE)
        while not answers:
            try:
                connection.turn(end)
            except TransportUnavailable:
                if not answers:
                    raise
        if answers[0] in _REFUSED:
            raise NotAllowed(f"{name} refuses the user {user}", hint="see user and password")
        if answers[0] != "Success":
            raise TransportUnavailable(f"{name} refuses the connection: {answers[0]}")
        yield connection
    finally:
        with suppress(*_BROKEN):
            client.disconnect()
        with suppress(*_BROKEN):
            client.loop(0)
        sock = client.socket()
        if sock is not None:
            sock.close()


@contextmanager
def broken(name: str) -> Iterator[None]:
    """Turn what a broker or the network breaks into a `TransportUnavailable`."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise TransportUnavailable(
            f"{name} is not who it should be: {error.verify_message}",
            hint="see `authority`: the certificate of the authority that vouches for the broker",
        ) from error
    except _BROKEN as error:
        raise TransportUnavailable(
            f"{name} could not be used ({type(error).__name__})",
            hint="is the broker up, and is its address right?",
        ) from error


def _context(authority: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=authority)
    except OSError as error:
        raise ConfigError(
            f"{authority} is no certificate that can be read: {error.strerror or error}"
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
