"""What a step says about the chains that it read, at once and later."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dpki.agent.report import (
    FILE_NAME,
    AgentReport,
    DomainReport,
    Record,
    load_record,
    save_record,
)
from dpki.agent.status import AgentStatus
from dpki.chain.quorum import Evidence
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
    return AgentReport((replace(ONE, evidence=evidence),))


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
    save_record(tmp_path, Record(made.to_json(), tuple(made.lines()), "digest"))
    record = load_record(tmp_path)
    status = AgentStatus(record, strict=True, running="dpki agent run (process 7)")
    assert str(evidence) in status.lines()
    assert "running: dpki agent run (process 7)" in status.lines()
    assert status.to_json()["last_run"] == made.to_json()
    assert record.reloaded == "digest"


def test_all_is_well_only_where_every_domain_can_be_read() -> None:
    away = replace(ONE, name="away", out_of_reach="it is silent")
    both = AgentReport((ONE, away))
    assert (AgentReport((ONE,)).exit_status, both.exit_status) == (0, 5)
    assert both.all_problems == ("away: out of reach: it is silent",)
    assert "out of reach: it is silent" in both.lines()
    assert f"trust domain away: {DOMAIN.id}" in both.lines()


def test_what_is_wrong_with_the_device_is_wrong_beside_sound_domains() -> None:
    said = AgentReport((ONE,), problems=("two domains trust one CA",))
    assert said.exit_status == 5
    assert "problem: two domains trust one CA" in said.lines()


def test_before_the_first_step_there_is_nothing(tmp_path: Path) -> None:
    assert load_record(tmp_path) == Record()


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b'{"report": 7, "said": [], "reloaded": null}', b"[" * 100_000]
)
def test_a_damaged_record_is_refused(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(damage)
    with pytest.raises(DpkiError, match="is damaged"):
        load_record(tmp_path)
