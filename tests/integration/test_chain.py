"""Slots, trees and events against the contracts themselves, on a real Anvil."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from web3 import Web3

from dpki.chain import layout, merkle
from dpki.chain.events import Batch, batch_path, batch_tree, fetch_batches
from dpki.chain.rpc import Endpoint
from dpki.chain.snapshot import fetch_snapshot
from dpki.devnet.anvil import Anvil
from dpki.model import Address, AuthorityId, AuthorityKind, Entry, Hash32, Path
from dpki.transactions.artifacts import load_artifact
from tests.domains import Deployed, deploy, fresh_entries

DEVICE = Address(b"\xdd" * 20)
NOT_ANCHORED, VALID = 0, 1


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    with Anvil(tmp_path_factory.mktemp("anvil")) as anvil, Endpoint(anvil.url) as endpoint:
        yield deploy(anvil, endpoint)


def contract(deployed: Deployed, name: str, address: Address) -> Any:
    """Return web3's own view: a second opinion."""
    web3 = Web3(Web3.HTTPProvider(deployed.node.url))
    return web3.eth.contract(address=str(address), abi=load_artifact(name).abi).functions


def certificates(deployed: Deployed) -> Any:
    return contract(deployed, "CertificateRegistry", deployed.domain.certificates)


def as_tuple(entry: Entry) -> tuple[bytes, int, bytes]:
    return (
        bytes(entry.certificate_hash),
        int.from_bytes(merkle.subject_word(entry)),
        bytes(entry.locator),
    )


class TestAgainstTheViews:
    @pytest.mark.parametrize("length", [1, 31, 32, 44, 91, 1024])
    def test_an_authority(self, deployed: Deployed, length: int) -> None:
        ca = deployed.register(AuthorityKind.SSH_HOST, length)
        operator = deployed.writer(deployed.operator)
        operator.issue(ca, 1, fresh_entries(270))
        operator.revoke(ca, [2, 255, 256, 270])
        operator.revoke_below(ca, 2)
        deployed.writer().close(ca)

        found = fetch_snapshot(deployed.endpoint, deployed.domain).authorities[ca]
        views = contract(deployed, "AuthorityRegistry", deployed.domain.authorities)
        kind, registered_at, issuer_key, parent, public_key = views.authority(bytes(ca)).call()
        assert (found.kind, found.issuer_key, found.public_key) == (kind, issuer_key, public_key)
        assert (found.parent, parent) == (None, bytes(32))
        assert found.registered_at.timestamp() == registered_at

        view = certificates(deployed)
        operator_, next_serial, revoked_count, lifetime, state = view.issuer(bytes(ca)).call()
        assert str(found.operator) == operator_
        assert (found.next_serial, found.revoked_count, found.state) == (
            next_serial,
            revoked_count,
            state,
        )
        assert found.maximum_lifetime.total_seconds() == 60 * lifetime
        assert found.revoked_below == view.revokedBelow(bytes(ca)).call() == 2
        for serial in (1, 2, 3, 254, 255, 256, 257, 269, 270):
            assert found.is_revoked(serial) == view.isRevoked(bytes(ca), serial).call()
        for index in (0, 1):
            word = view.revocationWord(bytes(ca), index).call()
            assert {s for s in found.revoked if s >> 8 == index} == set(
                layout.decode_revocations(index, word.to_bytes(32))
            )

    def test_the_list_of_authorities(self, deployed: Deployed) -> None:
        deployed.register()
        views = contract(deployed, "AuthorityRegistry", deployed.domain.authorities)
        found = list(fetch_snapshot(deployed.endpoint, deployed.domain).authorities)
        assert len(found) == views.count().call()
        assert found == [views.authorityAt(i).call() for i in range(len(found))]

    def test_a_child_of_another(self, deployed: Deployed) -> None:
        parent = deployed.register()
        deployed.writer().register_authority(
            AuthorityKind.SSH_USER,
            b"child" * 9,
            Hash32(b"\x01" * 32),
            operator=deployed.operator.address,
            maximum_lifetime=fetch_snapshot(deployed.endpoint, deployed.domain)
            .authorities[parent]
            .maximum_lifetime,
            parent=parent,
        )
        *_, child = fetch_snapshot(deployed.endpoint, deployed.domain).authorities.values()
        assert child.parent == parent

    def test_an_unknown_device(self, deployed: Deployed) -> None:
        record = fetch_snapshot(deployed.endpoint, deployed.domain, devices=[DEVICE]).devices[
            DEVICE
        ]
        view = contract(deployed, "DeviceRegistry", deployed.domain.devices)
        assert (record.key_document, record.state, record.nonce) == tuple(
            view.device(str(DEVICE)).call()
        )


