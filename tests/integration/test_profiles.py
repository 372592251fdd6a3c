"""Profiles by the real command line: what they refuse is never signed, and sshd reads the rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.certificates.keys import public_key_line, ssh_blob
from dpki.config.admin import StoreConfig
from dpki.devnet.anvil import Anvil
from dpki.devnet.kubo import Kubo
from dpki.files import make_private_directory, write_atomic
from tests.admins import Admin, Run, make_admin, runner, state_of
from tests.openssh import describe
from tests.raw_certificates import fido_blob
from tests.soft_tokens import SoftHsmFolder

FIDO_ONLY = """
version = 1
kind = "ssh-user"
maximum_validity = "2h"
extensions = ["permit-pty"]
key_types = ["sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"]
reason_required = true
[principals]
allow = ["ops", "team-*"]
[critical_options]
source-address = ["192.0.2.0/24"]
verify-required = true
"""


@dataclass(frozen=True)
class Office:
    """A domain with one user CA, and who wants certificates of it."""

    directory: Path
    anvil: Anvil
    admin: Admin

    def profile(self, text: str) -> None:
        path = self.admin.home.profile("users")
        make_private_directory(path.parent)
        write_atomic(path, text.encode())

    def key(self, name: str, blob: bytes) -> Path:
        path = self.directory / f"{name}.pub"
        path.write_text(public_key_line(blob) + "\n")
        return path

    def wish(self, key: Path, *more: str, principal: str = "ops") -> list[str | Path]:
        words = ["ssh", "issue", "--ca", "users", "--key", key, "--identity", "alice"]
        return [*words, "--principal", principal, *more, *self.admin.option]


@pytest.fixture(scope="module")
def office(
    tmp_path_factory: pytest.TempPathFactory,
    softhsm: SoftHsmFolder,
    kubo_nodes: tuple[Kubo, Kubo],
) -> Iterator[Office]:
    directory = tmp_path_factory.mktemp("office")
    with Anvil(tmp_path_factory.mktemp("logs")) as anvil:
        admin = make_admin(directory, anvil, kubo_nodes, softhsm.token())
        store = StoreConfig(directories=(admin.home.store,))
        admin.write(replace(admin.config, store=store))
        yield Office(directory, anvil, admin)


@pytest.fixture
def dpki(capsys: pytest.CaptureFixture[str], office: Office) -> Run:
    run = runner(capsys)
    if office.admin.config.domain is None:
        assert run("deploy", *office.admin.option).status == 0
        created = run("ca", "create", "users", "--kind", "ssh-user", *office.admin.option)
        assert created.status == 0, created.err
    office.admin.home.profile("users").unlink(missing_ok=True)
    return run


def test_a_fido_certificate_is_issued_as_the_profile_says(office: Office, dpki: Run) -> None:
    office.profile(FIDO_ONLY)
    for kind in ("ed25519", "p256"):
        key = office.key(f"fido-{kind}", fido_blob(kind))
        issued = dpki(*office.wish(key, "--reason", "TICKET-17"))
        assert issued.status == 0, issued.err
        certificate = Path(str(issued.document["certificate"]))
        said = describe(certificate)
        assert said[0].startswith("Type: sk-")
        assert any("/alice#TICKET-17" in line for line in said if line.startswith("Key ID:"))
        start = said.index("Critical Options:")
        assert said[start:] == [
            "Critical Options:",
            "source-address 192.0.2.0/24",
            "verify-required",
            "Extensions:",
            "permit-pty",
        ]
        home = office.admin.config
        verified = dpki(
            *("verify", certificate, "--domain", home.require_domain()),
            *("--rpc", home.chain.rpc[0]),
        )
        assert (verified.status, verified.document["verdict"]) == (0, "valid")


@pytest.mark.parametrize(
    ("kind", "principal", "more", "status", "reason"),
    [
        ("fido", "root", ("--reason", "T-1"), 4, "does not allow the principal 'root'"),
        ("fido", "ops", (), 4, "requires a reason"),
        ("plain", "ops", ("--reason", "T-1"), 4, "does not allow ssh-ed25519 keys"),
        ("fido", "ops", ("--reason", "two words"), 2, "can't be a reason"),
    ],
)
def test_what_the_profile_refuses_changes_nothing(
    office: Office,
    dpki: Run,
    kind: str,
    principal: str,
    more: tuple[str, ...],
    status: int,
    reason: str,
) -> None:
    office.profile(FIDO_ONLY)
    plain = ssh_blob(Ed25519PrivateKey.generate().public_key())
    key = office.key("somebody", fido_blob("ed25519") if kind == "fido" else plain)
    before = state_of(office.anvil, office.directory)
    result = dpki(*office.wish(key, *more, principal=principal))
    assert (result.status, state_of(office.anvil, office.directory)) == (status, before)
    assert reason in result.message


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (FIDO_ONLY.replace("version = 1", "version = 2"), "version is 2"),
        (FIDO_ONLY.replace("ssh-user", "ssh-host"), "users.toml: extensions is wrong"),
        (FIDO_ONLY.replace("allow", "alow"), "principals.allow is missing"),
        (FIDO_ONLY + "unknown = 1", "unknown is not a known key"),
        (FIDO_ONLY[:40], "users.toml is not TOML"),
        ("x" * (1 << 20) + "x", "users.toml"),
    ],
    ids=["version", "kind", "mistyped", "unknown", "truncated", "oversized"],
)
def test_a_bad_profile_stops_issuing(office: Office, dpki: Run, text: str, reason: str) -> None:
    office.profile(text)
    key = office.key("somebody", fido_blob("ed25519"))
    before = state_of(office.anvil, office.directory)
    result = dpki(*office.wish(key, "--reason", "T-1"))
    assert (result.status, state_of(office.anvil, office.directory)) == (2, before)
    assert reason in result.message


def test_show_and_lint(office: Office, dpki: Run) -> None:
    shown = dpki("ca", "profile", "show", "users", *office.admin.option)
    assert shown.status == 0
    assert shown.document["is_default"] is True
    text = str(shown.document["profile"])
    lint = ("ca", "profile", "lint", "users", *office.admin.option)
    assert any("any principal" in word for word in dpki(*lint).document["warnings"])
    refused = dpki(*lint, "--strict")
    assert (refused.status, "is dangerous" in refused.message) == (3, True)

    office.profile(text)
    again = dpki("ca", "profile", "show", "users", *office.admin.option).document
    assert (again["is_default"], again["profile"]) == (False, text)

    office.profile(FIDO_ONLY)
    strict = dpki(*lint, "--strict")
    assert (strict.status, strict.document["warnings"]) == (0, [])
    assert "holders may log in as: ops, team-*" in strict.document["allows"]


def test_a_profile_of_no_ca(office: Office, dpki: Run) -> None:
    result = dpki("ca", "profile", "lint", "nobody", *office.admin.option)
    assert result.status == 2
    assert "there is no CA named 'nobody'" in result.message
