"""What issuing needs of a chain, held on a real one and on the fake that plays it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import count

import pytest

from dpki.chain.domain import Domain
from dpki.errors import TransactionForbidden, TransactionReverted
from dpki.issuance.chain import Chain, LiveChain
from dpki.issuance.run import UNEXPECTED_SERIAL
from dpki.issuance.sealing import batch_tree
from dpki.model import Address, AuthorityId, AuthorityState, DeviceState, Entry, Hash32
from tests.domains import Deployed, open_domain
from tests.fakes.issuing import FakeDomain
from tests.world import Ca

NUMBERS = count(1)
MAXIMUM = timedelta(days=30)


@dataclass
class Subject:
    """A chain under test, with what else can be done to it."""

    chain: Chain
    stranger: Chain
    ca: AuthorityId
    now: datetime
    close: Callable[[], None]

    def entries(self, number: int, **changes: object) -> list[Entry]:
        end = self.now.replace(microsecond=0) + timedelta(hours=1)
        return [
            replace(
                Entry(
                    Hash32(sha256(b"%d" % next(NUMBERS)).digest()),
                    Address.zero(),
                    end,
                    Hash32.zero(),
                ),
                **changes,  # type: ignore[arg-type]
            )
            for _ in range(number)
        ]


def fake() -> Subject:
    chain = FakeDomain.of(ca := Ca.users())
    stranger = FakeDomain.of(ca)
    stranger.account = Address(b"\x66" * 20)

    def close() -> None:
        ca.state = AuthorityState.CLOSED

    return Subject(chain, stranger, ca.id, chain.now, close)


def live(deployed: Deployed) -> Subject:
    ca = deployed.register()

    def chain(wallet: object) -> LiveChain:
        return LiveChain(deployed.endpoint, deployed.domain, deployed.writer(wallet))  # type: ignore[arg-type]

    return Subject(
        chain(deployed.operator),
        chain(deployed.stranger),
        ca,
        datetime.now(UTC),
        lambda: deployed.writer().close(ca) and None,
    )


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    with open_domain(tmp_path_factory.mktemp("anvil")) as deployed:
        yield deployed


@pytest.fixture(params=["fake", "live"])
def subject(request: pytest.FixtureRequest) -> Subject:
    if request.param == "fake":
        return fake()
    return live(request.getfixturevalue("deployed"))


def commitment(domain: Domain, ca: AuthorityId, first: int, entries: Sequence[Entry]) -> Hash32:
    return batch_tree(domain, ca, first, entries).commitment


def test_serials_start_at_one_and_follow_each_other(subject: Subject) -> None:
    for first, number in ((1, 3), (4, 1), (5, 2)):
        entries = subject.entries(number)
        anchored = subject.chain.issue(subject.ca, first, entries)
        found = subject.chain.snapshot(batches=[(subject.ca, first)])
        assert found.block.number >= anchored.block.number
        assert found.authorities[subject.ca].next_serial == first + number
        expected = commitment(subject.chain.domain, subject.ca, first, entries)
        assert found.commitments[subject.ca, first] == expected


def test_a_batch_that_is_not_there_has_no_commitment(subject: Subject) -> None:
    found = subject.chain.snapshot(batches=[(subject.ca, 7)])
    assert found.commitments[subject.ca, 7] == Hash32.zero()


@pytest.mark.parametrize("given", [1, 2, 4])
def test_any_other_serial_is_refused_with_the_expected_one(subject: Subject, given: int) -> None:
    subject.chain.issue(subject.ca, 1, subject.entries(2))
    with pytest.raises(TransactionReverted) as caught:
        subject.chain.issue(subject.ca, given, subject.entries(1))
    assert caught.value.name == UNEXPECTED_SERIAL
    assert (caught.value.values["given"], caught.value.values["expected"]) == (given, 3)
    assert subject.chain.snapshot().authorities[subject.ca].next_serial == 3


def test_who_is_not_the_operator_is_forbidden(subject: Subject) -> None:
    with pytest.raises(TransactionForbidden) as caught:
        subject.stranger.issue(subject.ca, 1, subject.entries(1))
    assert caught.value.name == "CertificateRegistryUnauthorized"
    assert str(subject.stranger.account) in str(caught.value.values["caller"])


def test_the_account_is_the_operator(subject: Subject) -> None:
    found = subject.chain.snapshot().authorities[subject.ca]
    assert found.operator == subject.chain.account
    assert found.maximum_lifetime == MAXIMUM


def test_too_long_a_life_is_refused(subject: Subject) -> None:
    late = subject.now.replace(microsecond=0) + MAXIMUM + timedelta(days=1)
    with pytest.raises(TransactionReverted) as caught:
        subject.chain.issue(subject.ca, 1, subject.entries(1, not_after=late))
    assert caught.value.name == "CertificateRegistryLifetimeExceeded"


def test_a_closed_ca_issues_nothing(subject: Subject) -> None:
    subject.close()
    with pytest.raises(TransactionReverted) as caught:
        subject.chain.issue(subject.ca, 1, subject.entries(1))
    assert caught.value.name == "CertificateRegistryNotActive"


def test_revoking(subject: Subject) -> None:
    subject.chain.issue(subject.ca, 1, subject.entries(3))
    subject.chain.revoke(subject.ca, [1, 3])
    found = subject.chain.snapshot().authorities[subject.ca]
    assert found.revoked == {1, 3}
    assert found.revoked_count == 2


def test_an_unknown_device_is_unregistered(subject: Subject) -> None:
    nobody = Address(b"\x99" * 20)
    assert (
        subject.chain.snapshot(devices=[nobody]).devices[nobody].state is DeviceState.UNREGISTERED
    )
