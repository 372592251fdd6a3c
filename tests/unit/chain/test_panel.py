"""Several endpoints in one's place: who is listened to, who is set aside, who is waited for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from dpki.chain import asking
from dpki.chain import panel as panels
from dpki.chain.asking import UNANSWERED
from dpki.chain.events import fetch_issued
from dpki.chain.panel import Panel
from dpki.chain.quorum import PENALTY, Fault
from dpki.chain.rpc import Call, RpcError, fetch_block
from dpki.errors import EndpointUnavailable, UsageError
from dpki.model import Hash32
from tests.fakes.chain import FakeChain, entries
from tests.fakes.proving import Source, Tell, sources, truth


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def panel(
    places: list[Source], quorum: int = 2, clock: Clock | None = None, patience: float = 10
) -> Panel:
    return Panel(
        places,
        quorum,
        31337,
        patience=timedelta(seconds=patience),
        clock=clock or Clock(),
    )


def unavailable(call: Call, answer: Callable[[], object]) -> object:
    raise EndpointUnavailable("it is down")


def refusing(call: Call, answer: Callable[[], object]) -> object:
    raise RpcError("rpc", call.method, -32000, "no")


def on_fork(fork: FakeChain) -> Tell:
    """An endpoint that passes for one of the chain, but stands on a fork."""

    def tell(call: Call, answer: Callable[[], object]) -> object:
        return fork.call(call.method, call.params)

    return tell


def heads(change: Callable[[dict[str, object]], object]) -> Tell:
    def tell(call: Call, answer: Callable[[], object]) -> object:
        told = answer()
        if call.method == "eth_getBlockByNumber" and call.params[0] == "latest":
            assert isinstance(told, dict)
            return change(told)
        return told

    return tell


def later(seconds: int, blocks: int) -> Callable[[dict[str, object]], object]:
    return lambda head: {
        **head,
        "number": hex(max(0, int(str(head["number"]), 16) + blocks)),
        "timestamp": hex(int(str(head["timestamp"]), 16) + seconds),
    }


@pytest.fixture
def chain() -> FakeChain:
    chain = FakeChain()
    for _ in range(5):
        chain.mine()
    return chain


LIARS: dict[str, tuple[Tell, Fault | None]] = {
    "down": (unavailable, Fault.SILENT),
    "nonsense": (lambda call, answer: "nonsense", Fault.SILENT),
    "another chain": (
        lambda call, answer: "0x1" if call.method == "eth_chainId" else answer(),
        Fault.OTHER_CHAIN,
    ),
    "a forked head": (heads(lambda head: {**head, "hash": f"0x{'66' * 32}"}), Fault.FORKED),
    "a head with another time": (heads(later(10, 0)), Fault.FORKED),
    "an absurd head": (heads(later(10**6, 10**9)), Fault.AHEAD),
    "an old head": (heads(later(-(10**6), -3)), Fault.BEHIND),
    "no head": (heads(lambda head: None), None),
    "refusal": (refusing, Fault.SILENT),
}


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(("tell", "fault"), LIARS.values(), ids=LIARS.keys())
def test_one_of_three_lies_about_the_head(
    chain: FakeChain, tell: Tell, fault: Fault | None, place: int
) -> None:
    tells = [truth, truth]
    tells.insert(place, tell)
    asked = panel(sources(chain, *tells))
    assert fetch_block(asked, "latest") == chain.head
    aside = asked.evidence(proven=False).aside
    assert aside == (() if fault is None else (f"rpc-{place}: {fault.value}",))


def test_a_fork_is_not_followed_whatever_its_length(chain: FakeChain) -> None:
    fork = FakeChain(salt=b"fork")
    for _ in range(20):
        fork.mine()
    asked = panel(sources(chain, on_fork(fork), truth, truth))
    assert fetch_block(asked, "latest") == chain.head
    assert asked.evidence(proven=False).aside == (f"rpc-0: {Fault.FORKED.value}",)
    assert fetch_block(asked, 3) == chain._blocks[3]
    assert asked.agreed_block(chain.head.hash) == chain.head
    assert asked.agreed_block(fork.head.hash) is None


def test_the_newest_block_that_enough_have_reached(chain: FakeChain) -> None:
    """Honest endpoints differ by a block or two."""

    def behind(call: Call, answer: Callable[[], object]) -> object:
        if call.params[:1] == ["latest"]:
            return chain.show(chain._blocks[-2])
        return answer()

    asked = panel(sources(chain, truth, behind, behind))
    assert fetch_block(asked, "latest") == chain._blocks[-2]
    assert asked.evidence(proven=False).aside == ()
    asked = panel(sources(chain, truth, behind, truth))
    assert fetch_block(asked, "latest") == chain.head


def test_an_endpoint_that_goes_back_in_time_is_named(chain: FakeChain) -> None:
    for _ in range(70):
        chain.mine()
    now = Clock()
    places = sources(chain, truth, truth, truth)
    asked = panel(places, clock=now)
    fetch_block(asked, "latest")
    places[1].tell = heads(lambda head: chain.show(chain._blocks[2]))
    assert fetch_block(asked, "latest") == chain.head
    assert asked.evidence(proven=False).aside == (f"rpc-1: {Fault.BACKWARDS.value}",)


def test_too_few_honest_endpoints_are_no_answer_and_all_are_named(chain: FakeChain) -> None:
    asked = panel(sources(chain, truth, unavailable, LIARS["a forked head"][0]))
    with pytest.raises(EndpointUnavailable, match="no 2 endpoints agree on the latest") as caught:
        fetch_block(asked, "latest")
    assert "it is down" in caught.value.message
    assert f"rpc-2 shows block {chain.head.number}" in caught.value.message


def test_two_sides_of_a_quorum_each_are_a_split_and_no_answer(chain: FakeChain) -> None:
    fork = FakeChain(salt=b"fork")
    while fork.head.number < chain.head.number:
        fork.mine()
    other = on_fork(fork)
    asked = panel(sources(chain, truth, truth, other, other))
    with pytest.raises(EndpointUnavailable, match="split"):
        fetch_block(asked, "latest")


def test_a_tag_that_no_block_has(chain: FakeChain) -> None:
    none: Tell = lambda call, answer: None if call.params[:1] == ["safe"] else answer()  # noqa: E731
    asked = panel(sources(chain, none, none, truth))
    assert fetch_block(asked, "safe") is None


def test_a_block_that_is_not_there(chain: FakeChain) -> None:
    asked = panel(sources(chain, truth, truth, unavailable))
    assert fetch_block(asked, 10**6) is None
    assert fetch_block(asked, Hash32(b"\x66" * 32)) is None


def test_no_more_endpoints_are_asked_than_needed(chain: FakeChain) -> None:
    places = sources(chain, truth, truth, truth)
    assert fetch_block(panel(places), 3) == chain._blocks[3]
    assert [len(place.asked) for place in places] == [2, 2, 0]


def test_one_that_contradicts_brings_in_another_and_is_set_aside(chain: FakeChain) -> None:
    def lie(call: Call, answer: Callable[[], object]) -> object:
        told = answer()
        if call.method == "eth_getBlockByNumber":
            assert isinstance(told, dict)
            return {**told, "timestamp": "0x7"}
        return told

    places = sources(chain, lie, truth, truth)
    asked = panel(places)
    assert fetch_block(asked, 3) == chain._blocks[3]
    assert asked.evidence(proven=False).aside == (f"rpc-0: {Fault.CONTRADICTS.value}",)
    assert places[2].asked != []


def test_logs_are_compared_by_what_matters(chain: FakeChain) -> None:
    ca = chain.register()
    chain.issue(ca, entries(3))

    def shouting(call: Call, answer: Callable[[], object]) -> object:
        told = answer()
        if call.method == "eth_getLogs":
            assert isinstance(told, list)
            return [
                {**log, "blockTimestamp": "0x1", "data": f"0x{log['data'][2:].upper()}"}
                for log in told
            ]
        return told

    asked = panel(sources(chain, truth, shouting))
    found = fetch_issued(asked, chain.domain, 0, chain.head.number)
    assert found == fetch_issued(chain, chain.domain, 0, chain.head.number)


def nested() -> object:
    value: object = []
    for _ in range(5_000):
        value = [value]
    return value


@pytest.mark.parametrize(
    "told",
    [nested(), [nested()], [{"topics": nested()}], [{}], [7], 10**5000, [{"topics": ["0x"]}], None],
    ids=["nested", "list", "topics", "nothing", "number", "endless", "short", "null"],
)
def test_events_that_are_none_are_nobodys_vote(chain: FakeChain, told: object) -> None:
    ca = chain.register()
    chain.issue(ca, entries(3))
    lie: Tell = lambda call, answer: told if call.method == "eth_getLogs" else answer()  # noqa: E731
    asked = panel(sources(chain, lie, truth, truth))
    assert len(fetch_issued(asked, chain.domain, 0, chain.head.number)) == 3
    assert asked.evidence(proven=False).aside == (f"rpc-0: {Fault.SILENT.value}",)


@pytest.mark.parametrize("told", [nested(), 10**5000], ids=["nested", "endless"])
def test_an_answer_that_can_not_be_written_down(chain: FakeChain, told: object) -> None:
    lie: Tell = lambda call, answer: told if call.method == "x" else answer()  # noqa: E731
    honest: Tell = lambda call, answer: "0x1" if call.method == "x" else answer()  # noqa: E731
    asked = panel(sources(chain, lie, honest, honest))
    assert asked.call("x") == "0x1"


@pytest.mark.parametrize("withheld", [0, 1, 2])
def test_withheld_logs_are_seen_all_the_same(chain: FakeChain, withheld: int) -> None:
    ca = chain.register()
    chain.issue(ca, entries(3))
    none: Tell = lambda call, answer: [] if call.method == "eth_getLogs" else answer()  # noqa: E731
    tells = [truth, truth]
    tells.insert(withheld, none)
    asked = panel(sources(chain, *tells))
    assert len(fetch_issued(asked, chain.domain, 0, chain.head.number)) == 3


def test_a_refusal_by_all_is_a_refusal(chain: FakeChain) -> None:
    """So that a search can ask for fewer blocks."""
    asked = panel(sources(chain, truth, truth, refusing))
    with pytest.raises(RpcError):
        asked.call("dpki_nothing")


@pytest.fixture
def stalling() -> Iterator[Tell]:
    over = threading.Event()

    def tell(call: Call, answer: Callable[[], object]) -> object:
        over.wait()
        return answer()

    yield tell
    over.set()


@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_that_stalls_holds_nothing_up_and_is_asked_last(
    chain: FakeChain, stalling: Tell, place: int
) -> None:
    tells = [truth, truth]
    tells.insert(place, stalling)
    places = sources(chain, *tells)
    asked = panel(places, patience=0.05)
    assert fetch_block(asked, "latest") == chain.head
    assert asked.evidence(proven=False).aside == (f"rpc-{place}: {Fault.SLOW.value}",)
    before = len(places[place].asked)
    assert fetch_block(asked, "latest") == chain.head
    assert fetch_block(asked, 3) is not None
    assert asked.any_of(lambda source: source.name) != f"rpc-{place}"
    assert len(places[place].asked) == before


def slow(call: Call, answer: Callable[[], object]) -> object:
    time.sleep(0.1)
    return answer()


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("liar", ["a forked head", "an absurd head", "down", "another chain"])
def test_one_that_is_honest_and_slow_is_waited_for_where_it_is_needed(
    chain: FakeChain, liar: str, place: int
) -> None:
    """Its block is the newest of all, or the oldest: either way two honest ones suffice."""

    def behind(call: Call, answer: Callable[[], object]) -> object:
        return chain.show(chain._blocks[-2]) if call.params[:1] == ["latest"] else answer()

    for other, expected in ((truth, chain.head), (behind, chain._blocks[-2])):
        tells = [slow, other]
        tells.insert(place, LIARS[liar][0])
        asked = panel(sources(chain, *tells), patience=0.03)
        assert fetch_block(asked, "latest") == expected
        assert fetch_block(asked, 3) == chain._blocks[3]


def test_one_set_aside_is_asked_again_after_a_while_and_at_once_when_needed(
    chain: FakeChain,
) -> None:
    now = Clock()
    places = sources(chain, truth, truth, unavailable)
    asked = panel(places, clock=now)
    fetch_block(asked, "latest")
    assert len(places[2].asked) == 1
    fetch_block(asked, "latest")
    assert len(places[2].asked) == 1
    now.now += PENALTY.total_seconds() + 1
    fetch_block(asked, "latest")
    assert len(places[2].asked) == 2
    # It has recovered, and the others have not: no punishment is in the way of the truth.
    places[2].tell, places[0].tell = truth, unavailable
    assert fetch_block(asked, "latest") == chain.head
    assert fetch_block(asked, 3) is not None


def test_a_question_that_answers_itself_goes_on_to_the_next(chain: FakeChain) -> None:
    asked = panel(sources(chain, unavailable, refusing, truth))
    assert asked.any_of(lambda source: (source.call("eth_chainId"), source.name)[1]) == "rpc-2"
    asked = panel(sources(chain, unavailable, refusing))
    with pytest.raises(EndpointUnavailable, match="it is down"):
        asked.any_of(lambda source: source.call("eth_chainId"))


@pytest.mark.parametrize("quorum", [0, 3, -1])
def test_a_quorum_that_can_not_be(chain: FakeChain, quorum: int) -> None:
    with pytest.raises(UsageError):
        panel(sources(chain, truth, truth), quorum)


def test_it_has_a_name(chain: FakeChain) -> None:
    assert panel(sources(chain, truth, truth, truth)).name == "a panel of 3 RPC endpoints"


# --- kept for long --------------------------------------------------------------------------------


def test_one_that_failed_has_to_show_again_which_chain_it_serves(chain: FakeChain) -> None:
    now = Clock()
    places = sources(chain, truth, truth, truth)
    asked = panel(places, clock=now)
    fetch_block(asked, "latest")
    places[1].tell = unavailable
    fetch_block(asked, "latest")
    now.now += PENALTY.total_seconds() + 1
    places[1].tell = LIARS["another chain"][0]
    assert fetch_block(asked, "latest") == chain.head
    assert asked.evidence(proven=False).aside == (f"rpc-1: {Fault.OTHER_CHAIN.value}",)


def test_an_endpoint_that_owes_answers_is_asked_no_more_for_now(
    chain: FakeChain, stalling: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it is needed: threads that wait for it are few."""
    monkeypatch.setattr(asking, "ANSWER", timedelta(seconds=0.05))
    places = sources(chain, truth, stalling)
    asked = panel(places, patience=0.01)
    places[1].tell = truth
    fetch_block(asked, 3)
    places[1].tell = stalling
    before = threading.active_count()
    for _ in range(3 * UNANSWERED):
        with pytest.raises(EndpointUnavailable):
            fetch_block(asked, 3)
    assert threading.active_count() <= before + UNANSWERED
    with pytest.raises(EndpointUnavailable, match="has yet to answer earlier ones"):
        fetch_block(asked, 3)


