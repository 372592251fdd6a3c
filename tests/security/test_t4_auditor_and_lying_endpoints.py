"""T4: what endpoints that lie do to an auditor: to one of its three, nothing at all."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dpki.audit.evidence import HistoryContradicted
from dpki.audit.index import Index
from dpki.audit.run import AuditReport, audit
from dpki.chain.panel import Panel
from dpki.chain.rpc import Call
from dpki.errors import CouldNotCheck
from tests.fakes.chronicle import Chronicle, everything

Lie = Callable[[Call, Any], Any]


def honest(_: Call, answer: Any) -> Any:
    return answer


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Chronicle:
    chronicle = Chronicle()
    everything(chronicle)
    return chronicle.settle(tmp_path_factory.mktemp("honest"))


@pytest.fixture(scope="module")
def truth(told: Chronicle, tmp_path_factory: pytest.TempPathFactory) -> AuditReport:
    return audited([told], 1, tmp_path_factory.mktemp("truth"))


def audited(sources: list[Chronicle], quorum: int, folder: Path) -> AuditReport:
    domain = sources[0].domain
    with Index(folder / "index.sqlite", domain.id) as index:
        panel = Panel(sources, quorum, domain.id.chain_id)
        return audit(panel, domain, index)


def liar(told: Chronicle, lie: Lie) -> Chronicle:
    """Return an endpoint of the same chain that lies."""
    one = copy.copy(told)
    one.lie = lie
    return one


def of_logs(change: Callable[[list[Any]], list[Any]]) -> Lie:
    return lambda call, answer: change(answer) if call.method == "eth_getLogs" else answer


def spoilt(log: Any) -> Any:
    return {**log, "data": log["data"][:-2] + "99"} if log["data"] != "0x" else log


LIES: dict[str, Lie] = {
    "it withholds everything": of_logs(lambda logs: []),
    "it withholds the last event": of_logs(lambda logs: logs[:-1]),
    "it doubles an event": of_logs(lambda logs: [*logs, *logs[-1:]]),
    "it reorders events": of_logs(lambda logs: logs[::-1]),
    "it changes data": of_logs(lambda logs: [spoilt(log) for log in logs]),
    "it says that somebody else sent it": lambda call, answer: (
        {**answer, "from": "0x" + "66" * 20}
        if call.method == "eth_getTransactionByHash"
        else answer
    ),
    "it changes the state": lambda call, answer: (
        "0x" + "00" * 31 + "07" if call.method == "eth_getStorageAt" else answer
    ),
    "it serves another program": lambda call, answer: (
        "0x6000" if call.method == "eth_getCode" else answer
    ),
    "it lives an hour later": lambda call, answer: (
        {**answer, "timestamp": hex(int(answer["timestamp"], 16) + 3600)}
        if call.method.startswith("eth_getBlock") and answer
        else answer
    ),
}


CONTRADICTED = LIES.keys() - {"it serves another program", "it lives an hour later"}
"""The lies that show where nobody else is asked."""


@pytest.mark.parametrize("what", LIES)
def test_one_liar_of_three_changes_nothing(
    what: str, told: Chronicle, truth: AuditReport, tmp_path: Path
) -> None:
    sources = [liar(told, LIES[what]), liar(told, honest), liar(told, honest)]
    report = audited(sources, 2, tmp_path)
    assert (report.digest, report.counts) == (truth.digest, truth.counts)
    assert report.versions == ()


@pytest.mark.parametrize("what", sorted(LIES.keys() - {"it serves another program"}))
def test_an_endpoint_that_is_trusted_alone_is_found_out(
    what: str, told: Chronicle, truth: AuditReport, tmp_path: Path
) -> None:
    """By a contradiction, or by nonsense that could not be checked: never by another digest."""
    try:
        report = audited([liar(told, LIES[what])], 1, tmp_path)
    except (HistoryContradicted, CouldNotCheck):
        return
    assert what == "it lives an hour later", "the block's time is in its hash, and proven there"
    assert report.digest != truth.digest


@pytest.mark.parametrize("what", sorted(CONTRADICTED))
def test_once_the_lie_is_over_the_truth_is_found(
    what: str, told: Chronicle, truth: AuditReport, tmp_path: Path
) -> None:
    """By the same auditor, whatever it kept of the lie."""
    one = liar(told, LIES[what])
    with pytest.raises((HistoryContradicted, CouldNotCheck)):
        audited([one], 1, tmp_path)
    one.lie = honest
    assert audited([one], 1, tmp_path).digest == truth.digest


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_no_random_lie_of_one_changes_what_two_others_say(
    data: st.DataObject, told: Chronicle, truth: AuditReport, tmp_path_factory: Any
) -> None:
    victim = data.draw(st.integers(0, len(told.logs) - 1))
    how = data.draw(st.sampled_from(["drop", "block", "topic", "data", "contract"]))

    def change(log: Any) -> Any:
        if log["logIndex"] != hex(victim):
            return [log]
        forged = {
            "drop": [],
            "block": [{**log, "blockNumber": hex(int(log["blockNumber"], 16) + 1)}],
            "topic": [{**log, "topics": [*log["topics"][:-1], "0x" + "5a" * 32]}],
            "data": [{**log, "data": log["data"] + "00" * 32}],
            "contract": [{**log, "address": "0x" + "5a" * 20}],
        }
        return forged[how]

    lie = of_logs(lambda logs: [one for log in logs for one in change(log)])
    folder = tmp_path_factory.mktemp("random")
    sources = [liar(told, lie), liar(told, honest), liar(told, honest)]
    assert audited(sources, 2, folder).digest == truth.digest
