"""A council from the command line, on a real chain: founded, handed the domain, used, defied.

Members are development accounts, each with a home of its own; one votes from a file, without any
network, and one with a key in a token.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dpki.chain.connect import connect
from dpki.chain.rpc import Endpoint
from dpki.chain.snapshot import fetch_snapshot
from dpki.config.admin import StoreConfig
from dpki.devnet.accounts import development_wallet
from dpki.devnet.anvil import CHAIN_ID, Anvil
from dpki.model import Address, AuthorityId
from tests.admins import Admin, Result, Run, make_admin_of, runner
from tests.soft_tokens import SoftHsmFolder

ROOTS, ORDINARY, STRANGER = (0, 1, 2), 3, 8


def account(index: int) -> str:
    return str(development_wallet(index, chain_id=CHAIN_ID).address)


def done(result: Result) -> dict[str, object]:
    assert result.status == 0, result.err
    return result.document


def refused(result: Result, status: int, message: str) -> str:
    assert result.status == status, result.err
    assert message in result.message
    return str(result.document["error"]["hint"])


@dataclass
class Assembly:
    """A domain, its admin (member 0), and homes for the others."""

    directory: Path
    anvil: Anvil
    admin: Admin
    dpki: Run
    homes: dict[int, Admin] = field(default_factory=dict)

    def run(self, *words: str | Path, by: int = 0) -> Result:
        return self.dpki(*words, *self.home(by).option)

    def home(self, index: int) -> Admin:
        if index == 0:
            return self.admin
        if index not in self.homes:
            self.homes[index] = self.admin.with_account(self.directory / f"member-{index}", index)
        return self.homes[index]

    def state(self, ca: str) -> str:
        config = self.admin.config
        with connect(config.chain.rpc, config.require_domain()) as (reader, domain):
            found = fetch_snapshot(reader, domain).authorities.get(AuthorityId.parse(ca))
        return found.state.label if found else "unregistered"

    def pass_time(self, seconds: int) -> None:
        with Endpoint(self.anvil.url) as endpoint:
            endpoint.call("evm_increaseTime", [seconds])
            endpoint.call("evm_mine", [])

    def pending(self, result: Result) -> str:
        waits = done(result)["pending"]
        assert isinstance(waits, dict), "nothing is pending"
        return str(waits["id"])


@pytest.fixture
def assembly(
    tmp_path: Path, softhsm: SoftHsmFolder, capsys: pytest.CaptureFixture[str]
) -> Iterator[Assembly]:
    with Anvil(tmp_path) as anvil:
        store = StoreConfig(directories=(tmp_path / "store",))
        admin = make_admin_of(tmp_path / "admin", anvil, store, softhsm.token())
        yield Assembly(tmp_path, anvil, admin, runner(capsys))


MEMBERS = (
    *(word for index in ROOTS for word in ("--root", account(index))),
    *("--ordinary", account(ORDINARY)),
)


def govern(assembly: Assembly, *options: str) -> str:
    """Deploy a domain, found the council, and have it take over; return its address."""
    done(assembly.run("deploy"))
    opened = assembly.run("council", "init", *MEMBERS, *options)
    council, waits = str(done(opened)["council"]), assembly.pending(opened)
    for member in ROOTS[1:]:
        done(assembly.run("council", "approve", waits, by=member))
    done(assembly.run("council", "approve", waits, by=ORDINARY))
    done(assembly.run("council", "execute", waits))
    return council


def test_a_domain_is_handed_over_and_registers_a_ca(assembly: Assembly) -> None:
    council = govern(assembly)
    shown = done(assembly.run("domain", "show"))
    assert shown["governor"] == {"address": council, "is": "council"}
    assert shown["guardian"] == {"address": council, "is": "council"}
    made = assembly.run("ca", "create", "users", "--kind", "ssh-user")
    ca, waits = str(done(made)["ca"]), assembly.pending(made)
    assert assembly.state(ca) == "unregistered"
    said = done(assembly.run("council", "show", waits[:12], by=1))
    (effect,) = said["effects"]  # type: ignore[misc]
    assert effect.startswith("registers SSH user CA SHA256:")
    assert effect.endswith(f"for operator {account(0)}, at most 30 days")
    assert said["would_fail"] is None
    again = assembly.run("ca", "create", "users", "--kind", "ssh-user")
    assert assembly.pending(again) == waits
    for member in (1, 2):
        done(assembly.run("council", "approve", waits, by=member))
    done(assembly.run("council", "execute", waits, by=STRANGER))
    assert assembly.state(ca) == "active"
    refused(assembly.run("ca", "create", "users", "--kind", "ssh-user"), 2, "there is a CA named")
