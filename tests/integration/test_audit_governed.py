"""`dpki audit run` over a domain that a timelock handed to a council, and that watchdogs watch.

Members, watchdogs and an operator, each with a wallet of their own, made the history on a real
chain. Then the one endpoint that is asked withholds or changes an event of theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dpki.chain.connect import connect
from dpki.chain.quorum import Fault
from dpki.chain.rpc import Call, Endpoint
from dpki.chain.snapshot import fetch_snapshot
from dpki.config.admin import StoreConfig
from dpki.council.history import Choice
from dpki.devnet.accounts import development_wallet
from dpki.devnet.anvil import CHAIN_ID, Anvil
from dpki.model import AuthorityId, Hash32
from dpki.transactions.abi import find_event
from dpki.transactions.writer import DomainWriter
from tests.admins import Admin, Result, make_admin_of, runner
from tests.domains import fresh_entries
from tests.integration.test_council import MEMBERS, ORDINARY, Assembly, account, decide, done
from tests.relay import open_relay
from tests.soft_tokens import SoftHsmFolder

DELAY = 60
"""Seconds that the timelock waits."""

DOGS = {5: 2, 6: 1}
"""Watchdogs' weights, by account; what weighs 2 must confirm."""

Log = Mapping[str, Any]


@pytest.fixture(scope="module")
def chamber(
    tmp_path_factory: pytest.TempPathFactory, softhsm: SoftHsmFolder
) -> Iterator[tuple[Path, Anvil, Admin]]:
    directory = tmp_path_factory.mktemp("governed")
    with Anvil(directory) as anvil:
        store = StoreConfig(directories=(directory / "store",))
        yield directory, anvil, make_admin_of(directory / "admin", anvil, store, softhsm.token())


@pytest.fixture
def governed(chamber: tuple[Path, Anvil, Admin], capsys: pytest.CaptureFixture[str]) -> Assembly:
    """The domain with all of its history, which no test adds to."""
    directory, anvil, admin = chamber
    assembly = Assembly(directory, anvil, admin, runner(capsys))
    if admin.config.domain is None:
        ca = hand_over(assembly)
        watch(assembly, ca)
        disagree(assembly)
    return assembly


def hand_over(assembly: Assembly) -> AuthorityId:
    """Register a CA through a timelock, and let a council take the timelock's place."""
    done(assembly.run("deploy", "--trust", "simple", "--timelock", f"{DELAY}s"))
    made = assembly.run("ca", "create", "users", "--kind", "ssh-user")
    waits = assembly.pending(made)
    assembly.pass_time(DELAY)
    done(assembly.run("timelock", "execute", waits))
    council = str(done(assembly.run("council", "init", *MEMBERS))["council"])
    init = ("council", "init", "--council", council)
    for _ in range(2):  # guardian, then the offer
        assembly.pending(assembly.run(*init))
        assembly.pass_time(DELAY)
        result = assembly.run(*init)
    decide(assembly, assembly.pending(result))
    assert done(assembly.run("domain", "show"))["governor"] == {"address": council, "is": "council"}
    return AuthorityId.parse(str(made.document["ca"]))


def watch(assembly: Assembly, ca: AuthorityId) -> None:
    """Have the CA watched, and two batches anchored: one is accepted, and one objected to."""
    named = [
        word
        for number, weight in DOGS.items()
        for word in ("--watchdog", f"{account(number)}:{weight}:0x{number:064x}")
    ]
    decide(
        assembly, assembly.pending(assembly.run("ca", "watch", "users", "--threshold", "2", *named))
    )
    config = assembly.admin.config
    with connect(config.chain.rpc, config.require_domain()) as (reader, domain):

        def by(number: int) -> DomainWriter:
            return DomainWriter(reader, domain, development_wallet(number, chain_id=CHAIN_ID))

        def commitment(first: int) -> Hash32:
            seen = fetch_snapshot(reader, domain, batches=[(ca, first)])
            return seen.commitments[ca, first]

        by(0).issue(ca, 1, fresh_entries(3))
        by(0).issue(ca, 4, fresh_entries(1))
        by(0).request_review(ca, 1, [Hash32(b"\x01" * 32)])
        by(6).confirm_batch(ca, 1, commitment(1))
        by(5).confirm_batch(ca, 1, commitment(1))
        by(6).object_to_batch(ca, 4, commitment(4), "who is that?")