def test_one_question_has_an_end_whatever_endpoints_do(
    chain: FakeChain, stalling: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A system that resolves no names knows no deadline of ours."""
    monkeypatch.setattr(asking, "ANSWER", timedelta(seconds=0.1))
    asked = panel(sources(chain, truth, stalling), patience=0.01)
    with pytest.raises(EndpointUnavailable, match="rpc-1 does not answer"):
        fetch_block(asked, "latest")
    with pytest.raises(EndpointUnavailable, match="rpc-1 does not answer"):
        fetch_block(asked, 3)


def test_a_chain_that_began_anew_is_held_against_an_endpoint_once(chain: FakeChain) -> None:
    now = Clock()
    for _ in range(70):
        chain.mine()
    places = sources(chain, truth, truth)
    asked = panel(places, clock=now)
    fetch_block(asked, "latest")
    anew = FakeChain()
    for place in places:
        place.chain = anew
    assert fetch_block(asked, "latest") == anew.head
    assert len(asked.evidence(proven=False).aside) == 2
    now.now += PENALTY.total_seconds() + 1
    assert fetch_block(asked, "latest") == anew.head
    assert asked.evidence(proven=False).aside == ()


def test_only_recent_blocks_are_remembered_to_be_agreed_on(chain: FakeChain) -> None:
    asked = panel(sources(chain, truth, truth))
    first = fetch_block(asked, 1)
    assert first is not None
    for _ in range(panels.BLOCKS):
        chain.mine()
        fetch_block(asked, "latest")
    assert asked.agreed_block(first.hash) is None
    assert asked.agreed_block(chain.head.hash) == chain.head
