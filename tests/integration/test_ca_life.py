"""A CA's life from the command line, on a real chain and token: every state, every refusal.

Each test makes CAs of its own on one chain; a refusal is compared with everything that could have
changed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from dpki.certificates.krl import parse_krl
from dpki.chain.connect import connect
from dpki.chain.layout import Watchdog
from dpki.chain.rpc import Endpoint
from dpki.chain.snapshot import Authority, fetch_snapshot
from dpki.config.finality import Finality
from dpki.devnet.accounts import development_wallet
from dpki.devnet.anvil import CHAIN_ID, Anvil
from dpki.devnet.kubo import Kubo
from dpki.files import write_atomic
from dpki.model import Address, AuthorityId, Hash32
from dpki.signer.pkcs11 import list_keys
from dpki.transactions.writer import DomainWriter
from dpki.verification.revocations import authority_key
from tests.admins import MODULE, Admin, Result, Run, make_admin, runner, state_of, with_domain
from tests.soft_tokens import SoftHsmFolder, SoftToken

GUARDIAN, STRANGER = 7, 8
STATES = ("active", "closed", "suspended", "closed-suspended", "retired")
REACHED_BY: dict[str, tuple[str, ...]] = {
    "active": (),
    "closed": ("close",),
    "suspended": ("suspend",),
    "closed-suspended": ("close", "suspend"),
    "retired": ("retire",),
}
AFTER = {
    ("close", "active"): "closed",
    ("close", "suspended"): "closed-suspended",
    ("suspend", "active"): "suspended",
    ("suspend", "closed"): "closed-suspended",
    ("lift", "suspended"): "active",
    ("lift", "closed-suspended"): "closed",
    ("retire", "active"): "retired",
    ("retire", "closed"): "retired",
    ("retire", "suspended"): "retired",
    ("retire", "closed-suspended"): "retired",
}
"""What the contract allows; everything else is refused."""


def yes(change: str) -> tuple[str, ...]:
    return ("--yes",) if change in ("close", "retire") else ()


def done(result: Result) -> dict[str, object]:
    assert result.status == 0, result.err
    return result.document


def refused(result: Result, status: int, message: str) -> str:
    """Assert one clear error; return its hint."""
    assert result.status == status, result.err
    assert message in result.message
    return str(result.document["error"]["hint"])


@dataclass
class World:
    """A domain with a guardian, and an admin who is governor and operator."""

    directory: Path
    anvil: Anvil
    token: SoftToken
    admin: Admin
    dpki: Run
    names: list[str] = field(default_factory=list)

    def run(self, *words: str | Path, admin: Admin | None = None) -> Result:
        return self.dpki(*words, *(admin or self.admin).option)

    def ca(self, name: str, *changes: str, kind: str = "ssh-user") -> AuthorityId:
        """Make a CA and bring it into a state."""
        made = done(self.run("ca", "create", name, "--kind", kind, "--max-validity", "1d"))
        for change in changes:
            done(self.run("ca", change, name, *yes(change)))
        return AuthorityId.parse(str(made["ca"]))

    def on_chain(self, ca: AuthorityId) -> Authority:
        config = self.admin.config
        with connect(config.chain.rpc, config.require_domain()) as (reader, domain):
            return fetch_snapshot(reader, domain).authorities[ca]

    def issue(self, ca: str, who: str, *more: str) -> Result:
        return self.run(
            *("ssh", "issue", "--ca", ca, "--key", self.directory / "key.pub", "--identity", who),
            *("--principal", "ops", "--out", self.directory / f"{ca}-{who}-cert.pub", *more),
        )

    def account(self, folder: Path, index: int) -> Admin:
        return self.admin.with_account(folder, index)

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        def everything() -> tuple[object, int]:
            keys = list_keys(self.token.uri(), self.token.ask, MODULE)
            return state_of(self.anvil, self.directory), len(keys)

        before = everything()
        yield
        assert everything() == before


@pytest.fixture(scope="module")
def stage(
    tmp_path_factory: pytest.TempPathFactory,
    softhsm: SoftHsmFolder,
    kubo_nodes: tuple[Kubo, Kubo],
) -> Iterator[tuple[Path, Anvil, SoftToken, Admin]]:
    directory = tmp_path_factory.mktemp("world")
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43 + " key"
    (directory / "key.pub").write_text(f"{key}\n")
    with Anvil(tmp_path_factory.mktemp("logs")) as anvil:
        token = softhsm.token()
        yield directory, anvil, token, make_admin(directory, anvil, kubo_nodes, token)


@pytest.fixture
def world(stage: tuple[Path, Anvil, SoftToken, Admin], capsys: pytest.CaptureFixture[str]) -> World:
    world = World(*stage, dpki=runner(capsys))
    if world.admin.config.domain is None:
        done(world.run("deploy", "--guardian", str(account(GUARDIAN))))
    return world


def account(index: int) -> Address:
    return development_wallet(index, chain_id=CHAIN_ID).address


class TestStates:
    @pytest.mark.parametrize("state", STATES)
    def test_every_change_from_every_state(self, world: World, state: str) -> None:
        for change in ("close", "suspend", "lift", "retire"):
            name = f"{change}-{state}"
            ca = world.ca(name, *REACHED_BY[state])
            assert world.on_chain(ca).state.label == state
            to = AFTER.get((change, state))
            if to is None:
                with world.unchanged():
                    for words in ((), ("--dry-run",)):
                        result = world.run("ca", change, name, *yes(change), *words)
                        values = f"(ca={ca}, from={state})"
                        hint = refused(result, 1, f"CertificateRegistryInvalidTransition{values}")
                        assert "present state does not allow this" in hint
                continue
            with world.unchanged():
                rehearsed = done(world.run("ca", change, name, "--dry-run"))
            assert rehearsed["dry_run"] is True
            assert rehearsed["gas"] > 21_000  # type: ignore[operator]
            assert rehearsed["effects"]
            changed = done(world.run("ca", change, name, *yes(change)))
            assert changed["state"] == to == world.on_chain(ca).state.label
            assert changed["effects"] == rehearsed["effects"]

    def test_only_what_is_not_for_ever_goes_without_a_word(self, world: World) -> None:
        world.ca("words")
        with world.unchanged():
            for change in ("close", "retire"):
                assert "--yes" in refused(world.run("ca", change, "words"), 2, "is for ever")

    def test_a_name_typed_at_a_terminal(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ca = world.ca("typed")
        answers = iter(["typo", "typed"])
        monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
        monkeypatch.setattr("typer.prompt", lambda *_, **__: next(answers))
        with world.unchanged():
            refused(world.run("ca", "retire", "typed"), 2, "not confirmed: nothing was changed")
        assert done(world.run("ca", "retire", "typed"))["state"] == "retired"
        assert world.on_chain(ca).state.label == "retired"

    def test_who_may_and_who_may_not(self, world: World, tmp_path: Path) -> None:
        ca = world.ca("roles")
        stranger = world.account(tmp_path / "stranger", STRANGER)
        guardian = world.account(tmp_path / "guardian", GUARDIAN)
        unauthorized = f"CertificateRegistryUnauthorized(caller={account(STRANGER)})"
        with world.unchanged():
            for change in ("close", "suspend", "lift", "retire"):
                for words in (yes(change), ("--dry-run",)):
                    result = world.run("ca", change, "roles", *words, admin=stranger)
                    refused(result, 4, unauthorized)
            for change in ("close", "lift", "retire"):
                result = world.run("ca", change, "roles", *yes(change), admin=guardian)
                refused(result, 4, f"CertificateRegistryUnauthorized(caller={account(GUARDIAN)})")
            below = world.run("ssh", "revoke", "--ca", "roles", "--below", "2", admin=stranger)
            refused(below, 4, unauthorized)
            rotated = world.run("ca", "rotate", "roles", "roles-2", admin=stranger)
            refused(rotated, 4, f"AuthorityRegistryUnauthorized(caller={account(STRANGER)})")
        guardian.home.journal.unlink()  # a guardian has no names, and goes by the id
        assert done(world.run("ca", "suspend", str(ca), admin=guardian))["state"] == "suspended"

    def test_what_it_does_is_said_in_numbers(self, world: World) -> None:
        world.ca("counted")
        for who in ("alice", "bob", "carol"):
            done(world.issue("counted", who))
        done(world.run("ssh", "revoke", "--ca", "counted", "--serial", "2"))
        said = done(world.run("ca", "suspend", "counted", "--dry-run"))
        assert said["live"] == 2
        assert "2 live certificates" in str(said["effects"])
        assert "nobody gets a new certificate" in str(said["effects"])

    def test_show_says_everything(self, world: World) -> None:
        ca = world.ca("shown")
        for who in ("alice", "bob"):
            done(world.issue("shown", who))
        done(world.run("ssh", "revoke", "--ca", "shown", "--serial", "1"))
        done(world.run("ca", "rotate", "shown", "shown-2"))
        shown = done(world.run("ca", "show", "shown"))
        expected = {
            "ca": str(ca),
            "state": "active",
            "operator": str(account(0)),
            "next_serial": 3,
            "revoked": 1,
            "revoked_below": 0,
            "succeeds": None,
            "succeeded_by": ["shown-2"],
            "elsewhere": 0,
        }
        assert {key: shown[key] for key in expected} == expected
        (live,) = shown["live"]  # type: ignore[misc]
        assert (live["serial"], live["subject"]) == (2, "bob")
        assert done(world.run("ca", "show", "shown-2"))["succeeds"] == "shown"


class TestWatched:
    def test_awaiting_watchdogs_shows_everywhere_until_they_confirmed(
        self, world: World, tmp_path: Path
    ) -> None:
        ca = world.ca("watched")
        done(world.issue("watched", "early"))
        governor, guard = (development_wallet(i, chain_id=CHAIN_ID) for i in (0, 6))
        watchdog = Watchdog(guard.address, 60, Hash32(b"\x07" * 32))
        config = world.admin.config
        with connect(config.chain.rpc, config.require_domain()) as (reader, domain):
            DomainWriter(reader, domain, governor).set_watch(ca, [watchdog], 40)
            shown = world.run("ca", "show", "watched")
            assert done(shown)["watch"] == {
                "first_serial": 2,
                "threshold": 40,
                "total": 60,
                "watchdogs": [
                    {
                        "account": str(guard.address),
                        "weight": 60,
                        "sealing_key": str(watchdog.sealing_key),
                    }
                ],
            }
            assert "a batch counts once 40 of 60 confirmed it" in shown.err
            issued = world.issue("watched", "late")
            done(issued)
            assert "counts once watchdogs confirmed it: 40 of 60" in issued.err
            assert self.states(world) == ["anchored", "awaiting watchdogs"]
            certificate = world.directory / "watched-late-cert.pub"
            awaited = self.verify(world, certificate)
            assert awaited.status == 3
            assert awaited.document["reason"] == "awaiting watchdogs: 0 of 40"
            assert self.refuses(world, tmp_path, ca) == [2]

            commitment = fetch_snapshot(reader, domain, batches=[(ca, 2)]).commitments[ca, 2]
            DomainWriter(reader, domain, guard).confirm_batch(ca, 2, commitment)
            assert self.states(world) == ["anchored", "anchored"]
            assert self.verify(world, certificate).status == 0
            assert self.refuses(world, tmp_path, ca) == []
        assert done(world.run("ca", "show", "watched"))["state"] == "active"

    def test_nobody_watches(self, world: World) -> None:
        world.ca("unwatched")
        shown = world.run("ca", "show", "unwatched")
        assert done(shown)["watch"] is None
        assert "watchdogs: none" in shown.err

    def states(self, world: World) -> list[str]:
        listed = done(world.run("ssh", "list", "--ca", "watched"))
        return [row["state"] for row in listed["certificates"]]  # type: ignore[attr-defined]

    def verify(self, world: World, certificate: Path) -> Result:
        config = world.admin.config
        return world.dpki(
            *("verify", certificate, "--domain", str(config.require_domain())),
            *("--rpc", config.chain.rpc[0]),
        )

    def refuses(self, world: World, folder: Path, ca: AuthorityId) -> list[int]:
        """Return which of two serials the list for clients holds."""
        if not world.names:
            world.ca("hosts-of-watched", kind="ssh-host")
            world.names.append("hosts-of-watched")
        config = world.admin.config
        done(
            world.dpki(
                *("ssh", "known-hosts", "--domain", str(config.require_domain())),
                *("--rpc", config.chain.rpc[0], "--out", folder / "known"),
                *("--krl", folder / "krl"),
            )
        )
        krl = parse_krl((folder / "krl").read_bytes())
        key = authority_key(world.on_chain(ca))
        assert key is not None
        return [serial for serial in (1, 2) if krl.is_revoked(key, serial)]


class TestRotation:
    def test_the_successor_is_like_the_old_one(self, world: World) -> None:
        old = world.ca("old")
        with world.unchanged():
            assert done(world.run("ca", "rotate", "old", "new", "--dry-run"))["dry_run"] is True
        made = done(world.run("ca", "rotate", "old", "new"))
        before, after = world.on_chain(old), world.on_chain(AuthorityId.parse(str(made["ca"])))
        assert after.parent == old
        assert after.kind is before.kind
        assert after.operator == before.operator
        assert after.maximum_lifetime == before.maximum_lifetime
        assert (before.state.label, after.state.label) == ("active", "active")

    def test_other_wishes(self, world: World) -> None:
        world.ca("plain")
        wishes = ("--key-type", "ed25519", "--max-validity", "2h", "--operator", account(3))
        made = done(world.run("ca", "rotate", "plain", "fancy", *map(str, wishes)))
        after = world.on_chain(AuthorityId.parse(str(made["ca"])))
        assert after.operator == account(3)
        assert after.maximum_lifetime.total_seconds() == 7200
        assert str(done(world.run("ca", "show", "fancy"))["public_key"]).startswith("ssh-ed25519")

    def test_the_successor_may_issue_what_the_old_one_may(self, world: World) -> None:
        world.ca("strict")
        profile = done(world.run("ca", "profile", "show", "strict"))
        file = world.admin.home.profile("strict")
        file.parent.mkdir(mode=0o700, exist_ok=True)
        write_atomic(file, f"# ours\n{profile['profile']}".encode())
        done(world.run("ca", "rotate", "strict", "strict-2"))
        assert world.admin.home.profile("strict-2").read_bytes() == file.read_bytes()
        done(world.issue("strict-2", "alice"))

    @pytest.mark.parametrize("state", ["closed", "suspended", "retired"])
    def test_whatever_became_of_the_old_one(self, world: World, state: str) -> None:
        old = world.ca(f"gone-{state}", *REACHED_BY[state])
        made = done(world.run("ca", "rotate", f"gone-{state}", f"next-{state}"))
        assert world.on_chain(AuthorityId.parse(str(made["ca"]))).parent == old

    def test_one_successor_at_a_time(self, world: World) -> None:
        world.ca("first")
        done(world.run("ca", "rotate", "first", "second"))
        with world.unchanged():
            hint = refused(world.run("ca", "rotate", "first", "other"), 2, "already: second")
        assert "rotate that one" in hint
        done(world.run("ca", "retire", "second", "--yes"))
        done(world.run("ca", "rotate", "first", "other"))

    def test_a_half_made_successor_is_gone_on_with(self, world: World) -> None:
        world.ca("whole")
        made = done(world.run("ca", "rotate", "whole", "half"))
        forget_name(world, "half")
        again = done(world.run("ca", "rotate", "whole", "half"))
        assert (again["ca"], again["transaction"]) == (made["ca"], None)

    def test_a_key_that_is_registered_otherwise_is_no_successor(self, world: World) -> None:
        world.ca("lonely")
        world.ca("rotated")
        forget_name(world, "lonely")
        with world.unchanged():
            refused(world.run("ca", "rotate", "rotated", "lonely"), 2, "is registered already")

    def test_nobody_is_locked_out_by_closing_too_early(self, world: World, tmp_path: Path) -> None:
        world.ca("early")
        done(world.run("ca", "rotate", "early", "late"))
        # Anvil's final block is 64 behind its newest.
        careful = world.admin.copy(
            tmp_path / "home",
            lambda c: replace(c, chain=replace(c.chain, finality=Finality(1, "finalized"))),
        )
        with world.unchanged():
            result = world.run("ca", "close", "early", "--yes", admin=careful)
            hint = refused(result, 3, "devices do not trust the successor")
        assert "wait" in hint
        with Endpoint(world.anvil.url) as endpoint:
            endpoint.call("anvil_mine", ["0x60"])
        closed = done(world.run("ca", "close", "early", "--yes", admin=careful))
        assert closed["state"] == "closed"
        assert "succeeded by" in str(closed["effects"])

    def test_what_is_closed_issues_no_more(self, world: World) -> None:
        world.ca("ended")
        done(world.run("ca", "rotate", "ended", "begun"))
        done(world.run("ca", "close", "ended", "--yes"))
        with world.unchanged():
            refused(world.issue("ended", "alice"), 2, "closed and can't issue")
        done(world.issue("begun", "alice"))

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (("nobody", "x"), "there is no CA named"),
            (("base", "base"), "there is a CA named base already"),
            (("base", "a b"), "a b"),
            (("base", "x", "--key-type", "dsa"), "--key-type is"),
            (("base", "x", "--operator", "0x12"), "0x12"),
            (("base", "x", "--max-validity", "soon"), "soon"),
        ],
    )
    def test_bad_input(self, world: World, words: tuple[str, ...], message: str) -> None:
        if world.run("ca", "show", "base").status:
            world.ca("base")
        with world.unchanged():
            refused(world.run("ca", "rotate", *words), 2, message)


class TestWatermark:
    def test_everything_below(self, world: World) -> None:
        ca = world.ca("marked")
        for who in ("alice", "bob", "carol"):
            done(world.issue("marked", who))
        done(world.run("ssh", "revoke", "--ca", "marked", "--serial", "1"))
        with world.unchanged():
            said = done(world.run("ssh", "revoke", "--ca", "marked", "--below", "3", "--dry-run"))
        assert (said["revoked"], said["live"]) == (1, [2])
        assert said["gas"] > 21_000  # type: ignore[operator]
        done(world.run("ssh", "revoke", "--ca", "marked", "--below", "3"))
        on_chain = world.on_chain(ca)
        assert [on_chain.is_revoked(serial) for serial in (1, 2, 3)] == [True, True, False]

    def test_it_only_rises_and_not_beyond_the_next_serial(self, world: World) -> None:
        ca = world.ca("steep")
        done(world.issue("steep", "alice"))
        done(world.run("ssh", "revoke", "--ca", "steep", "--below", "2"))
        errors = {
            "2": f"WatermarkNotRaised(ca={ca}, current=2, given=2)",
            "9": f"NotIssued(ca={ca}, serial=9, nextSerial=2)",
        }
        with world.unchanged():
            for below, message in errors.items():
                for words in ((), ("--dry-run",)):
                    result = world.run("ssh", "revoke", "--ca", "steep", "--below", below, *words)
                    refused(result, 1, f"CertificateRegistry{message}")

    @pytest.mark.parametrize(
        "words",
        [("--below", "3"), ("--ca", "x", "--below", "3", "--serial", "1"), ("--ca", "x")],
    )
    def test_which_ones(self, world: World, words: tuple[str, ...]) -> None:
        with world.unchanged():
            refused(world.run("ssh", "revoke", *words), 2, "which certificates?")


class TestChain:
    COMMANDS: tuple[tuple[str, ...], ...] = (
        ("ca", "close", "users", "--yes"),
        ("ca", "suspend", "users"),
        ("ca", "lift", "users"),
        ("ca", "retire", "users", "--yes"),
        ("ca", "rotate", "users", "users-2"),
        ("ca", "show", "users"),
        ("ssh", "revoke", "--ca", "users", "--below", "2"),
    )

    @pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
    def test_no_contract_and_another_one(
        self, world: World, words: tuple[str, ...], tmp_path: Path
    ) -> None:
        domain = world.admin.config.require_domain()
        with connect([world.anvil.url], domain) as (_, found):
            other = found.authorities
        for address in (Address(b"\x12" * 20), other):
            twin = world.admin.copy(
                tmp_path / str(address), lambda c, a=address: with_domain(c, address=a)
            )
            twin.home.journal.unlink(missing_ok=True)
            with world.unchanged():
                refused(world.run(*words, admin=twin), 5, f"created at {address}")

    @pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
    def test_an_unknown_ca(self, world: World, words: tuple[str, ...]) -> None:
        with world.unchanged():
            refused(world.run(*words), 2, "there is no CA named 'users'")
            unknown = str(AuthorityId(b"\x55" * 32))
            named = [unknown if word == "users" else word for word in words]
            refused(world.run(*named), 2, f"the domain has no CA {unknown}")


def forget_name(world: World, name: str) -> None:
    """Leave things as a crash between the registration and the name does."""
    import sqlite3

    with sqlite3.connect(world.admin.home.journal) as database:
        database.execute("DELETE FROM authorities WHERE name = ?", (name,))
