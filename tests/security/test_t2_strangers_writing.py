"""T2: whoever lacks a role is refused, by name and with exit status 4, and nothing changes.

The contracts' own tests try every function from every role; these go the way that people go,
through the writer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from dpki.chain.rpc import Endpoint
from dpki.chain.snapshot import Snapshot, fetch_snapshot
from dpki.devnet.anvil import Anvil
from dpki.errors import NotAllowed, TransactionForbidden, TransactionReverted
from dpki.model import Address, AuthorityId, AuthorityKind, DeviceState, Hash32
from dpki.transactions.actions import DomainActions
from dpki.transactions.wallet import Wallet
from tests.domains import ISSUER_KEY, Deployed, deploy, fresh_entries

DEVICE = Address(b"\xdd" * 20)
DOCUMENT = Hash32(b"\x05" * 32)
SOON = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)

Act = Callable[[DomainActions[object], AuthorityId, Address], object]

ACTS: dict[str, Act] = {
    "register an authority": lambda do, ca, me: do.register_authority(
        AuthorityKind.SSH_USER,
        b"k" * 44,
        ISSUER_KEY,
        operator=me,
        maximum_lifetime=timedelta(days=1),
    ),
    "issue": lambda do, ca, me: do.issue(ca, 4, fresh_entries(1)),
    "revoke": lambda do, ca, me: do.revoke(ca, [1]),
    "revoke below": lambda do, ca, me: do.revoke_below(ca, 2),
    "suspend": lambda do, ca, me: do.suspend(ca),
    "lift": lambda do, ca, me: do.lift(ca),
    "close": lambda do, ca, me: do.close(ca),
    "retire": lambda do, ca, me: do.retire(ca),
    "take over as operator": lambda do, ca, me: do.set_operator(ca, me),
    "become a revoker": lambda do, ca, me: do.set_revoker(ca, me, allowed=True),
    "raise the lifetime": lambda do, ca, me: do.set_maximum_lifetime(ca, timedelta(days=99)),
    "enrol a device": lambda do, ca, me: do.enroll_device(DEVICE, DOCUMENT, SOON, b"\x01" * 65),
    "retire a device": lambda do, ca, me: do.retire_device(DEVICE),
    "become a registrar": lambda do, ca, me: do.set_registrar(me, allowed=True),
    "become the guardian": lambda do, ca, me: do.set_guardian(me),
    "offer the governor's role": lambda do, ca, me: do.offer_governor(me),
    "take the governor's role": lambda do, ca, me: do.accept_governor(),
}

ALLOWED = {
    "operator": {"issue", "revoke", "revoke below"},
    "guardian": {"suspend"},
    "stranger": set(),
}


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Deployed, AuthorityId]]:
    with (
        Anvil(tmp_path_factory.mktemp("anvil")) as anvil,
        Endpoint(anvil.url) as endpoint,
    ):
        deployed = deploy(anvil, endpoint)
        ca = deployed.register()
        deployed.writer(deployed.operator).issue(ca, 1, fresh_entries(3))
        yield deployed, ca


def roles(deployed: Deployed) -> list[object]:
    """Return what a snapshot does not show: who governs, guards, registers and revokes."""
    domain = deployed.domain
    slots = [(domain.id.address, slot) for slot in range(3)]
    return [
        deployed.endpoint.call("eth_getStorageAt", [str(contract), hex(slot), "latest"])
        for contract, slot in slots
    ]


def state(deployed: Deployed) -> tuple[object, ...]:
    snapshot: Snapshot = fetch_snapshot(deployed.endpoint, deployed.domain, devices=[DEVICE])
    return snapshot.authorities, snapshot.devices, roles(deployed)


FORBIDDEN = [
    pytest.param(who, act, id=f"{who}: {what}")
    for who, allowed in ALLOWED.items()
    for what, act in ACTS.items()
    if what not in allowed
]


@pytest.mark.parametrize(("who", "act"), FORBIDDEN)
def test_is_forbidden_and_changes_nothing(
    victim: tuple[Deployed, AuthorityId], who: str, act: Act
) -> None:
    deployed, ca = victim
    wallet: Wallet = getattr(deployed, who)
    writer = deployed.writer(wallet)
    before = state(deployed)
    for actions in (writer, writer.rehearsal()):
        with pytest.raises(TransactionForbidden) as caught:
            act(actions, ca, wallet.address)
        assert caught.value.exit_status == 4
        assert isinstance(caught.value, NotAllowed)
        assert caught.value.name.endswith("Unauthorized")
        assert caught.value.values == {"caller": str(wallet.address)}
        assert str(wallet.address) in str(caught.value)
        assert caught.value.hint
    assert state(deployed) == before


def test_no_authority_s_operator_reaches_another_authority(
    victim: tuple[Deployed, AuthorityId],
) -> None:
    deployed, ca = victim
    other = deployed.register()
    deployed.writer().set_operator(other, deployed.stranger.address)
    writer = deployed.writer(deployed.stranger)
    for act in (ACTS["issue"], ACTS["revoke"], ACTS["revoke below"]):
        with pytest.raises(TransactionForbidden):
            act(writer, ca, deployed.stranger.address)


def test_a_relayed_update_needs_the_device_s_signature(
    victim: tuple[Deployed, AuthorityId],
) -> None:
    """Anybody may relay; nobody can sign for the device, the governor included."""
    deployed, _ = victim
    with pytest.raises(TransactionReverted, match="DeviceRegistry") as caught:
        deployed.writer().enroll_device(DEVICE, DOCUMENT, SOON, b"\x01" * 65)
    assert caught.value.name == "DeviceRegistryInvalidSignature"
    with pytest.raises(TransactionReverted, match="DeviceRegistryNotActive"):
        deployed.writer(deployed.stranger).update_device(DEVICE, DOCUMENT, SOON, b"\x01" * 65)
    snapshot = fetch_snapshot(deployed.endpoint, deployed.domain, devices=[DEVICE])
    assert snapshot.devices[DEVICE].state is DeviceState.UNREGISTERED


@pytest.mark.parametrize("who", ["operator", "guardian"])
def test_who_has_the_role_is_let(victim: tuple[Deployed, AuthorityId], who: str) -> None:
    """So that the refusals above are about roles, and not about everything."""
    deployed, ca = victim
    rehearsal = deployed.writer(getattr(deployed, who)).rehearsal()
    for what in ALLOWED[who]:
        ACTS[what](rehearsal, ca, deployed.operator.address)
