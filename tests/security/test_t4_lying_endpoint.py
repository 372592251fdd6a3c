"""T4: between the reader and a real chain stands somebody who changes answers on the way.

Each lie here contradicts something that can be counted or hashed, and ends as "could not check" or
"another domain". A lie that agrees with itself (a revocation's bit and the count of them, both) is
believed until several endpoints must agree or prove; docs/threat-model.md says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from dpki.chain import layout
from dpki.chain.domain import fetch_domain
from dpki.chain.events import (
    BATCH_ISSUED,
    CERTIFICATE_ISSUED,
    fetch_batches,
    fetch_issued,
    verify_batch,
)
from dpki.chain.rpc import Call, Endpoint
from dpki.chain.snapshot import Snapshot, fetch_snapshot
from dpki.devnet.anvil import Anvil
from dpki.errors import (
    CouldNotCheck,
    DomainNotShown,
    DpkiError,
    EndpointUnavailable,
    WrongDomain,
)
from dpki.model import Address, AuthorityId, DomainId
from tests.domains import Deployed, deploy, fresh_entries
from tests.lying import lying_endpoint

Change = Callable[[dict[str, Any], Any], Any]
"""From a question and its true result to the one that is passed on."""

DEVICE = Address(b"\xdd" * 20)


@pytest.fixture(scope="module")
def anvil(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Anvil]:
    with Anvil(tmp_path_factory.mktemp("anvil")) as running:
        yield running


@pytest.fixture(scope="module")
def victim(anvil: Anvil) -> Iterator[tuple[Deployed, AuthorityId]]:
    """A domain with one CA, 300 certificates in two batches, three of them revoked."""
    with Endpoint(anvil.url) as endpoint:
        deployed = deploy(anvil, endpoint)
        ca = deployed.register()
        operator = deployed.writer(deployed.operator)
        operator.issue(ca, 1, fresh_entries(1))
        operator.issue(ca, 2, fresh_entries(299, DEVICE))
        operator.revoke(ca, [1, 255, 299])
        yield deployed, ca


@contextmanager
def between(
    anvil: Anvil, change: Change, reorder: Callable[[list[Any]], Any] = list
) -> Iterator[Endpoint]:
    """Yield an endpoint that passes on changed answers."""

    def tell(call: Call, answer: Callable[[], object]) -> object:
        return change({"method": call.method, "params": call.params}, answer())

    with lying_endpoint(anvil.url) as liar, Endpoint(liar.url) as endpoint:
        liar.tell, liar.arrange = tell, reorder
        yield endpoint


def pass_on(question: dict[str, Any], result: Any) -> Any:
    return result


def of(method: str, new: Callable[[Any], Any]) -> Change:
    """Change the answers to one method."""
    return lambda question, result: new(result) if question["method"] == method else result


def slot_of(contract: Address, slot: int, new: Callable[[int], int]) -> Change:
    """Change one storage word."""

    def change(question: dict[str, Any], result: Any) -> Any:
        if question["method"] != "eth_getStorageAt":
            return result
        address, asked, _ = question["params"]
        if (address.lower(), int(asked, 16)) != (str(contract).lower(), slot):
            return result
        return f"0x{new(int(result, 16)):064x}"

    return change


def read(endpoint: Endpoint, deployed: Deployed, ca: AuthorityId) -> Snapshot:
    domain = fetch_domain(endpoint, deployed.domain.id)
    return fetch_snapshot(endpoint, domain, devices=[DEVICE], batches=[(ca, 1), (ca, 2)])


class TestWhichChain:
    def test_another_chain_id(self, anvil: Anvil, victim: Any) -> None:
        with (
            between(anvil, of("eth_chainId", lambda _: "0x46f")) as endpoint,
            pytest.raises(WrongDomain, match="serves chain 1135"),
        ):
            fetch_domain(endpoint, victim[0].domain.id)

    def test_a_chain_that_never_had_the_domain(
        self, victim: Any, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        """Same chain id, same contract, same address even: only the block tells them apart."""
        with Anvil(tmp_path_factory.mktemp("other")) as other, Endpoint(other.url) as endpoint:
            # Two Anvils with one history in the same seconds would be one chain.
            endpoint.call("evm_increaseTime", [3600])
            twin = deploy(other, endpoint)
            assert twin.domain.id.address == victim[0].domain.id.address
            with pytest.raises(DomainNotShown, match="does not show block"):
                fetch_domain(endpoint, victim[0].domain.id)

    def test_no_contract_at_the_address(self, anvil: Anvil, victim: Any) -> None:
        there = victim[0].domain.id
        with (
            between(anvil, pass_on) as endpoint,
            pytest.raises(DomainNotShown, match="does not show that a trust domain"),
        ):
            fetch_domain(endpoint, DomainId(there.chain_id, DEVICE, there.block_hash))

    def test_no_contract_in_the_block(self, anvil: Anvil, victim: Any) -> None:
        there = victim[0].domain.id
        with between(anvil, pass_on) as endpoint:
            later = read(endpoint, *victim).block.hash
            with pytest.raises(DomainNotShown, match="does not show that a trust domain"):
                fetch_domain(endpoint, DomainId(there.chain_id, there.address, later))

    def test_a_block_of_another_hash_under_the_hash_asked_for(
        self, anvil: Anvil, victim: Any
    ) -> None:
        forged = of("eth_getBlockByHash", lambda b: {**b, "hash": "0x" + "66" * 32})
        with between(anvil, forged) as endpoint, pytest.raises(EndpointUnavailable):
            fetch_domain(endpoint, victim[0].domain.id)

    def test_a_domain_block_that_was_thrown_out(self, anvil: Anvil, victim: Any) -> None:
        """Known by hash, and another one stands at its height."""
        forged = of("eth_getBlockByNumber", lambda b: {**b, "hash": "0x" + "66" * 32})
        with between(anvil, forged) as endpoint, pytest.raises(WrongDomain):
            fetch_domain(endpoint, victim[0].domain.id)

    def test_other_registries(self, anvil: Anvil, victim: Any) -> None:
        """An event of another contract in the same block is not the domain's."""
        forged = of("eth_getLogs", lambda logs: [{**log, "address": str(DEVICE)} for log in logs])
        with between(anvil, forged) as endpoint, pytest.raises(EndpointUnavailable):
            fetch_domain(endpoint, victim[0].domain.id)


