"""A council from the command line, on a real chain: founded, handed the domain, used, defied.

Members are development accounts, each with a home of its own; one votes from a file, without any
network, and one with a key in a token.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dpki.chain.connect import connect
from dpki.chain.rpc import Endpoint
from dpki.chain.snapshot import fetch_snapshot
from dpki.config.admin import Home, StoreConfig
from dpki.council.history import Choice
from dpki.council.past import fetch_history
from dpki.council.votes import RoundFile, encode_round, encode_vote, parse_round, parse_vote
from dpki.devnet.accounts import development_wallet
from dpki.devnet.anvil import CHAIN_ID, Anvil
from dpki.model import Address, AuthorityId, Hash32
from dpki.transactions.token_wallet import create_token_wallet
from tests.admins import Admin, Result, Run, make_admin_of, runner, state_of
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


@pytest.fixture(scope="module")
def chamber(
    tmp_path_factory: pytest.TempPathFactory, softhsm: SoftHsmFolder
) -> Iterator[tuple[Path, Anvil, Admin]]:
    """One domain under a council of four, for tests that leave it as they find it."""
    directory = tmp_path_factory.mktemp("council")
    with Anvil(directory) as anvil:
        store = StoreConfig(directories=(directory / "store",))
        yield directory, anvil, make_admin_of(directory / "admin", anvil, store, softhsm.token())


@pytest.fixture
def seated(
    chamber: tuple[Path, Anvil, Admin], capsys: pytest.CaptureFixture[str]
) -> Iterator[Assembly]:
    """The domain with an active CA `users`; whatever a test opens is over when it ends."""
    directory, anvil, admin = chamber
    homes = {
        index: Admin(Home(directory / f"member-{index}"))
        for index in range(10)
        if (directory / f"member-{index}").exists()
    }
    assembly = Assembly(directory, anvil, admin, runner(capsys), homes)
    if admin.config.domain is None:
        govern(assembly)
        made = assembly.run("ca", "create", "users", "--kind", "ssh-user")
        decide(assembly, assembly.pending(made))
    yield assembly
    for one in done(assembly.run("council", "list"))["rounds"]:  # type: ignore[attr-defined]
        if one["state"] == "open":
            for member in (0, 1, 2, 3):
                assembly.run("council", "reject", one["round"], by=member)
        done(assembly.run("council", "settle", one["round"]))


def decide(assembly: Assembly, waits: str) -> None:
    """Have everybody approve a round of member 0's, and execute it."""
    for member in (1, 2):
        done(assembly.run("council", "approve", waits, by=member))
    done(assembly.run("council", "execute", waits))


def users(assembly: Assembly) -> str:
    return str(assembly.admin.config and assembly.run("ca", "show", "users").document["ca"])


