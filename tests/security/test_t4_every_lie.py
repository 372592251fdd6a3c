"""T4: every lie of `tests.lying`, to `dpki verify` and `dpki agent once`, by one, some and all.

The device knew the chain when serials 1 and 2 of the user CA were good. Since then 2 was revoked,
3 was anchored and the device got another host certificate. What comes of each lie stands in the
table: where the liar is the one endpoint that is trusted, and where there are liars only. Where it
is one of three of which two must agree, the truth comes out, proven, and the liar is named, if it
was asked what it lies about. When the lie ends, the same device accepts the truth. All of it holds
whichever node the endpoints stand before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from dpki.chain.quorum import Fault
from dpki.chain.rpc import Endpoint
from dpki.devnet.anvil import Anvil
from tests.geth import Geth
from tests.lied_to import State, Victim, lying_endpoints, nobody_known, open_victim, patience_with
from tests.lying import LIES


def state(login: set[int], revoked: set[int], host: int | None = 2, authorities: int = 1) -> State:
    return State(frozenset(login), frozenset(revoked), host, authorities)


BEFORE = state({1, 2}, set(), host=1)
AFTER = state({1, 3}, {2})


@dataclass(frozen=True)
class Told:
    """What comes of what was told.

    Attributes:
        revoked: What `dpki verify` says of the revoked certificate.
        good: What it says of the one that was anchored last.
        status: The agent's exit status: other than 0, the delay is noticed.
        state: What sshd goes by then.
    """

    revoked: str
    good: str
    status: int
    state: State


UNKNOWN = "could not check"
TRUTH = Told("revoked", "valid", 0, AFTER)
NOTHING = Told(UNKNOWN, UNKNOWN, 5, BEFORE)
# What is to be removed is, what is to be added waits.
WAITING = Told(UNKNOWN, UNKNOWN, 5, state({1}, {2}, host=1))
# Users' certificates add up; the blocks in which to look for one alone are not there.
BLOCKLESS = Told(UNKNOWN, UNKNOWN, 5, state({1, 3}, {2}, host=1))
# Believed, because it adds up: see "Not true yet" in docs/threat-model.md.
EARLIER = Told("valid", "not anchored", 0, BEFORE)
# Several are asked for the words of the one CA that signed, not for all of the domain.
UNLISTED = Told("revoked", "valid", 5, BEFORE)
UNREVOKED = Told("valid", "valid", 0, state({1, 2, 3}, set()))


@dataclass(frozen=True)
class Row:
    """What comes of a lie.

    Attributes:
        named: For what one liar of three is named; None where it isn't.
        trusted: Where the liar is the only endpoint.
        alone: Where three tell the same lie; the same as `trusted`, if not said.
    """

    named: Fault | None
    trusted: Told
    alone: Told | None = None


FORGED, SILENT, LATE = Fault.FORGED, Fault.SILENT, Fault.SLOW
CONTRADICTS, FORKED, AHEAD, BEHIND = (
    Fault.CONTRADICTS,
    Fault.FORKED,
    Fault.AHEAD,
    Fault.BEHIND,
)

TABLE = {
    # A word by itself does not add up: revocations are counted, and so are CAs.
    "a revocation is withheld": Row(FORGED, NOTHING, Told("valid", "valid", 5, BEFORE)),
    "a revocation is withheld, and its count": Row(FORGED, UNREVOKED),
    "a revocation is invented": Row(FORGED, NOTHING),
    "all words are zero": Row(FORGED, NOTHING),
    # Without a memory it is believed; a device knows better.
    "there is no CA": Row(FORGED, Told("unknown", "unknown", 5, BEFORE), UNLISTED),
    "there are CAs without end": Row(FORGED, NOTHING, UNLISTED),
    # Nobody asks the one that is trusted for proofs; where none hold, words are agreed on.
    "an account's proof is cut short": Row(FORGED, TRUTH),
    "words' proofs are cut short": Row(FORGED, TRUTH),
    "proofs are missing": Row(FORGED, TRUTH),
    "proofs are of another contract": Row(FORGED, TRUTH),
    "proofs are of another slot": Row(FORGED, TRUTH),
    "proofs are of another block": Row(FORGED, TRUTH),
    "fewer words are proven": Row(FORGED, TRUTH),
    "proofs are refused": Row(None, TRUTH),
    # A header counts when it hashes into the agreed hash; another one's is taken.
    "a header's state is another": Row(None, TRUTH),
    "a header's hash is another": Row(CONTRADICTS, NOTHING),
    "a header and its state are an earlier block's": Row(FORGED, EARLIER),
    # An old head is a delay: it shows in the block's time, and after `maximum_age` in the index.
    "the head is old": Row(CONTRADICTS, EARLIER),
    "the head is on a fork": Row(FORKED, TRUTH),
    "the head and all that is final are on a fork": Row(FORKED, TRUTH),
    "the head is far ahead": Row(AHEAD, BLOCKLESS),
    "the head and all that is final are far ahead": Row(AHEAD, BLOCKLESS),
    "the head is beyond all reach": Row(AHEAD, WAITING),
    "the head's number is absurd": Row(SILENT, NOTHING),
    # A time of tomorrow ends what ends today, for as long as it is told.
    "the head is of tomorrow": Row(
        AHEAD, Told("revoked", "expired", 5, state(set(), {2}, host=None))
    ),
    "the head is of last year": Row(BEHIND, Told("revoked", "valid", 5, BEFORE)),
    "nothing of late is final": Row(None, TRUTH),
    "the head is of no year": Row(SILENT, NOTHING),
    "there are no blocks": Row(CONTRADICTS, NOTHING),
    "the chain is another": Row(CONTRADICTS, Told("WrongDomain", "WrongDomain", 3, BEFORE)),
    # Events are leads: they count when they recompute to what the chain committed to.
    "events are withheld": Row(CONTRADICTS, WAITING),
    "a batch is invented": Row(CONTRADICTS, WAITING),
    "certificates in events are others": Row(
        CONTRADICTS, Told("not anchored", "valid", 5, WAITING.state)
    ),
    "events are told twice": Row(CONTRADICTS, WAITING),
    # The device has one more of its own: one event is the same backwards.
    "events are told backwards": Row(
        CONTRADICTS, Told(UNKNOWN, UNKNOWN, 5, state({1}, {2}, host=2))
    ),
    "events are another contract's": Row(CONTRADICTS, WAITING),
    "the domain was never made": Row(CONTRADICTS, NOTHING),
    "everything is refused": Row(SILENT, NOTHING),
    "everything is null": Row(SILENT, NOTHING),
    "everything is a number without end": Row(SILENT, NOTHING),
    # Proofs are asked for one by one: batches are what one trusted endpoint is asked.
    "answers come twice": Row(None, NOTHING, TRUTH),
    "answers come in another order": Row(None, TRUTH),
    "an answer is missing": Row(None, NOTHING, TRUTH),
    "answers are to each other's questions": Row(None, NOTHING, TRUTH),
    "answers are to nobody's questions": Row(None, NOTHING, TRUTH),
    "a batch is no list": Row(None, NOTHING, TRUTH),
    # How it is sent.
    "an answer is of 100 MB": Row(SILENT, NOTHING),
    "an answer never ends": Row(SILENT, NOTHING),
    "an answer comes by a byte a second": Row(LATE, NOTHING),
    "nothing is answered": Row(LATE, NOTHING),
    "all answers are 429": Row(SILENT, NOTHING),
    "all answers are 500": Row(SILENT, NOTHING),
    "answers are nested by the thousand": Row(SILENT, NOTHING),
    "answers are no JSON": Row(SILENT, NOTHING),
}

UNPROVEN = {name for name in LIES if "proof" in name or "proven" in name or "header" in name}


@pytest.fixture(scope="module")
def anvil(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    folder = tmp_path_factory.mktemp("anvil")
    with Anvil(folder) as node, Endpoint(node.url) as endpoint:

        def finalize() -> None:
            endpoint.call("anvil_mine", [hex(100)])

        with open_victim(node.url, folder, finalize) as opened:
            yield opened


@pytest.fixture(scope="module")
def go_ethereum(geth: Geth, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    folder = tmp_path_factory.mktemp("go-ethereum")
    with open_victim(geth.url, folder, geth.finalize) as opened:
        yield opened


@pytest.fixture(scope="module", params=["anvil", "go_ethereum"])
def victim(request: pytest.FixtureRequest) -> Victim:
    """Whom the liars tell of a chain of one node, and of another that is written independently."""
    found: Victim = request.getfixturevalue(request.param)
    return found


def test_the_table_is_whole(victim: Victim) -> None:
    assert set(TABLE) == set(LIES)
    assert (victim.before, victim.after) == (BEFORE, AFTER)


def lie_to(
    victim: Victim, lie: str, liars: int, honest: int, quorum: int | None
) -> tuple[Told, str, list[str]]:
    """Let `liars` tell a lie, and then the truth.

    Returns:
        What came of the lie, what stood behind it, and for what liars were named.
    """
    with nobody_known(victim.world.directory), lying_endpoints(victim, lie, liars) as endpoints:
        rpc = [endpoint.url for endpoint in endpoints]
        rpc += [f"{victim.node}/?name={number}" for number in range(honest)]
        device = victim.fresh_device(rpc, quorum)
        with patience_with(lie, rpc[:liars], honest):
            said = [victim.verify(serial, rpc, quorum) for serial in (2, 3)]
            status, evidence = victim.run_agent(device)
        told = Told(said[0], said[1], status, victim.state(device))
        for endpoint in endpoints:
            endpoint.stop_lying()
        assert victim.run_agent(device)[0] == 0
        assert victim.state(device) == AFTER
    if evidence is None:
        return told, "", []
    named = [entry.partition(": ") for entry in evidence.aside]
    return told, evidence.level, [fault for name, _, fault in named if name == rpc[0]]


@pytest.mark.parametrize("lie", TABLE)
def test_one_of_three(victim: Victim, lie: str) -> None:
    told, level, aside = lie_to(victim, lie, 1, 2, 2)
    named = TABLE[lie].named
    assert (told, level) == (TRUTH, "proven")
    assert aside == ([] if named is None else [named.value])


@pytest.mark.parametrize("lie", TABLE)
def test_the_one_that_is_trusted(victim: Victim, lie: str) -> None:
    told, level, _ = lie_to(victim, lie, 1, 0, None)
    assert told == TABLE[lie].trusted
    assert level in ("trusted", "")


@pytest.mark.parametrize("lie", TABLE)
def test_liars_only(victim: Victim, lie: str) -> None:
    told, level, _ = lie_to(victim, lie, 3, 0, 2)
    row = TABLE[lie]
    assert told == (row.alone or row.trusted)
    assert not (lie in UNPROVEN and level == "proven")
