"""`dpki deploy --trust`: who may be whom, and CAs that are watched from their first serial on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dpki.chain.snapshot import fetch_snapshot
from tests.admins import Admin, Run, runner
from tests.roles import GOVERNOR, OPERATOR, STRANGER, Roles, address_of, open_roles
from tests.soft_tokens import SoftHsmFolder


@pytest.fixture
def roles(softhsm: SoftHsmFolder, capsys: pytest.CaptureFixture[str]) -> Iterator[Roles]:
    with open_roles(softhsm, capsys) as made:
        yield made


@pytest.fixture
def fresh(roles: Roles, tmp_path: Path) -> Admin:
    """A home without a domain."""
    return roles.governor.copy(tmp_path / "fresh", lambda config: replace(config, domain=None))


def test_roles_that_are_not_apart(roles: Roles, fresh: Admin) -> None:
    governor, operator = str(address_of(GOVERNOR)), str(address_of(OPERATOR))
    registrar = str(address_of(STRANGER))
    block = roles.endpoint.call("eth_blockNumber")
    apart = ("--governor", governor, "--operator", operator)
    for words, because in (
        (("--trust", "multi-admin"), "different people's"),
        (("--trust", "multi-admin", *apart), "different people's"),
        (("--trust", "multi-admin", *apart[:3], governor, "--registrar", registrar), "one account"),
        (("--trust", "multisig", *apart, "--registrar", operator), "a registrar, too"),
        (("--operator", operator), "goes with several admins"),
        (("--trust", "nobody"), "no model of trust"),
    ):
        refused = roles.run(fresh, "deploy", *words)
        assert refused.status == 2
        assert because in refused.message
    assert roles.endpoint.call("eth_blockNumber") == block


def test_an_admin_without_a_wallet(
    roles: Roles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dpki: Run = runner(capsys)
    home = tmp_path / "admin"
    words = ("init", "--home", home, "--rpc", roles.anvil.url, "--chain-id", "31337")
    words += ("--without-token",)
    assert dpki(*words, "--without-wallet").status == 2
    domain = ("--domain", str(roles.domain.id))
    made = dpki(*words, *domain, "--without-wallet")
    assert (made.status, made.document["account"]) == (0, None)
    assert not (home / "wallets").exists()
    assert dpki("domain", "show", "--home", home).status == 0
    assert dpki("ca", "close", str(roles.ca), "--yes", "--home", home).status == 2


def test_watched_from_the_first_serial_on(roles: Roles) -> None:
    """One request, two changes: neither happens where the second would be refused."""
    request = roles.directory / "hosts.request"
    operator = ("--operator", str(address_of(OPERATOR)))
    roles.ok(
        roles.admin, "ca", "request", "hosts", "--kind", "ssh-host", *operator, "--out", request
    )
    key = f"0x{'09' * 32}"
    one = f"{address_of(STRANGER)}:1:{key}"
    register = ("ca", "register", request)
    for words in (
        ("--watchdog", one),
        ("--threshold", "1"),
        ("--watchdog", one, "--threshold", "2"),
        ("--watchdog", "nonsense", "--threshold", "1"),
        ("--watchdog", f"{address_of(STRANGER)}:1:0x{'00' * 32}", "--threshold", "1"),
    ):
        assert roles.run(roles.governor, *register, *words).status == 2
    twice = ("--watchdog", one, "--watchdog", one, "--threshold", "1")
    refused = roles.run(roles.governor, *register, *twice)
    assert (refused.status, "DuplicateWatchdog" in refused.message) == (1, True)
    assert len(fetch_snapshot(roles.endpoint, roles.domain).authorities) == 1
    roles.ok(roles.governor, *register, "--watchdog", one, "--threshold", "1", "--dry-run")
    roles.ok(roles.governor, *register, "--watchdog", one, "--threshold", "1")
    *_, made = fetch_snapshot(roles.endpoint, roles.domain).authorities.values()
    assert made.watch is not None
    assert (made.watch.first_serial, made.watch.threshold) == (1, 1)
    shown = roles.ok(roles.governor, "ca", "show", str(made.id))["watch"]
    assert shown["watchdogs"][0]["sealing_key"] == key  # type: ignore[index]


def test_a_request_for_another_domain_or_none(roles: Roles) -> None:
    request = (roles.directory / "users.request").read_bytes()
    other = roles.directory / "other.request"
    for changed, status in ((request[:-1], 3), (b"", 3), (bytes(5000), 1)):
        other.write_bytes(changed)
        assert roles.run(roles.governor, "ca", "register", other).status == status
    assert roles.run(roles.governor, "ca", "name", "x", f"0x{'00' * 32}").status == 2
