"""Opening rounds, voting, bringing votes, executing: step by step."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from dpki.cli.ca_work import find_named
from dpki.cli.council_show import (
    Chamber,
    describe_round,
    enter,
    find_council,
    find_round,
    say_round,
)
from dpki.cli.council_sign import CHOICES
from dpki.cli.governing import datum_of, describe_governed, names_of, say_governed, say_plan
from dpki.cli.output import Output, describe_receipt, describe_rehearsal, say_receipt, say_rehearsal
from dpki.cli.session import Desk, open_desk, open_writer
from dpki.council.history import Choice
from dpki.council.reading import fetch_round
from dpki.council.rounds import Proposal, Round, State, find_ballot
from dpki.council.votes import VOTE_LIMIT, Vote, parse_vote, verify_vote, word_of
from dpki.council.words import describe_calls
from dpki.errors import CheckedFalse, DpkiError, UsageError
from dpki.files import load_bounded
from dpki.model import Address

if TYPE_CHECKING:
    from dpki.council.casting import CouncilDesk
    from dpki.transactions.governed import GovernanceCall


def open_round(
    output: Output,
    home: Path | None,
    actions: Sequence[str],
    length: str | None,
    option: str | None,
    *,
    dry_run: bool,
    passphrase: str | None,
) -> None:
    """Open a round with these actions, or join the one that holds the same."""
    from dpki.config.durations import parse_duration

    duration = None if length is None else parse_duration(length)
    with open_desk(home) as desk:
        from dpki.council.casting import CouncilDesk
        from dpki.council.routing import ByRound

        council = find_council(desk, option)
        calls = [_parse_action(desk, council, action) for action in actions]
        writer = open_writer(desk, passphrase, output)
        route = ByRound(desk.reader, CouncilDesk(desk.reader, writer, council, duration))
        effects = describe_calls(calls, names_of(desk, council))
        with output.working("trying the calls"):
            rehearsal = route.rehearse(calls)
        say_plan(output, effects, route, rehearsal)
        document: dict[str, object] = {"effects": list(effects), "council": str(council)}
        if dry_run:
            output.say("nothing was sent")
            output.result(
                document | describe_rehearsal(rehearsal, "; ".join(effects)), rehearsal.gas
            )
            return
        with output.working("waiting for the chain"):
            governed = route.make(calls)
    say_governed(output, governed)
    output.result(document | describe_governed(governed), datum_of(governed))


def cast(
    output: Output,
    home: Path | None,
    option: str | None,
    text: str,
    word: str,
    files: Sequence[Path],
    *,
    anyway: bool,
    dry_run: bool,
    passphrase: str | None,
) -> None:
    """Vote with the wallet, or bring the votes in these files."""
    choice = CHOICES[word]
    with open_desk(home) as desk:
        with output.working("asking the chain"):
            chamber = enter(desk, option)
            found, proposal = find_round(chamber, text)
            votes = [load_vote(file, chamber, found, choice) for file in files]
            _verify_open(found)
            if not anyway:
                _verify_works(chamber, proposal)
        say_round(output, describe_round(chamber, found, proposal))
        table = _sit(output, chamber, passphrase)
        if votes:
            step, doing = table.bringing(found.id, votes), f"bring {len(votes)} votes to {word}"
        else:
            find_ballot(found, table.writer.account)
            step, doing = table.voting(found.id, choice), f"{word} round {found.id}"
        _perform(output, chamber, table, found, proposal, step, doing, votes, dry_run=dry_run)


def execute_round(
    output: Output,
    home: Path | None,
    option: str | None,
    text: str,
    files: Sequence[Path],
    *,
    dry_run: bool,
    passphrase: str | None,
) -> None:
    """Do what a round decided, bringing votes first."""
    with open_desk(home) as desk:
        with output.working("asking the chain"):
            chamber = enter(desk, option)
            found, proposal = find_round(chamber, text)
            votes = [load_vote(file, chamber, found, None) for file in files]
            _verify_executable(found, votes, chamber.council.block.time)
        say_round(output, describe_round(chamber, found, proposal))
        table = _sit(output, chamber, passphrase)
        step, doing = table.execution(proposal, votes), f"execute round {found.id}"
        _perform(output, chamber, table, found, proposal, step, doing, (), dry_run=dry_run)


def settle_round(
    output: Output,
    home: Path | None,
    option: str | None,
    text: str,
    *,
    dry_run: bool,
    passphrase: str | None,
) -> None:
    """Settle an ended round."""
    with open_desk(home) as desk:
        with output.working("asking the chain"):
            chamber = enter(desk, option)
            found, proposal = find_round(chamber, text)
        if found.state not in (State.REJECTED, State.EXPIRED) or found.is_settled:
            said = "settled already" if found.is_settled else found.state.label
            raise CheckedFalse(
                f"round {found.id} is {said}: there is nothing to settle",
                hint="only rejected and expired rounds are settled, once",
            )
        table = _sit(output, chamber, passphrase)
        step, doing = table.settling(found.id), f"settle round {found.id}"
        _perform(output, chamber, table, found, proposal, step, doing, (), dry_run=dry_run)


def load_vote(file: Path, chamber: Chamber, found: Round, choice: Choice | None) -> Vote:
    """Return a vote that the contract would count; errors name its file.

    Args:
        choice: What it has to be; None for anything.

    Raises:
        UsageError: It is another choice than the command's.
        CheckedFalse: As `parse_vote` and `verify_vote`.
    """
    time = chamber.council.block.time
    try:
        vote = parse_vote(load_bounded(file, limit=VOTE_LIMIT))
        verify_vote(vote, chamber.desk.domain.id, chamber.council.address, found, time)
    except DpkiError as error:
        error.message = f"{file}: {error.message}"
        raise
    if choice is not None and vote.choice is not choice:
        raise UsageError(
            f"{file} is a vote to {word_of(vote.choice)}, not to {word_of(choice)}",
            hint=f"bring it with: dpki council {word_of(vote.choice)} … --relay {file}",
        )
    return vote


def _parse_action(desk: Desk, council: Address, action: str) -> GovernanceCall:
    from dpki.council.actions import Speaker
    from dpki.council.parameter_file import load_parameters
    from dpki.transactions.actions import DomainCalls

    return Speaker(
        calls=DomainCalls(desk.domain),
        council=council,
        find_ca=lambda name: find_named(desk, name),
        load_parameters=lambda name: load_parameters(Path(name)),
    ).parse(action)


def _sit(output: Output, chamber: Chamber, passphrase: str | None) -> CouncilDesk:
    from dpki.council.casting import CouncilDesk

    writer = open_writer(chamber.desk, passphrase, output)
    return CouncilDesk(chamber.desk.reader, writer, chamber.council.address)


def _perform(
    output: Output,
    chamber: Chamber,
    table: CouncilDesk,
    found: Round,
    proposal: Proposal,
    step: GovernanceCall,
    doing: str,
    votes: Sequence[Vote],
    *,
    dry_run: bool,
) -> None:
    """Send one transaction to the council, and tell where the round stands after it."""
    if dry_run:
        say_rehearsal(output, table.writer.rehearse(step), doing)
        return
    with output.working("waiting for the chain"):
        receipt = table.writer.send(step)
    view, council = table.look()
    after = fetch_round(view, council, found.id)
    say_receipt(output, receipt)
    verify_counted(votes, after)
    document = describe_round(Chamber(chamber.desk, view, council), after, proposal)
    output.say(f"round {found.id} is {after.state.label}")
    for sentence in after.missing():
        output.say(f"missing: {sentence}")
    if after.executable_from is not None:
        output.say(f"can be executed from {after.executable_from:%Y-%m-%d %H:%M:%S} UTC")
    output.result(document | describe_receipt(receipt), after.state.label)


def verify_counted(votes: Sequence[Vote], after: Round) -> None:
    """Check that votes which were brought were counted: the contract skips and goes on.

    Raises:
        CheckedFalse: One was not; names it.
    """
    for vote in votes:
        ballot = find_ballot(after, vote.voter)
        if ballot.nonce <= vote.nonce:
            raise CheckedFalse(
                f"the vote of {vote.voter} was not counted; the others were",
                hint="another vote of the same voter may have come first: dpki council show",
            )


def _verify_open(found: Round) -> None:
    if not found.takes_votes:
        raise CheckedFalse(
            f"round {found.id} is {found.state.label}: votes count no more",
            hint="open another one, if it is still wanted",
        )


def _verify_works(chamber: Chamber, proposal: Proposal) -> None:
    """Refuse to approve what would fail.

    Raises:
        TransactionReverted: One of the calls would; nothing was sent.
    """
    from dpki.council.trial import try_calls
    from dpki.errors import TransactionReverted

    desk = chamber.desk
    try:
        try_calls(desk.access.sending(), desk.domain, chamber.council.address, proposal.calls)
    except TransactionReverted as error:
        error.message = f"executed now, the round would fail: {error.message}"
        error.hint = "nothing was sent; to approve it all the same: --anyway"
        raise


def _verify_executable(found: Round, votes: Sequence[Vote], time: datetime) -> None:
    """Refuse in words what the council would refuse.

    Raises:
        CheckedFalse: The round is over, or not approved and no votes are brought, or waits.
    """
    if not found.state.may_pass:
        raise CheckedFalse(
            f"round {found.id} is {found.state.label} and can't be executed",
            hint="open another one, if it is still wanted",
        )
    if found.state is State.OPEN and not votes:
        raise CheckedFalse(
            f"round {found.id} is not approved: {'; '.join(found.missing())}",
            hint="have more members vote, or bring their votes with --relay",
        )
    ready = found.executable_from
    if ready is not None and ready > time:
        raise CheckedFalse(
            f"round {found.id} waits until {ready:%Y-%m-%d %H:%M:%S} UTC",
            hint="what adds trust waits, so that votes can be withdrawn; execute it then",
        )