class TestTrees:
    """contracts/MerkleTree.sol and dpki/chain/merkle.py are two implementations of one format."""

    @pytest.fixture(scope="class")
    def ca(self, deployed: Deployed) -> AuthorityId:
        return deployed.register()

    @pytest.fixture(scope="class")
    def batches(self, deployed: Deployed) -> tuple[Batch, ...]:
        """Small ones of every shape, of a CA of their own."""
        ca, first = deployed.register(), 1
        for count in (1, 2, 3, 5, 6, 7, 9, 12, 17):
            deployed.writer(deployed.operator).issue(ca, first, fresh_entries(count, DEVICE))
            first += count
        return fetch_batches(deployed.endpoint, deployed.domain, 0, 10_000, ca=ca)

    @pytest.mark.parametrize("count", [*range(1, 18), 31, 32, 33, 100, 255, 1000])
    def test_roots_and_commitments_of_every_shape(
        self, deployed: Deployed, ca: AuthorityId, count: int
    ) -> None:
        first = fetch_snapshot(deployed.endpoint, deployed.domain).authorities[ca].next_serial
        receipt = deployed.writer(deployed.operator).issue(ca, first, fresh_entries(count, DEVICE))
        (batch,) = fetch_batches(
            deployed.endpoint, deployed.domain, receipt.block.number, receipt.block.number
        )
        tree = batch_tree(batch, deployed.domain)
        view = certificates(deployed)
        assert tree.root == batch.root
        assert tree.commitment == view.commitment(bytes(ca), first).call()
        snapshot = fetch_snapshot(deployed.endpoint, deployed.domain, batches=[(ca, first)])
        assert snapshot.commitments[ca, first] == tree.commitment
        for index in {0, count // 3, count // 2, count - 1}:
            path = batch_path(batch, deployed.domain, first + index)
            assert verdict(view, ca, first + index, batch.entries[index], path) == VALID

    @settings(
        deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(data=st.data())
    def test_both_judge_altered_paths_alike(
        self, deployed: Deployed, batches: tuple[Batch, ...], data: st.DataObject
    ) -> None:
        batch = data.draw(st.sampled_from(batches))
        serial = data.draw(st.integers(batch.first_serial, batch.last_serial))
        path = batch_path(batch, deployed.domain, serial)
        siblings = list(path.siblings)
        for _ in range(data.draw(st.integers(0, 2))):
            change = data.draw(st.sampled_from(["drop", "add", "flip"]))
            place = data.draw(st.integers(0, len(siblings)))
            if change == "add":
                siblings.insert(place, Hash32(b"\x01" * 32))
            elif siblings and change == "drop":
                siblings.pop(place - 1)
            elif siblings:
                siblings[place - 1] = Hash32(bytes(x ^ 1 for x in siblings[place - 1]))
        count = data.draw(st.sampled_from([path.count, 1, path.count + 1, max(1, path.count - 1)]))
        altered = Path(path.first_serial, min(count, 1000), tuple(siblings))
        asked = data.draw(st.sampled_from([serial, serial + 1, batch.first_serial]))
        entry = batch.entry(serial)
        tree = batch_tree(batch, deployed.domain)
        expected = accepts(deployed, batch.ca, asked, entry, altered, tree)
        got = verdict(certificates(deployed), batch.ca, asked, entry, altered)
        assert (got != NOT_ANCHORED) == expected


def accepts(
    deployed: Deployed, ca: AuthorityId, serial: int, entry: Entry, path: Path, tree: merkle.Tree
) -> bool:
    context = merkle.leaf_context(deployed.domain.id.chain_id, deployed.domain.certificates, ca)
    try:
        root = merkle.verify_path(merkle.leaf(context, serial, entry), serial, path)
    except Exception:  # noqa: BLE001 - any refusal is one
        return False
    return merkle.commitment(root, path.count) == tree.commitment


def verdict(view: Any, ca: AuthorityId, serial: int, entry: Entry, path: Path) -> int:
    result: int = view.verify(
        bytes(ca),
        path.first_serial,
        path.count,
        serial,
        as_tuple(entry),
        [bytes(sibling) for sibling in path.siblings],
    ).call()
    return result
