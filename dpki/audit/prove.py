"""The replayed state against the chain's storage: what was withheld or invented shows here.

Every word that the contracts should have written is made from the state and compared with what the
chain holds at the block, proven where the reader proves. Words are asked for a thousand at a time,
and none is kept, so that a million batches need no more memory than one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from dpki.audit.council import CouncilRules
from dpki.audit.evidence import Contradiction, HistoryContradicted
from dpki.audit.state import NOTHING, Authority, Book, State
from dpki.chain import council_layout, decode, layout
from dpki.chain.domain import Domain
from dpki.chain.layout import Progress
from dpki.chain.rpc import Call, Reader
from dpki.council.history import Choice
from dpki.council.parameters import Role
from dpki.council.rounds import State as RoundState
from dpki.council.weights import pack
from dpki.model import Address, Block

WORDS = 1000
"""Words in one question."""

_GOVERNOR, _OFFERED, _GUARDIAN = 0, 1, 2


@dataclass(frozen=True)
class Word:
    """A storage word that should be there.

    Attributes:
        what: What it says, for people.
    """

    contract: Address
    slot: int
    value: int
    what: str


def verify_state(
    reader: Reader,
    domain: Domain,
    block: Block,
    state: State,
    councils: Mapping[Address, CouncilRules],
    book: Book,
    report: Callable[[int], None],
) -> int:
    """Check every word of the state against the chain's, and return how many there are.

    Args:
        report: Told now and then how many were checked.

    Raises:
        HistoryContradicted: One differs.
        EndpointUnavailable: No answer, or nonsense.
    """
    done, expected = 0, expected_words(domain, state, councils, book)
    at = {"blockHash": str(block.hash), "requireCanonical": True}
    while words := list(itertools.islice(expected, WORDS)):
        answers = reader.batch(
            [
                Call("eth_getStorageAt", [str(word.contract), f"0x{word.slot:064x}", at])
                for word in words
            ]
        )
        for word, answer in zip(words, answers, strict=True):
            found = int.from_bytes(decode.word(answer, reader.name))
            if found != word.value:
                raise HistoryContradicted(
                    Contradiction(
                        "the events lead to the state that the chain holds",
                        block.number,
                        None,
                        word.what,
                        f"0x{word.value:064x} by the events",
                        f"0x{found:064x} in the state",
                    )
                )
        done += len(words)
        report(done)
    return done


def expected_words(
    domain: Domain, state: State, councils: Mapping[Address, CouncilRules], book: Book
) -> Iterator[Word]:
    """Return every word that the contracts should have written, one by one."""
    return itertools.chain(
        _domain_words(domain, state),
        _authority_words(domain, state),
        _book_words(domain, state, book),
        *(_council_words(rules) for rules in councils.values()),
    )


def _domain_words(domain: Domain, state: State) -> Iterator[Word]:
    home = domain.id.address
    yield Word(home, _GOVERNOR, int.from_bytes(state.governor), "the governor")
    yield Word(home, _OFFERED, int.from_bytes(state.offered), "the offered governor")
    yield Word(home, _GUARDIAN, int.from_bytes(state.guardian), "the guardian")
    for account, allowed in sorted(state.registrars.items()):
        slot = layout.mapping_slot(account, layout.REGISTRARS)
        yield Word(domain.devices, slot, int(allowed), f"whether {account} is a registrar")


def _authority_words(domain: Domain, state: State) -> Iterator[Word]:
    count = len(state.authorities)
    yield Word(domain.authorities, layout.authority_count_slot(), count, "the number of CAs")
    for one in state.authorities.values():
        name = f"CA {one.id}"
        slot = layout.authority_id_slot(one.number)
        yield Word(domain.authorities, slot, int.from_bytes(one.id), f"the list's {name}")
        head, issuer_key, parent, key_head = layout.authority_slots(one.id)
        kind = one.kind | one.registered_at << 8
        yield Word(domain.authorities, head, kind, f"{name}: kind and time")
        key = int.from_bytes(one.issuer_key)
        yield Word(domain.authorities, issuer_key, key, f"{name}: key for locators")
        yield Word(domain.authorities, parent, int.from_bytes(one.parent), f"{name}: parent")
        yield from _key_words(domain, one, key_head)
        yield Word(
            domain.certificates,
            layout.issuer_slot(one.id),
            int.from_bytes(one.operator)
            | one.next_serial << 160
            | one.revoked_count << 192
            | one.lifetime << 224
            | one.state << 248,
            f"{name}: operator, serials, revocations, lifetime, state",
        )
        slot = layout.revoked_below_slot(one.id)
        yield Word(domain.certificates, slot, one.revoked_below, f"{name}: watermark")
        above = layout.mapping_slot(one.id, layout.REVOKERS)
        for account, allowed in sorted(one.named.items()):
            slot = layout.mapping_slot(account, above)
            what = f"{name}: whether {account} is a revoker"
            yield Word(domain.certificates, slot, int(allowed), what)
        yield from _watch_words(domain, one)


def _key_words(domain: Domain, one: Authority, head: int) -> Iterator[Word]:
    key, what = one.public_key, f"CA {one.id}: public key"
    slots = layout.public_key_slots(one.id, len(key))
    if not slots:
        word = int.from_bytes(key.ljust(31, b"\0")) << 8 | 2 * len(key)
        yield Word(domain.authorities, head, word, what)
        return
    yield Word(domain.authorities, head, 2 * len(key) + 1, what)
    for index, slot in enumerate(slots):
        word = int.from_bytes(key[32 * index : 32 * index + 32].ljust(32, b"\0"))
        yield Word(domain.authorities, slot, word, what)


def _watch_words(domain: Domain, one: Authority) -> Iterator[Word]:
    watch, what = one.watch, f"CA {one.id}: watchdogs"
    value = 0
    if watch is not None:
        value = watch.version | watch.first_serial << 32 | watch.threshold << 64 | watch.total << 96
    yield Word(domain.watchdogs, layout.watch_slot(one.id), value, what)
    count = layout.watchdog_count_slot(one.id)
    yield Word(domain.watchdogs, count, len(one.watchdogs), what)
    for index, dog in enumerate(one.watchdogs):
        first, second = layout.watchdog_slots(one.id, index)
        account = int.from_bytes(dog.account) | dog.weight << 160
        yield Word(domain.watchdogs, first, account, what)
        yield Word(domain.watchdogs, second, int.from_bytes(dog.sealing_key), what)


def _book_words(domain: Domain, state: State, book: Book) -> Iterator[Word]:
    authorities = list(state.authorities.values())
    for batch in book.batches():
        one = authorities[batch.authority]
        name = f"CA {one.id}: the batch from serial {batch.first_serial}"
        slot = layout.commitment_slot(one.id, batch.first_serial)
        yield Word(domain.certificates, slot, int.from_bytes(batch.commitment), name)
        if batch.progress != NOTHING or (one.watch and one.watch.covers(batch.first_serial)):
            slot = layout.progress_slot(one.id, batch.first_serial)
            yield Word(domain.watchdogs, slot, _progress(batch.progress), f"{name}, confirmations")
    for number, index, word in book.words():
        one = authorities[number]
        slot = layout.revocation_slot(one.id, index)
        yield Word(domain.certificates, slot, word, f"CA {one.id}: revocations from {256 * index}")
    for device in book.devices():
        document, rest = layout.device_slots(device.address)
        name = f"device {device.address}"
        yield Word(domain.devices, document, int.from_bytes(device.document), name)
        yield Word(domain.devices, rest, device.state | device.nonce << 8, name)


def _progress(made: Progress) -> int:
    return (
        made.version
        | made.weight << 32
        | made.confirmations << 64
        | made.objections << 96
        | made.confirmed << 128
    )


def _council_words(rules: CouncilRules) -> Iterator[Word]:
    ledger, home = rules.ledger, rules.address
    name = f"council {home}"
    roots = sum(1 << seat for seat, one in ledger.seats.items() if one.role is Role.ROOT)
    head = ledger.number | ledger.last_moved << 32 | roots << 80
    yield Word(home, council_layout.HEAD, head, f"{name}: table, last movement, roots")
    for seat in range(council_layout.SEAT_NUMBERS - council_layout.SEATS):
        taken = ledger.seats.get(seat)
        value = 0
        if taken is not None:
            value = int.from_bytes(taken.account) | taken.role << 160 | taken.since << 168
        yield Word(home, council_layout.seat_slot(seat), value, f"{name}: seat {seat}")
    table, parameters = ledger.current(), ledger.parameters
    *weights, rest = council_layout.table_slots(ledger.number)
    for slot, word in zip(weights, pack(table.weights), strict=True):
        yield Word(home, slot, word, f"{name}: weights")
    value = (
        table.electorate
        | table.heads << 128
        | table.cap << 136
        | table.total << 152
        | parameters.rule << 184
        | parameters.faults << 192
    )
    yield Word(home, rest, value, f"{name}: electorate and sums")
    for ca, until in sorted(rules.cooling.items()):
        yield Word(home, council_layout.cooling_slot(ca), until, f"{name}: cooling of {ca}")
    for round_id, found in sorted(rules.rounds.items()):
        what = f"{name}: round {round_id}"
        first, second, third = council_layout.round_slots(round_id)
        # An expired round is only seen to be so.
        state = RoundState.OPEN if found.state is RoundState.EXPIRED else found.state
        value = (
            found.proposal.kind
            | state << 8
            | found.is_settled << 16
            | found.proposer << 24
            | found.number << 32
            | found.delay << 64
            | found.opened_at << 96
            | found.deadline << 144
            | (found.approved_at or 0) << 192
        )
        yield Word(home, first, value, what)
        approvals, rejections = found.seats(Choice.APPROVE), found.seats(Choice.REJECT)
        struck = found.struck_seats()
        yield Word(home, second, approvals | rejections << 128, f"{what}, votes")
        value = struck
        for place, seats in enumerate((approvals, rejections, struck)):
            tally = found.tally(seats)
            value |= tally.weight << 128 + 32 * place | tally.heads << 224 + 8 * place
        yield Word(home, third, value, f"{what}, sums")