class TestRevocations:
    """Each lie would un-revoke, invent or forget."""

    @pytest.mark.parametrize(
        ("index", "new"),
        [
            pytest.param(0, lambda word: 0, id="all withheld"),
            pytest.param(0, lambda word: word & ~(1 << 255), id="one withheld"),
            pytest.param(1, lambda word: 0, id="a word withheld"),
            pytest.param(0, lambda word: word | 1 << 7, id="one invented"),
            pytest.param(1, lambda word: word | 1 << 255, id="one invented beyond the issued"),
            pytest.param(1, lambda word: word << 13 & ~(1 << 43) | 1 << 250, id="one moved beyond"),
        ],
    )
    def test_the_bits_and_their_number_must_agree(
        self, anvil: Anvil, victim: Any, index: int, new: Callable[[int], int]
    ) -> None:
        deployed, ca = victim
        lie = slot_of(deployed.domain.certificates, layout.revocation_slot(ca, index), new)
        with between(anvil, lie) as endpoint, pytest.raises(CouldNotCheck) as caught:
            read(endpoint, deployed, ca)
        assert "revocations" in caught.value.message
        assert caught.value.exit_status == 5

    @pytest.mark.parametrize("count", [0, 2, 4])
    def test_the_number_alone(self, anvil: Anvil, victim: Any, count: int) -> None:
        deployed, ca = victim
        lie = slot_of(
            deployed.domain.certificates,
            layout.issuer_slot(ca),
            lambda word: word & ~(0xFFFFFFFF << 192) | count << 192,
        )
        with between(anvil, lie) as endpoint, pytest.raises(CouldNotCheck):
            read(endpoint, deployed, ca)

    @pytest.mark.parametrize("next_serial", [0, 1, 255, 299])
    def test_certificates_denied_to_hide_their_revocation(
        self, anvil: Anvil, victim: Any, next_serial: int
    ) -> None:
        deployed, ca = victim
        lie = slot_of(
            deployed.domain.certificates,
            layout.issuer_slot(ca),
            lambda word: word & ~(0xFFFFFFFF << 160) | next_serial << 160,
        )
        with between(anvil, lie) as endpoint, pytest.raises(CouldNotCheck):
            read(endpoint, deployed, ca)


