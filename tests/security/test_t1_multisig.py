"""T1 with watchdogs who look for themselves: whoever has HSM and wallet issues nothing unseen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.admins import Admin
from tests.roles import Roles, add_watchdogs, open_roles
from tests.soft_tokens import SoftHsmFolder


@dataclass
class Multisig:
    """Everybody, and three watchdogs of weight 1, of whom two must agree."""

    roles: Roles
    watchdogs: list[Admin]

    def collude(self, *more: str) -> Path:
        """Let admin and operator issue what no watchdog would; return the key."""
        key, file = self.roles.hand_over("ops", *more)
        self.roles.ok(self.roles.operator, "ssh", "anchor", file)
        self.roles.ok(self.roles.admin, "ssh", "resume")
        return key


@pytest.fixture
def multisig(softhsm: SoftHsmFolder, capsys: pytest.CaptureFixture[str]) -> Iterator[Multisig]:
    with open_roles(softhsm, capsys) as roles:
        yield Multisig(roles, add_watchdogs(roles))


def test_two_of_three_let_in(multisig: Multisig) -> None:
    roles, (first, second, _) = multisig.roles, multisig.watchdogs
    key = roles.issue()
    assert not roles.enters(key)
    (said,) = roles.look(first)
    assert (said["said"], said["first_serial"], said["count"]) == ("confirmed", 1, 1)
    assert roles.look(first) == []
    assert not roles.enters(key)
    listed = roles.ok(roles.admin, "ssh", "list")["certificates"]
    assert [one["state"] for one in listed] == ["awaiting watchdogs"]  # type: ignore[attr-defined]
    roles.ok(second, "watchdog", "confirm", "users", "1")
    assert roles.enters(key)
    batch = roles.ok(first, "watchdog", "list")["batches"][0]  # type: ignore[index]
    assert batch["state"] == "accepted"
    assert [one["said"] for one in batch["watchdogs"]] == [
        "confirmed",
        "confirmed",
        "nothing yet",
    ]


def test_colluding_admin_and_operator_are_stopped(multisig: Multisig) -> None:
    """They have HSM and wallet, and the device's own word for root: a certificate for too long."""
    roles, (first, second, third) = multisig.roles, multisig.watchdogs
    key = multisig.collude("--for", "20h")
    refused = roles.run(third, "watchdog", "confirm", "users", "1")
    assert (refused.status, "is allowed" in refused.message) == (3, True)
    for one in (first, second):
        (said,) = roles.look(one)
        assert said["said"] == "objected"
        assert "certificate 1" in said["reason"]
    assert not roles.enters(key)
    # What comes after is looked at for itself.
    honest = roles.issue()
    for one in (first, second):
        (said,) = roles.look(one)
        assert (said["said"], said["first_serial"]) == ("confirmed", 2)
    assert roles.enters(honest)
    assert not roles.enters(key)


def test_what_nobody_is_shown_counts_for_nobody(multisig: Multisig) -> None:
    roles, (first, second, _) = multisig.roles, multisig.watchdogs
    key = multisig.collude()
    for block in sorted((roles.directory / "store").rglob("*")):
        if block.is_file():
            block.unlink()
    for one in (first, second):
        (said,) = roles.look(one)
        assert said["said"] == "waits"
        assert "no source delivered" in said["reason"]
    refused = roles.run(first, "watchdog", "confirm", "users", "1")
    assert refused.status == 5
    assert not roles.enters(key)
    # The operator shows them again, and now they can look.
    file = roles.directory / "person-1.handover"
    assert roles.ok(roles.operator, "watchdog", "request", file)["reviews"] == []
    assert roles.ok(roles.operator, "watchdog", "request", file, "--again")["reviews"]
    for one in (first, second):
        assert [said["said"] for said in roles.look(one)] == ["confirmed"]
    assert roles.enters(key)


def test_watchdogs_that_send_nothing(multisig: Multisig) -> None:
    roles, (first, second, third) = multisig.roles, multisig.watchdogs
    key = roles.issue()
    folder = roles.directory / "signed"
    files = []
    for number, one in enumerate((first, second)):
        place = folder / str(number)
        place.mkdir(parents=True)
        (said,) = roles.look(one, "--sign-only", place)
        assert said["said"] == "signed"
        files.append(str(said["file"]))
    rehearsed = roles.ok(third, "watchdog", "relay", *files, "--dry-run")
    assert rehearsed["dry_run"] is True
    assert not roles.enters(key)
    brought = roles.ok(third, "watchdog", "relay", *files)["confirmations"]
    assert [one["counts"] for one in brought] == [True, True]  # type: ignore[attr-defined]
    assert roles.enters(key)
    broken = folder / "broken"
    broken.write_bytes(Path(files[0]).read_bytes()[:-1])
    assert roles.run(third, "watchdog", "relay", broken).status == 3


def test_the_thief_of_hsm_and_wallet_is_no_watchdog(multisig: Multisig) -> None:
    roles = multisig.roles
    roles.ok(roles.operator, "watchdog", "keys")
    key = multisig.collude()
    assert roles.look(roles.operator) == []
    refused = roles.run(roles.operator, "watchdog", "confirm", "users", "1")
    assert refused.status == 2
    weak = f"{roles.ok(roles.operator, 'watchdog', 'keys')['account']}:1:0x{'07' * 32}"
    named = ("ca", "watch", "users", "--threshold", "1", "--watchdog", weak)
    assert roles.run(roles.operator, *named).status == 4
    assert not roles.enters(key)


def test_an_objection_by_hand(multisig: Multisig) -> None:
    roles, (first, second, third) = multisig.roles, multisig.watchdogs
    key = roles.issue()
    words = ("watchdog", "object", "users", "1", "--reason", "nobody asked for it")
    assert roles.ok(first, *words, "--dry-run")["dry_run"] is True
    roles.ok(first, *words)
    assert roles.run(first, *words).status == 2
    roles.look(second)
    assert not roles.enters(key)
    roles.look(third)
    assert roles.enters(key)
