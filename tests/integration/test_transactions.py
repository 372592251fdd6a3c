"""Every state change on a real Anvil, by both sets of rules; and what goes wrong there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from dpki.chain.domain import Domain, fetch_domain
from dpki.chain.rpc import Endpoint
from dpki.chain.snapshot import Authority, fetch_snapshot
from dpki.devices.document import make_key_document
from dpki.devices.enrollment import make_enrollment_request
from dpki.devices.keys import generate_device_keys
from dpki.devnet.anvil import Anvil
from dpki.errors import (
    EndpointUnavailable,
    TransactionFailed,
    TransactionForbidden,
    TransactionReverted,
    WrongDomain,
)
from dpki.model import (
    Address,
    AuthorityId,
    AuthorityKind,
    AuthorityState,
    DeviceState,
    DomainId,
    Hash32,
)
from dpki.transactions.deploy import deploy_domain, rehearse_deployment
from dpki.transactions.flight import Rehearsal
from dpki.transactions.layer import ORACLE
from dpki.transactions.wallet import Wallet
from dpki.transactions.writer import DomainWriter
from tests.domains import ISSUER_KEY, LIFETIME, Deployed, deploy, fresh_entries


@pytest.fixture(scope="module", params=[False, True], ids=["prague", "optimism"])
def deployed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployed]:
    with (
        Anvil(tmp_path_factory.mktemp("anvil"), optimism=request.param) as anvil,
        Endpoint(anvil.url) as endpoint,
    ):
        yield deploy(anvil, endpoint)


@pytest.fixture
def ca(deployed: Deployed) -> AuthorityId:
    return deployed.register()


def authority(deployed: Deployed, ca: AuthorityId) -> Authority:
    return fetch_snapshot(deployed.endpoint, deployed.domain).authorities[ca]


class TestDeployment:
    def test_is_one_transaction_and_found_again_by_its_id(self, deployed: Deployed) -> None:
        before = deployed.endpoint.call("eth_blockNumber")
        domain_id, receipt = deploy_domain(
            deployed.endpoint, deployed.stranger, governor=deployed.governor.address
        )
        assert int(str(before), 16) + 1 == receipt.block.number
        assert DomainId.parse(str(domain_id)) == domain_id
        domain = fetch_domain(deployed.endpoint, domain_id)
        assert domain.block == receipt.block
        assert receipt.contract == domain_id.address
        assert fetch_snapshot(deployed.endpoint, domain).authorities == {}

    def test_whoever_pays_gets_no_role(self, deployed: Deployed) -> None:
        domain_id, _ = deploy_domain(
            deployed.endpoint, deployed.stranger, governor=deployed.governor.address
        )
        domain = fetch_domain(deployed.endpoint, domain_id)
        with pytest.raises(TransactionForbidden):
            register(DomainWriter(deployed.endpoint, domain, deployed.stranger))
        register(DomainWriter(deployed.endpoint, domain, deployed.governor))

    def test_two_are_two(self, deployed: Deployed) -> None:
        one, two = (deploy(deployed.node, deployed.endpoint).domain for _ in range(2))
        assert one.id != two.id
        assert len({one.authorities, one.certificates, two.authorities, two.certificates}) == 4

    def test_a_rehearsal_costs_nothing_and_knows_the_most_that_it_would(
        self, deployed: Deployed
    ) -> None:
        before = balance(deployed, deployed.stranger)
        rehearsal = rehearse_deployment(
            deployed.endpoint, deployed.stranger, governor=deployed.governor.address
        )
        assert balance(deployed, deployed.stranger) == before
        _, receipt = deploy_domain(
            deployed.endpoint, deployed.stranger, governor=deployed.governor.address
        )
        assert receipt.gas_used <= rehearsal.gas
        assert before - balance(deployed, deployed.stranger) == receipt.fee <= rehearsal.fee

    def test_without_a_governor(self, deployed: Deployed) -> None:
        with pytest.raises(TransactionReverted, match="TrustDomainZeroGovernor"):
            deploy_domain(deployed.endpoint, deployed.governor, governor=Address.zero())

    def test_on_another_chain_than_meant(self, deployed: Deployed) -> None:
        with pytest.raises(WrongDomain, match="serves chain 31337"):
            deploy_domain(
                deployed.endpoint,
                deployed.governor,
                governor=deployed.governor.address,
                chain_id=1135,
            )


def balance(deployed: Deployed, wallet: Wallet) -> int:
    return int(str(deployed.endpoint.call("eth_getBalance", [str(wallet.address), "latest"])), 16)


def register(writer: DomainWriter) -> None:
    writer.register_authority(
        AuthorityKind.SSH_USER,
        b"k" * 91,
        ISSUER_KEY,
        operator=writer.account,
        maximum_lifetime=LIFETIME,
    )


class TestEffects:
    def test_register(self, deployed: Deployed) -> None:
        key = b"r" * 44
        deployed.writer().register_authority(
            AuthorityKind.TLS,
            key,
            ISSUER_KEY,
            operator=deployed.operator.address,
            maximum_lifetime=timedelta(hours=3),
        )
        found = authority(deployed, AuthorityId(sha256(key).digest()))
        assert (found.kind, found.public_key) == (AuthorityKind.TLS, key)
        assert found.operator == deployed.operator.address
        assert found.maximum_lifetime == timedelta(hours=3)
        with pytest.raises(TransactionReverted, match="AuthorityRegistryAlreadyRegistered"):
            deployed.writer().register_authority(
                AuthorityKind.TLS,
                key,
                ISSUER_KEY,
                operator=deployed.operator.address,
                maximum_lifetime=timedelta(hours=3),
            )

    def test_issue_and_revoke(self, deployed: Deployed, ca: AuthorityId) -> None:
        operator = deployed.writer(deployed.operator)
        operator.issue(ca, 1, fresh_entries(1))
        operator.issue(ca, 2, fresh_entries(5))
        operator.revoke(ca, [6, 3, 3])
        operator.revoke_below(ca, 3)
        found = authority(deployed, ca)
        assert (found.next_serial, found.revoked, found.revoked_below) == (7, {3, 6}, 3)

    def test_states(self, deployed: Deployed, ca: AuthorityId) -> None:
        governor, guardian = deployed.writer(), deployed.writer(deployed.guardian)
        for act, state in (
            (guardian.suspend, AuthorityState.SUSPENDED),
            (governor.lift, AuthorityState.ACTIVE),
            (governor.close, AuthorityState.CLOSED),
            (governor.suspend, AuthorityState.CLOSED_SUSPENDED),
            (governor.lift, AuthorityState.CLOSED),
            (governor.retire, AuthorityState.RETIRED),
        ):
            act(ca)
            assert authority(deployed, ca).state is state

    def test_roles_of_an_authority(self, deployed: Deployed, ca: AuthorityId) -> None:
        stranger = deployed.stranger
        deployed.writer().set_operator(ca, stranger.address)
        deployed.writer().set_maximum_lifetime(ca, timedelta(hours=2))
        found = authority(deployed, ca)
        assert (found.operator, found.maximum_lifetime) == (stranger.address, timedelta(hours=2))
        deployed.writer(stranger).issue(ca, 1, fresh_entries(2))
        deployed.writer().set_revoker(ca, deployed.guardian.address, allowed=True)
        deployed.writer(deployed.guardian).revoke(ca, [1])
        deployed.writer().set_revoker(ca, deployed.guardian.address, allowed=False)
        with pytest.raises(TransactionForbidden):
            deployed.writer(deployed.guardian).revoke(ca, [2])

    def test_roles_of_the_domain(self, deployed: Deployed) -> None:
        own = deploy(deployed.node, deployed.endpoint)
        ca = own.register()
        own.writer().set_guardian(own.stranger.address)
        own.writer(own.stranger).suspend(ca)
        own.writer().offer_governor(own.stranger.address)
        own.writer(own.stranger).accept_governor()
        own.writer(own.stranger).lift(ca)
        with pytest.raises(TransactionForbidden):
            own.writer().suspend(ca)

    def test_a_device_s_life(self, deployed: Deployed) -> None:
        keys, domain = generate_device_keys(), deployed.domain
        deadline = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)

        def record() -> Any:
            return fetch_snapshot(deployed.endpoint, domain, devices=[keys.address]).devices[
                keys.address
            ]

        for sequence in range(3):
            document = make_key_document(keys, sequence=sequence)
            request = make_enrollment_request(
                keys, domain.id, domain.devices, document, deadline, nonce=sequence
            )
            # Enrolled by a registrar; afterwards anybody may relay what the device signed.
            writer = deployed.writer(None if sequence == 0 else deployed.stranger)
            act = writer.enroll_device if sequence == 0 else writer.update_device
            act(keys.address, document.digest, deadline, request.signature)
            assert (record().key_document, record().state, record().nonce) == (
                document.digest,
                DeviceState.ACTIVE,
                sequence + 1,
            )
            with pytest.raises(TransactionReverted):
                act(keys.address, document.digest, deadline, request.signature)
        deployed.writer().retire_device(keys.address)
        assert record().state is DeviceState.RETIRED
        with pytest.raises(TransactionReverted, match="state=retired"):
            deployed.writer().retire_device(keys.address)

    def test_registrars(self, deployed: Deployed) -> None:
        deployed.writer().set_registrar(deployed.stranger.address, allowed=True)
        with pytest.raises(TransactionReverted, match="DeviceRegistryNotActive"):
            deployed.writer(deployed.stranger).retire_device(Address(b"\x01" * 20))
        deployed.writer().set_registrar(deployed.stranger.address, allowed=False)
        with pytest.raises(TransactionForbidden):
            deployed.writer(deployed.stranger).retire_device(Address(b"\x01" * 20))


class TestRefusals:
    def test_a_taken_serial_is_named(self, deployed: Deployed, ca: AuthorityId) -> None:
        operator = deployed.writer(deployed.operator)
        operator.issue(ca, 1, fresh_entries(4))
        with pytest.raises(TransactionReverted) as caught:
            operator.issue(ca, 1, fresh_entries(1))
        assert caught.value.name == "CertificateRegistryUnexpectedSerial"
        assert caught.value.values == {"ca": str(ca), "given": 1, "expected": 5}

    def test_too_long_a_life(self, deployed: Deployed, ca: AuthorityId) -> None:
        deployed.writer().set_maximum_lifetime(ca, timedelta(minutes=1))
        with pytest.raises(
            TransactionReverted, match="CertificateRegistryLifetimeExceeded"
        ) as caught:
            deployed.writer(deployed.operator).issue(ca, 1, fresh_entries(1))
        assert caught.value.values["serial"] == 1

    def test_an_authority_that_is_not_active(self, deployed: Deployed, ca: AuthorityId) -> None:
        deployed.writer().suspend(ca)
        with pytest.raises(TransactionReverted, match="state=suspended"):
            deployed.writer(deployed.operator).issue(ca, 1, fresh_entries(1))

    def test_an_account_without_money(self, deployed: Deployed, ca: AuthorityId) -> None:
        poor = Wallet.create()
        deployed.writer().set_operator(ca, poor.address)
        with pytest.raises(TransactionFailed) as caught:
            deployed.writer(poor).issue(ca, 1, fresh_entries(1))
        assert f"account {poor.address} has 0 ETH and needs up to 0." in caught.value.message
        assert authority(deployed, ca).next_serial == 1

    def test_another_chain(self, deployed: Deployed) -> None:
        there = deployed.domain
        elsewhere = Domain(
            DomainId(1135, there.id.address, there.id.block_hash),
            there.authorities,
            there.certificates,
            there.devices,
            there.watchdogs,
            there.block,
        )
        with pytest.raises(WrongDomain, match="serves chain 31337"):
            DomainWriter(deployed.endpoint, elsewhere, deployed.governor)

    def test_no_contract(self, deployed: Deployed) -> None:
        there = deployed.domain
        nothing = Domain(there.id, *[Address(b"\x01" * 20)] * 4, there.block)
        with pytest.raises(WrongDomain, match="no contract at"):
            DomainWriter(deployed.endpoint, nothing, deployed.governor).suspend(
                AuthorityId(b"\x01" * 32)
            )

    def test_a_chain_that_is_gone(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        with Anvil(tmp_path_factory.mktemp("gone")) as anvil, Endpoint(anvil.url) as endpoint:
            deployed = deploy(anvil, endpoint)
            ca = deployed.register()
            writer = deployed.writer()
            anvil.stop()
            with pytest.raises(EndpointUnavailable) as caught:
                writer.suspend(ca)
            assert caught.value.exit_status == 5


class Behind:
    """An endpoint whose estimates know nothing of transactions that wait; Anvil's do."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.name = endpoint.name
        self.batch = endpoint.batch
        self._endpoint = endpoint

    def call(self, method: str, params: Sequence[object] = ()) -> object:
        if method == "eth_estimateGas":
            params = [*params, "latest"]
        return self._endpoint.call(method, params)