class TestAuthorities:
    def test_another_key(self, anvil: Anvil, victim: Any) -> None:
        """A CA's id is its key's hash: no other key can take its place."""
        deployed, ca = victim
        slot = layout.public_key_slots(ca, 91)[2]
        lie = slot_of(deployed.domain.authorities, slot, lambda word: word ^ 1 << 200)
        with between(anvil, lie) as endpoint, pytest.raises(CouldNotCheck, match="another hash"):
            read(endpoint, deployed, ca)

    def test_an_invented_authority_has_no_key(self, anvil: Anvil, victim: Any) -> None:
        deployed, ca = victim
        lie = slot_of(
            deployed.domain.authorities, layout.authority_count_slot(), lambda count: count + 1
        )
        with between(anvil, lie) as endpoint, pytest.raises(CouldNotCheck):
            read(endpoint, deployed, ca)

    def test_more_authorities_than_there_are_questions_for(self, anvil: Anvil, victim: Any) -> None:
        deployed, ca = victim
        lie = slot_of(deployed.domain.authorities, layout.authority_count_slot(), lambda _: 2**200)
        with between(anvil, lie) as endpoint, pytest.raises(CouldNotCheck):
            read(endpoint, deployed, ca)

    def test_a_state_that_does_not_exist(self, anvil: Anvil, victim: Any) -> None:
        deployed, ca = victim
        lie = slot_of(
            deployed.domain.certificates, layout.issuer_slot(ca), lambda word: word | 7 << 248
        )
        with between(anvil, lie) as endpoint, pytest.raises(CouldNotCheck):
            read(endpoint, deployed, ca)


class TestBatchAnswers:
    @pytest.mark.parametrize(
        "damage",
        [
            pytest.param(lambda answers: answers[:-1], id="one missing"),
            pytest.param(lambda answers: [], id="all missing"),
            pytest.param(lambda answers: [*answers, answers[-1]], id="one doubled"),
            pytest.param(lambda answers: [answers[0]] * len(answers), id="all the same"),
            pytest.param(
                lambda answers: [*answers[1:], {**answers[0], "id": 0}], id="one of nobody"
            ),
            pytest.param(
                lambda answers: [{**a, "id": str(a["id"])} for a in answers], id="ids as text"
            ),
            pytest.param(lambda answers: [{**a, "id": None} for a in answers], id="no ids"),
            pytest.param(lambda answers: answers[0], id="no list"),
        ],
    )
    def test_a_damaged_batch_answers_nothing(
        self, anvil: Anvil, victim: Any, damage: Callable[[list[Any]], Any]
    ) -> None:
        with between(anvil, pass_on, damage) as endpoint, pytest.raises(EndpointUnavailable):
            read(endpoint, *victim)

    def test_the_order_of_the_answers_means_nothing(self, anvil: Anvil, victim: Any) -> None:
        truth = read(victim[0].endpoint, *victim)
        with between(anvil, pass_on, lambda answers: answers[::-1]) as endpoint:
            assert read(endpoint, *victim) == truth

    def test_swapped_contents_are_found(self, anvil: Anvil, victim: Any) -> None:
        """The right ids over the wrong words."""

        def rotate(answers: list[Any]) -> list[Any]:
            moved = [*answers[1:], answers[0]]
            return [{**m, "id": a["id"]} for a, m in zip(answers, moved, strict=True)]

        with between(anvil, pass_on, rotate) as endpoint, pytest.raises(CouldNotCheck):
            read(endpoint, *victim)


def logs_changed(change: Callable[[list[Any]], Any]) -> Change:
    return of("eth_getLogs", change)


def with_data(log: dict[str, Any], position: int, word: str) -> dict[str, Any]:
    start = 2 + 64 * position
    return {**log, "data": log["data"][:start] + word + log["data"][start + 64 :]}


def only_issued(
    change: Callable[[dict[str, Any]], dict[str, Any]],
) -> Callable[[list[Any]], list[Any]]:
    """Change the last CertificateIssued event."""

    def apply(logs: list[Any]) -> list[Any]:
        changed = list(logs)
        places = [i for i, log in enumerate(logs) if log["topics"][0] == str(CERTIFICATE_ISSUED)]
        changed[places[-1]] = change(logs[places[-1]])
        return changed

    return apply


