"""Enrolling devices and relaying their updates: the chain first, then the local names.

Each can be run again after a crash: what exists already is found and completed, never made twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

from dpki.chain.domain import Domain
from dpki.chain.rpc import Reader
from dpki.chain.snapshot import DeviceRecord, fetch_snapshot
from dpki.devices.enrollment import (
    EnrollmentRequest,
    RequestKind,
    VerifiedRequest,
    verify_in_time,
    verify_request,
)
from dpki.errors import CheckedFalse, UsageError
from dpki.issuance.index import Index
from dpki.issuance.selection import verify_labels
from dpki.model import Address, DeviceState

if TYPE_CHECKING:
    from dpki.transactions.account import Receipt
    from dpki.transactions.actions import DomainActions
    from dpki.transactions.flight import Rehearsal
    from dpki.transactions.writer import DomainWriter

Item = TypeVar("Item")
Made = TypeVar("Made")

MAXIMUM_REQUESTS = 100
"""Requests in one transaction: some 9 million gas, where blocks have 30 and a transaction 16."""


@dataclass(frozen=True)
class Enrolment:
    """A request, and what its device is to be called here."""

    request: EnrollmentRequest
    name: str
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class Enrolled:
    """A device whose request is on chain.

    Attributes:
        name: Its local name; None for one without.
        receipt: The transaction; None where it was on chain already.
    """

    device: Address
    name: str | None
    receipt: Receipt | None


def enroll_devices(
    reader: Reader,
    writer: DomainWriter,
    index: Index,
    wishes: Sequence[Enrolment],
    now: datetime,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[Enrolled, ...]:
    """Verify devices' requests, enrol them, and give them their names and labels.

    Nothing is sent unless all of the requests are in order.

    Args:
        progress: Told how many are enrolled, after each transaction.

    Raises:
        WrongDomain, SignatureInvalid, Expired, MalformedInput: A request is not in order.
        CheckedFalse: A device is enrolled with another document, or retired.
        UsageError: A name is taken or given twice, or a request is an update.
        TransactionForbidden: The account is no registrar.
        TransactionFailed, CouldNotCheck: As they say.
    """
    verified = _verify_enrolments(reader, writer.domain, index, wishes, now)
    index.verify_writable()
    done: list[Enrolled] = []
    for piece in _pieces([*zip(wishes, verified, strict=True)]):
        receipt = _send(writer, [v for _, v in piece if v.is_due])
        for wish, one in piece:
            index.add_device(wish.name, one.request.device, one.request.document, wish.labels)
            done.append(Enrolled(one.request.device, wish.name, receipt if one.is_due else None))
        progress(len(done))
    return tuple(done)


def rehearse_enrolments(
    reader: Reader,
    writer: DomainWriter,
    index: Index,
    wishes: Sequence[Enrolment],
    now: datetime,
) -> tuple[tuple[Address, ...], Rehearsal | None]:
    """Do what `enroll_devices` does, but send and remember nothing.

    Returns:
        The devices, and what it would cost; None where nothing is due.
    """
    verified = _verify_enrolments(reader, writer.domain, index, wishes, now)
    return tuple(one.request.device for one in verified), _rehearse(writer, verified)


def update_devices(
    reader: Reader,
    writer: DomainWriter,
    index: Index,
    requests: Sequence[EnrollmentRequest],
    now: datetime,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[Enrolled, ...]:
    """Verify devices' updates of their key documents, relay them, and remember the documents.

    Raises:
        WrongDomain, SignatureInvalid, Expired, MalformedInput: A request is not in order.
        CheckedFalse: A device is not enrolled, or the request was made for another nonce.
        UsageError: A request is an enrolment.
        TransactionFailed, CouldNotCheck: As they say.
    """
    verified = _verify_updates(reader, writer.domain, requests, now)
    index.verify_writable()
    done: list[Enrolled] = []
    for piece in _pieces(verified):
        receipt = _send(writer, [one for one in piece if one.is_due])
        for one in piece:
            device = one.request.device
            index.update_document(device, one.request.document)
            named = index.device_at(device)
            name = None if named is None else named.name
            done.append(Enrolled(device, name, receipt if one.is_due else None))
        progress(len(done))
    return tuple(done)


def rehearse_updates(
    reader: Reader, writer: DomainWriter, requests: Sequence[EnrollmentRequest], now: datetime
) -> tuple[tuple[Address, ...], Rehearsal | None]:
    """Do what `update_devices` does, but send and remember nothing; see `rehearse_enrolments`."""
    verified = _verify_updates(reader, writer.domain, requests, now)
    return tuple(one.request.device for one in verified), _rehearse(writer, verified)


@dataclass(frozen=True)
class _Verified:
    """A request that is in order.

    Attributes:
        is_due: Whether the chain lacks it.
    """

    request: VerifiedRequest
    is_due: bool


def _verify_enrolments(
    reader: Reader,
    domain: Domain,
    index: Index,
    wishes: Sequence[Enrolment],
    now: datetime,
) -> list[_Verified]:
    names = [wish.name for wish in wishes]
    if len(set(names)) != len(names):
        raise UsageError("two devices would have the same name", hint="give each its own")
    verified: list[VerifiedRequest] = []
    for wish in wishes:
        verify_labels(wish.labels)
        one = verify_request(wish.request, domain.id, domain.devices)
        if one.kind is not RequestKind.ENROLL:
            raise UsageError(
                "this is an update of a device's key document",
                hint="relay it with: dpki device update REQUEST",
            )
        index.verify_free(wish.name, one.device)
        verified.append(one)
    records = _records(reader, domain, verified)
    found = [_Verified(one, _lacks(one, records[one.device])) for one in verified]
    _verify_in_time(found, now)
    return found


def _lacks(request: VerifiedRequest, record: DeviceRecord) -> bool:
    """Return whether a device is still to be enrolled."""
    if record.state is DeviceState.UNREGISTERED:
        return True
    if record.state is DeviceState.RETIRED or record.key_document != request.key_document:
        state = "retired, for ever" if record.state is DeviceState.RETIRED else "enrolled already"
        raise CheckedFalse(
            f"device {request.device} is {state}", hint="see it with: dpki device list"
        )
    return False


def _verify_updates(
    reader: Reader, domain: Domain, requests: Sequence[EnrollmentRequest], now: datetime
) -> list[_Verified]:
    verified: list[VerifiedRequest] = []
    for request in requests:
        one = verify_request(request, domain.id, domain.devices)
        if one.kind is not RequestKind.UPDATE:
            raise UsageError(
                "this is a request to be enrolled",
                hint="enrol it with: dpki device enroll REQUEST --name NAME",
            )
        verified.append(one)
    records = _records(reader, domain, verified)
    found: list[_Verified] = []
    for one in verified:
        record = records[one.device]
        is_due = record.key_document != one.key_document
        if is_due and record.state is not DeviceState.ACTIVE:
            raise CheckedFalse(f"device {one.device} is not enrolled, or retired")
        if is_due and record.nonce != one.nonce:
            raise CheckedFalse(
                f"the update has number {one.nonce}, and the chain waits for {record.nonce}",
                hint="let the device make a new one: dpki device rekey",
            )
        found.append(_Verified(one, is_due))
    _verify_in_time(found, now)
    return found


def _verify_in_time(verified: Sequence[_Verified], now: datetime) -> None:
    """Check the deadlines of what is still to be sent: what the chain has was in time."""
    for one in verified:
        if one.is_due:
            verify_in_time(one.request, now)


def _records(
    reader: Reader, domain: Domain, requests: Sequence[VerifiedRequest]
) -> Mapping[Address, DeviceRecord]:
    devices = [one.device for one in requests]
    if len(set(devices)) != len(devices):
        raise UsageError("two of the requests are of the same device", hint="give each once")
    return fetch_snapshot(reader, domain, devices=devices).devices


def _send(writer: DomainWriter, due: Sequence[_Verified]) -> Receipt | None:
    return _act(writer, due) if due else None


def _rehearse(writer: DomainWriter, verified: Sequence[_Verified]) -> Rehearsal | None:
    rehearsal = writer.rehearsal()
    costs = [
        _act(rehearsal, due)
        for piece in _pieces(verified)
        if (due := [one for one in piece if one.is_due])
    ]
    return sum(costs[1:], costs[0]) if costs else None


def _act(actions: DomainActions[Made], due: Sequence[_Verified]) -> Made:
    """Bring requests of one kind to the contract; one alone costs less by itself."""
    from dpki.transactions.actions import SignedDocument

    requests = [one.request for one in due]
    signed = [SignedDocument(r.device, r.key_document, r.deadline, r.signature) for r in requests]
    enrolling = requests[0].kind is RequestKind.ENROLL
    if len(signed) > 1:
        return actions.enroll_devices(signed) if enrolling else actions.update_devices(signed)
    act = actions.enroll_device if enrolling else actions.update_device
    (one,) = signed
    return act(one.device, one.key_document, one.deadline, one.signature)


def _pieces(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), MAXIMUM_REQUESTS):
        yield items[start : start + MAXIMUM_REQUESTS]
