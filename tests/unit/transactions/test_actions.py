"""That each action calls the function of its name, on the right contract, with the right words."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from eth_abi.abi import decode
from eth_hash.auto import keccak

from dpki.chain.layout import Watchdog
from dpki.errors import UsageError
from dpki.model import Address, AuthorityId, AuthorityKind, Entry, Hash32, from_timestamp
from dpki.transactions.actions import DomainActions, SignedDocument
from dpki.transactions.confirmations import Confirmation
from tests.fakes.chain import FakeChain, entries

DOMAIN = FakeChain().domain
CA = AuthorityId(b"\x07" * 32)
WHO = Address(b"\x01" * 20)
DIGEST = Hash32(b"\x05" * 32)


class Recorder(DomainActions[tuple[Address, bytes]]):
    def _perform(self, contract: Address, data: bytes) -> tuple[Address, bytes]:
        return contract, data


ACTIONS = Recorder(DOMAIN)


def expect(done: tuple[Address, bytes], contract: Address, signature: str, *values: object) -> None:
    assert done[0] == contract
    assert done[1][:4] == keccak(signature.encode())[:4]
    kinds = signature[signature.index("(") + 1 : -1]
    # Commas within a tuple separate nothing.
    split = [k for k in re.split(r",(?![^(]*\))", kinds) if k]
    assert decode(split, done[1][4:]) == values


def test_authorities() -> None:
    expect(
        ACTIONS.register_authority(
            AuthorityKind.SSH_HOST,
            b"key",
            DIGEST,
            operator=WHO,
            maximum_lifetime=timedelta(days=1),
            parent=CA,
        ),
        DOMAIN.authorities,
        "register(uint8,bytes,bytes32,bytes32,address,uint24)",
        2,
        b"key",
        DIGEST,
        CA,
        str(WHO).lower(),
        1440,
    )
    registry = DOMAIN.certificates
    for action in ("suspend", "lift", "close", "retire"):
        expect(getattr(ACTIONS, action)(CA), registry, f"{action}(bytes32)", CA)
    expect(
        ACTIONS.set_operator(CA, WHO),
        registry,
        "setOperator(bytes32,address)",
        CA,
        str(WHO).lower(),
    )
    for allowed in (True, False):
        expect(
            ACTIONS.set_revoker(CA, WHO, allowed=allowed),
            registry,
            "setRevoker(bytes32,address,bool)",
            CA,
            str(WHO).lower(),
            allowed,
        )
    expect(
        ACTIONS.set_maximum_lifetime(CA, timedelta(hours=2)),
        registry,
        "setMaximumLifetime(bytes32,uint24)",
        CA,
        120,
    )


def test_certificates() -> None:
    entry = Entry(DIGEST, Address(b"\xdd" * 20), from_timestamp(0x1234), Hash32(b"\x09" * 32))
    subject = int.from_bytes(b"\xdd" * 20) << 96 | 0x1234
    expect(
        ACTIONS.issue(CA, 7, [entry]),
        DOMAIN.certificates,
        "issue(bytes32,uint32,(bytes32,uint256,bytes32)[])",
        CA,
        7,
        ((DIGEST, subject, b"\x09" * 32),),
    )
    expect(
        ACTIONS.revoke(CA, [9, 3, 9]), DOMAIN.certificates, "revoke(bytes32,uint32[])", CA, (3, 9)
    )
    expect(ACTIONS.revoke_below(CA, 5), DOMAIN.certificates, "revokeBelow(bytes32,uint32)", CA, 5)


def test_devices() -> None:
    deadline = from_timestamp(1_795_000_000)
    for action, function in ((ACTIONS.enroll_device, "enroll"), (ACTIONS.update_device, "update")):
        expect(
            action(WHO, DIGEST, deadline, b"s" * 65),
            DOMAIN.devices,
            f"{function}(address,bytes32,uint256,bytes)",
            str(WHO).lower(),
            DIGEST,
            1_795_000_000,
            b"s" * 65,
        )
    signed = [SignedDocument(WHO, DIGEST, deadline, b"s" * 65)] * 2
    for batch, function in (
        (ACTIONS.enroll_devices, "enrollBatch"),
        (ACTIONS.update_devices, "updateBatch"),
    ):
        expect(
            batch(signed),
            DOMAIN.devices,
            f"{function}((address,bytes32,uint256,bytes)[])",
            ((str(WHO).lower(), DIGEST, 1_795_000_000, b"s" * 65),) * 2,
        )
    expect(ACTIONS.retire_device(WHO), DOMAIN.devices, "retire(address)", str(WHO).lower())
    expect(
        ACTIONS.set_registrar(WHO, allowed=True),
        DOMAIN.devices,
        "setRegistrar(address,bool)",
        str(WHO).lower(),
        True,
    )


def test_the_domain() -> None:
    address = DOMAIN.id.address
    expect(ACTIONS.set_guardian(WHO), address, "setGuardian(address)", str(WHO).lower())
    expect(ACTIONS.offer_governor(WHO), address, "offerGovernor(address)", str(WHO).lower())
    expect(ACTIONS.accept_governor(), address, "acceptGovernor()")


@pytest.mark.parametrize(
    "lifetime",
    [
        timedelta(0),
        timedelta(seconds=90),
        timedelta(minutes=-1),
        timedelta(minutes=2**24),
        timedelta(days=99999),
    ],
)
def test_a_lifetime_is_whole_minutes_within_24_bits(lifetime: timedelta) -> None:
    with pytest.raises(UsageError, match="whole number of minutes"):
        ACTIONS.set_maximum_lifetime(CA, lifetime)


@pytest.mark.parametrize("count", [0, 1001])
def test_a_batch_has_1_to_1000(count: int) -> None:
    with pytest.raises(UsageError, match="1 to 1000"):
        ACTIONS.issue(CA, 1, entries(count))


def test_a_batch_of_1000_fits_a_node_s_pool() -> None:
    _, data = ACTIONS.issue(CA, 1, entries(1000))
    assert len(data) < 128 * 1024 - 1024


def test_watchdogs() -> None:
    registry = DOMAIN.watchdogs
    named = [Watchdog(WHO, 10, DIGEST), Watchdog(Address(b"\x02" * 20), 20, Hash32(b"\x06" * 32))]
    contract, data = ACTIONS.set_watch(CA, named, 25)
    kinds = "(bytes32,(address,uint32,bytes32)[],uint32)"
    assert (contract, data[:4]) == (registry, keccak(f"setWatch{kinds}".encode())[:4])
    assert decode(["bytes32", "(address,uint32,bytes32)[]", "uint32"], data[4:]) == (
        CA,
        tuple((str(w.account).lower(), w.weight, w.sealing_key) for w in named),
        25,
    )
    expect(
        ACTIONS.request_review(CA, 7, [DIGEST]),
        registry,
        "requestReview(bytes32,uint32,bytes32[])",
        CA,
        7,
        (DIGEST,),
    )
    expect(
        ACTIONS.confirm_batch(CA, 7, DIGEST),
        registry,
        "confirm(bytes32,uint32,bytes32)",
        CA,
        7,
        DIGEST,
    )
    expect(
        ACTIONS.object_to_batch(CA, 7, DIGEST, "no"),
        registry,
        "object(bytes32,uint32,bytes32,string)",
        CA,
        7,
        DIGEST,
        "no",
    )
    confirmation = Confirmation(CA, 7, DIGEST, WHO, from_timestamp(1_800_000_000), b"\x09" * 65)
    contract, data = ACTIONS.relay_confirmations([confirmation])
    kind = "(bytes32,uint32,bytes32,address,uint256,bytes)[]"
    assert (contract, data[:4]) == (registry, keccak(f"relay({kind})".encode())[:4])
    ((told,),) = decode([kind], data[4:])
    assert told == (CA, 7, DIGEST, str(WHO).lower(), 1_800_000_000, b"\x09" * 65)


def test_too_many_watchdogs_or_too_heavy_ones_are_for_the_contract_and_the_codec() -> None:
    with pytest.raises(UsageError, match="can't take these values"):
        ACTIONS.set_watch(CA, [Watchdog(WHO, 2**32, DIGEST)], 1)
