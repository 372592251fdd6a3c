"""The state digest: one hash over all that a domain's events come to, up to a block.

It depends on domain, block and state alone, and not on how they were reached: resumed or at once,
in large questions or in small ones. The layout is normative in docs/formats.md, "State digest".
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from dpki.audit.council import CouncilRules
from dpki.audit.state import Book, State
from dpki.bundle import codec
from dpki.chain.domain import Domain
from dpki.council.history import Choice
from dpki.council.reading import dump_parameters
from dpki.model import Address, Block, Hash32

_TAG = "dpki audit state v1"


def state_digest(
    domain: Domain,
    block: Block,
    state: State,
    councils: Mapping[Address, CouncilRules],
    book: Book,
) -> Hash32:
    """Return the digest of a state at a block."""
    digest = hashlib.sha256()
    for part in (
        codec.dumps([_TAG, str(domain.id), block.number, bytes(block.hash)]),
        state.dump(),
        codec.dumps([_dump_council(rules) for _, rules in sorted(councils.items())]),
    ):
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    for batch in book.batches():
        made = batch.progress
        digest.update(
            b"B"
            + batch.authority.to_bytes(4)
            + batch.first_serial.to_bytes(4)
            + batch.count.to_bytes(4)
            + batch.commitment
            + batch.lifetime.to_bytes(4)
            + made.version.to_bytes(4)
            + made.weight.to_bytes(4)
            + made.confirmations.to_bytes(4)
            + made.objections.to_bytes(4)
            + bytes([made.confirmed])
        )
    for authority, index, word in book.words():
        digest.update(b"R" + authority.to_bytes(4) + index.to_bytes(4) + word.to_bytes(32))
    for device in book.devices():
        digest.update(
            b"D"
            + device.address
            + device.document
            + bytes([device.state])
            + device.nonce.to_bytes(8)
        )
    return Hash32(digest.digest())


def _dump_council(rules: CouncilRules) -> dict[str, object]:
    ledger = rules.ledger
    bounds, numbers = _parameters(rules)
    return {
        "address": bytes(rules.address),
        "table": ledger.number,
        "moved": ledger.last_moved,
        "bounds": bounds,
        "parameters": numbers,
        "seats": [
            [seat, bytes(one.account), int(one.role), one.since, one.weight]
            for seat, one in sorted(ledger.seats.items())
        ],
        "cooling": [[bytes(ca), until] for ca, until in sorted(rules.cooling.items())],
        "rounds": [
            [
                bytes(one.id),
                int(one.state),
                int(one.is_settled),
                one.approved_at or 0,
                one.seats(Choice.APPROVE).to_bytes(16),
                one.seats(Choice.REJECT).to_bytes(16),
                one.struck_seats().to_bytes(16),
            ]
            for _, one in sorted(rules.rounds.items())
        ],
    }


def _parameters(rules: CouncilRules) -> tuple[list[list[int]], list[int]]:
    ordinary, intermediate, root, *numbers = dump_parameters(rules.ledger.parameters)
    return [list(ordinary), list(intermediate), list(root)], [int(one) for one in numbers]
