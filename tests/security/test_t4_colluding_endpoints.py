"""T4: endpoints that lie together, fewer than must agree, and those that keep to the protocol.

As long as k of them are honest, the verdict is the true one, whatever the k-1 others make up: the
strongest of them hold up a whole other chain, with headers, state and proofs that fit each other.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from dpki.certificates.keys import spki_of, ssh_blob
from dpki.certificates.profile import Profile, Subject
from dpki.certificates.ssh import SshCertificate, build_ssh_certificate
from dpki.chain.domain import fetch_domain, registries_of
from dpki.chain.panel import Panel
from dpki.chain.proven import ProvenReader
from dpki.chain.rpc import Call, RpcError
from dpki.chain.snapshot import fetch_snapshot
from dpki.errors import CouldNotCheck, EndpointUnavailable, WrongDomain
from dpki.model import Address, Entry, Hash32
from dpki.verification.check import check
from dpki.verification.verdict import Verdict
from tests.fakes.chain import START, FakeChain
from tests.fakes.proving import ProvingChain, Source, Tell, sources, truth

NOW = START + timedelta(minutes=30)
KEY = Ed25519PrivateKey.generate()


def sign(serial: int) -> SshCertificate:
    return build_ssh_certificate(
        KEY,
        Profile.user(timedelta(hours=8)),
        Subject(ssh_blob(KEY.public_key()), ("ops",), "alice"),
        serial=serial,
        key_id="x",
        valid_after=START,
        valid_before=START + timedelta(hours=2),
    )


CERTIFICATES = [sign(serial) for serial in (1, 2, 3, 4)]


def chain_of(anchored: int, revoked: Sequence[int] = (), more: int = 0) -> ProvingChain:
    """Return a chain with one CA, which anchored some of the certificates and revoked some."""
    chain = ProvingChain()
    ca = chain.register(spki_of(KEY.public_key()))
    chain.issue(
        ca,
        [
            Entry(c.hash, Address.zero(), c.valid_before, Hash32.zero())
            for c in CERTIFICATES[:anchored]
        ],
    )
    for serial in revoked:
        chain.revoke(ca, [serial])
    for _ in range(more):
        chain.mine()
    return chain


TRUE = chain_of(3, [2])
WORLDS = {
    "a chain without the revocation": chain_of(3, more=3),
    "a chain with another revocation and a certificate more": chain_of(4, [1], more=3),
    "a chain without a CA": ProvingChain(),
    "another chain": ProvingChain(chain_id=1),
    "an older state": chain_of(3),
}
"""Chains that begin like the true one, as far as an outsider can make them."""

VERDICTS = [Verdict.VALID, Verdict.REVOKED, Verdict.VALID, Verdict.NOT_ANCHORED]


def reader(tells: list[Tell], quorum: int, chain: FakeChain = TRUE) -> ProvenReader:
    places = sources(chain, *tells)
    return ProvenReader(Panel(places, quorum, 31337, patience=timedelta(seconds=10)))


def verdicts(asked: ProvenReader) -> list[Verdict]:
    domain = fetch_domain(asked, TRUE.domain.id)
    return [check(asked, domain, c, None, NOW).verdict for c in CERTIFICATES]


def test_the_truth() -> None:
    asked = reader([truth] * 3, 2)
    assert verdicts(asked) == VERDICTS
    assert asked.evidence().level == "proven"


# --- one world instead of another -----------------------------------------------------------------


def from_world(other: FakeChain) -> Tell:
    return lambda call, answer: other.call(call.method, call.params)


def only_proofs(other: ProvingChain) -> Tell:
    """Agree on the block and its header, and prove another one's state."""

    def tell(call: Call, answer: Callable[[], object]) -> object:
        if call.method in ("eth_getProof", "eth_getStorageAt"):
            return other.call(call.method, [*call.params[:2], {"blockHash": str(other.head.hash)}])
        return answer()

    return tell


def only_state(other: ProvingChain) -> Tell:
    """Agree on the block, and prove another one's state."""

    def tell(call: Call, answer: Callable[[], object]) -> object:
        if call.method in ("eth_getProof", "eth_getStorageAt"):
            params = [*call.params[:2], {"blockHash": str(other.head.hash)}]
            return other.call(call.method, params)
        if call.method == "eth_getBlockByHash" and call.params[0] == str(TRUE.head.hash):
            return {**other.show(other.head), "hash": call.params[0]}
        return answer()

    return tell


@pytest.mark.parametrize("proofs", [True, False], ids=["proven", "reduced"])
@pytest.mark.parametrize("liars", [[0, 1], [0, 4], [2, 3], [3, 4]])
@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS.keys())
def test_two_of_five_hold_up_another_chain(
    world: ProvingChain, liars: list[int], proofs: bool
) -> None:
    for lie in (from_world(world), only_state(world), only_proofs(world)):
        tells = [lie if place in liars else truth for place in range(5)]
        asked = reader(tells if proofs else [without_proofs(tell) for tell in tells], 3)
        assert verdicts(asked) == VERDICTS
        assert asked.evidence().level == ("proven" if proofs else "reduced")


