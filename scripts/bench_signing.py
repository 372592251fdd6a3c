"""How many SSH certificates a second: a CA in SoftHSM beside `ssh-keygen -s`, by key type.

Both sign for the same holders' keys in the same run. Ours are checked as strangers' before they
count (parsed again, the signature verified twice); `ssh-keygen` gets all keys in one call, which is
its fastest way, and its CA's key lies in a plain file.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.certificates.keys import public_key_line, ssh_blob
from dpki.certificates.profile import Profile, Subject
from dpki.certificates.ssh import build_ssh_certificate
from dpki.signer.base import KeyType, Signer
from dpki.signer.pkcs11 import generate_key, open_signer
from dpki.signer.pkcs11_module import find_module
from dpki.signer.uri import Pkcs11Uri

CERTIFICATES = 300
GOALS = {KeyType.P256: 2000.0}
_KEYGEN = {
    KeyType.ED25519: ("ed25519", "256"),
    KeyType.P256: ("ecdsa", "256"),
    KeyType.P384: ("ecdsa", "384"),
    KeyType.RSA3072: ("rsa", "3072"),
}


@dataclass(frozen=True)
class Rate:
    """Certificates a second with one type of key."""

    key_type: KeyType
    token: float
    keygen: float

    @property
    def goal(self) -> float | None:
        """What ours should reach."""
        return GOALS.get(self.key_type)


def measure_signing(token: Pkcs11Uri, pin: str, rounds: int) -> list[Rate]:
    """Measure every key type; the best of the rounds, in which both take turns.

    Args:
        token: An empty token, whose module's environment is in force.
    """
    subjects = [ssh_blob(Ed25519PrivateKey.generate().public_key()) for _ in range(CERTIFICATES)]
    rates = []
    with tempfile.TemporaryDirectory() as folder:
        for key_type in KeyType:
            uri = Pkcs11Uri(token.token, f"bench-{key_type.value}")
            generate_key(uri, key_type, lambda _: pin, find_module())
            authority = make_authority(Path(folder) / key_type.value, key_type)
            with open_signer(uri, lambda _: pin, find_module()) as signer:
                ours, theirs = [], []
                for _ in range(rounds):
                    ours.append(sign_in_token(signer, subjects))
                    theirs.append(sign_by_keygen(authority, subjects))
            rates.append(Rate(key_type, CERTIFICATES / min(ours), CERTIFICATES / min(theirs)))
    return rates


def sign_in_token(signer: Signer, subjects: list[bytes]) -> float:
    """Return how many seconds the certificates took."""
    now, profile = datetime.now(UTC), Profile.user(timedelta(hours=8))
    started = time.perf_counter()
    for serial, subject in enumerate(subjects, 1):
        build_ssh_certificate(
            signer.private_key,
            profile,
            Subject(subject, ("ops",), "bench"),
            serial=serial,
            key_id="bench",
            valid_after=now,
            valid_before=now + timedelta(hours=1),
        )
    return time.perf_counter() - started


def make_authority(folder: Path, key_type: KeyType) -> Path:
    """Make a CA's key in a file."""
    folder.mkdir()
    kind, bits = _KEYGEN[key_type]
    command = ["ssh-keygen", "-q", "-t", kind, "-b", bits, "-N", "", "-f", str(folder / "ca")]
    subprocess.run(command, check=True)
    return folder / "ca"


def sign_by_keygen(authority: Path, subjects: list[bytes]) -> float:
    """Return how many seconds one `ssh-keygen -s` took for all of them."""
    paths = [authority.with_name(f"{number}.pub") for number in range(len(subjects))]
    for path, subject in zip(paths, subjects, strict=True):
        path.write_text(public_key_line(subject) + "\n")
    command = ["ssh-keygen", "-q", "-s", str(authority), "-I", "bench", "-n", "ops", "-z", "+1"]
    started = time.perf_counter()
    subprocess.run([*command, "-V", "+1h", *map(str, paths)], check=True)
    return time.perf_counter() - started


def signing_table(rates: Sequence[Rate]) -> list[str]:
    """Return the report's section."""
    return [
        "## Signing",
        "",
        (
            f"SSH certificates a second, the best of several runs of {CERTIFICATES}: through"
            " SoftHSM, each checked before it counts, and by one `ssh-keygen -s` for all of them"
            " with its key in a plain file, in turn with it. A real HSM has its own speed."
        ),
        "",
        "| CA's key | dpki, SoftHSM | `ssh-keygen -s` | at least |",
        "|---|---:|---:|---:|",
        *(
            f"| {rate.key_type.value} | {rate.token:,.0f} | {rate.keygen:,.0f} |"
            f" {f'{rate.goal:,.0f}' if rate.goal else ''} |"
            for rate in rates
        ),
        "",
    ]