def disagree(assembly: Assembly) -> None:
    """Reject a round, let a member in, suspend and lift: weights move each time."""
    waits = assembly.pending(assembly.run("ca", "lifetime", "users", "8h"))
    done(assembly.run("council", "approve", waits, by=ORDINARY))
    for member in (1, 2):
        done(assembly.run("council", "reject", waits, by=member))
    done(assembly.run("council", "settle", waits))
    joins = f"council add {account(7)} intermediate"
    decide(assembly, assembly.pending(assembly.run("council", "propose", joins)))
    assembly.pending(assembly.run("ca", "suspend", "users"))
    ca = str(done(assembly.run("ca", "show", "users"))["ca"])
    assert done(assembly.run("ca", "suspend", ca, by=1))["state"] == "suspended"
    assembly.pending(assembly.run("ca", "lift", "users"))
    assert done(assembly.run("ca", "lift", ca, by=2))["state"] == "active"


def audit(assembly: Assembly, index: Path, *urls: str, quorum: int = 1) -> Result:
    """Audit the domain from the command line, up to the newest block."""
    endpoints = [word for url in urls for word in ("--rpc", url)]
    domain = ("--domain", str(assembly.admin.config.require_domain()))
    words = ("--to", "latest", "--index", index, "--quorum", str(quorum))
    return assembly.dpki("audit", "run", *domain, *endpoints, *words)


def topic_of(contract: str, name: str) -> str:
    return str(find_event(contract, name).topic)


@contextmanager
def telling(assembly: Assembly, change: Callable[[Log], Iterable[Log]]) -> Iterator[str]:
    """Run an endpoint that tells of something else than each event; yield its URL."""

    def tell(call: Call, answer: object) -> object:
        if call.method != "eth_getLogs":
            return answer
        logs: Any = answer
        return [told for log in logs for told in change(log)]

    with Endpoint(assembly.anvil.url) as chain, open_relay(chain) as relay:
        relay.tell = tell
        yield relay.url


def events(assembly: Assembly, topic: str) -> list[tuple[str, str]]:
    """Return the places in the chain of all events of a kind."""
    with Endpoint(assembly.anvil.url) as chain:
        logs: Any = chain.call("eth_getLogs", [{"fromBlock": "0x0", "topics": [topic]}])
    return [place_of(log) for log in logs]


def place_of(log: Log) -> tuple[str, str]:
    return log["blockNumber"], log["logIndex"]


def test_the_history_is_replayed_to_the_chains_state(governed: Assembly, tmp_path: Path) -> None:
    url, index = governed.anvil.url, tmp_path / "index.sqlite"
    first = audit(governed, index, url)
    told = done(first)
    assert "nothing contradicts anything" in first.err
    counts: Any = told["counts"]
    assert counts["RoundExecuted"] == 5
    assert counts["RoundRejected"] == counts["BatchObjected"] == counts["BatchAccepted"] == 1
    # A CA, the guardian and the offer: what the timelock did.
    assert counts["calls through a contract"] == 3
    (council,) = told["councils"]  # type: ignore[misc]
    assert council["address"] == told["governor"] == told["guardian"]
    assert [member["weight"] for member in council["members"]] == [101, 101, 101, 20, 60]
    # Again from where it stood, from the beginning, and proven: the same.
    other = url.replace("127.0.0.1", "localhost")
    for again in (
        audit(governed, index, url),
        audit(governed, tmp_path / "fresh.sqlite", url),
        audit(governed, tmp_path / "proven.sqlite", url, other, quorum=2),
    ):
        assert done(again)["digest"] == told["digest"]
    assert again.document["evidence"]["level"] == "proven"


GOVERNING = (
    *(("TrustDomain", name) for name in ("GovernorOffered", "GovernorChanged", "GuardianChanged")),
    *(
        ("RootCouncil", name)
        for name in (
            *("CouncilFounded", "MemberAdded", "ParametersChanged", "WeightsChanged"),
            *("RoundOpened", "VoteCast", "RoundApproved", "RoundRejected"),
            *("RoundExecuted", "RoundSettled"),
        )
    ),
    *(
        ("WatchdogRegistry", name)
        for name in ("WatchChanged", "BatchConfirmed", "BatchObjected", "BatchAccepted")
    ),
)


