from __future__ import annotations

from dataclasses import replace

from prometheus_client.parser import text_string_to_metric_families

from dpki.agent.metrics import Figures
from dpki.agent.report import AgentReport
from dpki.config.sshd import Mode
from tests.unit.agent.test_report import ONE


def values(figures: Figures) -> dict[str, float]:
    """Return the figures by name, and by domain where they have one."""
    return {
        ".".join([sample.name.removeprefix("dpki_agent_"), *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(figures.text().decode())
        for sample in family.samples
    }


def test_what_a_step_reported() -> None:
    figures = Figures()
    away = replace(ONE, name="away", out_of_reach="silent", clock="it is behind")
    figures.installed(AgentReport((ONE, away), Mode.STRICT, changed=("revoked.krl",)))
    seen = values(figures)
    assert (seen["block.first"], seen["certificates.first"]) == (7, 2)
    assert seen["block_timestamp_seconds.first"] == ONE.block.time.timestamp()
    assert (seen["clock_wrong.first"], seen["clock_wrong.away"]) == (0, 1)
    assert (seen["problems"], seen["drift"], seen["installs_total"]) == (1, 0, 1)


def test_looks_and_hints_are_counted() -> None:
    figures = Figures()
    figures.looked("first", 0.25, failed=False)
    figures.looked("first", 0.5, failed=True)
    figures.hinted("first")
    figures.not_installed()
    seen = values(figures)
    assert (seen["looks_total.first"], seen["failed_looks_total.first"]) == (2, 1)
    assert (seen["look_seconds_total.first"], seen["domain_up.first"]) == (0.75, 0)
    assert (seen["hints_total.first"], seen["failed_installs_total"]) == (1, 1)


def test_two_agents_in_one_process_keep_apart() -> None:
    one, other = Figures(), Figures()
    one.looked("first", 1, failed=False)
    assert "looks_total.first" not in values(other)
