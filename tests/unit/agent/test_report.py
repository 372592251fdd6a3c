"""What a run says about the chain that it read, at once and later."""

from __future__ import annotations

from dataclasses import replace

from dpki.agent.once import AgentReport
from dpki.agent.status import AgentStatus
from dpki.chain.quorum import Evidence
from dpki.config.sshd import Mode
from tests.world import block


def report(evidence: Evidence) -> AgentReport:
    return AgentReport(
        block=block(7),
        evidence=evidence,
        user_authorities=1,
        certificates=2,
        host_serial=3,
        mode=Mode.STRICT,
        changed=(),
        restored=(),
        drift=(),
        held=(),
        outages=(),
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
        status = AgentStatus(report(evidence).to_json(), is_installed=True)
        assert f"evidence: {evidence}" in status.lines()
        assert status.to_json()["last_run"] == report(evidence).to_json()


def test_the_report_of_an_earlier_version_trusted_one_endpoint() -> None:
    old = report(Evidence(1, 1)).to_json()
    del old["evidence"]
    assert "evidence: trusting one endpoint" in AgentStatus(old, is_installed=True).lines()


def test_what_sshd_does_not_enforce_is_a_no() -> None:
    well = report(Evidence(1, 1))
    assert well.exit_status == 0
    assert replace(well, problems=("no bundle",)).exit_status == 5
    drifted = replace(well, drift=("sshd lets passwords in",), problems=("no bundle",))
    assert drifted.exit_status == 3
    assert "not in force: sshd lets passwords in" in drifted.lines()


def test_the_mode_shows_wherever_it_is_reduced() -> None:
    files = replace(report(Evidence(1, 1)), mode=Mode.FILES)
    assert "mode: reduced (files)" in files.lines()
    assert files.to_json()["mode"] == "reduced (files)"
    status = AgentStatus(files.to_json(), is_installed=True)
    assert status.to_json()["mode"] == "reduced (files)"
    assert status.lines()[0] == "mode: reduced (files)"
