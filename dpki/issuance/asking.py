"""Devices that ask by themselves, with a one-time token: judged, enrolled, answered.

A token is bound to its device before anything is sent, and enrolment finds what is done already: a
run that is killed anywhere is finished by the next one, with the same device. Who can't show that
he has a token, and is the device that he says, gets no answer at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from dpki.chain.domain import Domain
from dpki.chain.rpc import Reader
from dpki.devices.enrollment import RequestKind, verify_in_time, verify_request
from dpki.devices.token import (
    Answer,
    Asking,
    Outcome,
    make_answer,
    parse_asking,
    verify_asking,
)
from dpki.errors import CheckedFalse, MalformedInput, TransportUnavailable, UsageError, WrongContext
from dpki.issuance.database import Database
from dpki.issuance.enrolment import Enrolled, Enrolment, enroll_devices
from dpki.issuance.index import Index
from dpki.issuance.tokens import GivenToken, Tokens
from dpki.model import Address
from dpki.transport.base import MESSAGE_LIMIT, Kind, Message, Topic, Transport

if TYPE_CHECKING:
    from dpki.transactions.writer import DomainWriter

DEADLINE = timedelta(seconds=60)
"""For all that lies there, and for each answer."""

_WHY = {
    Outcome.EXPIRED: "its token has expired, or was cancelled",
    Outcome.USED: "ITS TOKEN WAS USED ALREADY, by another device or for another request: it may be"
    " stolen",
    Outcome.TAKEN: "the name that its token gives is another device's",
    Outcome.STANDING: "it is retired, or enrolled with other keys",
}


@dataclass(frozen=True)
class Judged:
    """A message from who has one of our tokens, and the device's signature.

    Attributes:
        outcome: None where it is to be enrolled.
    """

    asking: Asking
    token: GivenToken
    outcome: Outcome | None

    @property
    def wish(self) -> Enrolment:
        """What the token says that the device is to be."""
        return Enrolment(self.asking.request, self.token.name, self.token.labels)


@dataclass(frozen=True)
class Refused:
    """A message of which nothing comes.

    Attributes:
        device: In whose slot it lay, which proves nothing.
    """

    device: Address
    why: str


@dataclass
class Round:
    """What one look found.

    Attributes:
        due: To be enrolled.
        known: Enrolled before.
        refused: What was refused, and why.
        answers: What is to be left for whom.
        failure: Why not all could be looked at; None where it could.
    """

    due: list[Judged] = field(default_factory=list)
    known: int = 0
    refused: list[Refused] = field(default_factory=list)
    answers: dict[Address, bytes] = field(default_factory=dict)
    failure: TransportUnavailable | None = None


def judge(database: Database, domain: Domain, message: Message, now: datetime) -> Judged:
    """Check a message to the end, but for what the chain says of its device.

    Raises:
        CheckedFalse: It is forged, altered, oversized, foreign, or its request is not in order:
            nobody is answered.
    """
    if message.is_oversized:
        raise MalformedInput(f"it is larger than {MESSAGE_LIMIT} bytes")
    asking = parse_asking(message.data)
    request = asking.request
    if request.device != message.topic.device:
        raise WrongContext(f"it is of device {request.device}, in another's place")
    token = Tokens(database).find(asking.token)
    if token is None:
        raise WrongContext("it comes with a token that this home did not give")
    verify_asking(asking, token.keys, domain.id)
    bound = (token.device, token.request) == (request.device, asking.digest)
    if token.block is not None and bound:
        # Its deadline may have passed since.
        return Judged(asking, token, Outcome.ENROLLED)
    verify_request(request, domain.id, domain.devices)
    verify_in_time(request, now)
    if request.kind is not RequestKind.ENROLL:
        raise MalformedInput("it asks for an update, which needs no token: dpki device update")
    return Judged(asking, token, _refusal(Index(database), token, request.device, now))


def look(
    database: Database,
    domain: Domain,
    transport: Transport,
    now: datetime,
    *,
    binding: bool = True,
) -> Round:
    """Look at what devices ask.

    Args:
        binding: Bind each token to the device that comes with it; without, nothing is recorded.

    Raises:
        DpkiError: It could not be recorded.
    """
    found, bound = Round(), set[bytes]()
    try:
        for message in transport.receive(Kind.REQUEST, DEADLINE):
            device = message.topic.device
            try:
                one = judge(database, domain, message, now)
            except CheckedFalse as error:
                found.refused.append(Refused(device, error.message))
                continue
            if one.outcome is Outcome.ENROLLED:
                found.known += 1
                found.answers[device] = _answer(domain, one, Outcome.ENROLLED, one.token.block or 0)
            elif one.outcome is not None:
                refuse(found, domain, one, one.outcome)
            elif one.token.keys.id in bound:
                refuse(found, domain, one, Outcome.USED)
            else:
                bound.add(one.token.keys.id)
                found.due.append(one)
                if binding:
                    Tokens(database).claim(one.token.keys.id, device, one.asking.digest)
    except TransportUnavailable as error:
        found.failure = error
    return found


def enroll_due(
    reader: Reader, writer: DomainWriter, database: Database, found: Round, now: datetime
) -> tuple[Enrolled, ...]:
    """Enrol what is due; what the chain or a name forbids is refused, and holds no other up.

    Raises:
        TransactionForbidden: The account is no registrar.
        TransactionFailed, CouldNotCheck: As they say; the next look goes on.
    """
    try:
        return _enroll(reader, writer, database, found, found.due, now)
    except (CheckedFalse, UsageError):
        # One of them, or two together: the loop finds out which.
        done: list[Enrolled] = []
    for one in found.due:
        try:
            done.extend(_enroll(reader, writer, database, found, [one], now))
        except CheckedFalse:
            refuse(found, writer.domain, one, Outcome.STANDING)
        except UsageError:
            refuse(found, writer.domain, one, Outcome.TAKEN)
    return tuple(done)


def refuse(found: Round, domain: Domain, one: Judged, outcome: Outcome) -> None:
    """Refuse somebody who is answered."""
    device = one.asking.request.device
    found.refused.append(Refused(device, f"{_WHY[outcome]} (token {one.token.keys.id.hex()})"))
    found.answers[device] = _answer(domain, one, outcome, 0)


def leave_answers(transport: Transport, answers: dict[Address, bytes]) -> None:
    """Leave each answer that does not lie there yet.

    Raises:
        TransportUnavailable: One could not be left; the next look does it again.
    """
    if not answers:
        return
    is_there = {
        message.topic.device: message.data == answers.get(message.topic.device)
        for message in transport.receive(Kind.ANSWER, DEADLINE)
    }
    for device, data in answers.items():
        if not is_there.get(device):
            transport.send(Topic(Kind.ANSWER, device), data, DEADLINE)


def _enroll(
    reader: Reader,
    writer: DomainWriter,
    database: Database,
    found: Round,
    due: Sequence[Judged],
    now: datetime,
) -> tuple[Enrolled, ...]:
    done = enroll_devices(reader, writer, Index(database), [one.wish for one in due], now)
    for one, enrolled in zip(due, done, strict=True):
        block = 0 if enrolled.receipt is None else enrolled.receipt.block.number
        Tokens(database).finish(one.token.keys.id, block)
        found.answers[enrolled.device] = _answer(writer.domain, one, Outcome.ENROLLED, block)
    return done


def _refusal(index: Index, token: GivenToken, device: Address, now: datetime) -> Outcome | None:
    """Return what a token can't be used for; None where it can."""
    if token.block is not None or token.device not in (None, device):
        return Outcome.USED
    if token.device is None and now >= token.expires:
        return Outcome.EXPIRED
    try:
        index.verify_free(token.name, device)
    except UsageError:
        return Outcome.TAKEN
    return None


def _answer(domain: Domain, one: Judged, outcome: Outcome, block: int) -> bytes:
    answer = Answer(domain.id, one.asking.request.device, one.asking.digest, outcome, block)
    return make_answer(one.token.keys, answer)