class TestCommandsOfTheGovernor:
    def test_a_dry_run_tries_the_calls_as_the_council_and_sends_nothing(
        self, seated: Assembly
    ) -> None:
        with unchanged(seated):
            said = done(seated.run("ca", "operator", "users", account(5), "--dry-run"))
            assert "by a round of the council" in str(said["way"])
            assert said["effects"] == [f"makes {account(5)} the operator of CA users"]
            refused(seated.run("ca", "lift", "users"), 1, "InvalidTransition")
            refused(seated.run("ca", "lift", "users", "--dry-run"), 1, "InvalidTransition")

    def test_every_command_opens_a_round(self, seated: Assembly) -> None:
        words = {
            ("ca", "operator", "users", account(0)): "the operator of CA users",
            ("ca", "revoker", "users", account(5)): f"lets {account(5)} revoke certificates",
            ("ca", "lifetime", "users", "12h"): "limits later certificates of CA users to 12 hours",
            ("ca", "close", "users", "--yes"): "closes CA users: it issues no more, for ever",
            ("ca", "retire", "users", "--yes"): "retires CA users and all that it issued, for ever",
            ("domain", "registrar", account(5)): f"lets {account(5)} enrol and retire devices",
            ("domain", "guardian", "none"): "leaves the domain without a guardian",
            ("domain", "governor", account(5)): f"offers the governor's role to {account(5)}",
        }
        for command, effect in words.items():
            waits = seated.pending(seated.run(*command))
            shown = done(seated.run("council", "show", waits))
            assert effect in str(shown["effects"])
            assert shown["state"] == "open"
            for member in (1, 2):
                done(seated.run("council", "reject", waits, by=member))
            done(seated.run("council", "settle", waits))
        assert done(seated.run("ca", "show", "users"))["state"] == "active"

    def test_who_has_no_part_in_it_is_not_allowed(self, seated: Assembly) -> None:
        with unchanged(seated):
            for by in (STRANGER, ORDINARY):  # only roots propose decisions
                result = seated.run("ca", "close", users(seated), "--yes", by=by)
                refused(result, 4, f"RootCouncilUnauthorized(caller={account(by)})")

    def test_several_actions_happen_together(self, seated: Assembly) -> None:
        actions = ("ca lifetime users 6h", f"ca revoker users {account(6)}")
        opened = seated.run("council", "propose", *actions, "--for", "3d")
        waits = seated.pending(opened)
        assert len(opened.document["effects"]) == 2
        decide(seated, waits)
        assert done(seated.run("ca", "show", "users"))["maximum_validity"] == "6h"

    def test_a_call_that_would_fail_is_named(self, seated: Assembly) -> None:
        actions = ("ca lifetime users 6h", "ca lift users")
        with unchanged(seated):
            result = seated.run("council", "propose", *actions)
            refused(result, 1, "call 2 of the round would fail: the contract refused: Certificate")

    def test_calls_that_depend_on_each_other_are_tried_in_order(self, seated: Assembly) -> None:
        with unchanged(seated):
            actions = ("ca suspend users", "ca lift users")
            done(seated.run("council", "propose", *actions, "--dry-run"))

    @pytest.mark.parametrize(
        "action", ["ca marry users", "ca close", "ca operator users 0x12", "ssh revoke users x"]
    )
    def test_misspelled_actions(self, seated: Assembly, action: str) -> None:
        with unchanged(seated):
            assert seated.run("council", "propose", action).status == 2

    def test_members_come_and_go(self, seated: Assembly) -> None:
        waits = seated.pending(
            seated.run("council", "propose", f"council add {account(7)} intermediate")
        )
        decide(seated, waits)
        members = done(seated.run("council", "members"))["members"]
        assert [m["weight"] for m in members if m["account"] == account(7)] == [60]  # type: ignore[attr-defined]
        out = seated.pending(seated.run("council", "propose", f"council remove {account(7)}"))
        for member in (1, 2, ORDINARY):
            done(seated.run("council", "approve", out, by=member))
        done(seated.run("council", "execute", out))
        assert len(done(seated.run("council", "members"))["members"]) == 4  # type: ignore[arg-type]


class TestAlarm:
    def test_more_than_a_third_suspends_at_once_and_a_half_lifts(self, seated: Assembly) -> None:
        first = seated.run("ca", "suspend", "users")
        waits = seated.pending(first)
        assert first.document["state"] == "active"
        assert done(seated.run("council", "show", waits))["kind"] == "suspension"
        second = seated.run("ca", "suspend", users(seated), by=1)
        assert done(second)["state"] == "suspended"
        assert second.document["pending"] is None
        lifted = seated.pending(seated.run("ca", "lift", "users"))
        assert done(seated.run("council", "show", lifted))["kind"] == "lift"
        assert done(seated.run("ca", "lift", users(seated), by=2))["state"] == "active"


