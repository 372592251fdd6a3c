"""What a run says about the chain that it read, at once and later."""

from __future__ import annotations

from dpki.agent.once import AgentReport
from dpki.agent.status import AgentStatus
from dpki.chain.quorum import Evidence
from tests.world import block


def report(evidence: Evidence) -> AgentReport:
    return AgentReport(
        block=block(7),
        evidence=evidence,
        user_authorities=1,
        certificates=2,
        host_serial=3,
        changed=(),
        reloaded=False,
        waiting=(),
        problems=(),
    )


def test_a_run_says_what_stands_behind_it() -> None:
    said = report(Evidence(3, 2, proven=True, aside=("https://liar: it lies",)))
    assert "proven: 2 of 3 endpoints agree on the block, its state is proven" in said.lines()
    assert "set aside: https://liar: it lies" in said.lines()
    evidence = said.to_json()["evidence"]
    assert isinstance(evidence, dict)
    assert evidence["level"] == "proven"


def test_status_says_it_later() -> None:
    for evidence in (Evidence(1, 1), Evidence(3, 2), Evidence(3, 2, proven=True)):
        status = AgentStatus(report(evidence).to_json(), strict=True)
        assert f"evidence: {evidence}" in status.lines()
        assert status.to_json()["last_run"] == report(evidence).to_json()


def test_the_report_of_an_earlier_version_trusted_one_endpoint() -> None:
    old = report(Evidence(1, 1)).to_json()
    del old["evidence"]
    assert "evidence: trusting one endpoint" in AgentStatus(old, strict=True).lines()