class TestEvents:
    @pytest.mark.parametrize(
        "forge",
        [
            pytest.param(only_issued(lambda log: with_data(log, 0, "66" * 32)), id="hash"),
            pytest.param(
                only_issued(lambda log: with_data(log, 1, f"{2**33:064x}")), id="notAfter"
            ),
            pytest.param(
                only_issued(
                    lambda log: {
                        **log,
                        "topics": [
                            *log["topics"][:2],
                            "0x" + "00" * 12 + "66" * 20,
                            log["topics"][3],
                        ],
                    }
                ),
                id="device",
            ),
        ],
    )
    def test_a_forged_certificate_is_in_no_batch(
        self, anvil: Anvil, victim: Any, forge: Callable[[list[Any]], Any]
    ) -> None:
        deployed, ca = victim
        with between(anvil, logs_changed(forge)) as endpoint:
            found = fetch_batches(endpoint, deployed.domain, 0, 10_000)
            snapshot = fetch_snapshot(endpoint, deployed.domain, batches=[(ca, 1), (ca, 2)])
            assert verify_batch(found[0], snapshot) is found[0]
            with pytest.raises(CouldNotCheck, match="committed to"):
                verify_batch(found[1], snapshot)

    @pytest.mark.parametrize(
        "damage",
        [
            pytest.param(lambda logs: logs[:100] + logs[101:], id="one missing"),
            pytest.param(lambda logs: logs[:101] + logs[100:], id="one doubled"),
            pytest.param(lambda logs: logs[::-1], id="reordered"),
            pytest.param(lambda logs: logs[:-1], id="the batch missing"),
            pytest.param(
                lambda logs: [log for log in logs if log["topics"][0] == str(BATCH_ISSUED)],
                id="the certificates missing",
            ),
            pytest.param(
                lambda logs: (
                    [{**log, "blockHash": "0x" + "66" * 32} for log in logs[:50]] + logs[50:]
                ),
                id="of two blocks",
            ),
        ],
    )
    def test_incomplete_events_are_no_batch(
        self, anvil: Anvil, victim: Any, damage: Callable[[list[Any]], Any]
    ) -> None:
        deployed, _ = victim
        with between(anvil, logs_changed(damage)) as endpoint, pytest.raises(EndpointUnavailable):
            fetch_batches(endpoint, deployed.domain, 0, 10_000)

    def test_events_of_another_device_are_not_taken_for_one_s_own(
        self, anvil: Anvil, victim: Any
    ) -> None:
        deployed, _ = victim
        honest = deployed.endpoint.call(
            "eth_getLogs",
            [
                {
                    "address": str(deployed.domain.certificates),
                    "topics": [str(CERTIFICATE_ISSUED)],
                    "fromBlock": "0x0",
                    "toBlock": "latest",
                }
            ],
        )
        with (
            between(anvil, logs_changed(lambda _: honest)) as endpoint,
            pytest.raises(EndpointUnavailable, match="not asked for"),
        ):
            fetch_issued(endpoint, deployed.domain, 0, 10_000, device=Address(b"\x01" * 20))

    def test_another_root_with_matching_events(self, anvil: Anvil, victim: Any) -> None:
        """A consistent forgery, root and all, still has no commitment on chain."""
        deployed, ca = victim

        def forge(logs: list[Any]) -> list[Any]:
            changed = only_issued(lambda log: with_data(log, 0, "66" * 32))(logs)
            changed[-1] = with_data(changed[-1], 1, "77" * 32)
            return changed

        with between(anvil, logs_changed(forge)) as endpoint:
            forged = fetch_batches(endpoint, deployed.domain, 0, 10_000)[-1]
            snapshot = fetch_snapshot(endpoint, deployed.domain, batches=[(ca, 2)])
            with pytest.raises(CouldNotCheck):
                verify_batch(forged, snapshot)


def test_after_every_lie_the_truth_is_still_believed(anvil: Anvil, victim: Any) -> None:
    """Nothing of a lie is kept: one endpoint lies once, and then tells the truth."""
    deployed, ca = victim
    lies = iter([True])
    lie = slot_of(deployed.domain.certificates, layout.revocation_slot(ca, 0), lambda _: 0)

    def once(question: dict[str, Any], result: Any) -> Any:
        changed = lie(question, result)
        return changed if changed != result and next(lies, False) else result

    with between(anvil, once) as endpoint:
        with pytest.raises(DpkiError):
            read(endpoint, deployed, ca)
        assert read(endpoint, deployed, ca).authorities[ca].revoked == {1, 255, 299}
