"""Pure judgements: clock, versions, wallet, index, KRL, enrolment."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from dpki.agent.index import IndexedAuthority
from dpki.certificates.krl import Revocations, build_krl, parse_krl
from dpki.chain.snapshot import Snapshot
from dpki.config.sshd import Mode, Sshd
from dpki.doctor.device import judge_enrolment, judge_index, judge_krl, judge_mode, judge_supply
from dpki.doctor.finding import Finding, Level
from dpki.doctor.keys import GAS_OF_A_CERTIFICATE, judge_balance, judge_key
from dpki.doctor.network import judge_clock
from dpki.doctor.programs import judge_version
from dpki.model import Address, AuthorityState, DeviceState
from dpki.verification.revocations import revocation_list
from tests.world import NOW, Ca, snapshot

DEVICE = Address(b"\xaa" * 20)


@pytest.mark.parametrize(
    ("ahead", "level"),
    [
        (timedelta(), Level.OK),
        (timedelta(seconds=60), Level.OK),
        (timedelta(seconds=61), Level.PROBLEM),
        (timedelta(days=9), Level.PROBLEM),
        (-timedelta(minutes=10), Level.OK),
        (-timedelta(minutes=11), Level.WARNING),
    ],
)
def test_a_clock_behind_the_chain_is_wrong(ahead: timedelta, level: Level) -> None:
    found = judge_clock(NOW + ahead, NOW)
    assert found.level is level
    assert bool(found.mend) is (level is not Level.OK)


@pytest.mark.parametrize(
    ("answer", "level"),
    [
        ("OpenSSH_9.2p1 Debian-2+deb12u7, OpenSSL 3.0.17", Level.OK),
        ("OpenSSH_10.0p2", Level.OK),
        ("unknown option -- V\nOpenSSH_8.2p1, OpenSSL\nusage: sshd", Level.OK),
        ("OpenSSH_7.9p1", Level.PROBLEM),
        ("Sun_SSH", Level.COULD_NOT_CHECK),
        ("", Level.COULD_NOT_CHECK),
    ],
)
def test_versions_are_numbers(answer: str, level: Level) -> None:
    found = judge_version("ssh", answer, r"OpenSSH_(\d+)\.(\d+)", (8, 2), where="x", mend="y")
    assert found.level is level


@pytest.mark.parametrize(
    ("certificates", "level"),
    [(0, Level.PROBLEM), (1, Level.WARNING), (99, Level.WARNING), (100, Level.OK)],
)
def test_a_wallet_is_judged_by_what_it_can_pay(certificates: int, level: Level) -> None:
    balance = certificates * GAS_OF_A_CERTIFICATE * 7
    found = judge_balance(DEVICE, balance, GAS_OF_A_CERTIFICATE * 7, "wallet")
    assert found.level is level
    assert bool(found.mend) is (level is not Level.OK)


def test_a_chain_without_a_price_is_free() -> None:
    assert judge_balance(DEVICE, 10**18, 0, "wallet").level is Level.OK


def test_another_key_under_a_ca_s_name_is_found() -> None:
    one, other = Ca.users().id, Ca.users().id
    assert judge_key("key", one, one, "token").level is Level.OK
    assert judge_key("key", one, other, "token").level is Level.PROBLEM


def index_after(hours: float, *, allowed: float | None = 24) -> Finding:
    until = None if allowed is None else NOW + timedelta(hours=allowed)
    users = Ca.users()
    ca = IndexedAuthority(users.id, users.blob, users.maximum_lifetime, NOW, until)
    return judge_index(ca, NOW + timedelta(hours=hours), where="index", mend="run")


@pytest.mark.parametrize(
    ("hours", "level"),
    [(0, Level.OK), (12, Level.OK), (13, Level.WARNING), (24, Level.WARNING), (25, Level.PROBLEM)],
)
def test_an_index_grows_old(hours: float, level: Level) -> None:
    assert index_after(hours).level is level


def test_an_index_that_stays_open_does_not_and_says_so() -> None:
    found = index_after(10_000, allowed=None)
    assert found.level is Level.WARNING
    assert "open for ever" in found.said


def test_files_mode_is_reduced_and_says_what_it_lets_in() -> None:
    assert judge_mode(Sshd()).level is Level.OK
    plain = judge_mode(Sshd(mode=Mode.FILES))
    fenced = judge_mode(Sshd(mode=Mode.FILES, fence=True))
    assert plain.level is fenced.level is Level.WARNING
    assert plain.said == "reduced (files): sshd lets in what a CA signed, anchored or not"
    assert "reduced (files), fenced" in fenced.said
    assert "strict" in fenced.mend


class TestKrl:
    def judged(self, installed: Snapshot, now: Snapshot) -> Finding:
        return judge_krl(parse_krl(revocation_list(installed)), now, where="krl", mend="run")

    def issued(self) -> Ca:
        ca = Ca.users()
        ca.next_serial = 100
        return ca

    def test_the_same_is_well(self) -> None:
        ca = self.issued()
        ca.revoked, ca.revoked_below = {7, 8, 50}, 5
        assert self.judged(snapshot(ca), snapshot(ca)).level is Level.OK

    def test_more_than_the_chain_says_is_well(self) -> None:
        ca = self.issued()
        ca.revoked = {7}
        before = snapshot(ca)
        ca.revoked = set()
        assert self.judged(before, snapshot(ca)).level is Level.OK

    def test_what_is_missing_is_counted(self) -> None:
        ca = self.issued()
        ca.revoked = {7}
        before = snapshot(ca)
        ca.revoked, ca.revoked_below = {7, 8, 50}, 5
        found = self.judged(before, snapshot(ca))
        assert found.level is Level.PROBLEM
        assert "6 serials" in found.said
        assert found.mend == "run"

    def test_a_ca_that_was_suspended_since_is_missing(self) -> None:
        ca = self.issued()
        before = snapshot(ca)
        ca.state = AuthorityState.SUSPENDED
        found = self.judged(before, snapshot(ca))
        assert found.level is Level.PROBLEM
        assert "1 CA keys" in found.said

    def test_a_whole_key_covers_its_serials(self) -> None:
        ca = self.issued()
        ca.revoked = {7}
        bare = build_krl(
            [Revocations(Ca.hosts().blob)], [ca.blob], version=1, generated=NOW, comment="x"
        )
        assert judge_krl(parse_krl(bare), snapshot(ca), where="", mend="").level is Level.OK


@pytest.mark.parametrize(
    ("state", "level"),
    [
        (DeviceState.ACTIVE, Level.OK),
        (DeviceState.UNREGISTERED, Level.PROBLEM),
        (DeviceState.RETIRED, Level.PROBLEM),
    ],
)
def test_a_device_must_be_enrolled(state: DeviceState, level: Level) -> None:
    found = judge_enrolment(DEVICE, snapshot(devices={DEVICE: state}), Path("/etc/dpki"))
    assert found.level is level


def test_without_keys_or_chain_enrolment_was_not_checked() -> None:
    assert judge_enrolment(None, snapshot(), Path("/x")).level is Level.COULD_NOT_CHECK
    assert judge_enrolment(DEVICE, None, Path("/x")).level is Level.COULD_NOT_CHECK


@pytest.mark.parametrize(
    ("prekeys", "level"),
    [(None, Level.OK), (16, Level.OK), (4, Level.OK), (3, Level.WARNING), (0, Level.WARNING)],
)
def test_few_one_time_keys_are_a_warning(prekeys: int | None, level: Level) -> None:
    assert judge_supply(prekeys).level is level
