"""A council founded in every way that may be interrupted, refused or done by halves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dpki.chain.connect import connect
from dpki.chain.rpc import Endpoint
from dpki.config.admin import StoreConfig
from dpki.devnet.accounts import development_wallet
from dpki.devnet.anvil import CHAIN_ID, Anvil
from dpki.model import Address
from dpki.transactions.actions import DomainCalls
from dpki.transactions.calls import encode_deployment
from dpki.transactions.writer import DomainWriter
from tests.admins import make_admin_of, runner, state_of
from tests.integration.test_council import (
    MEMBERS,
    Assembly,
    account,
    done,
    govern,
    refused,
)
from tests.soft_tokens import SoftHsmFolder


@pytest.fixture
def assembly(
    tmp_path: Path, softhsm: SoftHsmFolder, capsys: pytest.CaptureFixture[str]
) -> Iterator[Assembly]:
    with Anvil(tmp_path) as anvil:
        store = StoreConfig(directories=(tmp_path / "store",))
        admin = make_admin_of(tmp_path / "admin", anvil, store, softhsm.token())
        yield Assembly(tmp_path, anvil, admin, runner(capsys))


def deploy(assembly: Assembly) -> None:
    done(assembly.run("deploy"))
    done(assembly.run("ca", "list"))  # makes the journal


def test_a_rehearsal_founds_nothing(assembly: Assembly) -> None:
    deploy(assembly)
    before = state_of(assembly.anvil, assembly.admin.home.directory)
    said = done(assembly.run("council", "init", *MEMBERS, "--dry-run"))
    assert (
        said["would"] == "found a council of 4, then name it guardian, hand the domain over to it"
    )
    assert state_of(assembly.anvil, assembly.admin.home.directory) == before


def test_it_goes_on_where_it_stopped(assembly: Assembly) -> None:
    """After each step: founded only, guardian only, offered, asked to accept, governing."""
    done(assembly.run("deploy"))
    alone = ("--root", account(0))
    founded = done(assembly.run("council", "init", *alone, "--guardian-only"))
    council = str(founded["council"])
    assert (founded["guards"], founded["governs"]) == (True, False)
    refused(assembly.run("council", "init", *MEMBERS), 2, "has other members than those named")
    done(assembly.run("domain", "governor", council))
    governing = done(assembly.run("council", "init", *alone))
    # A council of one approves, and executes, by itself.
    assert (governing["council"], governing["governs"]) == (council, True)
    again = done(assembly.run("council", "init", "--council", council))
    assert (again["council"], again["governs"], again["pending"]) == (council, True, None)


def test_what_adds_trust_waits(assembly: Assembly) -> None:
    done(assembly.run("deploy"))
    done(assembly.run("council", "init", "--root", account(0), "--delay", "2h"))
    rounds = done(assembly.run("council", "list"))["rounds"]
    (waits,) = (one["round"] for one in rounds)  # type: ignore[attr-defined]
    refused(assembly.run("council", "execute", waits), 3, "waits until")
    assembly.pass_time(2 * 3600)
    done(assembly.run("council", "execute", waits))
    assert done(assembly.run("domain", "show"))["governor"]["is"] == "council"  # type: ignore[index]
    made = assembly.run("ca", "create", "users", "--kind", "ssh-user")
    assert done(made)["pending"]["missing"][0].startswith("it is approved, and waits")  # type: ignore[index]
    assembly.pass_time(2 * 3600)
    done(assembly.run("ca", "create", "users", "--kind", "ssh-user"))
    # What removes trust does not.
    assert done(assembly.run("ca", "suspend", "users"))["state"] == "suspended"


def test_the_published_threshold_is_warned_of(assembly: Assembly) -> None:
    done(assembly.run("deploy"))
    slide = ("--rule", "slide", "--faults", "1", "--dry-run")
    said = assembly.run("council", "init", *MEMBERS, *slide)
    assert done(said)["dry_run"] is True
    assert "it asks for 3 average weights" in said.err
    assert "may share only 2" in said.err


def test_parameters_come_from_a_file(assembly: Assembly, tmp_path: Path) -> None:
    file = tmp_path / "council.toml"
    file.write_text('version = 1\nagainst = 10\nlongest = "3d"\n[root]\ninitial = 70\n')
    file.chmod(0o600)
    council = govern(assembly, "--parameters", str(file))
    members = done(assembly.run("council", "members"))["members"]
    assert {m["weight"] for m in members if m["role"] == "root"} == {71}  # type: ignore[attr-defined]
    file.write_text("version = 1\nagainst = 20\n")
    opened = done(assembly.run("council", "propose", f"council parameters {file}"))
    assert "against 20 (now 10)" in str(
        done(assembly.run("council", "show", str(opened["pending"]["id"])))["effects"]  # type: ignore[index]
    )
    assert opened["council"] == council


NONSENSE: tuple[tuple[tuple[str, ...], str], ...] = (
    ((), "who is in the council?"),
    (("--ordinary", account(0)), "needs a root"),
    (("--root", account(0), "--ordinary", account(0)), "named twice"),
    (("--root", "0x12"), "0x12"),
    (("--root", account(0), "--rule", "dice"), "is no rule"),
    (("--root", account(0), "--delay", "soon"), "is not a duration"),
    (("--root", account(0), "--faults", "1"), "faults belongs to the Slide rule"),
    (("--root", account(0), "--rule", "slide", "--faults", "1"), "Slide with 1 faults"),
    (("--root", account(0), "--council", account(5)), "there is no council at"),
    (("--root", account(0), "--parameters", "missing.toml"), "there is no missing.toml"),
)


def test_what_makes_no_sense_founds_nothing(assembly: Assembly) -> None:
    deploy(assembly)
    before = state_of(assembly.anvil, assembly.admin.home.directory)
    for words, message in NONSENSE:
        refused(assembly.run("council", "init", *words), 2, message)
    assert state_of(assembly.anvil, assembly.admin.home.directory) == before


def test_another_domains_council_is_refused(assembly: Assembly, tmp_path: Path) -> None:
    done(assembly.run("deploy"))
    council = str(done(assembly.run("council", "init", "--root", account(0)))["council"])
    other = assembly.admin.copy(tmp_path / "other", lambda c: replace(c, domain=None))
    other.home.journal.unlink()
    done(assembly.dpki("deploy", *other.option))
    words = ("council", "init", "--root", account(0), "--council", council)
    refused(assembly.dpki(*words, *other.option), 3, "is another trust domain's")
    done(assembly.dpki("domain", "governor", council, *other.option))
    refused(assembly.dpki("domain", "show", *other.option), 3, "is another trust domain's")


def test_a_governor_that_dpki_does_not_know_gets_the_call_in_hand(assembly: Assembly) -> None:
    done(assembly.run("deploy"))
    config = assembly.admin.config
    wallet = development_wallet(0, chain_id=CHAIN_ID)
    with connect(config.chain.rpc, config.require_domain()) as (reader, domain):
        writer = DomainWriter(reader, domain, wallet)
        # Any contract will do: another domain.
        stranger, _ = writer.deploy(
            encode_deployment("TrustDomain", account(0), str(Address.zero()), [])
        )
        writer.offer_governor(stranger)
        with Endpoint(assembly.anvil.url) as endpoint:
            endpoint.call("anvil_impersonateAccount", [str(stranger)])
            endpoint.call("anvil_setBalance", [str(stranger), hex(10**20)])
            accept = {
                "from": str(stranger),
                "to": str(domain.id.address),
                "data": f"0x{DomainCalls(domain).accept_governor().data.hex()}",
            }
            endpoint.call("eth_sendTransaction", [accept])
    assert done(assembly.run("domain", "show"))["governor"]["is"] == "contract"  # type: ignore[index]
    hint = refused(assembly.run("domain", "guardian", "none"), 4, "a contract that dpki does not")
    assert "data 0x8a0dac4a" in hint


def test_without_a_council_there_is_none(assembly: Assembly) -> None:
    done(assembly.run("deploy"))
    refused(assembly.run("council", "list"), 2, "the domain has no council")
    refused(assembly.run("timelock", "list"), 2, "which is no timelock")


class TestTimelock:
    @pytest.fixture
    def locked(self, assembly: Assembly) -> Assembly:
        done(assembly.run("deploy", "--trust", "simple", "--timelock", "2d"))
        return assembly

    def register(self, locked: Assembly) -> str:
        made = locked.run("ca", "create", "users", "--kind", "ssh-user")
        waits = locked.pending(made)
        refused(locked.run("timelock", "execute", waits), 3, "waits until")
        locked.pass_time(2 * 86_400)
        done(locked.run("timelock", "execute", waits))
        return str(made.document["ca"])

    def test_adding_trust_waits_and_suspending_does_not(self, locked: Assembly) -> None:
        shown = done(locked.run("domain", "show"))
        assert shown["governor"]["is"] == "timelock"  # type: ignore[index]
        assert shown["guardian"] == {"address": account(0), "is": "account"}
        ca = self.register(locked)
        assert locked.state(ca) == "active"
        assert done(locked.run("ca", "suspend", "users"))["state"] == "suspended"

    def test_running_a_command_again_executes_what_has_waited(self, locked: Assembly) -> None:
        command = ("ca", "create", "users", "--kind", "ssh-user")
        waits = locked.pending(locked.run(*command))
        listed = done(locked.run("timelock", "list"))["operations"]
        (operation,) = listed  # type: ignore[misc]
        assert (operation["operation"], operation["state"]) == (waits, "waiting")
        assert operation["effects"][0].startswith("registers SSH user CA users SHA256:")
        assert locked.pending(locked.run(*command)) == waits
        locked.pass_time(2 * 86_400)
        assert done(locked.run(*command))["pending"] is None
        assert done(locked.run("timelock", "list"))["operations"] == []

    def test_what_a_thief_scheduled_is_cancelled(self, locked: Assembly) -> None:
        waits = locked.pending(locked.run("domain", "governor", account(8)))
        assert done(locked.run("timelock", "cancel", waits))["state"] == "cancelled"
        locked.pass_time(2 * 86_400)
        refused(locked.run("timelock", "execute", waits), 3, "is cancelled already")
        refused(locked.run("timelock", "cancel", waits), 3, "is cancelled already")

    def test_nobody_else_schedules(self, locked: Assembly) -> None:
        self.register(locked)
        ca = str(done(locked.run("ca", "show", "users"))["ca"])
        before = state_of(locked.anvil)
        refused(locked.run("ca", "close", ca, "--yes", by=8), 4, "AccessControlUnauthorizedAccount")
        refused(locked.run("timelock", "execute", f"0x{'11' * 32}"), 2, "has no operation")
        assert state_of(locked.anvil) == before

    def test_the_same_can_be_done_again_later(self, locked: Assembly) -> None:
        self.register(locked)
        for lifetime in ("12h", "24h", "12h"):
            waits = locked.pending(locked.run("ca", "lifetime", "users", lifetime))
            locked.pass_time(2 * 86_400)
            done(locked.run("timelock", "execute", waits))
        assert len(done(locked.run("timelock", "list", "--all"))["operations"]) == 4  # type: ignore[arg-type]

    def test_a_council_takes_over_from_a_timelock(self, locked: Assembly) -> None:
        command = ("council", "init", "--root", account(0))
        first = locked.run(*command)
        council = str(done(first)["council"])
        for _ in range(2):  # guardian, then the offer: each waits in the timelock
            locked.pending(locked.run("council", "init", "--council", council))
            locked.pass_time(2 * 86_400)
            locked.run("council", "init", "--council", council)
        assert done(locked.run("council", "init", "--council", council))["governs"] is True


def test_deployments_that_make_no_sense(assembly: Assembly) -> None:
    before = state_of(assembly.anvil, assembly.admin.home.directory)
    for words, message in (
        (("--trust", "blind"), "there is no model of trust 'blind'"),
        (("--timelock", "soon"), "is not a duration"),
        (("--timelock", "2d", "--governor", account(3)), "name two governors"),
    ):
        refused(assembly.run("deploy", *words), 2, message)
    done(assembly.run("deploy", "--timelock", "2d", "--dry-run"))
    assert state_of(assembly.anvil, assembly.admin.home.directory) == before


def test_who_may_not_hand_over_founds_nothing(assembly: Assembly) -> None:
    deploy(assembly)
    stranger = assembly.home(8)
    before = state_of(assembly.anvil, stranger.home.directory)
    for more in ((), ("--dry-run",)):
        result = assembly.run("council", "init", "--root", account(8), *more, by=8)
        refused(result, 4, f"TrustDomainUnauthorized(caller={account(8)})")
    assert state_of(assembly.anvil, stranger.home.directory) == before


def test_an_admin_who_is_no_root_leaves_the_first_round_to_one(assembly: Assembly) -> None:
    deploy(assembly)
    said = assembly.run("council", "init", "--root", account(1))
    assert done(said)["governs"] is False
    assert "by a root of the council: dpki domain governor --accept" in said.err
    assert done(assembly.run("domain", "governor", "--accept", by=1))["pending"] is None
    assert done(assembly.run("domain", "show"))["governor"]["is"] == "council"  # type: ignore[index]


def test_a_council_may_only_guard(assembly: Assembly) -> None:
    deploy(assembly)
    made = assembly.run("ca", "create", "users", "--kind", "ssh-user")
    ca = str(done(made)["ca"])
    roots = [word for index in (1, 2, 3, 4) for word in ("--root", account(index))]
    founded = done(assembly.run("council", "init", *roots, "--guardian-only"))
    assert (founded["guards"], founded["governs"]) == (True, False)
    assembly.pending(assembly.run("ca", "suspend", ca, by=1))
    assert done(assembly.run("ca", "suspend", ca, by=2))["state"] == "suspended"
    # It does nothing else: the governor still governs, alone.
    refused(assembly.run("ca", "retire", ca, "--yes", by=1), 4, "CertificateRegistryUnauthorized")
    refused(assembly.run("ca", "lift", ca, by=1), 4, "CertificateRegistryUnauthorized")
    assert done(assembly.run("ca", "lift", ca))["state"] == "active"
    assert done(assembly.run("ca", "suspend", ca))["state"] == "suspended"