@pytest.mark.parametrize(("contract", "name"), GOVERNING)
def test_no_event_of_who_governs_can_be_withheld(
    governed: Assembly, contract: str, name: str, tmp_path: Path
) -> None:
    places = events(governed, topic_of(contract, name))
    assert places
    for number, place in enumerate(places):

        def withheld(log: Log, place: tuple[str, str] = place) -> list[Log]:
            return [] if place_of(log) == place else [log]

        with telling(governed, withheld) as url:
            found = audit(governed, tmp_path / f"{number}.sqlite", url)
        assert found.status == 3
        evidence = found.document["contradiction"]
        assert evidence["block"] >= int(place[0], 16)
        assert evidence["expected"] != evidence["found"]
        assert evidence["what"] in found.err


def test_a_request_for_review_changes_no_state(governed: Assembly, tmp_path: Path) -> None:
    """It only says where watchdogs find what to look at: without it they wait."""
    topic = topic_of("WatchdogRegistry", "ReviewRequested")
    with telling(governed, lambda log: [] if log["topics"][0] == topic else [log]) as url:
        assert audit(governed, tmp_path / "index.sqlite", url).status == 0


def word(number: int) -> str:
    return f"{number:064x}"


def with_data(log: Log, place: int, number: int) -> Log:
    start = 2 + 64 * place
    return {**log, "data": log["data"][:start] + word(number) + log["data"][start + 64 :]}


def with_topic(log: Log, place: int, topic: str) -> Log:
    return {**log, "topics": [*log["topics"][:place], topic, *log["topics"][place + 1 :]]}


STRANGERS = f"0x{word(int(account(8), 16))}"
OBJECTED = topic_of("WatchdogRegistry", "BatchObjected")
CONFIRMED = topic_of("WatchdogRegistry", "BatchConfirmed")

FORGERIES: dict[str, tuple[str, Callable[[Log], Log], str]] = {
    "all votes are against": (
        topic_of("RootCouncil", "VoteCast"),
        lambda log: with_data(log, 0, Choice.REJECT),
        "a round is approved when its votes suffice",
    ),
    "a stranger votes": (
        topic_of("RootCouncil", "VoteCast"),
        lambda log: with_topic(log, 2, STRANGERS),
        "members of a round's table vote",
    ),
    "a round is executable a year later": (
        topic_of("RootCouncil", "RoundApproved"),
        lambda log: with_data(log, 0, int(log["data"], 16) + 365 * 86_400),
        "a round waits for its delay",
    ),
    "a rejected round was executed": (
        topic_of("RootCouncil", "RoundRejected"),
        lambda log: with_topic(
            {**log, "topics": [*log["topics"], STRANGERS]},
            0,
            topic_of("RootCouncil", "RoundExecuted"),
        ),
        "a round is executed when it is approved, has waited and is not over",
    ),
    "the council guards for somebody else": (
        topic_of("TrustDomain", "GuardianChanged"),
        lambda log: with_topic(log, 2, STRANGERS),
        "the guardian changes",
    ),
    "a watchdog weighs more": (
        CONFIRMED,
        lambda log: with_data(log, 0, 9),
        "a watchdog weighs what the governor gave it",
    ),
    "a stranger confirms": (
        CONFIRMED,
        lambda log: with_topic(log, 3, STRANGERS),
        "a CA's watchdogs confirm and object, nobody else",
    ),
    "who objected confirmed": (
        OBJECTED,
        lambda log: with_topic({**log, "data": f"0x{word(1)}"}, 0, CONFIRMED),
        "the events lead to the state that the chain holds",
    ),
}


@pytest.mark.parametrize("what", FORGERIES)
def test_an_event_of_who_governs_is_forged(governed: Assembly, what: str, tmp_path: Path) -> None:
    topic, forge, because = FORGERIES[what]

    def forged(log: Log) -> list[Log]:
        return [forge(log) if log["topics"][0] == topic else log]

    index = tmp_path / "index.sqlite"
    truth = done(audit(governed, tmp_path / "truth.sqlite", governed.anvil.url))
    with telling(governed, forged) as url:
        found = audit(governed, index, url)
        assert found.status == 3
        assert found.document["contradiction"]["what"] == because
        # One such endpoint of three changes nothing, and is named.
        honest = [f"{governed.anvil.url}/?name={number}" for number in range(2)]
        agreed = audit(governed, tmp_path / "agreed.sqlite", url, *honest, quorum=2)
        assert done(agreed)["digest"] == truth["digest"]
        (aside,) = agreed.document["evidence"]["set_aside"]
        assert aside == f"{url}: {Fault.CONTRADICTS.value}"
    # Once the lie is over, the same auditor finds the truth.
    assert done(audit(governed, index, governed.anvil.url))["digest"] == truth["digest"]
