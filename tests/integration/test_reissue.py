"""Everything that lives of one CA, issued by another: planned rotation, and the worst day."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dpki.certificates.ssh import SshCertificate, parse_ssh_certificate
from dpki.config.admin import StoreConfig
from dpki.devnet.anvil import Anvil
from dpki.verification.verdict import Verdict
from tests.admins import Admin, Result, make_admin_of, state_of
from tests.issuing_world import World, ok
from tests.soft_tokens import SoftHsmFolder


@pytest.fixture
def services(tmp_path: Path, softhsm: SoftHsmFolder) -> Iterator[tuple[Anvil, Admin]]:
    """A chain for each test: what lives of a CA is counted."""
    store = StoreConfig(directories=(tmp_path / "store",))
    with Anvil(tmp_path) as anvil:
        yield anvil, make_admin_of(tmp_path / "admin", anvil, store, softhsm.token())


def issue(world: World, name: str, *more: str) -> Path:
    return Path(str(ok(world.dpki(*world.for_key(name), *more))["certificate"]))


def rotate(world: World, old: str, new: str, *more: str) -> Result:
    return world.dpki("ssh", "rotate", "--from", old, "--ca", new, *more, *world.admin.option)


def load(path: Path) -> SshCertificate:
    return parse_ssh_certificate(path.read_bytes())


def succeed(world: World, old: str, new: str) -> None:
    ok(world.dpki("ca", "rotate", old, new, *world.admin.option))


def living(world: World, ca: str) -> list[dict[str, Any]]:
    document = ok(world.dpki("ssh", "list", "--ca", ca, *world.admin.option))
    return [c for c in document["certificates"] if c["state"] == "anchored"]  # type: ignore[attr-defined]


def test_people_get_the_same_of_the_new_one_in_one_transaction(world: World) -> None:
    files = [issue(world, name) for name in ("alice", "bob", "carol")]
    before = [load(path) for path in files]
    ok(world.dpki("ssh", "revoke", "--certificate", files[2], *world.admin.option))
    succeed(world, "users", "users-2")

    unchanged = state_of(world.anvil, world.admin.home.directory)
    rehearsed = ok(rotate(world, "users", "users-2", "--dry-run"))
    assert [c["subject"] for c in rehearsed["certificates"]] == ["alice", "bob"]  # type: ignore[attr-defined]
    assert (rehearsed["transactions"], rehearsed["left_out"]) == (1, [])
    assert rehearsed["gas"] > 50_000  # type: ignore[operator]
    assert state_of(world.anvil, world.admin.home.directory) == unchanged

    issued: Any = ok(rotate(world, "users", "users-2"))["issued"]
    assert len({one["transaction"] for one in issued}) == 1
    assert [one["certificate"] for one in issued] == [str(path) for path in files[:2]]
    for path, old in zip(files[:2], before, strict=False):
        new = load(path)
        assert new.authority_key != old.authority_key
        assert (new.subject_key, new.principals) == (old.subject_key, old.principals)
        assert (new.valid_before, new.extensions) == (old.valid_before, old.extensions)
        assert world.verdict(path) is Verdict.VALID
    assert load(files[2]) == before[2]

    again = ok(rotate(world, "users", "users-2"))
    assert (again["issued"], again["already"]) == ([], 2)


def test_on_the_worst_day(world: World) -> None:
    """The old CA is retired, so nothing of it is accepted; who had access has it again."""
    certificate = issue(world, "alice")
    succeed(world, "users", "users-2")
    ok(world.dpki("ca", "retire", "users", "--yes", *world.admin.option))
    assert world.verdict(certificate) is not Verdict.VALID
    ok(rotate(world, "users", "users-2", "--reason", "INCIDENT-7", "--for", "2h"))
    assert world.verdict(certificate) is Verdict.VALID
    assert "INCIDENT-7" in load(certificate).key_id


def test_below_the_watermark_only_when_that_is_said(world: World) -> None:
    """One that was raised for a stolen key takes nobody's access, a single revocation does."""
    alice, bob = issue(world, "alice"), issue(world, "bob")
    ok(world.dpki("ssh", "revoke", "--certificate", bob, *world.admin.option))
    succeed(world, "users", "users-2")
    ok(world.dpki("ca", "retire", "users", "--yes", *world.admin.option))
    ok(world.dpki("ssh", "revoke", "--ca", "users", "--below", "3", *world.admin.option))
    silent = rotate(world, "users", "users-2")
    assert ok(silent)["issued"] == []
    assert "not issued again: 1 that the watermark of users revoked" in silent.err
    both = rotate(world, "users", "users-2", "--despite-watermark", "--revoke-old")
    assert (both.status, both.message[:12]) == (2, "--revoke-old")
    document: Any = ok(rotate(world, "users", "users-2", "--despite-watermark"))
    assert [one["certificate"] for one in document["issued"]] == [str(alice)]
    assert world.verdict(alice) is Verdict.VALID
    assert world.verdict(bob) is Verdict.REVOKED


