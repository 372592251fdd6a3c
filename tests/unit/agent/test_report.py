"""What a step says about the chains that it read, at once and later."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dpki.agent.report import (
    FILE_NAME,
    AgentReport,
    DomainReport,
    LastReport,
    load_report,
    save_report,
)
from dpki.agent.status import AgentStatus
from dpki.chain.quorum import Evidence
from dpki.config.sshd import Mode
from dpki.errors import DpkiError
from tests.world import DOMAIN, NOW, block

ONE = DomainReport(
    name="first",
    domain=DOMAIN.id,
    block=block(7),
    at=NOW,
    evidence=Evidence(1, 1),
    user_authorities=1,
    certificates=2,
    host_serial=3,
    problems=(),
    waiting=(),
)


def report(evidence: Evidence) -> AgentReport:
    return AgentReport((replace(ONE, evidence=evidence),), Mode.STRICT)


def test_a_run_says_what_stands_behind_it() -> None:
    said = report(Evidence(3, 2, proven=True, aside=("https://liar: it lies",)))
    assert "proven: 2 of 3 endpoints agree on the block, its state is proven" in said.lines()
    assert "set aside: https://liar: it lies" in said.lines()
    evidence = said.to_json()["evidence"]
    assert isinstance(evidence, dict)
    assert evidence["level"] == "proven"


@pytest.mark.parametrize("evidence", [Evidence(1, 1), Evidence(3, 2), Evidence(3, 2, proven=True)])
def test_status_says_it_later(tmp_path: Path, evidence: Evidence) -> None:
    made = report(evidence)
    save_report(tmp_path, LastReport(made.to_json(), tuple(made.lines())))
    last = load_report(tmp_path)
    assert last is not None
    status = AgentStatus(last, is_installed=True, running="dpki agent run (process 7)")
    assert str(evidence) in status.lines()
    assert "running: dpki agent run (process 7)" in status.lines()
    assert status.to_json()["last_run"] == made.to_json()


def test_all_is_well_only_where_every_domain_can_be_read() -> None:
    away = replace(ONE, name="away", out_of_reach="it is silent")
    both = AgentReport((ONE, away), Mode.STRICT)
    assert (AgentReport((ONE,), Mode.STRICT).exit_status, both.exit_status) == (0, 5)
    assert both.all_problems == ("away: out of reach: it is silent",)
    assert "out of reach: it is silent" in both.lines()
    assert f"trust domain away: {DOMAIN.id}" in both.lines()


def test_what_is_wrong_with_the_device_is_wrong_beside_sound_domains() -> None:
    said = AgentReport((ONE,), Mode.STRICT, problems=("two domains trust one CA",))
    assert said.exit_status == 5
    assert "problem: two domains trust one CA" in said.lines()


def test_before_the_first_step_there_is_nothing(tmp_path: Path) -> None:
    assert load_report(tmp_path) is None


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"report": 7, "said": []}', b"[" * 100_000])
def test_a_damaged_record_is_refused(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(damage)
    with pytest.raises(DpkiError, match="is damaged"):
        load_report(tmp_path)


def test_what_sshd_does_not_enforce_is_a_no() -> None:
    well = report(Evidence(1, 1))
    assert well.exit_status == 0
    assert replace(well, problems=("no bundle",)).exit_status == 5
    drifted = replace(well, drift=("sshd lets passwords in",), problems=("no bundle",))
    assert drifted.exit_status == 3
    assert "not in force: sshd lets passwords in" in drifted.lines()


def test_the_mode_shows_wherever_it_is_reduced() -> None:
    files = replace(report(Evidence(1, 1)), mode=Mode.FILES, accounts=("ops", "root"))
    assert "mode: reduced (files)" in files.lines()
    assert "account root: reduced (files)" in files.lines()
    assert files.to_json()["mode"] == "reduced (files)"
    assert files.to_json()["accounts"] == {"ops": "reduced (files)", "root": "reduced (files)"}
    last = LastReport(files.to_json(), tuple(files.lines()))
    status = AgentStatus(last, is_installed=True, running=None)
    assert status.to_json()["mode"] == "reduced (files)"
    assert "mode: reduced (files)" in status.lines()
    gone = AgentStatus(last, is_installed=False, running=None)
    assert gone.to_json()["mode"] == "not installed"
    assert "mode: not installed" in gone.lines()
