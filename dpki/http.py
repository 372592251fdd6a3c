"""HTTP with a hard end: every request has one total deadline and one size limit (claims T4, T5).

httpx and requests bound each read, not the whole: a server that sends one byte a second, headers
included, holds them for hours. httpcore, the engine of httpx, takes a network backend of one's own,
and that is where the clock is looked at: before every connect, handshake, write and read. No
redirects, no cookies, no proxies from the environment, no compression (a small body can't unpack to
a huge one).
"""

from __future__ import annotations

import ssl
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from dpki.errors import CouldNotCheck

# httpcore loads trio where it finds it (ipfshttpclient brings it): for nothing that is used here,
# and for as long as all the rest takes.
_trio: Any = sys.modules.setdefault("trio", cast(Any, None))
import httpcore  # noqa: E402 - not before that

if _trio is None:
    del sys.modules["trio"]

_CHUNK = 65536


class TransferFailed(CouldNotCheck):
    """A request did not end well.

    The message says why and never names the URL, which may hold credentials.
    """


class Deadline:
    """A point on the monotonic clock by which something has to be done.

    Args:
        duration: Time from now.
    """

    def __init__(self, duration: timedelta) -> None:
        self.duration = duration
        self.instant = time.monotonic() + duration.total_seconds()

    def remaining(self) -> float:
        """Return the seconds that are left, at least 0."""
        return max(0.0, self.instant - time.monotonic())

    @property
    def is_over(self) -> bool:
        """Whether nothing is left."""
        return time.monotonic() >= self.instant


@dataclass(frozen=True)
class Response:
    """An answer, whole.

    Attributes:
        status: HTTP status code.
        headers: By lower-case name; of a repeated one, the last.
        body: As sent, not decompressed.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpClient:
    """A pool of connections. Safe to use from several threads.

    Promises: no redirect is followed, and no request outlives its deadline, whatever the server
       does (name resolution alone is the operating system's and has its own limits).
    """

    def __init__(self) -> None:
        self._pool = httpcore.ConnectionPool(
            network_backend=_DeadlineBackend(),
            max_connections=8,
            max_keepalive_connections=4,
            keepalive_expiry=30,
        )

    def request(
        self,
        method: str,
        url: str,
        *,
        deadline: Deadline,
        limit: int,
        headers: Mapping[str, str] | None = None,
        content: bytes = b"",
    ) -> Response:
        """Send one request and return the whole answer, whatever its status.

        Args:
            url: http or https, without credentials.
            deadline: When to give up, connecting and the body's last byte included.
            limit: Bytes of body, at most.

        Raises:
            TransferFailed: No connection, no answer in time, too large, or broken on the way.
        """
        instant = deadline.instant
        # The backend below reads these as points in time, not as durations; only "pool" is
        # httpcore's own.
        timeouts = {
            "connect": instant,
            "read": instant,
            "write": instant,
            "pool": deadline.remaining(),
        }
        fixed = {"Accept-Encoding": "identity", "User-Agent": "dpki", "Connection": "keep-alive"}
        try:
            with self._pool.stream(
                method,
                url,
                headers=[
                    (name.encode(), value.encode())
                    for name, value in {**fixed, **(headers or {})}.items()
                ],
                content=content,
                extensions={"timeout": timeouts},
            ) as response:
                named = {
                    name.decode("latin-1").lower(): value.decode("latin-1")
                    for name, value in response.headers
                }
                announced = named.get("content-length", "0")
                if not announced.isdecimal() or len(announced) > 18 or int(announced) > limit:
                    raise TransferFailed(f"the answer is larger than {limit} bytes")
                body = bytearray()
                for chunk in response.iter_stream():
                    body += chunk
                    if len(body) > limit:
                        raise TransferFailed(f"the answer is larger than {limit} bytes")
                return Response(response.status, named, bytes(body))
        except httpcore.TimeoutException as error:
            raise TransferFailed(
                f"no whole answer within {deadline.duration.total_seconds():g} s"
            ) from error
        except httpcore.ConnectError as error:
            raise TransferFailed(f"could not connect: {_root_cause(error)}") from error
        except (
            httpcore.NetworkError,
            httpcore.ProtocolError,
            httpcore.UnsupportedProtocol,
        ) as error:
            raise TransferFailed(f"the connection broke: {_root_cause(error)}") from error

    def close(self) -> None:
        """Close every connection."""
        self._pool.close()


def _root_cause(error: BaseException) -> str:
    """Return one printable line about what went wrong underneath."""
    # httpcore raises "from None" on its way out; the context is still there.
    while (deeper := error.__cause__ or error.__context__) is not None:
        error = deeper
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS certificate refused ({error.verify_message})"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__


class _DeadlineStream(httpcore.NetworkStream):
    """A connection whose `timeout` arguments are points on the monotonic clock."""

    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        # The inner write loops over partial sends with a fresh timeout each; small pieces keep the
        # clock in charge.
        for start in range(0, len(buffer), _CHUNK):
            self._inner.write(buffer[start : start + _CHUNK], _left(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return _DeadlineStream(self._inner.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> object:
        return self._inner.get_extra_info(info)


class _DeadlineBackend(httpcore.NetworkBackend):
    """Opens connections that keep to deadlines."""

    def __init__(self) -> None:
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return _DeadlineStream(
            self._inner.connect_tcp(host, port, left, local_address, socket_options)
        )

    def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        raise httpcore.UnsupportedProtocol("only TCP")

    def sleep(self, seconds: float) -> None:
        self._inner.sleep(seconds)


def _left(instant: float | None, over: type[httpcore.TimeoutException]) -> float:
    """Return the seconds until the point in time; raise `over` when it has passed."""
    left = 0.0 if instant is None else instant - time.monotonic()
    if left <= 0:
        raise over
    return left