class TestVotes:
    def open(self, seated: Assembly) -> str:
        return seated.pending(seated.run("ca", "lifetime", "users", "8h"))

    def test_a_withdrawn_approval_is_missing(self, seated: Assembly) -> None:
        waits = self.open(seated)
        done(seated.run("council", "approve", waits, by=1))
        assert done(seated.run("council", "approve", waits, by=2))["state"] == "approved"
        assert done(seated.run("council", "withdraw", waits, by=2))["state"] == "open"
        shown = done(seated.run("council", "show", waits))
        weight, heads = shown["missing"]  # type: ignore[misc]
        assert weight.startswith("weight ")
        assert heads == "1 more member (2 of 3 needed, of 4 in all)"
        refused(seated.run("council", "execute", waits), 3, "is not approved: weight ")

    def test_voting_twice_and_after_the_end(self, seated: Assembly) -> None:
        waits = self.open(seated)
        refused(seated.run("council", "approve", waits), 1, "RootCouncilNothingChanged")
        refused(seated.run("council", "approve", waits, by=STRANGER), 4, "has no vote in round")
        for member in (1, 2):
            done(seated.run("council", "reject", waits, by=member))
        refused(seated.run("council", "execute", waits), 3, "is rejected and can't be executed")
        done(seated.run("council", "settle", waits))
        refused(seated.run("council", "settle", waits), 3, "settled already")
        refused(seated.run("council", "reject", waits, by=3), 3, "votes count no more")

    def test_whoever_is_offline_signs_a_file(self, seated: Assembly, tmp_path: Path) -> None:
        waits, file = self.open(seated), tmp_path / "lifetime.round"
        done(seated.run("council", "show", waits, "--out", file))
        laptop = seated.home(2).home.keystore
        secret = f"file:{seated.admin.home.directory.parent / 'secrets' / 'passphrase'}"
        words = ("--keystore", laptop, "--passphrase", secret, "--home", tmp_path / "nothing")
        signed = seated.dpki("council", "sign", file, "--approve", *words)
        assert done(signed)["round"] == waits
        assert "limits later certificates" in str(signed.document["effects"])
        vote = Path(str(signed.document["file"]))
        refused(seated.dpki("council", "sign", file, "--approve", *words), 2, "exists already")
        refused(seated.run("council", "reject", waits, "--relay", vote), 2, "is a vote to approve")
        done(seated.run("council", "approve", waits, by=1))
        brought = seated.run("council", "approve", waits, "--relay", vote, by=STRANGER)
        assert done(brought)["state"] == "approved"
        again = seated.run("council", "approve", waits, "--relay", vote, by=STRANGER)
        refused(again, 3, "it was counted before")
        done(seated.run("council", "execute", waits))

    def test_a_file_that_nobody_should_sign(self, seated: Assembly, tmp_path: Path) -> None:
        waits, file = self.open(seated), tmp_path / "good.round"
        done(seated.run("council", "show", waits, "--out", file))
        about, bad = parse_round(file.read_bytes()), tmp_path / "bad.round"
        call = about.proposal.calls[0]
        elsewhere = replace(about.domain, block_hash=Hash32.zero())
        unknown = (call, replace(call, data=b"\xde\xad\xbe\xef"))
        over = datetime(2026, 1, 1, tzinfo=UTC)
        for changed, status, message in (
            (replace(about, domain=elsewhere), 3, "and this home about"),
            (with_proposal(about, calls=unknown), 3, "does not understand; not signed"),
            (with_proposal(about, deadline=over), 3, "nothing was signed"),
        ):
            bad.write_bytes(encode_round(changed))
            refused(seated.run("council", "sign", bad, "--approve"), status, message)
        bad.write_bytes(file.read_bytes()[:-1])
        refused(seated.run("council", "sign", bad, "--approve"), 3, "not CBOR, or cut off")
        refused(seated.run("council", "sign", tmp_path / "x", "--approve"), 1, "could not read")
        refused(seated.run("council", "sign", file), 2, "which vote?")
        assert done(seated.run("council", "sign", file, "--approve", "--dry-run"))["dry_run"]
        assert not list(tmp_path.glob("*.vote"))

    def test_execution_brings_the_last_vote(self, seated: Assembly, tmp_path: Path) -> None:
        waits, file = self.open(seated), tmp_path / "close.round"
        done(seated.run("council", "approve", waits, by=1))
        done(seated.run("council", "show", waits, "--out", file))
        signed = seated.run("council", "sign", file, "--approve", "--out", tmp_path / "v", by=2)
        executed = seated.run("council", "execute", waits, "--relay", done(signed)["file"])  # type: ignore[arg-type]
        assert done(executed)["state"] == "executed"

    def test_a_changed_vote_counts_for_nothing(self, seated: Assembly, tmp_path: Path) -> None:
        waits, file = self.open(seated), tmp_path / "x.round"
        done(seated.run("council", "show", waits, "--out", file))
        signed = seated.run("council", "sign", file, "--reject", "--out", tmp_path / "v", by=2)
        vote = parse_vote(Path(str(done(signed)["file"])).read_bytes())
        bad = tmp_path / "bad"
        with unchanged(seated):
            for forged in (
                replace(vote, choice=Choice.APPROVE),
                replace(vote, voter=Address.parse(account(1))),
                replace(vote, nonce=3),
            ):
                bad.write_bytes(encode_vote(forged))
                word = "reject" if forged.choice is Choice.REJECT else "approve"
                refused(seated.run("council", word, waits, "--relay", bad), 3, str(bad))
                bad.unlink()

    def test_a_key_in_a_token_votes(self, seated: Assembly, softhsm: SoftHsmFolder) -> None:
        token = softhsm.token()
        who = create_token_wallet(token.uri("root"), token.ask)
        fund(seated, who)
        decide(seated, seated.pending(seated.run("council", "propose", f"council add {who} root")))
        home = seated.admin.copy(seated.directory / "token", lambda c: c)
        pin = home.home.directory / "pin"
        pin.write_text(token.pin)
        pin.chmod(0o600)
        home.write(
            replace(
                home.config,
                token=replace(home.config.token, label=token.label, pin=f"file:{pin}"),
                wallet=replace(home.config.wallet, key=token.uri("root")),
            )
        )
        waits = self.open(seated)
        voted = seated.dpki("council", "approve", waits, *home.option)
        votes = done(voted)["votes"]
        assert [v["choice"] for v in votes if v["account"] == str(who)] == ["approve"]  # type: ignore[attr-defined]


