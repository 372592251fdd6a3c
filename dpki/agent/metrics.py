"""The agent's figures, in Prometheus' text format: over HTTP on loopback, or as a file.

What they are is in docs/operations.md. The library is loaded only where somebody asked for figures.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from dpki.agent.report import AgentReport
from dpki.errors import DpkiError
from dpki.files import PUBLIC, write_atomic

_REQUEST_LIMIT = 8192
_PATIENCE_SECONDS = 5
_RETRY_SECONDS = 60

Told = Callable[[str], None]


class Figures:
    """What is counted; in a registry of its own, so that agents in one process keep apart."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        domain = ["domain"]

        def gauge(name: str, what: str, labels: list[str] = domain) -> Gauge:
            return Gauge(f"dpki_agent_{name}", what, labels, registry=self._registry)

        def counter(name: str, what: str, labels: list[str] = domain) -> Counter:
            return Counter(f"dpki_agent_{name}", what, labels, registry=self._registry)

        self._block = gauge("block", "Number of the newest agreed block.")
        self._block_time = gauge("block_timestamp_seconds", "Time of that block.")
        self._seen = gauge("seen_timestamp_seconds", "When that block was seen.")
        self._up = gauge("domain_up", "Whether the last look at the trust domain succeeded.")
        self._authorities = gauge("user_authorities", "CAs whose users may log in.")
        self._certificates = gauge("certificates", "User certificates that count here.")
        self._waiting = gauge("waiting", "What watchdogs have yet to confirm.")
        self._aside = gauge("endpoints_aside", "RPC endpoints that are set aside.")
        self._clock = gauge("clock_wrong", "Whether clock and chain lie too far apart.")
        self._problems = gauge("problems", "What is not as it should be, anywhere.", [])
        self._drift = gauge("drift", "Settings that sshd does not enforce.", [])
        self._looks = counter("looks", "Looks at the chain.")
        self._failures = counter("failed_looks", "Looks that saw nothing.")
        self._look_seconds = counter("look_seconds", "Time that looks took.")
        self._hints = counter("hints", "Hints from subscriptions and others.")
        self._installs = counter("installs", "Steps that changed files.", [])
        self._install_failures = counter("failed_installs", "Steps that failed.", [])

    def looked(self, domain: str, seconds: float, *, failed: bool) -> None:
        """Count a look."""
        self._looks.labels(domain).inc()
        self._look_seconds.labels(domain).inc(seconds)
        self._up.labels(domain).set(not failed)
        if failed:
            self._failures.labels(domain).inc()

    def hinted(self, domain: str) -> None:
        """Count a hint."""
        self._hints.labels(domain).inc()

    def installed(self, report: AgentReport) -> None:
        """Take what a step reported."""
        for domain in report.domains:
            name = domain.name
            self._block.labels(name).set(domain.block.number)
            self._block_time.labels(name).set(domain.block.time.timestamp())
            self._seen.labels(name).set(domain.at.timestamp())
            self._authorities.labels(name).set(domain.user_authorities)
            self._certificates.labels(name).set(domain.certificates)
            self._waiting.labels(name).set(len(domain.waiting))
            self._aside.labels(name).set(len(domain.evidence.aside))
            self._clock.labels(name).set(bool(domain.clock))
        self._problems.set(len(report.all_problems))
        self._drift.set(len(report.drift))
        if report.changed:
            self._installs.inc()

    def not_installed(self) -> None:
        """Count a step that failed."""
        self._install_failures.inc()

    def text(self) -> bytes:
        """Return the figures as Prometheus reads them."""
        return generate_latest(self._registry)


async def serve_figures(figures: Figures, host: str, port: int, told: Told) -> None:
    """Answer Prometheus on loopback for ever; where the port is taken, try again each minute.

    Args:
        told: Told the address once it answers there, or why it does not.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(
            OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError
        ):
            async with asyncio.timeout(_PATIENCE_SECONDS):
                request = await reader.readuntil(b"\r\n\r\n")
                writer.write(_response(request, figures))
                await writer.drain()
        writer.close()

    while True:
        try:
            server = await asyncio.start_server(answer, host, port, limit=_REQUEST_LIMIT)
        except OSError as error:
            told(f"not at {host} port {port}: {error.strerror}")
            await asyncio.sleep(_RETRY_SECONDS)
            continue
        async with server:
            told("at {} port {}".format(*server.sockets[0].getsockname()[:2]))
            await server.serve_forever()


async def write_figures(figures: Figures, path: Path, told: Told) -> None:
    """Replace the file for node_exporter's textfile collector each minute, for ever.

    Args:
        told: Told why it could not be written.
    """
    while True:
        try:
            write_atomic(path, figures.text(), mode=PUBLIC)
        except DpkiError as error:
            told(error.message)
        await asyncio.sleep(_RETRY_SECONDS)


def _response(request: bytes, figures: Figures) -> bytes:
    method, _, rest = request.partition(b" ")
    if method != b"GET" or rest.partition(b" ")[0] not in (b"/metrics", b"/"):
        return b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    body = figures.text()
    head = f"Content-Type: {CONTENT_TYPE_LATEST}\r\nContent-Length: {len(body)}\r\n"
    return f"HTTP/1.1 200 OK\r\nConnection: close\r\n{head}\r\n".encode() + body
