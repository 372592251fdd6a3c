"""How large KRLs get, and how long they take: to build, and to read as sshd does at each login."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.certificates.keys import ssh_blob
from dpki.certificates.krl import Revocations, build_krl
from dpki.certificates.profile import Profile, Subject
from dpki.certificates.ssh import build_ssh_certificate, ssh_line

COUNTS = (0, 1, 100, 10_000, 100_000, 1_000_000)
SHAPES = {"in a row": 1, "every other one": 2}
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class KrlFigure:
    """One KRL: what it revokes, its size in bytes, and seconds to build and to read it."""

    count: int
    shape: str
    size: int
    build: float
    read: float


def measure_krls(counts: Sequence[int] = COUNTS) -> list[KrlFigure]:
    """Build KRLs of these many revocations, and let `ssh-keygen -Q` read each.

    Raises:
        CalledProcessError: It refuses a KRL, or calls a certificate revoked that is not.
    """
    key = Ed25519PrivateKey.generate()
    with tempfile.TemporaryDirectory() as folder:
        probe, path = Path(folder, "probe-cert.pub"), Path(folder, "krl")
        certificate = build_ssh_certificate(
            key,
            Profile.user(timedelta(hours=1)),
            Subject(ssh_blob(key.public_key()), ("probe",), "probe"),
            serial=2**32 - 1,
            key_id="probe",
            valid_after=NOW,
            valid_before=NOW + timedelta(hours=1),
        )
        probe.write_text(ssh_line(certificate) + "\n")
        figures = []
        for count in counts:
            for shape, step in SHAPES.items():
                if count < 2 and step > 1:
                    continue
                serials = list(range(1, count * step + 1, step))
                started = time.perf_counter()
                krl = build_krl(
                    [Revocations(ssh_blob(key.public_key()), serials)], (), version=1, generated=NOW
                )
                built = time.perf_counter()
                path.write_bytes(krl)
                command = ["ssh-keygen", "-Q", "-f", str(path), str(probe)]
                subprocess.run(command, check=True, capture_output=True)
                read = time.perf_counter()
                figures.append(
                    KrlFigure(
                        count, shape if count > 1 else "", len(krl), built - started, read - built
                    )
                )
    return figures


def krl_section(figures: Sequence[KrlFigure]) -> list[str]:
    """Return the report's part about KRLs."""
    return [
        "## Key revocation lists",
        "",
        (
            "One CA's, built as the agent does, with reading back and comparing; read once by"
            " `ssh-keygen -Q`, whose code is sshd's, and sshd reads the file at each login. What is"
            " revoked in a row, or by the watermark, costs nothing however much it is."
        ),
        "",
        "| revoked | which | bytes | build | read |",
        "|---:|---|---:|---:|---:|",
        *(
            f"| {f.count:,} | {f.shape} | {f.size:,} | {f.build:.3f} s | {f.read:.3f} s |"
            for f in figures
        ),
        "",
    ]