def test_hosts_go_the_same_way(world: World) -> None:
    ok(world.dpki(*world.for_device(), *world.admin.option))
    ok(world.dpki(*world.for_device(), *world.admin.option))
    succeed(world, "hosts", "hosts-2")
    issued: Any = ok(rotate(world, "hosts", "hosts-2", "--revoke-old"))
    assert [one["subject"] for one in issued["issued"]] == ["gate-1"]
    assert Path(issued["issued"][0]["certificate"]).name == "gate-1-hosts-2-cert.pub"
    assert issued["revoked"][0]["serials"] == [1, 2]
    assert living(world, "hosts") == []
    assert [c["principals"] for c in living(world, "hosts-2")] == ["gate-1.example"]


def test_one_that_was_taken_back_is_not_given_again(world: World) -> None:
    certificate = issue(world, "alice")
    succeed(world, "users", "users-2")
    ok(rotate(world, "users", "users-2"))
    ok(world.dpki("ssh", "revoke", "--certificate", certificate, *world.admin.option))
    result = rotate(world, "users", "users-2")
    assert ok(result)["issued"] == []
    assert "not issued again: alice's of users-2 was revoked" in result.err


def test_what_the_new_one_may_not_issue_holds_nobody_else_up(world: World) -> None:
    issue(world, "alice")
    issue(world, "bob", "--principal", "root")
    succeed(world, "users", "users-2")
    profile = world.admin.home.profile("users-2")
    profile.parent.mkdir(exist_ok=True)
    profile.write_text(
        'version = 1\nkind = "ssh-user"\nmaximum_validity = "1d"\n[principals]\nallow = ["ops"]\n'
    )
    rehearsed = ok(rotate(world, "users", "users-2", "--dry-run"))
    assert [one["subject"] for one in rehearsed["left_out"]] == ["bob"]  # type: ignore[attr-defined]
    result = rotate(world, "users", "users-2")
    assert result.status == 1
    assert result.message.startswith("1 certificates were issued, and 1 were not: bob: ")
    assert [c["subject"] for c in living(world, "users-2")] == ["alice"]


@pytest.mark.parametrize("point", [3, 11])
def test_an_interrupted_run_is_gone_on_with(world: World, point: int) -> None:
    """Killed while it signs, and later, when all is in the journal; nobody gets two."""
    for name in ("alice", "bob", "carol"):
        issue(world, name)
    succeed(world, "users", "users-2")
    words = ["ssh", "rotate", "--from", "users", "--ca", "users-2", *world.admin.option]
    world.die(point, words)
    ok(world.dpki(*words))
    assert sorted(c["subject"] for c in living(world, "users-2")) == ["alice", "bob", "carol"]
    with sqlite3.connect(world.admin.home.journal) as journal:
        assert journal.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_more_than_a_batch(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("alice", "bob", "carol"):
        issue(world, name)
    succeed(world, "users", "users-2")
    monkeypatch.setattr("dpki.cli.reissue.MAXIMUM_BATCH", 2)
    assert ok(rotate(world, "users", "users-2", "--dry-run"))["transactions"] == 2
    issued: Any = ok(rotate(world, "users", "users-2"))["issued"]
    assert [one["serial"] for one in issued] == [1, 2, 3]
    assert len({one["transaction"] for one in issued}) == 2


def test_bad_input(world: World) -> None:
    before = state_of(world.anvil, world.admin.home.directory)
    for words, message in (
        (("--from", "users", "--ca", "users"), "name the same CA"),
        (("--from", "users", "--ca", "hosts"), "signs ssh-user certificates, and hosts"),
        (("--from", "nobody", "--ca", "users"), "nobody"),
        (("--from", "users", "--ca", "users-2", "--device", "gate-1"), "whose certificate?"),
        (("--from", "users", "--ca", "users-2", "--keygen", "admin"), "whose certificate?"),
        (("--ca", "users"), "whose certificate?"),
        (("--from", "users", "--ca", "users-2", "--for", "soon"), "soon"),
    ):
        result = world.dpki("ssh", "rotate", *words, *world.admin.option)
        assert result.status == 2, result.err
        assert message in result.message
    assert state_of(world.anvil, world.admin.home.directory) == before
