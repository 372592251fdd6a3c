"""An audit goes on where it stood, notices what is withheld, and comes out the same."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dpki.audit.evidence import HistoryContradicted
from dpki.audit.index import Index
from dpki.chain.rpc import Call
from dpki.errors import ConfigError, CouldNotCheck, DpkiError, EndpointUnavailable, UsageError
from dpki.model import Address, DomainId, Hash32
from dpki.transactions.abi import find_event
from tests.fakes.chronicle import GOVERNOR, NEXT, OPERATOR, Chronicle, everything


@pytest.fixture
def chronicle(tmp_path: Path) -> Chronicle:
    told = Chronicle()
    everything(told)
    return told.settle(tmp_path)


@pytest.fixture
def index(tmp_path: Path, chronicle: Chronicle) -> Any:
    with Index(tmp_path / "index.sqlite", chronicle.domain.id) as opened:
        yield opened


def logs_asked(chronicle: Chronicle) -> list[Call]:
    return [call for call in chronicle.asked if call.method == "eth_getLogs"]


def test_what_was_replayed_is_not_asked_for_again(chronicle: Chronicle, index: Index) -> None:
    first = chronicle.audit(index)
    asked = len(logs_asked(chronicle))
    again = chronicle.audit(index)
    assert (again.digest, again.counts) == (first.digest, first.counts)
    assert len(logs_asked(chronicle)) == asked


def test_the_digest_is_of_the_block_and_the_state(chronicle: Chronicle, index: Index) -> None:
    before = chronicle.audit(index)
    chronicle.tell(GOVERNOR, "DeviceRegistry", "RegistrarChanged", NEXT, False)
    with pytest.raises(HistoryContradicted, match="the events lead to the state"):
        chronicle.audit(index)
    chronicle.settle(Path(index._path).parent)
    assert chronicle.audit(index).digest != before.digest


def test_a_block_in_the_past_is_not_audited_again(chronicle: Chronicle, index: Index) -> None:
    chronicle.audit(index)
    with pytest.raises(UsageError, match="stands at block"):
        chronicle.audit(index, to=5)


def test_from_the_beginning_when_asked(chronicle: Chronicle, index: Index) -> None:
    first = chronicle.audit(index)
    index.clear()
    assert index.seen() is None
    assert chronicle.audit(index).digest == first.digest


def test_a_block_that_the_chain_has_not(chronicle: Chronicle, index: Index) -> None:
    with pytest.raises(CouldNotCheck, match="has no block 999"):
        chronicle.audit(index, to=999)


def test_a_chain_that_forgot_what_was_audited(chronicle: Chronicle, index: Index) -> None:
    chronicle.audit(index)
    seen = index.seen()
    assert seen is not None
    chronicle.salt = b"another fork"
    with pytest.raises(HistoryContradicted, match="what was audited stays") as caught:
        chronicle.audit(index)
    assert caught.value.evidence.expected == str(seen.block.hash)
    assert "--restart" in caught.value.hint


def test_the_index_of_another_domain(tmp_path: Path, chronicle: Chronicle, index: Index) -> None:
    chronicle.audit(index)
    other = DomainId(1, Address(b"\x02" * 20), Hash32(b"\x03" * 32))
    with pytest.raises(ConfigError, match="belongs to the trust domain"):
        Index(tmp_path / "index.sqlite", other)
    assert chronicle.audit(index).block.number == chronicle.number - 1


def test_a_contradiction_leaves_nothing_in_the_index(chronicle: Chronicle, index: Index) -> None:
    """What it kept may be why: it is asked for again, of whoever tells the truth."""
    chronicle.audit(index)
    chronicle.tell(NEXT, "DeviceRegistry", "RegistrarChanged", NEXT, True)
    for _ in range(2):
        with pytest.raises(HistoryContradicted, match="only who holds the role"):
            chronicle.audit(index)
        assert index.seen() is None


def test_killed_between_two_events(
    chronicle: Chronicle, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = chronicle.audit(index).digest
    index.clear()
    original, left = Index.put_batch, [1]

    def dies(self: Index, batch: Any) -> None:
        original(self, batch)
        if left:
            left.pop()
            raise KeyboardInterrupt

    monkeypatch.setattr(Index, "put_batch", dies)
    with pytest.raises(KeyboardInterrupt):
        chronicle.audit(index)
    assert index.seen() is None
    assert chronicle.audit(index).digest == whole


Lie = Callable[[Call, Any], Any]


def of_logs(change: Callable[[list[Any]], list[Any]]) -> Lie:
    return lambda call, answer: change(answer) if call.method == "eth_getLogs" else answer


def without(position: int) -> Lie:
    """Withhold one log of the whole history."""
    return of_logs(lambda logs: [log for log in logs if log["logIndex"] != hex(position)])


def test_whatever_single_event_is_withheld_it_is_found(
    tmp_path: Path, chronicle: Chronicle
) -> None:
    """But for those that change nothing that is kept: nobody can miss them."""
    names = {hex(position): log["topics"][0] for position, log in enumerate(chronicle.logs)}
    missed = set()
    for position in range(len(chronicle.logs)):
        chronicle.lie = without(position)
        with Index(tmp_path / f"{position}.sqlite", chronicle.domain.id) as index:
            try:
                chronicle.audit(index)
            except HistoryContradicted:
                continue
        missed.add(names[hex(position)])
    harmless = {
        chronicle_topic("WatchdogRegistry", name)
        for name in ("ReviewRequested", "ConfirmationSkipped")
    }
    # Its second version voids what was said under the first.
    harmless.add(chronicle_topic("WatchdogRegistry", "BatchObjected"))
    # There and back again.
    assert missed <= harmless | {chronicle_topic("DeviceRegistry", "RegistrarChanged")}


def chronicle_topic(contract: str, name: str) -> str:
    return str(find_event(contract, name).topic)


def test_a_word_that_differs_is_named(chronicle: Chronicle, index: Index) -> None:
    report = chronicle.audit(index)
    for (contract, slot), value in list(chronicle.words.items()):
        chronicle.words[contract, slot] = value ^ 1
        with pytest.raises(HistoryContradicted, match="the events lead to the state") as caught:
            chronicle.audit(index)
        assert caught.value.evidence.found.startswith(f"0x{value ^ 1:064x}")
        chronicle.words[contract, slot] = value
    assert chronicle.audit(index).digest == report.digest


@pytest.mark.parametrize(
    ("lie", "message"),
    [
        (of_logs(lambda logs: [{**log, "transactionHash": None} for log in logs]), "no trans"),
        (of_logs(lambda logs: [{**log, "blockHash": "0x" + "77" * 32} for log in logs]), "block"),
        (
            lambda call, answer: None if call.method == "eth_getTransactionByHash" else answer,
            "an object was expected",
        ),
        (
            lambda call, answer: (
                {**answer, "blockHash": "0x" + "77" * 32}
                if call.method == "eth_getTransactionByHash"
                else answer
            ),
            "not the one asked for",
        ),
    ],
    ids=["no transaction", "another block", "unknown transaction", "a transaction elsewhere"],
)
def test_what_an_endpoint_makes_up_could_not_be_checked(
    lie: Lie, message: str, chronicle: Chronicle, index: Index
) -> None:
    """T11: nonsense is no contradiction of the domain."""
    chronicle.lie = lie
    with pytest.raises(EndpointUnavailable, match=message):
        chronicle.audit(index)
    chronicle.lie = lambda _, answer: answer
    chronicle.audit(index)


def test_ranges_that_are_too_large_are_asked_for_in_pieces(
    chronicle: Chronicle, index: Index
) -> None:
    whole = chronicle.audit(index).digest
    index.clear()

    def limited(call: Call, answer: Any) -> Any:
        if call.method == "eth_getLogs":
            query: Any = call.params[0]
            if int(query["toBlock"], 16) - int(query["fromBlock"], 16) > 2:
                raise EndpointUnavailable("the answer is larger than I like")
        return answer

    chronicle.lie = limited
    assert chronicle.audit(index).digest == whole


def test_an_endpoint_that_answers_nothing_is_not_asked_for_ever(
    chronicle: Chronicle, index: Index
) -> None:
    def silent(call: Call, answer: Any) -> Any:
        if call.method == "eth_getLogs":
            raise EndpointUnavailable("nobody there")
        return answer

    chronicle.lie = silent
    with pytest.raises(DpkiError, match="nobody there"):
        chronicle.audit(index)
    assert len(logs_asked(chronicle)) < 10


def test_another_program_is_told(chronicle: Chronicle, index: Index) -> None:
    chronicle.codes[chronicle.domain.devices] += b"\0"
    chronicle.codes[chronicle.domain.watchdogs] = b""
    assert chronicle.audit(index).versions == ("DeviceRegistry", "WatchdogRegistry")


def test_ten_thousand_certificates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its figures are printed, not asserted: they belong to the machine."""
    told = Chronicle().create()
    ca = told.register()
    for _ in range(10):
        told.issue(ca, 1000)
    told.tell(OPERATOR, "CertificateRegistry", "CertificateRevoked", ca, 9_999, OPERATOR)
    told.settle(tmp_path)
    with Index(tmp_path / "index.sqlite", told.domain.id) as index:
        start = time.perf_counter()
        report = told.audit(index)
        seconds = time.perf_counter() - start
        last = index.certificate(0, 10_000)
    assert report.state.authorities[ca].next_serial == 10_001
    assert last is not None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    with capsys.disabled():
        events = sum(report.counts.values())
        said = f"audit: {events / seconds:,.0f} events/s, {peak} MB at most, tests included"
        sys.stdout.write(f"\n{said}\n")
