"""What strict mode costs at a login: beside a plain sshd with a plain key, in turn in one run."""

from __future__ import annotations

import secrets
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from dpki.agent.observation import Known
from dpki.agent.sshd import InstalledFiles
from dpki.model import Address, Entry, Hash32
from scripts.stage import Client, Sshd, StepFailed
from tests.device import HOST, Device, open_device

SAMPLES = 100
INDEXED = 10_000
GOAL = 0.050


@dataclass(frozen=True)
class LoginFigure:
    """Wall times of whole logins, from the start of ssh to its end, in seconds."""

    what: str
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.seconds)


def measure_logins(
    samples: int = SAMPLES, indexed: int = INDEXED
) -> tuple[LoginFigure, LoginFigure]:
    """Log in at a plain sshd and in strict mode, in turn.

    Args:
        indexed: How many other certificates the device's index holds.

    Raises:
        StepFailed: A login was refused.
    """
    plain: list[float] = []
    strict: list[float] = []
    with open_device() as device:
        certificate, key = device.sign()
        device.anchor(certificate)
        device.known += [_other(device, serial) for serial in range(2, indexed + 2)]
        device.users.next_serial += indexed
        device.update()
        server, client = device.meet(key)
        beside = _start_plain(device, key)
        by_key = Client(key, None, client.known_hosts, None, HOST)
        for _ in range(samples):
            plain.append(_login(device, beside, by_key))
            strict.append(_login(device, server, client))
    return (
        LoginFigure("plain sshd, a plain key", tuple(plain)),
        LoginFigure(f"strict mode, an index of {indexed + 1:,}", tuple(strict)),
    )


def _other(device: Device, serial: int) -> Known:
    end = device.now + timedelta(hours=1)
    entry = Entry(Hash32(secrets.token_bytes(32)), Address.zero(), end, Hash32.zero())
    return Known(device.users.id, serial, entry, 50)


def _start_plain(device: Device, key: Path) -> Sshd:
    """Start an sshd as one would without dpki, with the same host key and certificate."""
    files = InstalledFiles(device.files)
    assert device.host is not None
    name = device.host.certificate.hash.hex()[:16]
    lines = [
        f"HostKey {files.host_key(name)}",
        f"HostCertificate {files.host_certificate(name)}",
        f"AuthorizedKeysFile {key.with_name(f'{key.name}.pub')}",
    ]
    return device.stage.start_sshd("plain", lines)


def _login(device: Device, server: Sshd, client: Client) -> float:
    started = time.perf_counter()
    outcome = device.stage.ssh(server, client)
    took = time.perf_counter() - started
    if outcome.stdout != "logged-in\n":
        raise StepFailed(outcome.describe())
    return took


def logins_section(figures: Sequence[LoginFigure]) -> list[str]:
    """Return the report's part about logins."""
    plain, strict = figures
    more = strict.median - plain.median
    return [
        "## Logins",
        "",
        (
            "Whole logins on loopback, in turn, from the start of `ssh` to its end with one word"
            f" said; {len(plain.seconds)} of each. Strict mode takes {more * 1000:.0f} ms more at"
            f" the median (goal: at most {GOAL * 1000:.0f} ms): sshd asks the login command twice."
        ),
        "",
        "| login | p50 | p99 |",
        "|---|---:|---:|",
        *(
            f"| {f.what} | {f.median * 1000:.0f} ms | {_high(f.seconds) * 1000:.0f} ms |"
            for f in figures
        ),
        "",
    ]


def _high(seconds: Sequence[float]) -> float:
    return sorted(seconds)[max(0, -(-len(seconds) * 99 // 100) - 1)]