def without_proofs(tell: Tell) -> Tell:
    def without(call: Call, answer: Callable[[], object]) -> object:
        if call.method == "eth_getProof":
            raise RpcError("rpc", call.method, -32601, "no such method")
        return tell(call, answer)

    return without


def test_the_liars_alone_would_have_been_believed() -> None:
    """The lie is a good one: whoever asks liars only is told a consistent story."""
    world = WORLDS["a chain without the revocation"]
    asked = reader([from_world(world)] * 3, 2)
    assert verdicts(asked)[1] is Verdict.VALID
    assert asked.evidence().level == "proven"


def test_after_the_lie_ends_the_truth_is_accepted() -> None:
    places = [Source(str(n), TRUE, from_world(WORLDS["a chain without a CA"])) for n in range(2)]
    places += [Source("honest", TRUE)]
    asked = ProvenReader(Panel(places, 2, 31337, patience=timedelta(seconds=10)))
    assert fetch_snapshot(asked, TRUE.domain).authorities == {}
    for place in places:
        place.tell = truth
    assert verdicts(asked) == VERDICTS


# --- random lies ----------------------------------------------------------------------------------


def mutated(answer: Any, choose: random.Random) -> object:
    """Return an answer with something in it changed."""
    match answer:
        case dict() if answer:
            key = choose.choice(sorted(answer))
            if choose.random() < 0.15:
                return {name: value for name, value in answer.items() if name != key}
            return {**answer, key: mutated(answer[key], choose)}
        case list() if answer:
            place = choose.randrange(len(answer))
            changed = list(answer)
            match choose.randrange(4):
                case 0:
                    del changed[place]
                case 1:
                    changed.insert(place, changed[-1])
                case 2:
                    changed.reverse()
                case _:
                    changed[place] = mutated(answer[place], choose)
            return changed
        case str() if len(answer) > 2:
            place = choose.randrange(2, len(answer))
            return answer[:place] + choose.choice("0123456789abcdef") + answer[place + 1 :]
        case _:
            return choose.choice([None, 7, "0x", "0x0", [], {}, "0x" + "ff" * 32])


def colluding(seed: int) -> Tell:
    """Lies that are the same at every liar who is asked the same."""
    worlds = list(WORLDS.values())

    def tell(call: Call, answer: Callable[[], object]) -> object:
        choose = random.Random(f"{seed} {call.method} {call.params}")
        match random.Random(seed).randrange(5), choose.randrange(4):
            case 0, _:
                return mutated(answer(), choose)
            case 1, 0:
                raise EndpointUnavailable("it is down")
            case 2, 0:
                raise RpcError("liar", call.method, -32000, "no")
            case 3, _:
                return choose.choice(worlds).call(call.method, call.params)
            case 4, 0:
                return choose.choice([None, [], {}, "0x", 10**400, "0x" + "0" * 64])
            case _:
                return answer()

    return tell


@given(seed=st.integers(0, 2**32), quorum=st.integers(2, 3), proofs=st.booleans(), data=st.data())
@settings(max_examples=60, deadline=None)
def test_fewer_liars_than_must_agree_never_change_a_verdict(
    seed: int, quorum: int, proofs: bool, data: st.DataObject
) -> None:
    lie = colluding(seed)
    tells = data.draw(st.permutations([truth] * quorum + [lie] * (quorum - 1)))
    asked = reader([tell if proofs else without_proofs(tell) for tell in tells], quorum)
    assert verdicts(asked) == VERDICTS
    assert asked.evidence().level == ("proven" if proofs else "reduced")


# --- where the domain is --------------------------------------------------------------------------


def test_no_endpoint_puts_another_registry_in_the_place_of_one() -> None:
    """Even the one that is trusted: the registries' addresses follow from the domain's."""
    theirs = registries_of(Address(b"\x66" * 20))

    def tell(call: Call, answer: Callable[[], object]) -> object:
        told: Any = answer()
        if call.method != "eth_getLogs":
            return told
        data = b"".join(bytes(12) + address for address in theirs)
        return [{**log, "data": f"0x{data.hex()}"} for log in told]

    with pytest.raises(EndpointUnavailable, match="other registries"):
        fetch_domain(Source("liar", TRUE, tell), TRUE.domain.id)


def test_enough_endpoints_of_another_chain_are_said_to_be() -> None:
    other = from_world(WORLDS["another chain"])
    with pytest.raises(WrongDomain, match="serves chain 1"):
        fetch_domain(reader([other, other, truth], 2), TRUE.domain.id)


def test_a_chain_that_forgot_entries_is_no_verdict() -> None:
    """All agree, and what they agree on does not add up: that is no answer either."""

    def withheld(call: Call, answer: Callable[[], object]) -> object:
        return [] if call.method == "eth_getLogs" else answer()

    asked = reader([withheld] * 3, 2)
    with pytest.raises(CouldNotCheck):
        check(asked, TRUE.domain, CERTIFICATES[0], None, NOW)