class TestWeights:
    def test_they_are_recomputed(self, seated: Assembly) -> None:
        found = done(seated.run("council", "weights"))
        assert found["tables"]
        assert done(seated.run("council", "members"))["members"]
        drawn = seated.dpki("council", "weights", "--plot", *seated.admin.option)
        assert drawn.status == 0

    def test_a_chain_that_says_otherwise_is_found_out(
        self, seated: Assembly, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def without_members(*given: object) -> tuple[object, ...]:
            return tuple(e for e in fetch_history(*given) if type(e).__name__ != "MemberAdded")  # type: ignore[arg-type]

        monkeypatch.setattr("dpki.cli.council_weights.fetch_history", without_members)
        for command in ("members", "weights"):
            refused(seated.run("council", command), 3, "weights are not what its rules make them")


def with_proposal(about: RoundFile, **changes: object) -> RoundFile:
    return replace(about, proposal=replace(about.proposal, **changes))  # type: ignore[arg-type]


def fund(assembly: Assembly, who: Address) -> None:
    with Endpoint(assembly.anvil.url) as endpoint:
        endpoint.call("anvil_setBalance", [str(who), hex(10**20)])


@contextmanager
def unchanged(assembly: Assembly) -> Iterator[None]:
    before = state_of(assembly.anvil, assembly.admin.home.directory)
    yield
    assert state_of(assembly.anvil, assembly.admin.home.directory) == before