class TestBlocks:
    def test_waits_for_a_block(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        with (
            Anvil(tmp_path_factory.mktemp("slow"), block_time=1) as anvil,
            Endpoint(anvil.url) as endpoint,
        ):
            deployed = deploy(anvil, endpoint)
            writer = DomainWriter(endpoint, deployed.domain, deployed.governor, confirmations=2)
            receipt = writer.set_guardian(deployed.stranger.address)
            head = int(str(endpoint.call("eth_blockNumber")), 16)
            assert head >= receipt.block.number + 1

    def test_gives_up_when_none_comes(self, deployed: Deployed) -> None:
        deployed.endpoint.call("evm_setAutomine", [False])
        try:
            impatient = DomainWriter(
                deployed.endpoint,
                deployed.domain,
                deployed.governor,
                wait=timedelta(milliseconds=100),
            )
            with pytest.raises(TransactionFailed, match="no confirmed block") as caught:
                impatient.set_guardian(deployed.guardian.address)
            assert "dpki wallet pending" in caught.value.hint
        finally:
            deployed.endpoint.call("evm_mine")
            deployed.endpoint.call("evm_setAutomine", [True])

    def test_the_loser_of_a_race_learns_why(
        self,
        deployed: Deployed,
        ca: AuthorityId,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Two machines anchor under the same serial; both simulations pass, one block holds both.

        What makes processes of one user take turns is in a folder that machines don't share.
        """
        outcomes: list[object] = []

        def issue(machine: str) -> None:
            with Endpoint(deployed.node.url) as endpoint:
                monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / machine))
                writer = DomainWriter(Behind(endpoint), deployed.domain, deployed.operator)
                try:
                    outcomes.append(writer.issue(ca, 1, fresh_entries(1)))
                except TransactionReverted as error:
                    outcomes.append(error)

        deployed.endpoint.call("evm_setAutomine", [False])
        try:
            threads = [Thread(target=issue, args=[machine]) for machine in ("one", "other")]
            for number, thread in enumerate(threads, 1):
                thread.start()
                until(lambda number=number: pending(deployed) == number)
            deployed.endpoint.call("evm_mine")
            for thread in threads:
                thread.join()
        finally:
            deployed.endpoint.call("evm_setAutomine", [True])
        (lost,) = [o for o in outcomes if isinstance(o, TransactionReverted)]
        assert lost.name == "CertificateRegistryUnexpectedSerial"
        assert (lost.values["given"], lost.values["expected"]) == (1, 2)
        assert authority(deployed, ca).next_serial == 2


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end, "it never became true"
        time.sleep(0.01)


def pending(deployed: Deployed) -> int:
    """Return how many transactions wait for a block."""
    status = deployed.endpoint.call("txpool_status")
    assert isinstance(status, dict)
    return int(status["pending"], 16)


def test_the_receipt_is_the_chain_s(deployed: Deployed, ca: AuthorityId) -> None:
    before = balance(deployed, deployed.operator)
    receipt = deployed.writer(deployed.operator).issue(ca, 1, fresh_entries(1))
    assert before - balance(deployed, deployed.operator) == receipt.fee
    assert receipt.gas_used <= 60_000
    block = deployed.endpoint.call("eth_getBlockByNumber", [hex(receipt.block.number), False])
    assert isinstance(block, dict)
    assert Hash32.parse(block["hash"]) == receipt.block.hash
    assert str(receipt.transaction_hash) in block["transactions"]


class TestTheLayerBelow:
    """OP-stack fees, with an oracle of known answers: 10 gwei a byte of what it is asked for."""

    # CALLDATALOAD(4) * 10 gwei, returned.
    CODE = f"0x60043564{10**10:010x}025f5260205ff3"

    @pytest.fixture
    def rollup(self, deployed: Deployed) -> Iterator[Deployed]:
        deployed.endpoint.call("anvil_setCode", [str(ORACLE), self.CODE])
        yield deployed
        deployed.endpoint.call("anvil_setCode", [str(ORACLE), "0x"])

    def test_counts_in_what_a_transaction_may_cost(self, rollup: Deployed, ca: AuthorityId) -> None:
        # The same ones each time: a byte that is zero costs less.
        entries = fresh_entries(100)

        def rehearse(count: int) -> Rehearsal:
            writer = rollup.writer(rollup.operator)
            return writer.rehearsal().issue(ca, 1, entries[:count])

        one, hundred = rehearse(1), rehearse(100)
        # 96 bytes an entry, and the transaction's fields round them.
        assert hundred.layer_fee - one.layer_fee == pytest.approx(
            99 * 96 * 10**10 * 5 / 4, rel=0.01
        )
        assert 300 * 10**10 < one.layer_fee < 500 * 10**10
        assert one.fee > one.layer_fee
        rollup.endpoint.call("anvil_setCode", [str(ORACLE), "0x"])
        without = rehearse(1)
        assert without.layer_fee == 0
        assert (without.gas, without.fee) == (one.gas, one.fee - one.layer_fee)

    def test_counts_in_the_limit(self, rollup: Deployed, ca: AuthorityId) -> None:
        cost = rollup.writer(rollup.operator).rehearsal().issue(ca, 1, fresh_entries(1))
        writer = DomainWriter(
            rollup.endpoint,
            rollup.domain,
            rollup.operator,
            maximum_fee=cost.fee - cost.layer_fee // 2,
        )
        with pytest.raises(TransactionFailed, match="and the limit is"):
            writer.issue(ca, 1, fresh_entries(1))
        assert authority(rollup, ca).next_serial == 1
