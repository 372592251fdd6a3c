"""What a council has before it, told in plain words."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from dpki.cli.governing import names_of
from dpki.cli.options import argument
from dpki.cli.output import Output
from dpki.cli.session import Desk, open_desk
from dpki.council.history import Choice
from dpki.council.reading import (
    Council,
    View,
    fetch_case,
    fetch_council,
    fetch_open,
    fetch_proposals,
    fetch_round,
    view_council,
)
from dpki.council.roles import Nature, fetch_roles, recognise
from dpki.council.rounds import Ballot, Proposal, Round
from dpki.council.threshold import Tally
from dpki.council.votes import RoundFile, encode_round, word_of
from dpki.council.words import Names, describe_calls
from dpki.errors import UsageError
from dpki.files import write_atomic
from dpki.model import Address, Hash32

_SHORTEST = 6


@dataclass(frozen=True)
class Chamber:
    """A council before whoever looks at it."""

    desk: Desk
    view: View
    council: Council

    @property
    def names(self) -> Names:
        """What things are called here."""
        named = names_of(self.desk, self.council.address)
        return replace(named, parameters=self.council.parameters)

    def effects(self, proposal: Proposal) -> tuple[str, ...]:
        """Return what a round would do, a sentence each."""
        return describe_calls(proposal.calls, self.names)


def enter(desk: Desk, option: str | None) -> Chamber:
    """Return the domain's council.

    Raises:
        UsageError: There is none, or what is named is none.
        WrongDomain: It is another domain's.
    """
    view = view_council(desk.reader, find_council(desk, option))
    return Chamber(desk, view, fetch_council(view))


def find_council(desk: Desk, option: str | None) -> Address:
    """Return the council that is named, or that has a role in the domain.

    Raises:
        UsageError: There is none.
        WrongDomain: It is another domain's.
    """
    if option is not None:
        body = recognise(desk.reader, desk.domain, argument(Address.parse, option))
        if body.nature is not Nature.COUNCIL:
            raise UsageError(f"there is no council at {body.address}: it is an {body.nature.value}")
        return body.address
    roles = fetch_roles(desk.reader, desk.domain)
    for held in (roles.governor, roles.guardian, roles.offered):
        if held is not None and held.nature is Nature.COUNCIL:
            return held.address
    raise UsageError(
        f"the domain has no council; it is governed by the {roles.governor}",
        hint="found one with: dpki council init --root ADDRESS …",
    )


def find_round(chamber: Chamber, text: str) -> tuple[Round, Proposal]:
    """Return the round of this id, or the open one whose id begins so.

    Raises:
        UsageError: There is none, or more than one.
    """
    view, council = chamber.view, chamber.council
    if len(text) == 2 + 2 * Hash32.size:
        return fetch_case(view, council, argument(Hash32.parse, text))
    if not text.startswith("0x") or len(text) < _SHORTEST:
        raise UsageError(
            f"{text[:80]!r} is no round's id", hint="see which are open with: dpki council list"
        )
    found = [one for one in fetch_open(view, council) if str(one).startswith(text.lower())]
    if len(found) != 1:
        raise UsageError(
            f"{len(found)} open rounds begin with {text[:80]}",
            hint="see which are open with: dpki council list",
        )
    return fetch_case(view, council, found[0])


def list_rounds(output: Output, home: Path | None, option: str | None, *, everything: bool) -> None:
    """List rounds, the oldest first."""
    with output.working("asking the chain"), open_desk(home) as desk:
        chamber = enter(desk, option)
        view, council = chamber.view, chamber.council
        if everything:
            proposals = fetch_proposals(view, desk.domain)
            cases = [(fetch_round(view, council, one.id), one) for one in proposals]
        else:
            cases = [fetch_case(view, council, one) for one in fetch_open(view, council)]
        rows = [
            (
                str(found.id),
                found.kind.name.lower(),
                found.state.label,
                _time(found.deadline),
                list(chamber.effects(proposal)),
                list(found.missing()),
            )
            for found, proposal in sorted(cases, key=lambda case: case[0].opened_at)
        ]
    heads = ("round", "kind", "state", "ends_at", "effects", "missing")
    output.table(heads, [[*row[:4], "; ".join(row[4]), "; ".join(row[5]) or "-"] for row in rows])
    output.result({"rounds": [dict(zip(heads, row, strict=True)) for row in rows]})


def show_round(
    output: Output, home: Path | None, option: str | None, text: str, out: Path | None
) -> None:
    """Show all about one round, and write it to a file if that is asked for."""
    from dpki.council.trial import failure_of

    with output.working("asking the chain"), open_desk(home) as desk:
        chamber = enter(desk, option)
        found, proposal = find_round(chamber, text)
        failure = None
        if found.state.may_pass:
            failure = failure_of(
                desk.access.sending(), desk.domain, chamber.council.address, proposal.calls
            )
        document = describe_round(chamber, found, proposal) | {"would_fail": failure}
        about = RoundFile(desk.domain.id, chamber.council.address, proposal)
    say_round(output, document)
    if out is not None:
        write_atomic(out, encode_round(about))
        output.say(f"written to {out}; sign it with: dpki council sign {out} --approve")
    output.result(document, found.state.label)


def describe_round(chamber: Chamber, found: Round, proposal: Proposal) -> dict[str, object]:
    """Return all about a round, as plain data."""
    council, ready = chamber.council, found.executable_from
    proposer = council.seats.get(found.proposer)
    return {
        "round": str(found.id),
        "council": str(council.address),
        "kind": found.kind.name.lower(),
        "state": found.state.label,
        "effects": list(chamber.effects(proposal)),
        "proposer": str(proposer.account) if proposer else None,
        "opened_at": _time(found.opened_at),
        "ends_at": _time(found.deadline),
        "delay_seconds": int(found.delay.total_seconds()),
        "executable_from": _time(ready) if ready else None,
        "approvals": _tally(found.tally(Choice.APPROVE)),
        "rejections": _tally(found.tally(Choice.REJECT)),
        "everybody": _tally(found.everybody),
        "missing": list(found.missing()),
        "settled": found.is_settled,
        "votes": [_ballot(council, ballot) for ballot in sorted(found.ballots.values(), key=_seat)],
    }


def say_round(output: Output, document: dict[str, object]) -> None:
    """Tell people about a round."""
    output.say(f"{document['kind']} round {document['round']}, {document['state']}; it")
    for effect in _list(document["effects"]):
        output.say(f"  {effect}")
    output.say(f"opened {document['opened_at']} by {document['proposer']}")
    output.say(f"ends {document['ends_at']}")
    for vote in _list(document["votes"]):
        stands = {"approve": "approves", "reject": "rejects"}.get(vote["choice"], "-")
        output.say(
            f"  {vote['account']}  {vote['role']:12}  weight {vote['weight']:>5}  {stands}"
            f"{'  removed' if vote['struck'] else ''}"
        )
    for sentence in _list(document["missing"]):
        output.say(f"missing: {sentence}")
    if document["executable_from"]:
        output.say(f"can be executed from {document['executable_from']}")
    if document.get("would_fail"):
        output.say(f"warning: executed now, it would fail: {document['would_fail']}")


def _list(value: object) -> list[dict[str, str]]:
    assert isinstance(value, list)
    return value


def _seat(ballot: Ballot) -> int:
    return ballot.seat


def _ballot(council: Council, ballot: Ballot) -> dict[str, object]:
    member = council.seats.get(ballot.seat)
    word = "" if ballot.choice is Choice.NONE else word_of(ballot.choice)
    return {
        "account": str(ballot.voter),
        "role": member.role.name.lower() if member else "",
        "weight": ballot.weight,
        "choice": word or None,
        "nonce": ballot.nonce,
        "struck": ballot.is_struck,
    }


def _tally(tally: Tally) -> dict[str, int]:
    return {"weight": tally.weight, "heads": tally.heads}


def _time(time: datetime) -> str:
    return time.isoformat()
